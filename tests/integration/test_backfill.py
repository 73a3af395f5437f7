"""A backfill over real logs, killed in its middle and typed again, leaves what the hours one by one leave."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from flowlake import cli
from flowlake.lake.windows import Window
from flowlake.sample import SampleReport, SampleSpec, generate
from histories.killing import DRIVER, Kill
from shared_dbt.start import shared_dbt

RANGE = Window.parse("2026-11-20T22", "2026-11-21T01")
DAYS = ("2026-11-20T22/2026-11-21T00", "2026-11-21T00/2026-11-21T01")
TYPED = ("--from", "2026-11-20T22", "--to", "2026-11-21T01")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleReport:
    spec = SampleSpec(seed=7, start=RANGE.start, hours=2, scale=0.02)
    made = generate(spec, tmp_path_factory.mktemp("sample"))
    assert (made.arrival_from, made.arrival_to) == tuple(str(RANGE).split("/"))
    return made


@dataclass(frozen=True)
class Filled:
    """A lake that a backfill has filled: what was said after it was killed, and when nothing was left to do."""

    lake: Any
    states: dict[str, str]
    planned: str
    resumed: str
    repeated: str
    published: list[tuple[int, ...]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, sample: SampleReport, make_lake: Callable[..., Any]) -> Filled:
    folder = tmp_path_factory.mktemp("backfill")
    shutil.copytree(sample.logs, folder / "logs")
    lake = make_lake(folder, folder / "logs")
    # After the marts of the second day: the first one is done, the second is half done.
    assert _type_and_kill(folder, lake, Kill(target="flowlake.dbt:build", after=True, count=4)) == -signal.SIGKILL
    states = dict(lake.rows("select arrival_hour, state from lake.ops.windows"))
    planned = _type(folder, lake, "--dry-run")
    resumed = _type(folder, lake)
    published = lake.rows("select count(*), sum(bytes) from lake.flowlake.fct_edges")
    repeated = _type(folder, lake)
    return Filled(lake, states, planned, resumed, repeated, published)


def _type_and_kill(folder: Path, lake: Any, kill: Kill) -> int:
    """The exit code of a `flowlake backfill` that kills itself where it is told to."""
    arguments = ["--config", str(lake.config), "backfill", *TYPED]
    with shared_dbt(), (folder / "killed.log").open("w") as file:
        command = [sys.executable, DRIVER, json.dumps(asdict(kill)), *arguments]
        done = subprocess.run(command, stdout=file, stderr=file, start_new_session=True, check=False)
    return done.returncode


def _type(folder: Path, lake: Any, *options: str) -> str:
    """What `flowlake backfill` says."""
    said = folder / "said"
    with shared_dbt(), said.open("w") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", file)
        patch.setattr("sys.stderr", file)
        code = cli.run(["--config", str(lake.config), "backfill", *TYPED, *options])
    text = said.read_text()
    assert code == 0, text
    return text


def test_what_was_killed_goes_on_where_it_was(filled: Filled) -> None:
    hours = dict.fromkeys(Window.parse("2026-11-20T22", "2026-11-21T00").hours, "validated")
    assert filled.states == {**hours, "2026-11-21T00": "building"}
    assert "2 windows, 1 done before, 1 to run" in filled.planned
    assert "(by 1 earlier run); nothing was changed" in filled.planned
    lines = [line for line in filled.resumed.splitlines() if line.startswith("[")]
    assert lines[0] == f"[1/2] {DAYS[0]} skipped: validated, its objects are unchanged"
    assert lines[1].startswith(f"[2/2] {DAYS[1]} done in ")
    assert "(2026-11-21T00 is building)" in lines[1]
    assert "1 window run, 1 skipped" in filled.resumed


def test_what_is_done_is_not_done_again(filled: Filled) -> None:
    assert "2 windows, 2 done before: nothing to run" in filled.repeated
    assert filled.repeated.count("skipped: validated") == 2
    assert filled.lake.rows("select count(*), sum(bytes) from lake.flowlake.fct_edges") == filled.published


def test_days_leave_what_their_hours_leave_one_by_one(
    *,
    tmp_path: Path,
    sample: SampleReport,
    filled: Filled,
    make_lake: Callable[..., Any],
    assert_same_tables: Callable[..., None],
) -> None:
    by_hours = make_lake(tmp_path, filled.lake.config.parent / "logs")
    for start, end in zip(RANGE.hours, [*RANGE.hours[1:], sample.arrival_to], strict=True):
        by_hours.build(start, end)
    assert_same_tables(by_hours, filled.lake)
    assert filled.published == by_hours.rows("select count(*), sum(bytes) from lake.core.fct_edges")
