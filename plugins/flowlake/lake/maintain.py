"""Keeps the lake small and quick: merges small files, lets old versions go, removes what killed runs left behind.

First a plan, which only reads; then its phases, each of which is whole or is done by the next maintenance: a kill
between or inside them loses nothing (docs/adr/0013-maintenance.md). No row of any table is ever deleted here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError
from flowlake.lake.duck import CATALOG, bound_memory, columns_of, connect, literal
from flowlake.lake.ledger import HourState, blocking_hours
from flowlake.lake.lock import Scope, run_lock
from flowlake.lake.manifests import read_objects
from flowlake.lake.publish import PublishError, follow_compaction, published_version, shows_newest
from flowlake.settings import Target

if TYPE_CHECKING:
    import duckdb

    from flowlake.settings import Settings

log = logging.getLogger(__name__)

SMALL_FILE = 32_000_000
"""Bytes below which a data file is merged with others of its table. Hours of this size need no help."""

SMALL_TABLE = 256_000_000
"""Bytes of a table below which files with any deleted row are written anew; above it, those with a tenth deleted."""

DELETED_SHARE = 0.1

BATCH = 512_000_000
"""Bytes of the data files that are written anew in one transaction."""


class MaintainError(FlowlakeError):
    """A file that cannot be removed."""


class Kind(StrEnum):
    """What maintenance finds, in the order in which it sees to it."""

    SMALL = "small files to merge"
    DELETED = "files with deleted rows to write anew"
    SNAPSHOTS = "versions of the lake to expire"
    REPLACED = "data files that no version needs"
    ORPHANS = "data files that killed runs left"
    TEMPORARY = "temporary files"
    SPOOL = "fetched objects no longer needed"
    LOGS = "logs, gates' pages and failing rows"


@dataclass(frozen=True)
class Finding:
    """How much there is of a kind, and how much of it was seen to (None in a dry run). Snapshots have no bytes."""

    kind: Kind
    count: int
    bytes: int | None
    done: int | None = None


@dataclass(frozen=True)
class MaintenanceReport:
    """What was found, and done."""

    findings: tuple[Finding, ...]
    pins: str
    """What became of the published views."""
    dry_run: bool


@dataclass(frozen=True)
class LocalFile:
    """A file that may be removed; `recorded` is its path as the catalogue has it."""

    path: Path
    bytes: int
    recorded: str = ""


@dataclass(frozen=True)
class _DataFile:
    """A data file of a table whose rows are to be written once more, and why: it is small, or has deleted rows."""

    schema: str
    table: str
    name: str
    """Of the file; DuckLake's are unique."""
    bytes: int
    kind: Kind


@dataclass(frozen=True)
class Plan:
    """All that maintenance would do to the lake as it stands."""

    shows_newest: bool
    """Whether readers see the tables as they stand, so that they may follow their rows into other files."""
    rewritten: tuple[_DataFile, ...]
    snapshots: tuple[int, ...]
    replaced: tuple[LocalFile, ...]
    orphans: tuple[LocalFile, ...]
    temporary: tuple[LocalFile, ...]
    spool: tuple[LocalFile, ...]
    logs: tuple[LocalFile, ...]


def maintain(settings: Settings, *, dry_run: bool = False, now: datetime | None = None) -> MaintenanceReport:
    """Find what can be merged, expired or removed, and do it, unless it is a dry run, which changes nothing.

    Raises:
        LakeError: there is no lake.
        LockError: a run held the lake for too long.
        MaintainError: a file cannot be removed.
    """
    now = now or datetime.now(UTC)
    if settings.target is Target.ATHENA:
        from flowlake.lake.maintain_athena import maintain as maintain_on_athena

        return maintain_on_athena(settings, dry_run=dry_run, now=now)
    with connect(settings) as connection:
        # First of all: taking the lock would make the folder of a lake that is not there.
        if dry_run:
            plan = make_plan(settings, connection, now)
            return _report(plan, {}, "not touched", dry_run=True)
    with run_lock(settings, "flowlake maintain", scope=Scope.LAKE), connect(settings, read_only=False) as connection:
        bound_memory(connection, settings)
        plan = make_plan(settings, connection, now)
        done: dict[Kind, int] = {}
        notes: list[str] = []
        for phase in PHASES:
            phase(_Work(settings, connection, plan, done, notes))
        report = _report(plan, done, "; ".join(notes), dry_run=False)
    for finding in report.findings:
        log.info("%s: %d of %d", finding.kind, finding.done, finding.count)
    log.info("published views: %s", report.pins)
    return report


# --- the plan: reads alone ---


def make_plan(settings: Settings, connection: duckdb.DuckDBPyConnection, now: datetime) -> Plan:
    """What there is to do. Only what this says is ever removed, so nothing that came later can be."""
    keep = settings.maintenance
    grace = now - timedelta(hours=keep.remove_files_after_hours)
    local = local_leftovers(settings, now)
    return Plan(
        shows_newest=shows_newest(connection),
        rewritten=tuple(_rewritten(connection)),
        snapshots=_snapshots(connection, now - timedelta(days=keep.keep_snapshots_days)),
        replaced=tuple(_replaced(settings, connection, grace)),
        orphans=tuple(_orphans(settings, connection, grace)),
        temporary=local[Kind.TEMPORARY],
        spool=tuple(_spooled(settings, connection, grace)),
        logs=local[Kind.LOGS],
    )


def local_leftovers(settings: Settings, now: datetime) -> dict[Kind, tuple[LocalFile, ...]]:
    """What lies in the lake's folder beside the tables and nobody needs any more: temporary files, logs and pages."""
    keep = settings.maintenance
    grace = now - timedelta(hours=keep.remove_files_after_hours)
    old_log = now - timedelta(days=keep.keep_logs_days)
    lake = settings.lake
    temporary = [
        *lake.raw.rglob(".*.tmp"),
        # Runs beside another have folders of their own (flowlake.dbt).
        *(path for part in ("", "beside-*/") for path in lake.dbt.glob(f"{part}spill/**/*")),
        *lake.dbt.glob("**/*.new"),
    ]
    logs = [
        *(path for part in ("", "beside-*/") for path in lake.dbt.glob(f"{part}logs/**/*")),
        *lake.quality.glob("failures/**/*"),
        *lake.quality.glob("gx/validations/**/*"),
        *lake.quality.glob("data_docs/validations/**/*"),
    ]
    return {Kind.TEMPORARY: tuple(_older(temporary, grace)), Kind.LOGS: tuple(_older(logs, old_log))}


def _rewritten(connection: duckdb.DuckDBPyConnection) -> Iterator[_DataFile]:
    """Table after table, the files that would be better written together, or without their deleted rows."""
    by_table: dict[tuple[str, str], list[_LiveFile]] = {}
    for live in _live_files(connection):
        by_table.setdefault((live.schema, live.table), []).append(live)
    for (schema, table), files in sorted(by_table.items()):
        share = 0.0 if sum(live.bytes for live in files) < SMALL_TABLE else DELETED_SHARE
        kinds = {
            # Of a file that has lost every row nothing is left to write.
            live: Kind.DELETED if live.deleted < live.rows and live.deleted >= share * live.rows else None
            for live in files
            if live.deleted
        } | {live: Kind.SMALL for live in files if not live.deleted and live.bytes < SMALL_FILE}
        chosen = {live: kind for live, kind in kinds.items() if kind}
        if list(chosen.values()) != [Kind.SMALL]:
            yield from (_DataFile(schema, table, live.name, live.bytes, kind) for live, kind in chosen.items())


@dataclass(frozen=True)
class _LiveFile:
    """A data file of the newest version."""

    schema: str
    table: str
    number: int
    name: str
    bytes: int
    rows: int
    deleted: int
    """Of its rows."""


def _live_files(connection: duckdb.DuckDBPyConnection) -> Iterator[_LiveFile]:
    """The data files of the newest version, each with the rows that it has lost, in the order of the rows."""
    rows = connection.execute(
        "select schema_name, table_name, files.table_id, files.data_file_id, files.path, files.file_size_bytes, "
        "files.record_count, coalesce(deletes.deleted, 0) "
        f"from {CATALOG}.ducklake_data_file as files "
        f"inner join {CATALOG}.ducklake_table as tables using (table_id) "
        f"inner join {CATALOG}.ducklake_schema as schemas using (schema_id) "
        "left join (select data_file_id, sum(delete_count) as deleted "
        f"from {CATALOG}.ducklake_delete_file where end_snapshot is null group by 1) as deletes "
        "on deletes.data_file_id = files.data_file_id "
        "where files.end_snapshot is null and tables.end_snapshot is null and schemas.end_snapshot is null "
        "order by files.data_file_id"
    ).fetchall()
    inlined = {table_id: _inlined_deletes(connection, table_id) for table_id in {row[2] for row in rows}}
    for schema, table, table_id, number, path, size, count, deleted in rows:
        lost = deleted + inlined[table_id].get(number, 0)
        yield _LiveFile(schema, table, number, Path(path).name, size, count, lost)


def _inlined_deletes(connection: duckdb.DuckDBPyConnection, table_id: int) -> Mapping[int, int]:
    """Deleted rows by data file of which DuckLake keeps note in the catalogue: a few at a time make no file."""
    import duckdb

    try:
        rows = connection.execute(
            f"select file_id, count(distinct row_id) from {CATALOG}.ducklake_inlined_delete_{table_id:d} group by 1"
        ).fetchall()
    except duckdb.CatalogException:
        # The table is made with the first of them, and nothing lists these tables.
        return {}
    return dict(rows)


def _snapshots(connection: duckdb.DuckDBPyConnection, before: datetime) -> tuple[int, ...]:
    """Versions older than the retention, but never what readers see now and never the newest."""
    rows = connection.execute("select snapshot_id, snapshot_time from ducklake_snapshots('lake')").fetchall()
    kept = {published_version(connection), max((version for version, _ in rows), default=None)}
    return tuple(sorted(version for version, made_at in rows if made_at < before and version not in kept))


def _replaced(settings: Settings, connection: duckdb.DuckDBPyConnection, before: datetime) -> Iterator[LocalFile]:
    """Files that DuckLake has let go of, after the grace.

    Not by its own ducklake_cleanup_old_files: on SQLite it compares times as text, so that `older_than` means the day
    (measured on DuckDB 1.5.5; drop this when that is mended).
    """
    needed = _known(connection, "ducklake_data_file", "ducklake_delete_file")
    rows = connection.execute(
        f"select path, cast(schedule_start as timestamptz) from {CATALOG}.ducklake_files_scheduled_for_deletion"
    ).fetchall()
    for recorded, scheduled_at in sorted(rows):
        path = settings.lake.data / recorded
        if scheduled_at < before and path.name not in needed:
            yield LocalFile(path, path.stat().st_size if path.exists() else 0, recorded)


def _orphans(settings: Settings, connection: duckdb.DuckDBPyConnection, before: datetime) -> Iterator[LocalFile]:
    # By name: DuckLake's names are unique (UUIDs), and its paths are relative to table, schema or lake.
    known = _known(connection, "ducklake_data_file", "ducklake_delete_file", "ducklake_files_scheduled_for_deletion")
    return (file for file in _older(settings.lake.data.rglob("*"), before) if file.path.name not in known)


def _known(connection: duckdb.DuckDBPyConnection, *tables: str) -> set[str]:
    """The names of the files that tables of the catalogue know."""
    return {
        Path(path).name
        for table in tables
        for (path,) in connection.execute(f"select path from {CATALOG}.{table}").fetchall()
    }


def _spooled(settings: Settings, connection: duckdb.DuckDBPyConnection, before: datetime) -> Iterator[LocalFile]:
    """What lies in the spool and is not read by an hour that is still to be validated."""
    old = sorted(_older(settings.lake.spool.glob("*"), before), key=lambda file: file.path)
    if not old:
        return
    hours = {path.name.removeprefix("arrival_hour=") for path in (settings.lake.raw / "objects").glob("arrival_hour=*")}
    needed = {row.read_path for hour in hours - _validated(connection) for row in read_objects(settings, hour) or ()}
    yield from (file for file in old if str(file.path) not in needed)


def _validated(connection: duckdb.DuckDBPyConnection) -> set[str]:
    if not columns_of(connection, "ops.windows"):
        return set()
    rows = connection.execute(
        "select arrival_hour from lake.ops.windows where state = ?", [HourState.VALIDATED.value]
    ).fetchall()
    return {hour for (hour,) in rows}


def _older(paths: Iterable[Path], before: datetime) -> Iterator[LocalFile]:
    """The files among the paths that were last written before a time; links count as what they are."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            if (path.is_symlink() or path.is_file()) and found.st_mtime < before.timestamp():
                yield LocalFile(path, found.st_size)


# --- the phases ---


@dataclass(frozen=True)
class _Work:
    """What a phase works with; it writes to `done` and `notes`."""

    settings: Settings
    connection: duckdb.DuckDBPyConnection
    plan: Plan
    done: dict[Kind, int]
    notes: list[str]


def _rewrite(work: _Work) -> None:
    """Write the rows of the plan's data files once more, as any run could; earlier versions keep the files they have.

    A batch is one transaction: a kill leaves those before it written, and a file for the next orphans.
    """
    for _, files in groupby(work.plan.rewritten, key=lambda file: (file.schema, file.table)):
        for batch in _batches(files):
            _rewrite_batch(work.connection, batch)
            for file in batch:
                work.done[file.kind] = work.done.get(file.kind, 0) + 1


def _batches(files: Iterable[_DataFile]) -> Iterator[list[_DataFile]]:
    batch: list[_DataFile] = []
    for file in files:
        if batch and sum(other.bytes for other in batch) + file.bytes > BATCH:
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _rewrite_batch(connection: duckdb.DuckDBPyConnection, batch: Sequence[_DataFile]) -> None:
    table = f'lake."{batch[0].schema}"."{batch[0].table}"'
    # Literals: DuckDB opens only the files that are named.
    chosen = f"where parse_filename(filename) in ({', '.join(literal(file.name) for file in batch)})"
    connection.execute("begin")
    connection.execute(f"create temp table kept as select * from {table} {chosen}")
    connection.execute(f"delete from {table} {chosen}")
    connection.execute(f"insert into {table} select * from temp.kept")
    connection.execute("drop table temp.kept")
    connection.execute("commit")


def _let_go(work: _Work) -> None:
    """Close the data files that have lost every row, piece by piece: DuckLake goes on reading them in each version.

    From the newest version on, which has none of their rows either; those before it read what they read.
    """
    numbers = [live.number for live in _live_files(work.connection) if live.deleted >= live.rows]
    if not numbers:
        return
    work.connection.execute("begin")
    for table in ("ducklake_data_file", "ducklake_delete_file"):
        work.connection.execute(
            f"update {CATALOG}.{table} set end_snapshot = (select max(snapshot_id) from {CATALOG}.ducklake_snapshot) "
            "where end_snapshot is null and data_file_id in (select unnest(?))",
            [numbers],
        )
    work.connection.execute("commit")


def _move_pins(work: _Work) -> None:
    version = published_version(work.connection)
    if version is None:
        work.notes.append("nothing is published yet")
        return
    if not any(work.done.get(kind) for kind in (Kind.SMALL, Kind.DELETED)):
        work.notes.append(f"stay at version {version}")
        return
    try:
        if not work.plan.shows_newest and not blocking_hours(work.connection):
            raise PublishError("it is not the newest; `publish` shows what was written since")
        moved = follow_compaction(work.connection)
    except PublishError as error:
        work.notes.append(f"stay at version {version}: {error}")
    else:
        work.notes.append(f"moved from version {version} to {moved}")


def _expire(work: _Work) -> None:
    versions = work.plan.snapshots
    if versions:
        named = ", ".join(str(version) for version in versions)
        work.connection.execute(f"call ducklake_expire_snapshots('lake', versions => [{named}])")
    work.done[Kind.SNAPSHOTS] = len(versions)


def _remove_replaced(work: _Work) -> None:
    """The files first: a kill before the catalogue forgets them leaves entries that the next maintenance takes."""
    files = work.plan.replaced
    work.done[Kind.REPLACED] = remove_local(files)
    if files:
        work.connection.execute(
            f"delete from {CATALOG}.ducklake_files_scheduled_for_deletion where path in (select unnest(?))",
            [[file.recorded for file in files]],
        )


def _remove_orphans(work: _Work) -> None:
    work.done[Kind.ORPHANS] = remove_local(work.plan.orphans)


def _remove_temporary(work: _Work) -> None:
    work.done[Kind.TEMPORARY] = remove_local(work.plan.temporary)


def _empty_spool(work: _Work) -> None:
    work.done[Kind.SPOOL] = remove_local(work.plan.spool)


def _remove_logs(work: _Work) -> None:
    work.done[Kind.LOGS] = remove_logs(work.plan.logs)


def remove_logs(files: Sequence[LocalFile]) -> int:
    """Remove files, and the folders that become empty; how many files. Raises MaintainError."""
    count = remove_local(files)
    for folder in {file.path.parent for file in files}:
        with contextlib.suppress(OSError):
            # Only while it is empty, and then its parents.
            os.removedirs(folder)
    return count


PHASES: tuple[Callable[[_Work], None], ...] = (
    _rewrite,
    _let_go,
    _move_pins,
    _expire,
    _remove_replaced,
    _remove_orphans,
    _remove_temporary,
    _empty_spool,
    _remove_logs,
)


def remove_local(files: Iterable[LocalFile]) -> int:
    """Remove files; how many. Raises MaintainError."""
    count = 0
    for file in files:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            message = f"cannot remove {file.path}: {error.strerror or error}; mend that and run maintenance again"
            raise MaintainError(message) from error
        count += 1
    return count


def _report(plan: Plan, done: Mapping[Kind, int], pins: str, *, dry_run: bool) -> MaintenanceReport:
    files = {
        Kind.REPLACED: plan.replaced,
        Kind.ORPHANS: plan.orphans,
        Kind.TEMPORARY: plan.temporary,
        Kind.SPOOL: plan.spool,
        Kind.LOGS: plan.logs,
    }
    amounts: dict[Kind, tuple[int, int | None]] = {
        **{
            kind: (len(sizes), sum(sizes))
            for kind in (Kind.SMALL, Kind.DELETED)
            for sizes in [[file.bytes for file in plan.rewritten if file.kind is kind]]
        },
        Kind.SNAPSHOTS: (len(plan.snapshots), None),
        **{kind: (len(found), sum(file.bytes for file in found)) for kind, found in files.items()},
    }
    return MaintenanceReport(
        tuple(Finding(kind, *amounts[kind], None if dry_run else done.get(kind, 0)) for kind in Kind), pins, dry_run
    )
