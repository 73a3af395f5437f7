"""PyAthena, unmodified: what Great Expectations and others read Athena with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyathena import connect
from pyathena.error import OperationalError
from pyathena.pandas.cursor import PandasCursor
from sqlalchemy import create_engine, inspect, text

from local_athena.queries import Database


@pytest.fixture
def connection(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """As a user makes one: everything but the work group comes from the environment."""
    for name, value in database.local.environment.items():
        monkeypatch.setenv(name, value)
    with connect(work_group=database.local.work_group, schema_name=database.name, poll_interval=0.02) as connection:
        yield connection


def test_values_come_as_pythons_own(connection: Any) -> None:
    cursor = connection.cursor().execute(
        "select 1 as a, 'x' as b, 1.5e0 as c, decimal '1.50' as d, date '2026-01-01' as e, "
        "timestamp '2026-01-01 00:00:00.5' as f, true as g, array['x', 'y'] as h, x'00ff' as i, null as j"
    )
    expected = (1, "x", 1.5, Decimal("1.50"), date(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 500000), True)
    assert cursor.fetchall() == [(*expected, ["x", "y"], b"\x00\xff", None)]
    assert [column[0] for column in cursor.description] == list("abcdefghij")


def test_many_rows_come_in_pages(connection: Any) -> None:
    cursor = connection.cursor().execute("select i from unnest(sequence(1, 3000)) u(i) order by i")
    assert [row[0] for row in cursor.fetchall()] == list(range(1, 3001))


def test_writes_have_a_row_count_and_bytes_scanned(database: Database, connection: Any) -> None:
    database.create_table("t", "select 1 as a")
    cursor = connection.cursor().execute("insert into t select a + 1 from t")
    assert (cursor.rowcount, cursor.data_scanned_in_bytes > 0) == (1, True)


def test_pandas_reads_the_result_from_s3(connection: Any) -> None:
    frame = (
        connection.cursor(PandasCursor)
        .execute("select 1 as a, 'x' as b union all select 2, null order by 1")
        .as_pandas()
    )
    assert frame["a"].tolist() == [1, 2]
    assert frame["b"].isna().tolist() == [False, True]


def test_parameters_are_bound_by_either_style(connection: Any) -> None:
    assert connection.cursor().execute("select %(a)s as a", {"a": "it's"}).fetchall() == [("it's",)]
    assert connection.cursor().execute("select ? as a", ["'it''s'"], paramstyle="qmark").fetchall() == [("it's",)]


def test_errors_are_told(connection: Any) -> None:
    with pytest.raises(OperationalError, match="TABLE_NOT_FOUND"):
        connection.cursor().execute("select * from nowhere")


def test_sqlalchemy_sees_tables_and_columns(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in database.local.environment.items():
        monkeypatch.setenv(name, value)
    database.create_table("t", "select 1 as a, 'x' as b")
    engine = create_engine(
        f"awsathena+rest://@athena.{database.local.region}.amazonaws.com:443/{database.name}"
        f"?work_group={database.local.work_group}"
    )
    with engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(text("select a, b from t"))] == [(1, "x")]
        inspector = inspect(connection)
        assert inspector.get_table_names() == ["t"]
        assert [column["name"] for column in inspector.get_columns("t")] == ["a", "b"]
