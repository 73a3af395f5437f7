"""Tables as the two engines hold them, in one representation.

A kind says what a column means, not how wide it is: a sum is a HUGEINT in DuckDB and a DECIMAL(38, 0) in Athena, and
both are whole numbers. Maps become pairs in the order of their keys. Moments are UTC, in microseconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from parity.compare import Row, Table

KINDS = {
    "boolean": "truth",
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint"), "whole number"),
    "decimal": "decimal",
    "double": "float",
    "varchar": "text",
    "date": "date",
    "timestamp": "moment",
    "timestamp with time zone": "moment with a zone",
    "map": "map",
}
"""What both engines call alike."""

DUCKDB_KINDS = {**KINDS, "hugeint": "whole number", "blob": "bytes", "list": "list", "struct": "record"}
ATHENA_KINDS = {**KINDS, "varbinary": "bytes", "array": "list", "row": "record"}

NESTED = ("list", "map", "record")

PARSERS: Mapping[str, Callable[[str], Hashable]] = {
    "truth": lambda text: text == "true",
    "whole number": int,
    "decimal": Decimal,
    "float": float,
    "text": str,
    "date": date.fromisoformat,
    "moment": datetime.fromisoformat,
    "moment with a zone": str,
    "bytes": bytes.fromhex,
    **dict.fromkeys(NESTED, lambda text: plain(json.loads(text))),
}
"""A kind's values from Athena's text of them; nested ones are asked for as JSON, their text is ambiguous."""

WAIT_SECONDS = 300.0


def plain(value: Any) -> Hashable:
    """A nested value as something that can be compared, and stands in a set."""
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), plain(item)) for key, item in value.items()))
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value.normalize()
    return value  # type: ignore[no-any-return] # what is left is hashable as it is


def read_duckdb(connection: Any, source: str) -> Table:
    """A table, view or function of DuckDB, whole."""
    relation = connection.sql(f"select * from {source}")
    kinds = {}
    for name, type_ in zip(relation.columns, relation.types, strict=True):
        kind = DUCKDB_KINDS[type_.id]
        is_whole = kind == "decimal" and dict(type_.children)["scale"] == 0
        kinds[name] = "whole number" if is_whole else kind
    return Table(kinds, [tuple(map(plain, row)) for row in relation.fetchall()])


@dataclass(frozen=True)
class AthenaReader:
    """Athena by boto3, through the calls that anybody has."""

    client: Any
    work_group: str

    def read(self, database: str, name: str) -> Table:
        """A table or view, whole."""
        table = f'"{database}"."{name}"'
        execution = self.run(f"select * from {table}")
        kinds = self.kinds(execution)
        if any(kind in NESTED for kind in kinds.values()):
            columns = [
                f'json_format(cast("{column}" as json))' if kind in NESTED else f'"{column}"'
                for column, kind in kinds.items()
            ]
            execution = self.run(f"select {', '.join(columns)} from {table}")
        parsers = [PARSERS[kind] for kind in kinds.values()]
        return Table(kinds, [parsed(row, parsers) for row in self.rows(execution)])

    def kinds(self, execution: str) -> dict[str, str]:
        answer = self.client.get_query_results(QueryExecutionId=execution, MaxResults=1)
        kinds = {}
        for column in answer["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]:
            kind = ATHENA_KINDS[column["Type"]]
            is_whole = kind == "decimal" and column["Scale"] == 0
            kinds[column["Name"]] = "whole number" if is_whole else kind
        return kinds

    def names(self, database: str) -> set[str]:
        """The tables and views of a database."""
        pages = self.client.get_paginator("list_table_metadata").paginate(
            CatalogName="AwsDataCatalog", DatabaseName=database
        )
        return {table["Name"] for page in pages for table in page["TableMetadataList"]}

    def run(self, query: str) -> str:
        started = self.client.start_query_execution(QueryString=query, WorkGroup=self.work_group)
        execution = str(started["QueryExecutionId"])
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            status = self.client.get_query_execution(QueryExecutionId=execution)["QueryExecution"]["Status"]
            if status["State"] == "SUCCEEDED":
                return execution
            if status["State"] not in ("QUEUED", "RUNNING") or time.monotonic() > deadline:
                raise RuntimeError(f"{status.get('StateChangeReason', status['State'])}: {query}")
            time.sleep(0.05)

    def rows(self, execution: str) -> list[list[str | None]]:
        """The rows of a query, without the header. A null has no text, and an empty text has one."""
        pages = self.client.get_paginator("get_query_results").paginate(QueryExecutionId=execution)
        rows = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
        return [[cell.get("VarCharValue") for cell in row] for row in rows[1:]]


def parsed(row: Sequence[str | None], parsers: Sequence[Callable[[str], Hashable]]) -> Row:
    return tuple(None if cell is None else plain(parse(cell)) for cell, parse in zip(row, parsers, strict=True))
