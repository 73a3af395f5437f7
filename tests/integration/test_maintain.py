"""Maintenance loses no row and no version that is to be kept, says beforehand what it does, and may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowlake.cli import run as run_cli
from flowlake.lake.duck import LakeError, connect
from flowlake.lake.ledger import HourState, ensure_ledger, mark_hours
from flowlake.lake.lock import Scope, run_lock
from flowlake.lake.maintain import PHASES, Kind, MaintenanceReport, maintain
from flowlake.lake.manifests import write_objects
from flowlake.lake.objects import ObjectRow
from flowlake.lake.publish import PublishedTable, follow_compaction, published_version
from flowlake.lake.windows import Window
from flowlake.sample import SampleSpec, generate
from shared_dbt.start import shared_dbt

PUBLISHED = PublishedTable("t", ("arrival_hour", "n"), "core.t")
HOUR = "2026-11-20T12"
on_both_catalogues = pytest.mark.parametrize("lake", ["sqlite", "postgresql"], indirect=True)
OLD = time.time() - 48 * 3600


def later(**delta: float) -> datetime:
    return datetime.now(UTC) + timedelta(**delta)


def counts(report: MaintenanceReport) -> dict[Kind, tuple[int, int | None]]:
    return {finding.kind: (finding.count, finding.done) for finding in report.findings if finding.count}


def sums(lake: Any, version: int | None = None) -> dict[str, Any]:
    """What every table of the lake holds, as of a version."""
    at = "" if version is None else f" at (version => {version})"
    with connect(lake.settings) as connection:
        if version is None:
            tables = connection.execute(
                "select schema_name || '.' || table_name from duckdb_tables() where database_name = 'lake'"
            ).fetchall()
        else:
            tables = [("core.t",)]
        return {
            name: connection.execute(
                f"select count(*), sum(hash(rows)::hugeint) from (from lake.{name}{at}) as rows"
            ).fetchone()
            for (name,) in tables
        }


def versions(lake: Any) -> set[int]:
    return {version for (version,) in lake.rows("select snapshot_id from ducklake_snapshots('lake')")}


def pinned(lake: Any) -> int | None:
    with connect(lake.settings) as connection:
        return published_version(connection)


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of every file but those of SQLite's write-ahead log, which come and go with its readers."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def known_files(lake: Any) -> set[str]:
    """The data files that the catalogue still knows, those that wait for their removal too."""
    tables = ("data_file", "delete_file", "files_scheduled_for_deletion")
    query = " union ".join(f"select path from __ducklake_metadata_lake.ducklake_{table}" for table in tables)
    return {Path(path).name for (path,) in lake.rows(query)}


def plant(path: Path, *, at: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left behind")
    os.utime(path, (at, at))
    return path


@contextmanager
def writing(lake: Any) -> Iterator[Any]:
    with connect(lake.settings, read_only=False) as connection:
        yield connection


def insert(connection: Any, first: int) -> None:
    connection.execute("insert into lake.core.t select ?, n from range(?, ?) as numbers (n)", [HOUR, first, first + 99])


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path, make_lake: Callable[..., Any]) -> Any:
    """A table of six small files, two of them with deleted rows, published when it had four."""
    lake = make_lake(tmp_path, tmp_path / "logs", getattr(request, "param", "sqlite"))
    with writing(lake) as connection:
        ensure_ledger(connection)
        mark_hours(connection, Window.parse(HOUR, "2026-11-20T13"), HourState.VALIDATED, "r1")
        connection.execute("create schema lake.core")
        connection.execute("create table lake.core.t (arrival_hour varchar, n integer)")
        for first in (0, 100, 200, 300):
            insert(connection, first)
        (version,) = connection.execute("select max(snapshot_id) from ducklake_snapshots('lake')").fetchone()
        connection.execute("create schema lake.flowlake")
        connection.execute(PUBLISHED.statement(version))
        for first in (400, 500):
            insert(connection, first)
        connection.execute("delete from lake.core.t where n between 0 and 49")
        connection.execute("delete from lake.core.t where n between 100 and 104")
    return lake


def leave_behind(lake: Any) -> dict[Kind, list[Path]]:
    """Leftovers of each kind outside of the catalogue; the young ones beside them must stay."""
    settings = lake.settings.lake
    old_log = time.time() - 31 * 86400
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(lake.config)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert killed.stdout is not None
    before = set(files(settings.data))
    assert killed.stdout.readline() == b"written\n"
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    orphans = sorted(set(files(settings.data)) - before)
    assert len(orphans) == 1
    os.utime(orphans[0], (OLD, OLD))
    plant(settings.data / "core" / "t" / "ducklake-young.parquet", at=time.time())
    plant(settings.quality / "failures" / "staging" / "young.parquet")
    plant(settings.raw / "objects" / ".young.tmp", at=time.time())
    plant(settings.raw / "objects" / "arrival_hour=2026-11-20T10" / "objects.parquet.old")
    return {
        Kind.ORPHANS: orphans,
        Kind.TEMPORARY: [
            plant(settings.raw / "objects" / "arrival_hour=2026-11-20T10" / ".objects.parquet.tmp"),
            plant(settings.dbt / "manifest-marts.new"),
            plant(settings.dbt / "spill" / "duckdb_temp_storage-0.tmp"),
        ],
        Kind.SPOOL: [plant(settings.spool / "nobody.log.gz"), plant(settings.spool / "validated.log.gz")],
        Kind.LOGS: [
            plant(settings.dbt / "logs" / "dbt.log.1", at=old_log),
            plant(settings.quality / "failures" / "staging" / "2026-10-01T00" / "volume.parquet", at=old_log),
            plant(settings.quality / "gx" / "validations" / "a" / "b" / "c" / "d.json", at=old_log),
            plant(settings.quality / "data_docs" / "validations" / "a" / "b.html", at=old_log),
        ],
    }


KILLED_WRITER = """
import sys, time
from pathlib import Path
from flowlake.lake.duck import connect
from flowlake.settings import load_settings
with connect(load_settings(Path(sys.argv[1])), read_only=False) as connection:
    connection.execute("begin")
    connection.execute("insert into lake.core.t select 'x', n from range(100) as numbers (n)")
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_dry_run_says_what_maintenance_then_does_and_changes_nothing(lake: Any) -> None:
    left = leave_behind(lake)
    folder = lake.settings.lake.path
    before = files(folder)
    dry = maintain(lake.settings, dry_run=True, now=later(days=8))
    assert files(folder) == before

    done = maintain(lake.settings, now=later(days=8))
    assert [astuple(found)[:3] for found in dry.findings] == [astuple(found)[:3] for found in done.findings]
    assert all(found.done is None for found in dry.findings)
    assert all(found.done == found.count for found in done.findings)
    found = counts(done)
    assert found[Kind.SMALL] == (4, 4)
    assert found[Kind.DELETED] == (2, 2)
    assert not [path for paths in left.values() for path in paths if path.exists()]


@on_both_catalogues
def test_what_killed_runs_left_is_removed_after_its_grace_and_nothing_else(lake: Any) -> None:
    left = leave_behind(lake)
    spool = lake.settings.lake.spool
    needed = plant(spool / "needed.log.gz")
    for hour, path in (("2026-11-20T13", needed), (HOUR, spool / "validated.log.gz")):
        write_objects(lake.settings, hour, [registered(hour, path)])
    rows, folder = sums(lake), lake.settings.lake.path
    before = set(files(folder))

    found = counts(maintain(lake.settings))
    gone = before - set(files(folder))
    assert gone == {path for paths in left.values() for path in paths}
    assert {kind: found[kind] for kind in left} == {kind: (len(paths),) * 2 for kind, paths in left.items()}
    assert needed.exists()
    assert sums(lake) == rows


def registered(hour: str, path: Path) -> ObjectRow:
    unknown = dict.fromkeys(ObjectRow.__dataclass_fields__)
    now = datetime(2026, 11, 20)
    values = {"uri": "s3://b/k", "source": "logs", "size": 1, "etag": "e", "last_modified": now, "status": "readable"}
    return ObjectRow(**{**unknown, **values, "arrival_hour": hour, "read_path": str(path), "unknown_fields": ()})


def test_files_and_versions_shrink_to_those_that_are_needed(lake: Any) -> None:
    rows, shown = sums(lake), lake.rows("select count(*), sum(n) from flowlake.t")
    history = {version: sums(lake, version) for version in versions(lake) if version >= (pinned(lake) or 0)}
    data, read = lake.settings.lake.data, listed(lake, pinned(lake))

    # Now: files are written together; every version reads what it read, from the files that it had. (On SQLite a
    # reader's statement can see a commit that comes while it looks its files up: they must not have changed.)
    assert counts(maintain(lake.settings)) == {Kind.SMALL: (4, 4), Kind.DELETED: (2, 2)}
    assert {version: sums(lake, version) for version in history} == history
    assert listed(lake, min(history)) == read
    assert len(listed(lake)) == 1
    assert sums(lake) == rows
    # What was written since the last publish is for the next one to show; nor is it undone that somebody went back.
    assert shown == [(396, sum(range(0, 99)) + sum(range(100, 199)) + sum(range(200, 299)) + sum(range(300, 399)))]
    assert lake.rows("select count(*), sum(n) from flowlake.t") == shown

    # Readers who see the newest rows go on to the files that they lie in now.
    with writing(lake) as connection:
        insert(connection, 600)
        follow_compaction(connection)
    rows, shown_at = sums(lake), pinned(lake)
    report = maintain(lake.settings)
    assert report.pins == f"moved from version {shown_at} to {pinned(lake)}"
    assert lake.rows("select count(*), sum(hash(t)::hugeint) from flowlake.t") == [rows["core.t"]]
    assert listed(lake, pinned(lake)) == listed(lake)
    assert len(listed(lake)) == 1

    # After the retention: what was published and what was newest when it began, and what it made itself.
    shown_at, newest, before = pinned(lake), max(versions(lake)), set(files(data))
    found = counts(maintain(lake.settings, now=later(days=8)))
    assert {version for version in versions(lake) if version <= newest} == {shown_at, newest}
    assert found.keys() == {Kind.SNAPSHOTS}
    assert set(files(data)) == before

    # After the grace: the files that no version needs are gone, and nothing that a version reads.
    replaced = {
        Path(path)
        for (path,) in lake.rows("select path from __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion")
    }
    found = counts(maintain(lake.settings, now=later(days=10)))
    assert found[Kind.REPLACED] == (len(replaced), len(replaced))
    assert before - set(files(data)) == {data / path for path in replaced}
    maintain(lake.settings, now=later(days=12))
    assert counts(maintain(lake.settings, now=later(days=14))).keys() <= {Kind.SNAPSHOTS}
    assert {path.name for path in files(data)} == known_files(lake) == listed(lake)
    assert len(listed(lake)) == 1
    assert sums(lake) == rows


def listed(lake: Any, version: int | None = None) -> set[str]:
    """The data and delete files that a version of the table reads."""
    at = "" if version is None else f", snapshot_version => {version}"
    rows = lake.rows(f"select data_file, delete_file from ducklake_list_files('lake', 't', schema => 'core'{at})")
    return {Path(path).name for row in rows for path in row if path}


@on_both_catalogues
def test_the_published_version_outlives_the_retention(lake: Any) -> None:
    with writing(lake) as connection:
        mark_hours(connection, Window.parse("2026-11-20T13", "2026-11-20T14"), HourState.BUILDING, "r2")
    shown, version, newest = lake.rows("from flowlake.t order by n"), pinned(lake), max(versions(lake))
    for days in (8, 400):
        report = maintain(lake.settings, now=later(days=days))
        assert report.pins.startswith(f"stay at version {version}")
        assert pinned(lake) == version
        assert lake.rows("from flowlake.t order by n") == shown
        # Deleted since: statistics of today must not hide them from the version that readers see.
        assert lake.rows("select count(*) from flowlake.t where n < 50") == [(50,)]
    assert version in versions(lake)
    assert not versions(lake) & (set(range(newest)) - {version})


@pytest.mark.parametrize("prepare", ["nothing", "a ledger", "tables"])
def test_a_lake_that_was_never_published_is_maintained(
    prepare: str, tmp_path: Path, make_lake: Callable[..., Any]
) -> None:
    lake = make_lake(tmp_path, tmp_path / "logs")
    with writing(lake) as connection:
        if prepare == "a ledger":
            ensure_ledger(connection)
        elif prepare == "tables":
            connection.execute("create schema lake.core")
            connection.execute("create table lake.core.t (arrival_hour varchar, n integer)")
            insert(connection, 0)
            insert(connection, 100)
    rows = sums(lake)
    report = maintain(lake.settings, now=later(days=8))
    assert report.pins == "nothing is published yet"
    assert sums(lake) == rows


def test_a_lake_that_is_not_there_is_an_error_and_is_not_made(
    tmp_path: Path, make_lake: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lake = make_lake(tmp_path, tmp_path / "logs")
    for dry_run in (True, False):
        with pytest.raises(LakeError, match="there is no lake at"):
            maintain(lake.settings, dry_run=dry_run)
    assert run_cli(["--config", str(lake.config), "maintain"]) == 1
    assert "there is no lake at" in capsys.readouterr().err
    assert not lake.settings.lake.path.exists()


def test_the_command_shows_what_was_found_and_done(lake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--config", str(lake.config), "maintain", "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert "small files to merge" in dry
    assert "nothing was changed" in dry
    assert run_cli(["--config", str(lake.config), "maintain"]) == 0
    assert "published views: stay at version" in capsys.readouterr().out


KILLED_MAINTENANCE = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from flowlake.lake import maintain
from flowlake.settings import load_settings
last = int(sys.argv[2])
def die(work):
    os.kill(os.getpid(), signal.SIGKILL)
maintain.PHASES = (*maintain.PHASES[:last], die)
maintain.maintain(load_settings(Path(sys.argv[1])), now=datetime.now(UTC) + timedelta(days=int(sys.argv[3])))
"""


def test_a_kill_after_any_phase_loses_nothing_and_the_next_maintenance_does_the_rest(lake: Any) -> None:
    rows, data = sums(lake), lake.settings.lake.data
    leave_behind(lake)
    for phase in range(1, len(PHASES)):
        with writing(lake) as connection:
            # Something new to do in every phase; the rows are gone again at the end.
            insert(connection, 1000 * phase)
            insert(connection, 1000 * phase + 100)
        whole = sums(lake)
        command = [sys.executable, "-c", KILLED_MAINTENANCE, str(lake.config), str(phase), str(8 + 2 * phase)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert sums(lake) == whole
        assert lake.rows("select count(*) from flowlake.t")[0][0] >= 396
    with writing(lake) as connection:
        connection.execute("delete from lake.core.t where n >= 1000")
        follow_compaction(connection)
    assert sums(lake)["core.t"] == rows["core.t"]
    for days in (50, 52, 54):
        maintain(lake.settings, now=later(days=days))
    assert {path.name for path in files(data)} == known_files(lake)
    assert sums(lake)["core.t"] == rows["core.t"]
    assert lake.rows("select count(*), sum(hash(t)::hugeint) from flowlake.t") == [rows["core.t"]]


class Reader(threading.Thread):
    """Reads every published view in one statement, again and again, and keeps each state that it saw."""

    def __init__(self, lake: Any) -> None:
        super().__init__(daemon=True)
        self.lake, self.states, self.errors, self.passes, self.done = lake, set(), [], 0, threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            try:
                self.states.add(state(self.lake))
            except Exception as error:
                self.errors.append(error)
            self.passes += 1
            self.done.wait(2.0)  # each look takes a core from the run

    def finish_what_it_reads(self) -> None:
        """Wait until no statement is under way that began before now: the tests' stand-in for the grace of a day."""
        passes = self.passes
        while self.passes == passes and not self.errors:
            time.sleep(0.05)

    def stop(self) -> set[tuple[object, ...]]:
        self.done.set()
        self.join(timeout=60)
        assert self.errors == []
        return self.states


def state(lake: Any) -> tuple[object, ...]:
    with connect(lake.settings) as connection:
        views = connection.execute(
            "select view_name, contains(sql, 'VERSION') from duckdb_views() where schema_name = 'flowlake' order by 1"
        ).fetchall()
        # Views compute, in any order of their rows; tables hold exactly what they hold.
        parts = [
            f"(select {'sum(hash(rows)::hugeint)' if is_table else 'count(*)'} from flowlake.{name} as rows)"
            for name, is_table in views
        ]
        row: tuple[object, ...] = connection.execute(f"select {', '.join(parts)}").fetchone()
        return row


def test_readers_see_validated_states_while_runs_kills_and_maintenance_alternate(
    tmp_path: Path, make_lake: Callable[..., Any]
) -> None:
    spec = SampleSpec(seed=5, start=datetime(2026, 11, 20, 12, tzinfo=UTC), hours=2, scale=0.02)
    lake = make_lake(tmp_path, generate(spec, tmp_path / "sample").logs)
    data = lake.settings.lake.data
    lake.run("2026-11-20T12", "2026-11-20T13")
    first = state(lake)
    reader = Reader(lake)
    reader.start()
    try:
        kill_while_it_writes(lake, "2026-11-20T13", "2026-11-20T14")
        rows = sums(lake)
        held_back = maintain(lake.settings, now=later(hours=25))
        assert "2026-11-20T13 (building" in held_back.pins
        assert {path.name for path in files(data)} == known_files(lake)
        assert sums(lake) == rows
        assert state(lake) == first

        lake.run("2026-11-20T13", "2026-11-20T14")
        second, rows, back = state(lake), sums(lake), pinned(lake)
        for delta in (timedelta(hours=25), timedelta(days=8), timedelta(days=10)):
            maintain(lake.settings, now=datetime.now(UTC) + delta)
            assert state(lake) == second
            assert sums(lake) == rows
            reader.finish_what_it_reads()
        assert back not in versions(lake)
    finally:
        states = reader.stop()
    assert first != second
    assert states == {first, second}


def kill_while_it_writes(lake: Any, start: str, end: str) -> None:
    """End a run and its dbt when a file of the edges has appeared that nothing was committed of yet."""
    folder = lake.settings.lake.data / "core" / "fct_edges"
    before = set(files(folder))
    command = [Path(sys.executable).with_name("flowlake"), "--config", str(lake.config), "run"]
    with shared_dbt():
        process = subprocess.Popen(
            [*command, "--from", start, "--to", end],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    while process.poll() is None and set(files(folder)) == before:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Its dbt has the run's lock until it is gone, too.
    with run_lock(lake.settings, "test", scope=Scope.LAKE):
        pass
