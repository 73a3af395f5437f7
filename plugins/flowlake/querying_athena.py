"""`flowlake query` where the lake is on Athena: one reading statement, in Athena's SQL.

What may be read at all is for the credentials' policies to say. The statement's first word is looked at so that nobody
changes a table by accident.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowlake.lake.aws import athena_settings, aws_errors, region
from flowlake.lake.objects import one_line, shown
from flowlake.querying import QueryError, Result, unique_names

if TYPE_CHECKING:
    from flowlake.settings import Settings

_READING = ("select", "with", "values", "table", "show", "describe", "desc", "explain")

_COMMENTS = re.compile(r"\s+|--[^\n]*|/\*.*?\*/", re.DOTALL)

_ANALYZED = re.compile(rf"explain(?:{_COMMENTS.pattern})+analyze(?:(?:{_COMMENTS.pattern})+verbose)?", re.I | re.DOTALL)

_NUMERIC = ("tinyint", "smallint", "integer", "bigint", "real", "float", "double", "decimal")

_BATCH = 1_000
"""Rows of an answer of Athena's."""


@contextmanager
def open_query_on_athena(settings: Settings, sql: str) -> Iterator[Result]:
    """Run one reading statement, in the database that people read.

    Raises:
        QueryError: the statement is refused or fails.
        AwsError: Athena cannot be reached.
    """
    from pyathena import connect
    from pyathena.error import Error

    check_statement(sql)
    # What it logs it also raises, and people want one line.
    logging.getLogger("pyathena").setLevel(logging.CRITICAL)
    athena = athena_settings(settings)
    with aws_errors("ask Athena"):
        connection: Any = connect(
            work_group=athena.work_group,
            schema_name=athena.database,
            region_name=region(),
            s3_staging_dir=athena.asked_results,
            poll_interval=0.2,
        )
        with connection, connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                described = cursor.description or []
                names = unique_names([str(column[0]) for column in described])
                numeric = [
                    name for name, column in zip(names, described, strict=True) if str(column[1]).startswith(_NUMERIC)
                ]
                yield Result(tuple(names), tuple(numeric), _rows(cursor))
            except Error as error:
                raise QueryError(one_line(error)) from error


def check_statement(sql: str) -> None:
    """Refuse what does not begin like a query. Raises QueryError with what may be asked."""
    position = 0
    while match := _COMMENTS.match(sql, position):
        position = match.end()
    word = re.match(r"\(*\s*(\w+)", sql[position:])
    if word is None:
        raise QueryError('there is no SQL to run: write it in quotes, for example flowlake query "show tables"')
    if word[1].lower() == "explain" and (analyzed := _ANALYZED.match(sql, position)):
        # It runs the statement.
        check_statement(sql[analyzed.end() :])
    if word[1].lower() == "from":
        raise QueryError("Athena knows no FROM without a SELECT: write select * from …")
    if word[1].lower() not in _READING:
        raise QueryError(f"{shown(word[1].upper())} is no query: only statements that read may be asked")


def _rows(cursor: Any) -> Iterator[tuple[Any, ...]]:
    while rows := cursor.fetchmany(_BATCH):
        yield from (tuple(row) for row in rows)
