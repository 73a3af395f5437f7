"""`flowlake query`: one reading statement on the lake, and its rows as a table, CSV or JSON lines.

Three fences stand before the user's SQL: the statement must be a query (asked of DuckDB's own parser), it may call no
table function beyond those that only read the catalogue, and DuckDB itself has the lake attached read-only, sees no
file outside the lake's data folder, and takes no more settings.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TextIO

from flowlake.errors import FlowlakeError
from flowlake.lake.duck import connect, literal
from flowlake.lake.objects import shown
from flowlake.settings import Target

if TYPE_CHECKING:
    import duckdb

    from flowlake.settings import Settings

_BATCH = 2_000

_TABLE_FUNCTIONS = frozenset(
    [
        "range",
        "generate_series",
        "unnest",
        "repeat",
        "repeat_row",
        "json_each",
        "json_tree",
        "pragma_table_info",
        "duckdb_columns",
        "duckdb_constraints",
        "duckdb_databases",
        "duckdb_extensions",
        "duckdb_functions",
        "duckdb_keywords",
        "duckdb_schemas",
        "duckdb_settings",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "ducklake_current_snapshot",
        "ducklake_last_committed_snapshot",
        "ducklake_list_files",
        "ducklake_options",
        "ducklake_snapshots",
        "ducklake_table_changes",
        "ducklake_table_deletions",
        "ducklake_table_info",
        "ducklake_table_insertions",
    ]
)
"""Table functions that read and nothing else. Others delete files (ducklake_cleanup_old_files), read them, or run SQL
that is made at run time and so cannot be checked (query)."""


class QueryError(FlowlakeError):
    """A query that is refused or that DuckDB cannot answer; the message says where in it."""


class OutputFormat(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True)
class Result:
    """The columns of an answer (names made unique) and its rows, which are fetched while they are read."""

    columns: tuple[str, ...]
    numeric: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]

    @property
    def is_plan(self) -> bool:
        """Whether this is the drawing that EXPLAIN makes."""
        return self.columns == ("explain_key", "explain_value")


@contextmanager
def open_query(settings: Settings, sql: str) -> Iterator[Result]:
    """Run one reading statement, with the published schema first in the search path.

    Raises QueryError when the statement is refused or fails, and LakeError when there is no lake.
    """
    if settings.target is Target.ATHENA:
        from flowlake.querying_athena import open_query_on_athena

        with open_query_on_athena(settings, sql) as result:
            yield result
        return
    import duckdb

    check_statement(sql)
    with TemporaryDirectory(prefix="flowlake-") as spill, connect(settings) as connection:
        _fence(connection, settings, spill)
        try:
            connection.execute(sql)
            described = connection.description or []
            names = unique_names([str(column[0]) for column in described])
            numeric = [
                name
                for name, column in zip(names, described, strict=True)
                if re.match(r"U?(TINY|SMALL|BIG|HUGE)?INT|DECIMAL|DOUBLE|FLOAT|NUMBER", str(column[1]))
            ]
            yield Result(tuple(names), tuple(numeric), _rows(connection))
        except duckdb.Error as error:
            raise QueryError(_one_line(error)) from error


def check_statement(sql: str) -> None:
    """Refuse whatever is not one query. Raises QueryError with what it is and what may be asked."""
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(_one_line(error)) from error
    if not statements:
        raise QueryError('there is no SQL to run: write it in quotes, for example flowlake query "from dim_devices"')
    if len(statements) > 1:
        hint = " (a PIVOT needs its values listed: pivot … on action in ('ACCEPT', 'REJECT') …)"
        is_pivot = re.search(r"\bpivot", sql, re.IGNORECASE) is not None
        raise QueryError(f"one statement at a time, not {len(statements)}{hint if is_pivot else ''}")
    kind = str(statements[0].type).rsplit(".", maxsplit=1)[-1]
    query = statements[0].query
    if kind == "EXPLAIN":
        query = re.sub(r"\A\s*explain\s+(analyze\s+)?", "", query, flags=re.IGNORECASE)
    elif kind != "SELECT":
        raise QueryError(f"{kind} is refused: only queries may run here (SELECT, WITH, FROM, DESCRIBE, SHOW, EXPLAIN)")
    with duckdb.connect() as connection:
        row = connection.execute("select json_serialize_sql(?::varchar)", [query]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        raise QueryError(
            "this statement is refused: only SELECT, WITH, FROM, DESCRIBE, SHOW and EXPLAIN of one may run"
        )
    refused = sorted(set(_table_functions(tree)) - _TABLE_FUNCTIONS)
    if refused:
        raise QueryError(
            f"the table function {shown(refused[0])} is refused: a query reads the tables of the lake and nothing else"
        )


def write_csv(result: Result, stream: TextIO) -> None:
    """Write a header and the rows: NULL is empty, times are ISO 8601 (UTC), lists and structs are JSON."""
    writer = csv.writer(stream, lineterminator="\n")
    # Python before 3.13 does not quote a carriage return by itself, and readers take it for a line's end.
    quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(result.columns)
    for row in result.rows:
        cells = [_csv_cell(value) for value in row]
        (quoting if any("\r" in str(cell) for cell in cells) else writer).writerow(cells)


def write_json(result: Result, stream: TextIO) -> None:
    """Write one JSON object per line: NULL is null, times are ISO 8601 (UTC), what JSON has no word for is text."""
    for row in result.rows:
        record = {name: _json_value(value) for name, value in zip(result.columns, row, strict=True)}
        stream.write(json.dumps(record, allow_nan=False) + "\n")


def table_cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, dict | list | tuple):
        return json.dumps(_json_value(value), ensure_ascii=False, allow_nan=False)
    return str(_scalar(value))


def _fence(connection: duckdb.DuckDBPyConnection, settings: Settings, spill: str) -> None:
    connection.execute(f"set temp_directory = {literal(spill)}")
    # Without the first, a name that is no table would be looked up among the variables of this program.
    connection.execute("set python_enable_replacements = false")
    connection.execute(f"set allowed_directories = [{literal(f'{settings.lake.data}/')}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _rows(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while batch := connection.fetchmany(_BATCH):
        yield from batch


def _table_functions(node: object) -> Iterator[str]:
    """The names of the table functions anywhere in a serialised query."""
    if isinstance(node, Mapping):
        if node.get("type") == "TABLE_FUNCTION":
            function = node.get("function")
            yield str(function.get("function_name", "")).lower() if isinstance(function, Mapping) else ""
        for value in node.values():
            yield from _table_functions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _table_functions(value)


def unique_names(names: Iterable[str]) -> list[str]:
    """Column names of which none stands twice: a JSON object would drop the first."""
    seen: set[str] = set()
    found = []
    for name in names:
        candidate, number = name, 1
        while candidate in seen:
            candidate, number = f"{name}_{number}", number + 1
        seen.add(candidate)
        found.append(candidate)
    return found


def _one_line(error: Exception) -> str:
    """DuckDB's message on one line, with the position that its caret shows."""
    lines = str(error).splitlines()
    reason: list[str] = []
    position = ""
    for number, line in enumerate(lines):
        place = re.match(r"LINE (\d+): ", line)
        if place:
            caret = lines[number + 1].find("^") if number + 1 < len(lines) else -1
            if caret >= 0:
                text = line[place.end() :]
                start = caret - place.end()
                if text.startswith("..."):
                    position = f" (line {place[1]}, at {text[start : start + 30]!r})"
                else:
                    position = f" (line {place[1]}, column {start + 1})"
            break
        reason.append(line.strip())
    return shown(" ".join(part for part in reason if part) + position)


def _csv_cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, dict | list | tuple):
        return json.dumps(_json_value(value), allow_nan=False)
    return _scalar(value)


def _json_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(_json_value(key)): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, float | Decimal):
        return _json_number(value)
    return value if value is None or isinstance(value, bool | int | str) else _scalar(value)


def _json_number(value: float | Decimal) -> int | float | None:
    """A number as JSON knows it: no NaN, no infinity, whole decimals as whole numbers."""
    if not math.isfinite(value):
        return None
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return float(value)


def _scalar(value: object) -> object:
    """A value as text that every program reads alike; numbers and text stay what they are."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value if isinstance(value, int | float | str | Decimal) else str(value)


Writer = Callable[[Result, TextIO], None]
WRITERS: Mapping[OutputFormat, Writer] = {OutputFormat.CSV: write_csv, OutputFormat.JSON: write_json}
