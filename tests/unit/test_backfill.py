"""A backfill without a lake: how a range is cut, what is said of the rest of it, which window is done and why."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowlake import backfill, cli
from flowlake.backfill import BackfillPlan, Filled, Look, Pace, cut, named, outcome_line
from flowlake.estimating import MEASURED_BYTES_A_SECOND, RangeEstimate, estimate_range, predict_seconds
from flowlake.lake.duck import connect
from flowlake.lake.ledger import HourState, StagingState, ensure_ledger, mark_hours, mark_staging
from flowlake.lake.manifests import objects_path, read_objects
from flowlake.lake.overtaken import OvertakenHour, record
from flowlake.lake.publish import HoursBlock
from flowlake.lake.register import register
from flowlake.lake.windows import Window, WindowError, format_hour, parse_hour
from flowlake.settings import Settings, load_settings
from flowlake.steps import STEPS, GateFailed, RunContext, StepReport


def _cut(start: str, end: str, size: str) -> list[str]:
    windows = cut(Window.parse(start, end), size)
    assert [window.end for window in windows[:-1]] == [window.start for window in windows[1:]]
    assert (windows[0].start, windows[-1].end) == (Window.parse(start, end).start, Window.parse(start, end).end)
    return [named(window) for window in windows]


@pytest.mark.parametrize(
    ("start", "end", "size", "expected"),
    [
        ("2026-03-01T00", "2026-03-04T00", "day", ["2026-03-01", "2026-03-02", "2026-03-03"]),
        (
            "2026-02-28T22",
            "2026-03-02T01",
            "day",
            ["2026-02-28T22/2026-03-01T00", "2026-03-01", "2026-03-02T00/2026-03-02T01"],
        ),
        ("2026-03-01T05", "2026-03-01T07", "day", ["2026-03-01T05/2026-03-01T07"]),
        ("2024-02-01T00", "2024-03-01T00", "month", ["2024-02"]),
        ("2025-12-31T00", "2026-02-02T00", "month", ["2025-12-31", "2026-01", "2026-02-01"]),
        ("2025-11-15T13", "2026-01-01T00", "month", ["2025-11-15T13/2025-12-01T00", "2025-12"]),
        (
            "2026-03-01T20",
            "2026-03-02T10",
            "6h",
            ["2026-03-01T20/2026-03-02T02", "2026-03-02T02/2026-03-02T08", "2026-03-02T08/2026-03-02T10"],
        ),
        ("2026-03-01T00", "2026-03-03T00", "24h", ["2026-03-01", "2026-03-02"]),
    ],
)
def test_a_range_is_cut_without_a_gap(start: str, end: str, size: str, expected: list[str]) -> None:
    assert _cut(start, end, size) == expected


@pytest.mark.parametrize("size", ["", "week", "0h", "h", "1.5h", "-6h", "745h", "999h", "6H", "day ", "6h\n", "٦h"])
def test_other_sizes_are_refused(size: str) -> None:
    with pytest.raises(WindowError, match="is no size of a window"):
        cut(Window.parse("2026-03-01T00", "2026-03-02T00"), size)


def test_a_window_of_the_largest_size_is_within_the_partitions_of_a_statement() -> None:
    (window,) = cut(Window.parse("2026-03-01T05", "2026-04-01T05"), "744h")
    assert len(window.days) <= 100


# --- how long ---


def test_time_has_a_fixed_part_and_one_that_grows() -> None:
    points = [(size, 20 + size / 1000) for size in (1_000, 5_000, 12_000, 30_000)]
    assert predict_seconds(points, 100_000) == pytest.approx(120)
    assert predict_seconds(points, 0) == pytest.approx(20)


def test_a_run_that_waited_overnight_changes_little() -> None:
    points = [(size, 20 + size / 1000) for size in range(1_000, 30_000, 3_000)]
    assert predict_seconds([*points, (2_000, 50_000.0)], 100_000) == pytest.approx(120, rel=0.1)


@pytest.mark.parametrize("points", [[(1_000, 20.0)], [(1_000, 19.0), (1_100, 60.0), (900, 20.0)], [(0, 20.0)] * 3])
def test_runs_of_about_one_size_cannot_tell_how_time_grows(points: list[tuple[int, float]]) -> None:
    day = 100 * MEASURED_BYTES_A_SECOND
    assert predict_seconds(points, day) == pytest.approx(120, rel=0.01)


def _look(day: int, size: int = 1_000, *, is_done: bool = False) -> Look:
    window = Window.parse(f"2026-03-{day:02}T00", f"2026-03-{day + 1:02}T00")
    reason = "validated, its objects are unchanged" if is_done else "never run"
    return Look(window, 24, size, frozenset({"fl-1", f"fl-{day}"}), is_done, reason)


def test_a_plan_counts_what_is_to_run() -> None:
    looks = (_look(1, is_done=True), _look(2), _look(3))
    said = str(BackfillPlan(looks, RangeEstimate((30.0, 40.0), 5)))
    assert said == (
        "3 windows, 1 done before, 2 to run (48 objects, 2.0 kB, 3 flow logs): about 70 s (by 5 earlier runs)"
    )
    paid = RangeEstimate((3000.0, 4000.0), 1, 20_000_000, 0.0001)
    assert str(paid) == "about 1 h 57 min, 20.0 MB billed, 0.0001 dollars (by 1 earlier run)"
    assert str(BackfillPlan(looks[:1], RangeEstimate((), 5))) == "1 window, 1 done before: nothing to run"
    assert "is known once a window was run" in str(BackfillPlan(looks, RangeEstimate(None, 0)))


@pytest.mark.parametrize("estimate", [RangeEstimate((10.0, 20.0, 30.0), 3), RangeEstimate(None, 0)])
def test_what_is_left_goes_by_what_the_windows_so_far_took(estimate: RangeEstimate) -> None:
    done = _look(4, is_done=True)
    looks = (_look(1, 1_000), done, _look(2, 3_000), _look(3, 5_000))
    pace = Pace(BackfillPlan(looks, estimate))
    assert pace.seconds_left is None
    pace.passed(Filled(looks[0], 40.0))
    assert pace.seconds_left == pytest.approx(40 * (20 + 30) / 10 if estimate.runs else 40 * (2 + 8 / 3) / (4 / 3))
    before = pace.seconds_left
    pace.passed(Filled(done, 0.0))
    assert pace.seconds_left == before
    pace.passed(Filled(looks[2], 40.0))
    pace.passed(Filled(replace(looks[3], is_done=True), 0.0))  # another run has done it meanwhile
    assert pace.seconds_left == 0


def test_a_window_is_one_line() -> None:
    line = outcome_line("[3/12]", Filled(_look(3), 41.3), 370.0)
    assert line == "[3/12] 2026-03-03 done in 41 s (never run), about 6 min left"
    assert outcome_line("[12/12]", Filled(_look(3), 41.3), 0.0) == "[12/12] 2026-03-03 done in 41 s (never run)"
    skipped = outcome_line("[3/12]", Filled(_look(3, is_done=True), 0.0), 370.0)
    assert skipped == "[3/12] 2026-03-03 skipped: validated, its objects are unchanged"
    blocked = Filled(_look(3), 41.3, held_back=HoursBlock([("2026-04-01T00", "failed", "other")]))
    assert "not shown yet: readers keep the last validated state: 2026-04-01T00" in outcome_line("", blocked, None)


# --- the walk ---


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWLAKE_CONFIG", "FLOWLAKE_LAKE_PATH", "FLOWLAKE_TARGET", "FLOWLAKE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "logs").mkdir()
    path = tmp_path / "flowlake.yaml"
    path.write_text("sources: [{name: here, uri: logs}]\nlake: {path: lake, wait_minutes: 1}\n")
    return path


class Lake:
    """Windows that are run by nobody: what was asked for, and what comes of it."""

    def __init__(self) -> None:
        self.done: set[Window] = set()
        self.ran: list[str] = []
        self.run_ids: list[str] = []
        self.published: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.blocked: list[HoursBlock] = []

    def look(self, context: RunContext, *, again: bool) -> Look:
        is_done = context.window in self.done and not again
        return Look(context.window, 1, 10, frozenset({"fl-1"}), is_done, "unchanged" if is_done else "never run")

    def run_window(self, context: RunContext, on_step: Callable[..., None]) -> list[StepReport]:
        name = named(context.window)
        self.ran.append(name)
        self.run_ids.append(context.run_id)
        on_step(STEPS[0], None)
        error = self.errors.get(name)
        if error is not None and not isinstance(error, HoursBlock):
            raise error
        on_step(STEPS[0], StepReport(STEPS[0].name))
        self.done.add(context.window)
        if error is not None:
            raise error
        return []

    def run_step(self, name: str, context: RunContext) -> StepReport:
        assert name == "publish"
        if self.blocked:
            raise self.blocked.pop()
        self.published.append(named(context.window))
        return StepReport(name)


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Lake:
    fake = Lake()
    monkeypatch.setattr(backfill, "look", fake.look)
    monkeypatch.setattr(backfill, "run_window", fake.run_window)
    monkeypatch.setattr(backfill, "run_step", fake.run_step)
    return fake


MARCH = ("--from", "2026-03-01", "--to", "2026-03-05")


@pytest.mark.usefixtures("config")
def test_windows_run_oldest_first_with_a_line_each(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["backfill", *MARCH]) == 0
    assert lake.ran == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]
    assert len(set(lake.run_ids)) == 4
    assert lake.published == []  # every window has published itself
    shown = capsys.readouterr()
    lines = [line.split(" (")[0] for line in shown.err.splitlines() if line.startswith("[")]
    assert lines == [f"[{day}/4] 2026-03-0{day} done in 0 s" for day in (1, 2, 3, 4)]
    assert "4 windows run, 0 skipped, published in" in shown.out


@pytest.mark.usefixtures("config")
def test_the_first_failure_ends_it_and_what_it_says_to_type_goes_on(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.errors["2026-03-03"] = GateFailed("the staging gate failed")
    assert cli.run(["backfill", *MARCH, "--window", "24h", "--config", "flowlake.yaml"]) == cli.FAILED
    *_, where, advice, command, error = capsys.readouterr().err.splitlines()
    assert where.startswith("[3/4] 2026-03-03 did not end well in register, after")
    assert advice == "2 of 4 windows done; mend what stands below, then"
    assert command == "  flowlake backfill --from 2026-03-03T00 --to 2026-03-05T00 --config flowlake.yaml --window 24h"
    assert error == "flowlake: error: the staging gate failed"
    assert lake.ran == ["2026-03-01", "2026-03-02", "2026-03-03"]

    lake.errors.clear()
    assert cli.run(command.split()[1:]) == 0
    assert lake.ran[3:] == ["2026-03-03", "2026-03-04"]


@pytest.mark.usefixtures("config")
def test_windows_that_are_done_are_skipped_with_the_reason_unless_asked_for_again(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.done = {Window.parse("2026-03-01T00", "2026-03-02T00"), Window.parse("2026-03-03T00", "2026-03-04T00")}
    assert cli.run(["backfill", *MARCH]) == 0
    assert lake.ran == ["2026-03-02", "2026-03-04"]
    assert "[3/4] 2026-03-03 skipped: unchanged" in capsys.readouterr().err
    assert cli.run(["backfill", *MARCH, "--again"]) == 0
    assert lake.ran[2:] == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]


@pytest.mark.usefixtures("config")
def test_what_was_done_before_and_never_shown_is_shown(lake: Lake) -> None:
    lake.done = set(cut(Window.parse("2026-03-01T00", "2026-03-05T00"), "day"))
    assert cli.run(["backfill", *MARCH]) == 0
    assert (lake.ran, lake.published) == ([], ["2026-03-04"])


@pytest.mark.usefixtures("config")
def test_an_hour_of_another_run_keeps_nothing_from_being_run_and_is_waited_for_at_the_end(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backfill.time, "sleep", lambda _: None)
    building = HoursBlock([("2026-03-09T00", "building", "other")])
    lake.errors = {"2026-03-03": building, "2026-03-04": building}
    lake.blocked = [building, building]
    assert cli.run(["backfill", *MARCH]) == 0
    assert len(lake.ran) == 4
    assert lake.published == ["2026-03-04"]
    assert capsys.readouterr().err.count("not shown yet") == 2


@pytest.mark.usefixtures("config")
def test_an_hour_that_failed_elsewhere_is_said_at_the_end(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    failed = HoursBlock([("2026-03-09T00", "failed", "other")])
    lake.errors = {"2026-03-04": failed}
    lake.blocked = [failed]
    assert cli.run(["backfill", *MARCH]) == cli.FAILED
    assert "2026-03-09T00 (failed, run other)" in capsys.readouterr().err.splitlines()[-1]
    assert len(lake.ran) == 4


@pytest.mark.usefixtures("config")
def test_a_range_that_is_not_over_is_refused_before_anything_runs(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start, end = (format_hour(this_hour + timedelta(hours=hours)) for hours in (-3, 1))
    for dry_run in ([], ["--dry-run"]):
        assert cli.run(["backfill", "--from", start, "--to", end, "--window", "1h", *dry_run]) == cli.MISTAKE
        assert "is not over" in capsys.readouterr().err
    assert lake.ran == []
    assert cli.run(["backfill", "--from", start, "--to", format_hour(this_hour), "--window", "1h"]) == 0
    assert len(lake.ran) == 3


@pytest.mark.usefixtures("lake")
def test_a_dry_run_lists_every_window_and_changes_nothing(
    config: Path, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.done = {Window.parse("2026-03-02T00", "2026-03-03T00")}
    assert cli.run(["backfill", *MARCH, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for said in (
        "run: never run",
        "skip: unchanged",
        "4 windows, 1 done before, 3 to run (3 objects, 30 B, 1 flow log)",
    ):
        assert said in out
    assert out.rstrip().endswith("nothing was changed")
    assert (lake.ran, lake.published) == ([], [])
    assert not (config.parent / "lake").exists()


# --- is it done? ---

FIELDS = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)
HOURS = Window.parse("2026-03-03T22", "2026-03-04T00")


def _put(logs: Path, hour: str, name: str = "a") -> Path:
    """An object that arrived ten minutes into an hour."""
    moment = parse_hour(hour)
    folder = logs / "AWSLogs" / "111122223333" / "vpcflowlogs" / "us-east-1" / f"{moment:%Y/%m/%d}"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"111122223333_vpcflowlogs_us-east-1_fl-0123456789abcdef0_{moment:%Y%m%dT%H%M}Z"
    path = folder / f"{stem}_{name}.log.gz"
    path.write_bytes(gzip.compress(f"{FIELDS}\n".encode()))
    os.utime(path, (moment.timestamp() + 600,) * 2)
    return path


@pytest.fixture
def validated(config: Path) -> Settings:
    """A lake whose two hours were validated, as its ledgers say; there are no other tables in it."""
    settings = load_settings(config)
    for hour in HOURS.hours:
        _put(config.parent / "logs", hour)
    register(settings, HOURS)
    rows = [row for hour in HOURS.hours for row in read_objects(settings, hour) or ()]
    assert len(rows) == 2
    with connect(settings, read_only=False) as connection:
        ensure_ledger(connection)
        mark_staging(connection, HOURS, StagingState.PASSED, "test")
        mark_hours(connection, HOURS, HourState.VALIDATED, "test")
        connection.execute("create schema lake.intermediate")
        connection.execute(
            "create table lake.intermediate.int_objects__accounted (arrival_hour varchar, status varchar, "
            "object_bytes bigint, registered_lines bigint, registered_line_bytes bigint)"
        )
        connection.executemany(
            "insert into lake.intermediate.int_objects__accounted values (?, ?, ?, ?, ?)",
            [[row.arrival_hour, row.status, row.size, row.line_count, row.line_bytes] for row in rows],
        )
    return settings


def _seen(settings: Settings, *, again: bool = False, **changes: Any) -> tuple[bool, str]:
    found = backfill.look(RunContext(settings, HOURS, "test", **changes), again=again)
    return found.is_done, found.reason


def test_a_window_is_done_when_its_hours_are_validated_and_its_objects_are_unchanged(validated: Settings) -> None:
    assert _seen(validated) == (True, "validated, its objects are unchanged")
    assert _seen(validated, again=True)[0] is False


def test_an_empty_lake_has_nothing_done(config: Path) -> None:
    assert _seen(load_settings(config)) == (False, "never run")


@pytest.mark.parametrize("state", [HourState.BUILDING, HourState.FAILED])
def test_an_hour_that_is_not_validated_runs_its_window_again(validated: Settings, state: HourState) -> None:
    hour = Window.parse("2026-03-03T23", "2026-03-04T00")
    with connect(validated, read_only=False) as connection:
        mark_hours(connection, hour, state, "other")
    assert _seen(validated) == (False, f"2026-03-03T23 is {state}")
    with connect(validated, read_only=False) as connection:
        connection.execute("delete from lake.ops.windows where arrival_hour = '2026-03-03T23'")
    assert _seen(validated) == (False, "1 hour never run, the first 2026-03-03T23")


def test_an_hour_whose_objects_were_overwritten_runs_its_window_again(validated: Settings) -> None:
    record(validated, Window.parse("2026-03-04T05", "2026-03-04T06"), [OvertakenHour("2026-03-03T22", 1, "x")])
    assert _seen(validated) == (False, "objects of 2026-03-03T22 were overwritten or came twice")


def test_an_object_that_came_since_runs_its_window_again(validated: Settings) -> None:
    came = _put(validated.lake.path.parent / "logs", "2026-03-03T22", "b")
    assert _seen(validated) == (False, f"1 object came since, such as {came}")


@pytest.mark.parametrize("hours", [0, 1, 9])
def test_an_object_that_changed_since_runs_its_window_again(validated: Settings, hours: int) -> None:
    changed = _put(validated.lake.path.parent / "logs", "2026-03-03T22")
    later = changed.stat().st_mtime + 1 + 3600 * hours
    os.utime(changed, (later, later))
    assert _seen(validated) == (False, f"1 object changed since, such as {changed}")


def test_an_object_that_is_gone_does_not_unless_that_is_accepted(validated: Settings) -> None:
    _put(validated.lake.path.parent / "logs", "2026-03-03T22").unlink()
    is_done, reason = _seen(validated)
    assert is_done
    assert "1 object gone since, whose rows stay" in reason
    assert _seen(validated, accept_missing=True) == (False, "1 object gone since")


def test_what_was_registered_and_never_staged_runs_again(validated: Settings) -> None:
    _put(validated.lake.path.parent / "logs", "2026-03-03T23", "b")
    register(validated, HOURS)  # and killed
    assert _seen(validated) == (False, "2026-03-03T23 was registered again and not staged since")


def test_the_estimate_goes_by_the_runs_of_the_lake(validated: Settings) -> None:
    with connect(validated) as connection:
        (ended,) = connection.execute("select max(updated_at) from lake.ops.windows").fetchone() or (None,)
    began = ended.replace(tzinfo=UTC).timestamp() - 40
    for hour in HOURS.hours:
        os.utime(validated.lake.path / objects_path(hour), (began, began))
    found = estimate_range(validated, [0, 0])
    assert found.runs == 1
    assert found.seconds_each == pytest.approx((40, 40), abs=0.1)
    assert estimate_range(validated, []).seconds_each == ()


def test_a_lake_without_runs_says_nothing(config: Path) -> None:
    assert estimate_range(load_settings(config), [100]) == RangeEstimate(None, 0)
