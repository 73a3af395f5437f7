"""What people read: the schema `flowlake`, one view a table, each pinned to a validated snapshot of the lake.

A DuckLake version belongs to the whole lake, so moving every view in one transaction shows readers all of a run or
nothing of it (docs/adr). Nothing else moves the pins.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError
from flowlake.lake.duck import connect
from flowlake.lake.ledger import blocking_hours

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from flowlake.settings import Settings

SCHEMA = "flowlake"
_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


class PublishError(FlowlakeError):
    """The pins were not moved."""


@dataclass(frozen=True, order=True)
class PublishedTable:
    """A dbt model with `meta: {published: true}`."""

    schema: str
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """What readers see now: the tables, and the lake's version to which all of them are pinned."""

    version: int
    tables: tuple[PublishedTable, ...]


def published_tables(manifest: Path) -> tuple[PublishedTable, ...]:
    """Read the tables meant for people from dbt's manifest, columns in the order of their contract."""
    nodes = json.loads(manifest.read_text())["nodes"].values()
    tables = [
        PublishedTable(node["schema"], node["name"], tuple(node["columns"]))
        for node in nodes
        if node["resource_type"] == "model" and node["config"].get("meta", {}).get("published")
    ]
    for table in tables:
        for name in (table.schema, table.name, *table.columns):
            if not _NAME.match(name):
                raise PublishError(f"{name!r} in model {table.name} cannot be published: not a plain name")
    return tuple(sorted(tables))


def publish(settings: Settings, manifest: Path) -> Published:
    """Pin every published view to the newest version, in one transaction.

    Raises:
        PublishError: an hour was begun and not validated. The pins stay where they were.
    """
    tables = published_tables(manifest)
    with connect(settings, read_only=False) as connection:
        blocking = blocking_hours(connection)
        if blocking:
            hours = ", ".join(f"{hour} ({state}, run {run})" for hour, state, run in blocking[:5])
            more = f" and {len(blocking) - 5} more" if len(blocking) > 5 else ""
            raise PublishError(
                f"readers keep the last validated state: {hours}{more} changed the marts and did not pass. "
                "Run those hours again (or mend what their gates found first); the next publish shows everything."
            )
        version = _newest_version(connection)
        connection.execute("begin")
        connection.execute(f"create schema if not exists lake.{SCHEMA}")
        for table in tables:
            columns = ", ".join(f'"{column}"' for column in table.columns)
            connection.execute(
                f'create or replace view lake.{SCHEMA}."{table.name}" as '
                f'select {columns} from "{table.schema}"."{table.name}" at (version => {version})'
            )
        connection.execute("commit")
    return Published(version, tables)


def published_version(connection: duckdb.DuckDBPyConnection) -> int | None:
    """The version to which the views are pinned; None before the first publish."""
    views = connection.execute(
        "select sql from duckdb_views() where database_name = 'lake' and schema_name = ? limit 1", [SCHEMA]
    ).fetchone()
    pin = re.search(r"AT \(VERSION => (\d+)\)", views[0], re.IGNORECASE) if views else None
    return int(pin.group(1)) if pin else None


def _newest_version(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("select max(snapshot_id) from ducklake_snapshots('lake')").fetchone()
    if row is None:
        raise PublishError("the lake has no snapshot to publish")
    return int(row[0])
