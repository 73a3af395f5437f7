"""Statements in the SQL that both engines share, over the lake's tables.

A statement names a table as `{schema}.table`, with the schemas of the design: `select count(*) from {core}.fct_edges`.
Statements are flowlake's own words, hours that `Window` has checked and numbers; nothing that a log line says.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from flowlake.lake.duck import connect
from flowlake.settings import Target

if TYPE_CHECKING:
    import duckdb

    from flowlake.lake.windows import Window
    from flowlake.settings import Settings

SCHEMAS = ("staging", "intermediate", "core", "marts", "ops", "flowlake")


def read_rows(
    settings: Settings, query: str, *, asked: bool = False, connection: duckdb.DuckDBPyConnection | None = None
) -> list[tuple[Any, ...]]:
    """The rows of a query: typed values from DuckDB, Athena's text of them from Athena.

    `asked`: for somebody who asks, beside the runs; it is no cost of theirs. `connection`: one to a DuckLake, where
    somebody has it open.
    """
    if settings.target is Target.ATHENA:
        from flowlake.lake.athena import AthenaLake

        lake = AthenaLake(settings, asked=asked)
        return list(lake.query(query.format_map({schema: f'"{lake.settings.schema(schema)}"' for schema in SCHEMAS})))
    with nullcontext(connection) if connection else connect(settings) as opened:
        return opened.execute(_on_duckdb(query)).fetchall()


def run_statement(settings: Settings, statement: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Change a table: through the connection to a DuckLake, as a part of its transaction; or by Athena."""
    if settings.target is Target.ATHENA:
        from flowlake.lake.athena import AthenaLake

        lake = AthenaLake(settings)
        lake.run(statement.format_map({schema: f'"{lake.settings.schema(schema)}"' for schema in SCHEMAS}))
        return
    connection.execute(_on_duckdb(statement))


def in_window(window: Window) -> str:
    """The condition on `arrival_hour` that a window is."""
    start, end = str(window).split("/")
    return f"arrival_hour >= '{start}' and arrival_hour < '{end}'"


def _on_duckdb(statement: str) -> str:
    return statement.format_map({schema: f"lake.{schema}" for schema in SCHEMAS})
