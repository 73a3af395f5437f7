"""What people read: the schema `flowlake`, one view a table, each pinned to a validated snapshot of the lake.

A DuckLake version belongs to the whole lake, so moving every view in one transaction shows readers all of a run or
nothing of it (docs/adr/0007-publishing.md). Nothing but `_move_pins` moves them.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.duck import CATALOG, columns_of, connect, retried
from flowlake.lake.ledger import blocking_hours
from flowlake.lake.restatements import (
    FORGET_NOTES,
    LOOKED_AT,
    TABLE,
    Restatement,
    as_arrow,
    ensure_tables,
    find_restated,
    read_notes,
)
from flowlake.settings import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from flowlake.settings import Settings

log = logging.getLogger(__name__)

SCHEMA = "flowlake"
_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
_PINNED = re.compile(
    r"CREATE VIEW \S+ AS (SELECT .+ FROM \S+) AT \(VERSION => (\d+)\);?\s*\Z", re.IGNORECASE | re.DOTALL
)
"""A pinned view as DuckDB shows it: what it selects, and the version."""

_SOURCE = re.compile(r'FROM "?(\w+)"?\."?(\w+)"? AT \(VERSION', re.IGNORECASE)
"""The schema and the table that a pinned view reads."""


class PublishError(FlowlakeError):
    """The pins were not moved."""


class HoursBlock(PublishError):
    """Arrival hours changed the marts and are not validated."""

    def __init__(self, hours: Sequence[tuple[str, str, str]]) -> None:
        """Name the hours: (arrival hour, state, run id) each."""
        self.hours = hours
        named = ", ".join(f"{hour} ({state}, run {run})" for hour, state, run in hours[:5])
        more = f" and {len(hours) - 5} more" if len(hours) > 5 else ""
        super().__init__(
            f"readers keep the last validated state: {named}{more} changed the marts and did not pass. "
            "Run those hours again (or mend what their gates found first); the next publish shows everything."
        )


@dataclass(frozen=True)
class PublishedTable:
    """A dbt model that people read: a table, pinned, or a view over such tables (`meta: published: view`)."""

    name: str
    columns: tuple[str, ...]
    source: str
    """Of a table its relation (`core.fct_edges`), of a view its query over `flowlake.*`."""
    is_view: bool = False

    def statement(self, version: int) -> str:
        """The CREATE VIEW that shows it as of a version. No catalogue is named: readers attach under any alias."""
        head = f'create or replace view lake.{SCHEMA}."{self.name}" as '
        if self.is_view:
            return head + self.source
        columns = ", ".join(f'"{column}"' for column in self.columns)
        return head + f"select {columns} from {self.source} at (version => {version})"


@dataclass(frozen=True)
class Published:
    """What readers see now: the tables, and the lake's version to which all of them are pinned.

    On Athena each table has snapshots of its own; the version is the number of the publish. `restated` are the hours
    that readers had seen otherwise before.
    """

    version: int
    tables: tuple[PublishedTable, ...]
    restated: tuple[Restatement, ...] = ()


def published_tables(manifest: Path, database: str = SCHEMA) -> tuple[PublishedTable, ...]:
    """Read what is meant for people from dbt's manifest, in an order in which each stands after what it reads.

    `database` is what readers know it by, where that is not the schema `flowlake`.

    Raises:
        PublishError: no manifest, a name that is no plain name, or a published view over what is not published.
    """
    if not manifest.is_file():
        raise PublishError("the marts were never built in this lake: run the step build_marts first")
    nodes = json.loads(manifest.read_text())["nodes"]
    published = {
        key: node
        for key, node in nodes.items()
        if node["resource_type"] == "model" and node["config"].get("meta", {}).get("published")
    }
    for node in published.values():
        for name in (node["schema"], node["name"], *node["columns"]):
            if not _NAME.match(name):
                raise PublishError(f"{name!r} in model {node['name']} cannot be published: not a plain name")
    graph = {
        key: [other for other in node["depends_on"]["nodes"] if other in published] for key, node in published.items()
    }
    return tuple(
        _published_table(published[key], nodes, published, database) for key in TopologicalSorter(graph).static_order()
    )


def _published_table(
    node: Mapping[str, Any], nodes: Mapping[str, Any], published: Mapping[str, Any], database: str
) -> PublishedTable:
    columns = tuple(node["columns"])
    if node["config"]["meta"]["published"] != "view":
        return PublishedTable(node["name"], columns, f'"{node["schema"]}"."{node["name"]}"')
    query = node.get("compiled_code")
    if not query:
        raise PublishError(f"the view {node['name']} was not compiled by the last dbt build of the marts")
    for key in node["depends_on"]["nodes"]:
        if key not in published:
            raise PublishError(f"the published view {node['name']} reads {key.split('.')[-1]}, which is not published")
        query = query.replace(nodes[key]["relation_name"], f'{database}."{nodes[key]["name"]}"')
    return PublishedTable(node["name"], columns, query, is_view=True)


def publish(settings: Settings, manifest: Path) -> Published:
    """Pin every published view to the newest version: in one transaction, or, on Athena, one after the other.

    Which hours change by it for those who have seen them is written down with it (`lake.restatements`).

    Raises:
        PublishError: an hour was begun and not validated. The pins stay where they were.
    """
    if settings.target is Target.ATHENA:
        from flowlake.lake.athena_views import publish as publish_on_athena

        return publish_on_athena(settings, manifest)
    tables = published_tables(manifest)
    with connect(settings, read_only=False) as connection:
        _require_validated(connection)
        ensure_tables(settings, connection)
        notes = read_notes(connection)
        restated = compared(lambda: find_restated(settings, notes, _shown_columns(connection), connection))
        now = datetime.now(UTC)
        gone = [f'drop view lake.{SCHEMA}."{name}"' for name, _ in _views(connection)]

        def statements(version: int) -> list[str]:
            connection.register("restated", as_arrow(restated, version, now))
            return [
                f"create schema if not exists lake.{SCHEMA}",
                *gone,
                *(table.statement(version) for table in tables),
                *([f"insert into lake.ops.{TABLE} select * from restated"] if restated else []),
                *([FORGET_NOTES] if notes else []),
            ]

        version = _move_pins(connection, statements)
    return Published(version, tables, restated)


def compared(find: Callable[[], tuple[Restatement, ...]]) -> tuple[Restatement, ...]:
    """What `find` tells; nothing where readers' own views cannot be read, which moving them mends."""
    import duckdb

    from flowlake.lake.athena import AthenaError

    try:
        return find()
    except (duckdb.Error, AthenaError) as error:
        log.warning("cannot tell which published hours change: %s", " ".join(str(error).split()))
        return ()


def follow_compaction(connection: duckdb.DuckDBPyConnection) -> int:
    """Pin the views as they stand to the newest version: the same rows, in the files that compaction made.

    Knows no models: what is published stays what it is. It is for who has asked `shows_newest` before compacting.

    Raises:
        PublishError: as `publish`.
    """
    _require_validated(connection)
    pinned = [(name, match[1]) for name, sql in _views(connection) if (match := _PINNED.match(sql))]
    return _move_pins(
        connection,
        lambda version: [
            f'create or replace view lake.{SCHEMA}."{name}" as {query} at (version => {version})'
            for name, query in pinned
        ],
    )


def published_version(connection: duckdb.DuckDBPyConnection) -> int | None:
    """The version to which the views are pinned; None before the first publish."""
    return next((int(match[2]) for _, sql in _views(connection) if (match := _PINNED.match(sql))), None)


def shows_newest(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether no published table has changed since the version to which the views are pinned.

    Else something keeps them where they are: rows that no run has published yet, or somebody who went back.
    """
    version = published_version(connection)
    tables = dict(
        connection.execute(
            "select schema_name || '.' || table_name, cast(table_id as varchar) "
            f"from {CATALOG}.ducklake_table as tables "
            f"inner join {CATALOG}.ducklake_schema as schemas using (schema_id) "
            "where tables.end_snapshot is null and schemas.end_snapshot is null"
        ).fetchall()
    )
    published = {
        tables.get(".".join(match.groups())) for _, sql in _views(connection) if (match := _SOURCE.search(sql))
    }
    # Whatever a change is called, it names the numbers of the tables that it concerns.
    changed = connection.execute(
        "select distinct unnest(flatten(map_values(changes))) from ducklake_snapshots('lake') where snapshot_id > ?",
        [version],
    ).fetchall()
    return version is not None and published.isdisjoint(number for (number,) in changed)


def _move_pins(connection: duckdb.DuckDBPyConnection, statements: Callable[[int], Iterable[str]]) -> int:
    """Have the newest version shown by the views that the statements make of it, in one transaction."""
    version = _newest_version(connection)
    retried(lambda: _execute(connection, statements(version)))
    return version


def _require_validated(connection: duckdb.DuckDBPyConnection) -> None:
    blocking = blocking_hours(connection)
    if blocking:
        raise HoursBlock(blocking)


def _execute(connection: duckdb.DuckDBPyConnection, statements: Iterable[str]) -> None:
    connection.execute("begin")
    for statement in statements:
        connection.execute(statement)
    connection.execute("commit")


def _views(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """(name, definition) of what is published."""
    return connection.execute(
        "select view_name, sql from duckdb_views() where database_name = 'lake' and schema_name = ?", [SCHEMA]
    ).fetchall()


def _shown_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, ...]]:
    """The columns of those published tables that `find_restated` looks at, by name."""
    shown = {table: columns_of(connection, f"{SCHEMA}.{table}") for table in LOOKED_AT}
    return {table: columns for table, columns in shown.items() if columns}


def _newest_version(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("select max(snapshot_id) from ducklake_snapshots('lake')").fetchone()
    if row is None:
        raise PublishError("the lake has no snapshot to publish")
    return int(row[0])
