"""What DAG files import: default arguments, tags, assets and tasks. The only part of flowlake that imports Airflow.

The steps themselves are plain functions in `flowlake.steps`; here they only get what Airflow is for: a schedule,
retries, time limits, backfills, history, alerts. Nothing in this package reads a file, a database, a connection or a
variable while a DAG file is parsed, and nothing heavy is imported at the top of a module (a test holds both).
"""

from __future__ import annotations
