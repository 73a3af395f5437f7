"""Who may write beside whom, and what becomes of the locks of a killed run. No pipeline runs here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowlake import dbt
from flowlake.lake.duck import LakeError, connect, lake_exists
from flowlake.lake.lock import LockError, Scope, build_lock, run_lock
from flowlake.lake.windows import Window

NOON, ONE = Window.parse("2026-11-20T12", "2026-11-20T13"), Window.parse("2026-11-20T13", "2026-11-20T14")

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from flowlake.lake.lock import Scope, run_lock
from flowlake.lake.windows import Window
from flowlake.settings import load_settings
config, scope, start, end = sys.argv[1:]
with run_lock(load_settings(Path(config)), "the other run", scope=Scope[scope], window=Window.parse(start, end)):
    child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, make_lake: Callable[..., Any]) -> Any:
    return make_lake(tmp_path, tmp_path, request.param)


@contextmanager
def holder(lake: Any, scope: Scope, window: Window = NOON) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds the lock, and the pid of a child of its that inherited it."""
    command = [sys.executable, "-c", HOLDER, str(lake.config), scope.name, *str(window).split("/")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_free(lake: Any, scope: Scope, window: Window | None = NOON) -> bool:
    settings = replace(lake.settings, lake=replace(lake.settings.lake, wait_minutes=0))
    try:
        with run_lock(settings, "probe", scope=scope, window=window, poll=0.05):
            return True
    except LockError:
        return False


def becomes_free(lake: Any, scope: Scope, window: Window | None = NOON) -> bool:
    """Whether a lock is free soon: a killed process that is nobody's child any more ends when it ends."""
    deadline = time.monotonic() + 30
    while not (free := is_free(lake, scope, window)) and time.monotonic() < deadline:
        pass
    return free


def test_who_waits_says_for_whom_and_gives_up_after_the_time_that_is_set(
    lake: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with holder(lake, Scope.STAGING) as (process, _):
        settings = replace(lake.settings, lake=replace(lake.settings.lake, wait_minutes=0.01))
        with pytest.raises(LockError) as failure, run_lock(settings, "me", scope=Scope.STAGING, window=NOON, poll=0.1):
            pass
    who = rf"the other run \(process {process.pid} on .+, since 20.+\)"
    assert re.search(rf"is being written by {who}; gave up after 0.01 min", str(failure.value))
    assert "\n" not in str(failure.value)
    assert [bool(re.search(f"waiting for {who}", record.message)) for record in caplog.records] == [True]
    assert becomes_free(lake, Scope.LAKE, None), "the lock outlived its last holder"


def test_a_child_of_a_killed_holder_keeps_the_lock_until_it_ends(lake: Any) -> None:
    with holder(lake, Scope.MARTS) as (process, child):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.3)  # the server, had it been told, would have given the locks back by now
        assert not is_free(lake, Scope.MARTS)
        os.kill(child, signal.SIGKILL)
        assert becomes_free(lake, Scope.MARTS), "the lock outlived its last holder"


@pytest.mark.parametrize(
    ("held", "wanted", "window", "free_on_postgresql"),
    [
        (Scope.STAGING, Scope.STAGING, ONE, True),
        (Scope.MARTS, Scope.STAGING, ONE, True),
        (Scope.STAGING, Scope.MARTS, ONE, True),
        (Scope.MARTS, Scope.MARTS, ONE, False),
        (Scope.STAGING, Scope.STAGING, NOON, False),
        (Scope.STAGING, Scope.STAGING, Window.parse("2026-11-20T10", "2026-11-20T14"), False),
        (Scope.STAGING, Scope.LAKE, None, False),
        (Scope.LAKE, Scope.STAGING, ONE, False),
    ],
)
def test_scopes_exclude_what_they_must_and_no_more(
    lake: Any, held: Scope, wanted: Scope, window: Window | None, free_on_postgresql: bool
) -> None:
    with holder(lake, held):
        assert is_free(lake, wanted, window) == (free_on_postgresql and lake.settings.lake.catalog is not None)


def test_a_run_takes_the_marts_and_earlier_hours_when_it_comes_to_them(lake: Any) -> None:
    before = Window.parse("2026-11-20T10", "2026-11-20T13")
    with run_lock(lake.settings, "me", scope=Scope.STAGING, window=NOON) as lock:
        with lock.hours(before), lock.marts():
            assert not is_free(lake, Scope.MARTS, ONE)
            assert not is_free(lake, Scope.STAGING, Window.parse("2026-11-20T10", "2026-11-20T11"))
        lock.check()
        assert not is_free(lake, Scope.STAGING, NOON)
        side_by_side = lake.settings.lake.catalog is not None
        assert is_free(lake, Scope.MARTS, Window.parse("2026-11-20T10", "2026-11-20T11")) == side_by_side


def test_a_lock_whose_connection_was_lost_is_an_error(
    tmp_path: Path, make_lake: Callable[..., Any], postgres: Any
) -> None:
    lake = make_lake(tmp_path, tmp_path, "postgresql")
    end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%me too'"
    with pytest.raises(LockError, match="lost the lock"), run_lock(lake.settings, "me too", scope=Scope.LAKE):
        assert postgres.rows(end) == [(True,)]


def test_a_catalogue_that_is_not_there_is_one_readable_line(tmp_path: Path, make_lake: Callable[..., Any]) -> None:
    lake = make_lake(tmp_path, tmp_path, "postgresql")
    assert not lake_exists(lake.settings)
    with pytest.raises(LakeError, match="there is no lake at"), connect(lake.settings):
        pass
    absent = replace(lake.settings, lake=replace(lake.settings.lake, catalog=f"{lake.settings.lake.catalog}_not"))
    with pytest.raises(LakeError, match=r"cannot be reached: .*does not exist") as failure, connect(absent):
        pass
    assert "\n" not in str(failure.value)
    assert os.environ["PGPASSWORD"] not in str(failure.value)


def test_first_writers_of_an_empty_lake_do_not_fail_each_other(tmp_path: Path, make_lake: Callable[..., Any]) -> None:
    lake = make_lake(tmp_path, tmp_path, "postgresql")
    write = (
        "import sys; from pathlib import Path; from flowlake.lake.duck import connect; "
        "from flowlake.lake.ledger import *; from flowlake.lake.windows import Window; "
        "from flowlake.settings import load_settings\n"
        "with connect(load_settings(Path(sys.argv[1])), read_only=False) as lake:\n"
        "    ensure_ledger(lake)\n"
        "    for _ in range(5):\n"
        "        mark_staging(lake, Window.parse(sys.argv[2], sys.argv[3]), StagingState.PASSED, 'run')\n"
    )
    hours = [("2026-11-20T12", "2026-11-20T13"), ("2026-11-20T13", "2026-11-20T14"), ("2026-11-20T14", "2026-11-20T16")]
    writers = [subprocess.Popen([sys.executable, "-c", write, str(lake.config), *hour]) for hour in hours]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    rows = lake.rows("select arrival_hour, count(*) from lake.ops.windows group by 1 order by 1")
    assert json.dumps(rows) == json.dumps([[f"2026-11-20T{hour}", 1] for hour in (12, 13, 14, 15)])


@pytest.mark.parametrize(
    "reason",
    ["Failed to commit. Transaction conflict - attempting to insert", 'Table with name "lines" already exists!'],
)
def test_a_build_that_another_one_overtook_is_done_again_alone(
    lake: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    impatient = replace(lake.settings, lake=replace(lake.settings.lake, wait_minutes=0))
    others: list[bool] = []

    def build(*_: object) -> dbt.DbtRun:
        try:
            with build_lock(impatient, "another build", alone=False):
                others.append(True)
        except LockError:
            others.append(False)
        if len(others) == 1:
            raise dbt.DbtError(f"dbt: lines failed (1 in all): {reason}")
        return dbt.DbtRun(models=1, tests=0, seconds_by_node={})

    monkeypatch.setattr(dbt, "_build", build)
    assert dbt.build(lake.settings, NOON, "staging").models == 1
    # On SQLite there are no others: the run lock is everything's.
    assert others == [True, lake.settings.lake.catalog is None]
    assert "another run committed first" in caplog.text


def test_a_build_that_fails_by_itself_is_not_done_again(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> dbt.DbtRun:
        raise dbt.DbtError("dbt: lines failed (1 in all): No space left on device")

    monkeypatch.setattr(dbt, "_build", build)
    with pytest.raises(dbt.DbtError, match="No space left"):
        dbt.build(lake.settings, NOON, "staging")


def test_two_builds_at_once_work_in_folders_of_their_own(lake: Any) -> None:
    with dbt._work_folder(lake.settings) as one, dbt._work_folder(lake.settings) as other:
        assert (one.name, other.name) == ("dbt", "beside-1")
        assert (other / "spill").is_dir()
    with dbt._work_folder(lake.settings) as again:
        assert again == one


def test_a_lake_is_not_written_with_a_catalogue_of_the_other_kind(
    tmp_path: Path, make_lake: Callable[..., Any]
) -> None:
    on_sqlite = make_lake(tmp_path, tmp_path / "logs").settings
    on_postgres = replace(on_sqlite, lake=replace(on_sqlite.lake, catalog="postgresql://nobody@localhost:1/none"))

    def take(settings: Any) -> None:
        with run_lock(settings, "me", scope=Scope.LAKE):
            pass

    with connect(on_sqlite, read_only=False):
        pass
    take(on_sqlite)
    with pytest.raises(LakeError, match="has its catalogue on SQLite"):
        take(on_postgres)

    on_sqlite.lake.sqlite_catalog.unlink()
    with pytest.raises(LakeError, match="cannot be reached"):
        take(on_postgres)
    with pytest.raises(LakeError, match="has its catalogue on PostgreSQL"):
        take(on_sqlite)
