"""What `flowlake query` lets through to Athena."""

from __future__ import annotations

import pytest

from flowlake.querying import QueryError
from flowlake.querying_athena import check_statement


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "-- a comment\n/* and\nanother */ WITH x as (select 1) select * from x",
        "(select 1) union (select 2)",
        "values 1",
        "show tables",
        "describe fct_edges",
        "explain select 1",
        "explain /* a */ analyze verbose\nselect 1",
    ],
)
def test_what_reads_may_be_asked(sql: str) -> None:
    check_statement(sql)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "there is no SQL to run"),
        ("-- only a comment", "there is no SQL to run"),
        ("delete from fct_edges", "DELETE is no query"),
        ("from fct_edges", r"write select \* from"),
        ("/* select */ drop view fct_edges", "DROP is no query"),
        ("insert into t select 1", "INSERT is no query"),
        ("explain analyze insert into t select 1", "INSERT is no query"),
        ("EXPLAIN -- x\n ANALYZE/**/VERBOSE delete from t", "DELETE is no query"),
        ("unload (select 1) to 's3://b'", "UNLOAD is no query"),
    ],
)
def test_all_else_is_refused(sql: str, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        check_statement(sql)
