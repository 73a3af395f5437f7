"""What people read on Athena: the Glue database `flowlake`, one view a table, each pinned to a validated snapshot.

A snapshot belongs to one Iceberg table, so the views are moved one by one, each atomically: facts and dimensions first,
reports after them, and last what says how complete they are (docs/adr/0018-athena.md says what a reader can see in
between). What every view shall show is decided before the first of them moves, and written down
(`ops/published.json`), so that a publish that was killed is brought to its end by the next one, and never half taken
back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from flowlake.lake.athena import AthenaLake
from flowlake.lake.files import open_files
from flowlake.lake.ledger import blocking_hours, open_ledger
from flowlake.lake.publish import HoursBlock, Published, PublishedTable, PublishError, compared, published_tables
from flowlake.lake.restatements import FORGET_NOTES, find_restated, read_notes, write_on_athena, written_on_athena

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowlake.settings import Settings

RECORD = "ops/published.json"
"""Which snapshots were published last, among the lake's own files."""

_PIN = re.compile(r"""FROM\s+("?\w+"?\s*\.\s*"?\w+"?)\s+FOR VERSION AS OF (\d+)\s*\Z""", re.IGNORECASE)
"""The end of a pinned view's query: its table, and the snapshot."""

_EMPTY = re.compile(r"WHERE false\s*\Z", re.IGNORECASE)
PUBLISHED = ("core", "marts", "ops")
"""The schemas whose tables are published, in the order in which their views are moved."""

_SOURCE = re.compile(r'"([a-z0-9_]+)"\."([a-z0-9_]+)"\Z')
_VIEW_TEXT = re.compile(r"/\* Presto View: ([A-Za-z0-9+/=\s]+) \*/")


def publish(settings: Settings, manifest: Path) -> Published:
    """Move the views to the newest snapshots of their tables.

    Raises:
        PublishError: an hour was begun and not validated, or a table is not there. The pins stay where they were.
        AthenaError, AwsError: a view could not be moved; those before it show the new state, and the next publish moves
            the others.
    """
    lake = AthenaLake(settings)
    tables = published_tables(manifest, f'"{lake.settings.database}"')
    files = open_files(settings)
    record = json.loads(files.read(RECORD) or b"{}")
    _finish(lake, record)
    with open_ledger(settings) as connection:
        blocking = blocking_hours(connection)
        notes = read_notes(connection)
    if blocking:
        raise HoursBlock(blocking)
    found = lake.glue_tables("flowlake")
    there = _queries(found)
    columns = {str(table["Name"]): _columns(table) for table in found}
    restated = compared(lambda: find_restated(settings, notes, columns))
    # What the killed one had begun to show is told by whoever ends it.
    ended = () if record.get("is_whole", True) else written_on_athena(settings, int(record["version"]))
    _require_own(lake, {table.name for table in tables}, set(record.get("names", ())))
    with ThreadPoolExecutor(lake.settings.threads) as pool:
        pinned = [table for table in tables if not table.is_view]
        wave_of = {table.name: _wave(_source(lake, table)[0]) for table in pinned}
        pinned.sort(key=lambda table: wave_of[table.name])
        newest = dict(
            zip((table.name for table in pinned), pool.map(lambda table: _newest(lake, table), pinned), strict=True)
        )
        snapshots = {name: state.snapshot for name, state in newest.items() if state.snapshot is not None}
        version = int(record.get("version", 0)) + (snapshots != record.get("snapshots"))
        now = datetime.now(UTC)
        if version != record.get("version"):
            write_on_athena(settings, restated, version, now)
        moved = {
            "version": version,
            "published_at": now.isoformat(timespec="seconds"),
            "names": sorted({*record.get("names", ()), *(table.name for table in tables)}),
            "snapshots": snapshots,
            "queries": record.get("queries", {}),
        }
        lake.ensure_databases(["flowlake"])
        files.write(RECORD, json.dumps({**moved, "is_whole": False}, indent=1).encode())
        for _, wave in groupby(pinned, key=lambda table: wave_of[table.name]):
            # To the end, so that an error leaves no statement under way.
            list(pool.map(lambda table: _move(lake, table, newest[table.name]), wave))
    views = {table.name: table.source for table in tables if table.is_view}
    queries = {name: hashlib.sha256(query.encode()).hexdigest() for name, query in views.items()}
    for name, query in views.items():  # Each after what it reads.
        if name not in there or queries[name] != record.get("queries", {}).get(name):
            lake.run(f"CREATE OR REPLACE VIEW {lake.table('flowlake', name)} AS {query}")
    names = sorted(table.name for table in tables)
    for name in there.keys() & set(record.get("names", ())) - set(names):
        lake.run(f"DROP VIEW IF EXISTS {lake.table('flowlake', name)}")
    files.write(RECORD, json.dumps({**moved, "names": names, "queries": queries, "is_whole": True}, indent=1).encode())
    if notes:
        with open_ledger(settings, read_only=False) as connection:
            connection.execute(FORGET_NOTES)
    return Published(version, tables, (*ended, *restated))


def _finish(lake: AthenaLake, record: Mapping[str, Any]) -> None:
    """Bring a publish that was killed to its end: what it was to show was validated, whatever became of later hours."""
    if record.get("is_whole", True):
        return
    there = _views(lake)
    pins = {name: pin for name in record["snapshots"] if (pin := _PIN.search(there.get(name, "")))}
    for name in sorted(pins, key=lambda name: _wave(_named(lake, pins[name][1])[0])):
        snapshot = record["snapshots"][name]
        # Maintenance may have moved a view on, to the same rows, and let that snapshot go.
        if int(pins[name][2]) != snapshot and snapshot in _snapshots(lake, pins[name][1]):
            move_view(lake, name, snapshot)


def _wave(schema: str) -> int:
    """When the views over a schema's tables move: what says how complete hours are comes last."""
    return PUBLISHED.index(schema)


def _named(lake: AthenaLake, source: str) -> tuple[str, str]:
    """Schema and name of a table, by what a view calls it."""
    database, _, name = source.replace('"', "").replace(" ", "").partition(".")
    return database.removeprefix(f"{lake.settings.database}_"), name


def _snapshots(lake: AthenaLake, source: str) -> set[int]:
    """The snapshots that a table has, by its name as a view has it."""
    found = lake.glue_table(*_named(lake, source))
    metadata = lake.metadata(found) if found else None
    return {int(snapshot["snapshot-id"]) for snapshot in (metadata or {}).get("snapshots", ())}


def note_moved(settings: Settings, snapshots: Mapping[str, int]) -> None:
    """Write down which snapshots views show now of the rows that were published. Under the run lock."""
    files = open_files(settings)
    record = json.loads(files.read(RECORD) or b"{}")
    if snapshots and record:
        moved = {**record, "snapshots": {**record["snapshots"], **snapshots}}
        files.write(RECORD, json.dumps(moved, indent=1).encode())


def _require_own(lake: AthenaLake, names: set[str], own: set[str]) -> None:
    """Refuse to write over what somebody else has made in the readers' database."""
    others = {str(table["Name"]) for table in lake.glue_tables("flowlake")} & names - own
    if others:
        raise PublishError(
            f"the Glue database {lake.settings.database} has {min(others)}, which flowlake did not make: "
            "give athena.database a name of its own"
        )


def published_number(settings: Settings) -> int | None:
    """The number of the last publish, None before the first one. Raises AwsError."""
    content = open_files(settings).read(RECORD)
    return int(json.loads(content)["version"]) if content else None


def published_snapshots(settings: Settings) -> Mapping[str, int]:
    """The snapshot that each published table's view shows, as the views stand.

    Raises:
        PublishError: a view that should be pinned cannot be read, so that nobody may say what it needs.
        AwsError: a service cannot be reached.
    """
    lake = AthenaLake(settings)
    record = json.loads(open_files(settings).read(RECORD) or b"{}")
    there = {table["Name"]: _definition(table) for table in lake.glue_tables("flowlake")}
    pins = {}
    # Of a publish that was killed on its way, views of before too that are views over other tables now.
    for name in {*record.get("names", ()), *record.get("snapshots", {})}:
        match = _PIN.search(there.get(name) or "")
        if match:
            pins[name] = int(match[2])
        elif name in record.get("snapshots", {}) and name in there and not _EMPTY.search(there[name] or ""):
            raise PublishError(
                f"the view {lake.settings.database}.{name} is not pinned as flowlake pins: publish again"
            )
    return pins


@dataclass(frozen=True)
class _State:
    """What a table holds now: a snapshot, None before the first row, and columns that it was given after that one."""

    snapshot: int | None
    types: Mapping[str, str] = field(default_factory=dict)
    """Athena's types of those columns."""


def _newest(lake: AthenaLake, table: PublishedTable) -> _State:
    schema, name = _source(lake, table)
    found = lake.glue_table(schema, name)
    if found is None:
        raise PublishError(f"there is no table {table.source}: run the step build_marts first")
    metadata = lake.metadata(found)
    if metadata is None:
        raise PublishError(f"{table.source} is no Iceberg table, or its metadata is gone")
    current = metadata.get("current-snapshot-id", -1)
    if current is None or current < 0:
        # Tables are made empty, and a statement that writes no row leaves no snapshot.
        return _State(None)
    [snapshot] = [one for one in metadata["snapshots"] if one["snapshot-id"] == current]
    schemas = {one["schema-id"]: one["fields"] for one in metadata["schemas"]}
    known = {one["name"] for one in schemas[snapshot.get("schema-id", metadata["current-schema-id"])]}
    later = {one["name"]: one["type"] for one in schemas[metadata["current-schema-id"]] if one["name"] not in known}
    return _State(int(current), {name: _athena_type(str(type_)) for name, type_ in later.items()})


def _source(lake: AthenaLake, table: PublishedTable) -> tuple[str, str]:
    """The schema of the design and the name of what a published table shows."""
    source = _SOURCE.search(table.source)
    if source is None:
        raise PublishError(f"{table.source} is no table's name")
    return source[1].removeprefix(f"{lake.settings.database}_"), source[2]


def _athena_type(iceberg: str) -> str:
    """Athena's name of one of Iceberg's types, of those that contracts have."""
    return {"string": "varchar", "int": "integer", "long": "bigint"}.get(iceberg, iceberg)


def _move(lake: AthenaLake, table: PublishedTable, state: _State) -> None:
    columns = ", ".join(
        f'CAST(null AS {state.types[column]}) AS "{column}"' if column in state.types else f'"{column}"'
        for column in table.columns
    )
    # No row of a later run may show in a view that is not pinned.
    rows = "WHERE false" if state.snapshot is None else f"FOR VERSION AS OF {state.snapshot}"
    query = f"SELECT {columns} FROM {table.source} {rows}"
    if _definition(lake.glue_table("flowlake", table.name)) != _words(query):
        lake.run(f"CREATE OR REPLACE VIEW {lake.table('flowlake', table.name)} AS {query}")


def move_view(lake: AthenaLake, name: str, snapshot: int) -> None:
    """Pin a published view, as it stands, to another snapshot of its table. Raises AthenaError, AwsError."""
    query = _definition(lake.glue_table("flowlake", name))
    if query is not None and _PIN.search(query):
        pinned = _PIN.sub(lambda pin: f"FROM {pin[1]} FOR VERSION AS OF {snapshot}", query)
        lake.run(f"CREATE OR REPLACE VIEW {lake.table('flowlake', name)} AS {pinned}")


def _views(lake: AthenaLake) -> dict[str, str]:
    """The views that people read: name, and its query."""
    return _queries(lake.glue_tables("flowlake"))


def _queries(tables: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found = {str(table["Name"]): _definition(table) for table in tables}
    return {name: query for name, query in found.items() if query is not None}


def _columns(table: Mapping[str, Any]) -> list[str]:
    """The columns of a view; its own word for them, for engines differ in what they tell Glue."""
    return [str(column["name"]) for column in (_view(table) or {}).get("columns", ())]


def _definition(table: Mapping[str, Any] | None) -> str | None:
    """The query of a view as Glue holds it, its white space made even; None when there is none."""
    view = _view(table)
    return None if view is None else _words(str(view["originalSql"]))


def _view(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if table is None or table.get("TableType") != "VIRTUAL_VIEW":
        return None
    match = _VIEW_TEXT.search(str(table.get("ViewOriginalText", "")))
    if match is None:
        return None
    try:
        view = json.loads(base64.b64decode(match[1]))
    except (binascii.Error, ValueError):
        return None
    return view if isinstance(view, dict) and "originalSql" in view else None


def _words(query: str) -> str:
    """A query with even white space: the engine keeps a view's query in a layout of its own."""
    return " ".join(query.replace(",", " , ").split())
