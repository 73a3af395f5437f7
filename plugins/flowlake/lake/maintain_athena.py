"""Maintenance where the lake is on Athena: OPTIMIZE, VACUUM, and what lies beside the tables.

What there is to do is read from the tables' own metadata, to which Glue points: no query, no scan. No row of any table
is ever deleted here, and no snapshot that people read is let go (docs/adr/0018-athena.md).
"""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from flowlake.lake.athena import AthenaError, AthenaLake
from flowlake.lake.athena_views import PUBLISHED, move_view, note_moved, published_snapshots
from flowlake.lake.aws import aws_errors, client, pages
from flowlake.lake.files import S3Files
from flowlake.lake.ledger import blocking_hours, open_ledger
from flowlake.lake.lock import Scope, run_lock
from flowlake.lake.maintain import (
    SMALL_FILE,
    Finding,
    Kind,
    LocalFile,
    MaintenanceReport,
    local_leftovers,
    remove_local,
    remove_logs,
)
from flowlake.lake.publish import SCHEMA
from flowlake.lake.tables import SCHEMAS
from flowlake.lake.unfinished import Work, noted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlake.settings import Settings

log = logging.getLogger(__name__)

_MORE_RUNS = ("ICEBERG_OPTIMIZE_MORE_RUNS_NEEDED", "ICEBERG_VACUUM_MORE_RUNS_NEEDED")
"""Athena does a part of a long OPTIMIZE or VACUUM and says that it wants to be asked again."""

_MOST_RUNS = 20

_MARGIN = timedelta(days=1)
"""More than the time between a look at a table and its VACUUM."""

_AGE = "vacuum_max_snapshot_age_seconds"

_STEP = re.compile(r".+__[a-z0-9_]+_[0-9]{10}_[0-9]{10}")
"""The name of a table that a model keeps a step in, while it is built; the window is part of it."""


@dataclass(frozen=True)
class _Table:
    """An Iceberg table as its metadata describes it, and the snapshot that people read of it, if any."""

    schema: str
    name: str
    snapshot: int
    made_at: Mapping[int, datetime]
    """When each of its snapshots was made."""
    files: int
    delete_files: int
    bytes: int
    age: str
    """The property that tells VACUUM which snapshots are old, in seconds; empty where it was never set."""
    pinned: int | None = None

    @property
    def shows_newest(self) -> bool:
        """Whether people read it as it stands, or not at all."""
        return self.pinned in (None, self.snapshot)

    @property
    def is_worth_rewriting(self) -> bool:
        """Whether it has rows that were deleted, or several files that are small on the average."""
        return self.delete_files > 0 or (self.files > 1 and self.bytes < self.files * SMALL_FILE)

    def old_snapshots(self, before: datetime) -> list[int]:
        """Snapshots that VACUUM would let go."""
        return [snapshot for snapshot, made in self.made_at.items() if made < before and snapshot != self.snapshot]


@dataclass(frozen=True)
class _Found:
    """What there is to do, counted."""

    tables: list[_Table]
    steps: list[_Table]
    """Steps of models whose run was killed."""
    results: list[tuple[str, int]]
    """Key and bytes of what queries left behind."""
    local: Mapping[Kind, tuple[LocalFile, ...]]


def maintain(settings: Settings, *, dry_run: bool, now: datetime) -> MaintenanceReport:
    """Rewrite what has many small files or deleted rows, let old snapshots go, remove old results and local files.

    Raises:
        LockError: a run held the lake for too long.
        AthenaError, AwsError: a statement failed, or a service cannot be reached.
        MaintainError: a file cannot be removed.
    """
    before = now - timedelta(days=settings.maintenance.keep_snapshots_days)
    if dry_run:
        return _report(_look(settings, now), before, {}, "not touched", dry_run=True)
    work = Work(f"maintain-{now:%Y%m%dT%H%M%SZ}", "maintain")
    with run_lock(settings, "flowlake maintain", scope=Scope.LAKE), noted(settings, work):
        found = _look(settings, now)
        done: dict[Kind, int] = dict.fromkeys(Kind, 0)
        lake = AthenaLake(settings)
        shown = {(table.schema, table.name): table.pinned for table in found.tables}
        with ThreadPoolExecutor(lake.settings.threads) as pool:
            list(pool.map(lambda table: lake.run(f"DROP TABLE IF EXISTS {_plain(lake, table)}"), found.steps))
            rewritten = [table for table in found.tables if table.is_worth_rewriting]
            list(pool.map(partial(_rewrite, lake), rewritten))
            pins = _follow(settings, lake, found, rewritten)
            done[Kind.SNAPSHOTS] = sum(
                pool.map(
                    lambda table: _vacuum(settings, lake, table, before, shown.get((table.schema, table.name))),
                    _tables(settings),
                )
            )
        left = {(table.schema, table.name): table for table in _tables(settings)}
        for table in rewritten:
            now_there = left[table.schema, table.name]
            if table.delete_files:
                done[Kind.DELETED] += table.delete_files - now_there.delete_files
            elif now_there.files < table.files:
                done[Kind.SMALL] += table.files
        S3Files(f"s3://{_results(lake)[0]}").delete(key for key, _ in found.results)
        done[Kind.TEMPORARY] = len(found.steps) + len(found.results) + remove_local(found.local[Kind.TEMPORARY])
        done[Kind.LOGS] = remove_logs(found.local[Kind.LOGS])
        report = _report(found, before, done, pins, dry_run=False)
    for finding in report.findings:
        log.info("%s: %d of %d", finding.kind, finding.done, finding.count)
    log.info("published views: %s", report.pins)
    return report


def _look(settings: Settings, now: datetime) -> _Found:
    lake = AthenaLake(settings)
    grace = now - timedelta(hours=settings.maintenance.remove_files_after_hours)
    bucket, prefix = _results(lake)
    with aws_errors(f"list s3://{bucket}/{prefix}"):
        results = [
            (item["Key"], int(item["Size"]))
            for item in pages(client("s3"), "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix)
            if item["LastModified"].astimezone(UTC) < grace
        ]
    tables = _tables(settings)
    steps = [table for table in tables if _STEP.fullmatch(table.name)]
    return _Found([table for table in tables if table not in steps], steps, results, local_leftovers(settings, now))


def _tables(settings: Settings) -> list[_Table]:
    lake = AthenaLake(settings)
    pins = published_snapshots(settings)
    found = []
    for schema in SCHEMAS:
        if schema != SCHEMA:
            for table in lake.glue_tables(schema):
                # Of a published table the view has its name; other schemas publish nothing.
                pinned = pins.get(table["Name"]) if schema in PUBLISHED else None
                described = _describe(lake, schema, table, pinned)
                if described is not None:
                    found.append(described)
    return found


def _describe(lake: AthenaLake, schema: str, table: Mapping[str, Any], pinned: int | None) -> _Table | None:
    metadata = lake.metadata(table)
    if metadata is None:
        return None
    snapshots = {snapshot["snapshot-id"]: snapshot for snapshot in metadata.get("snapshots", [])}
    current = int(metadata.get("current-snapshot-id") or -1)
    if current not in snapshots:
        return None
    summary = snapshots[current].get("summary", {})
    return _Table(
        schema=schema,
        name=str(table["Name"]),
        snapshot=current,
        made_at={
            int(number): datetime.fromtimestamp(snapshot["timestamp-ms"] / 1000, UTC)
            for number, snapshot in snapshots.items()
        },
        files=int(summary.get("total-data-files", 0)),
        delete_files=int(summary.get("total-delete-files", 0)),
        bytes=int(summary.get("total-files-size", 0)),
        age=str(metadata.get("properties", {}).get(_AGE, "")),
        pinned=pinned,
    )


def _follow(settings: Settings, lake: AthenaLake, found: _Found, rewritten: list[_Table]) -> str:
    """Move the views of rewritten tables to the new files, where they showed the rows that were rewritten."""
    published = [table for table in found.tables if table.pinned is not None]
    if not published:
        return "nothing is published yet"
    with open_ledger(settings) as connection:
        blocking = blocking_hours(connection)
    moved = {}
    for table in rewritten:
        if table.pinned is None or not table.shows_newest or blocking:
            continue
        fresh = _describe(lake, table.schema, lake.glue_table(table.schema, table.name) or {}, table.pinned)
        if fresh is not None and fresh.snapshot != table.snapshot:
            move_view(lake, table.name, fresh.snapshot)
            moved[table.name] = fresh.snapshot
    note_moved(settings, moved)
    stay = sum(not table.shows_newest for table in published)
    more = f"; {stay} wait for `publish`, which shows what was written since" if stay else ""
    return f"{len(moved)} of {len(published)} moved to rewritten files{more}"


def _vacuum(settings: Settings, lake: AthenaLake, table: _Table, before: datetime, shown: int | None) -> int:
    """Let a table's old snapshots go, and the files that none needs; never the one that people read.

    VACUUM knows no pins, only ages: while people read an old snapshot (nothing was published since), the table waits.
    So it does when `shown`, what they read until this maintenance, is old: queries of then may be under way.
    """
    old = table.old_snapshots(before)
    # VACUUM looks at its own clock, later than this one.
    nearly_old = table.old_snapshots(before + _MARGIN)
    if table.pinned in nearly_old or shown in nearly_old:
        return 0
    seconds = str(settings.maintenance.keep_snapshots_days * 24 * 3600)
    if table.age != seconds:
        lake.run(f"ALTER TABLE {_plain(lake, table)} SET TBLPROPERTIES ('{_AGE}'='{seconds}')")
    if not old:
        return 0
    _repeat(lake, f"VACUUM {_plain(lake, table)}")
    return len(old)


def _rewrite(lake: AthenaLake, table: _Table) -> None:
    """Write a table's small files, and those with deleted rows, anew."""
    _repeat(lake, f"OPTIMIZE {_plain(lake, table)} REWRITE DATA USING BIN_PACK")


def _plain(lake: AthenaLake, table: _Table) -> str:
    """A table's name as OPTIMIZE, VACUUM and ALTER take it: no quotes, which they want in different kinds."""
    return f"{lake.settings.schema(table.schema)}.{table.name}"


def _repeat(lake: AthenaLake, statement: str) -> None:
    for _ in range(_MOST_RUNS):
        try:
            lake.run(statement)
        except AthenaError as error:
            if not any(words in str(error) for words in _MORE_RUNS):
                raise
        else:
            return
    log.warning("%s is not done after %d runs; the next maintenance goes on", statement, _MOST_RUNS)


def _results(lake: AthenaLake) -> tuple[str, str]:
    """Bucket and prefix of what queries leave behind."""
    bucket, _, prefix = lake.settings.location.removeprefix("s3://").partition("/")
    return bucket, f"{prefix}/results/" if prefix else "results/"


def _report(
    found: _Found, before: datetime, done: Mapping[Kind, int], pins: str, *, dry_run: bool
) -> MaintenanceReport:
    worth = [table for table in found.tables if table.is_worth_rewriting]
    small = [table for table in worth if not table.delete_files]
    deleted = [table for table in worth if table.delete_files]
    temporary = [
        *(table.bytes for table in found.steps),
        *(size for _, size in found.results),
        *(file.bytes for file in found.local[Kind.TEMPORARY]),
    ]
    logs = [file.bytes for file in found.local[Kind.LOGS]]
    amounts: dict[Kind, tuple[int, int | None]] = {
        Kind.SMALL: (sum(table.files for table in small), sum(table.bytes for table in small)),
        Kind.DELETED: (sum(table.delete_files for table in deleted), sum(table.bytes for table in deleted)),
        Kind.SNAPSHOTS: (sum(len(table.old_snapshots(before)) for table in found.tables), None),
        Kind.TEMPORARY: (len(temporary), sum(temporary)),
        Kind.LOGS: (len(logs), sum(logs)),
    }
    return MaintenanceReport(
        tuple(Finding(kind, *amounts[kind], None if dry_run else done[kind]) for kind in Kind if kind in amounts),
        pins,
        dry_run,
    )
