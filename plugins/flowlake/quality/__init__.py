"""The gates: what must hold between flowlake and the world before anyone may see a window's rows.

`suites` says what is expected, as data; `runner.validate` decides, keeps the failing rows and writes the pages;
`report` is what callers get. Only `great` imports Great Expectations, and only a running gate imports `great`.
"""
