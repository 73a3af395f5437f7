"""What the engines call otherwise is the same when it is read; nothing else is."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import duckdb
import pytest

from local_athena.server import LocalAthena
from parity.compare import Difference, Table, assert_same
from parity.engines import AthenaReader, plain, read_duckdb

ON_DUCKDB = (
    "(select 1::hugeint as a, 1.5::decimal(10, 2) as b, ''::varchar as c, null::varchar as d, true as e, "
    "0.1::double as f, "
    "timestamp '2026-01-01 00:00:00.000001' as g, date '2026-01-01' as h, map {'y': 'é', 'x': null} as i, "
    "['b', 'a', null] as j, 12345678901234567890::hugeint as k, {'n': 1} as l, '\\x00a'::blob as m)"
)
ON_ATHENA = (
    "select bigint '1' as a, decimal '1.5' as b, '' as c, cast(null as varchar) as d, true as e, 0.1e0 as f, "
    "timestamp '2026-01-01 00:00:00.000001' as g, date '2026-01-01' as h, "
    "map(array['x', 'y'], array[cast(null as varchar), 'é']) as i, array['b', 'a', null] as j, "
    "decimal '12345678901234567890' as k, cast(row(1) as row(n integer)) as l, x'0061' as m"
)
KINDS = {
    **{"a": "whole number", "b": "decimal", "c": "text", "d": "text", "e": "truth", "f": "float", "g": "moment"},
    **{"h": "date", "i": "map", "j": "list", "k": "whole number", "l": "record", "m": "bytes"},
}
ROW = (
    *(1, Decimal("1.5"), "", None, True, 0.1, datetime(2026, 1, 1, 0, 0, 0, 1), date(2026, 1, 1)),
    *((("x", None), ("y", "é")), ("b", "a", None), 12345678901234567890, (("n", 1),), b"\x00a"),
)


def test_duckdb_is_read_with_its_kinds() -> None:
    assert read_duckdb(duckdb.connect(), ON_DUCKDB) == Table(KINDS, [ROW])


def test_athena_is_read_with_its_kinds(athena: LocalAthena) -> None:
    athena.client("glue").create_database(DatabaseInput={"Name": "parity_kinds"})
    reader = AthenaReader(athena.client("athena"), athena.work_group)
    reader.run(f'create view "parity_kinds"."one" as {ON_ATHENA}')
    assert reader.names("parity_kinds") == {"one"}
    found = reader.read("parity_kinds", "one")
    assert found == Table(KINDS, [ROW])
    assert_same("one", read_duckdb(duckdb.connect(), ON_DUCKDB), found)
    with_null = ON_ATHENA.replace("'' as c", "cast(null as varchar) as c")
    reader.run(f'create view "parity_kinds"."other" as {with_null}')
    with pytest.raises(Difference, match="column c is '' in duckdb and None in athena"):
        assert_same("one", found, reader.read("parity_kinds", "other"))


def test_nested_values_are_compared_by_what_they_hold() -> None:
    assert plain({"b": [1, {"c": None}], "a": 1}) == (("a", 1), ("b", (1, (("c", None),))))
    assert plain([Decimal("1.0"), Decimal("1.50")]) == (1, Decimal("1.5"))
