"""Running past hours: what is asked of Airflow, what is shown, what is remembered. With an Airflow made of dicts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake.windows import Window
from flowlake.orchestration import demo, local
from flowlake.orchestration.api import ApiError
from flowlake.orchestration.demo import HourRun, HoursFailedError, Progress, run_hours
from flowlake.steps import STEPS

WINDOW = Window.parse("2024-03-05T12", "2024-03-05T15")


class FakeAirflow:
    """Ends one run per look, in order; runs of `fails` fail at the task given."""

    def __init__(self, fails: dict[str, str] | None = None) -> None:
        self.fails = fails or {}
        self.calls: list[str] = []
        self.states: dict[datetime, str] = {}
        self.active: list[int] = []
        self.busy = 0
        self.cancelled = False
        self.starting: list[datetime | None] = []

    def dag_exists(self, dag_id: str) -> bool:
        return dag_id == "flow_logs_hourly"

    def unpause(self, dag_id: str) -> None:
        self.calls.append(f"unpause {dag_id}")

    def active_backfills(self, _dag_id: str) -> list[int]:
        return self.active

    def cancel_backfill(self, backfill_id: int) -> None:
        self.calls.append(f"cancel {backfill_id}")
        if self.busy:
            self.busy -= 1
            raise ApiError("database is locked", 500)
        self.cancelled = True
        self.active = [one for one in self.active if one != backfill_id]
        self.states = {moment: "failed" if state == "queued" else state for moment, state in self.states.items()}

    def fail_run(self, _dag_id: str, run_id: str) -> None:
        self.calls.append(f"fail {run_id}")
        self.states = {at: "failed" if run_id == f"run {at:%H}" else state for at, state in self.states.items()}

    def create_backfill(self, _dag_id: str, first: datetime, last: datetime, *, reprocess: str, max_active: int) -> int:
        self.calls.append(f"backfill {first:%dT%H} {last:%dT%H} {reprocess} {max_active}")
        self.cancelled = False
        self.active.append(7)
        moment = first
        while moment <= last:
            self.states[moment] = "queued"
            moment += timedelta(hours=1)
        return 7

    def runs(self, _dag_id: str, first: datetime, last: datetime) -> list[dict[str, Any]]:
        moving = next((moment for moment, state in self.states.items() if state in ("queued", "running")), None)
        if self.cancelled:
            started = self.starting.pop(0) if self.starting else None
            if started:
                self.states[started] = "running"
        elif moving:
            ended = "failed" if f"{moving:%H}" in self.fails else "success"
            self.states[moving] = {"queued": "running", "running": ended}[self.states[moving]]
        return [
            {
                "dag_run_id": f"run {moment:%H}",
                "logical_date": moment.isoformat().replace("+00:00", "Z"),
                "state": state,
                "start_date": "2024-03-06T00:00:00Z",
                "end_date": "2024-03-06T00:00:09Z",
            }
            for moment, state in self.states.items()
            if first <= moment <= last
        ]

    def task_instances(self, _dag_id: str, run_id: str) -> list[dict[str, Any]]:
        failing = self.fails.get(run_id[-2:], "")
        times = {"start_date": "2024-03-06T00:00:00Z", "end_date": "2024-03-06T00:00:01.500Z"}
        return [
            {"task_id": step.name, "state": "failed" if step.name == failing else "success", "try_number": 1, **times}
            for step in reversed(STEPS)
        ]

    def log(self, _dag_id: str, run_id: str, task_id: str, attempt: int) -> list[dict[str, Any]]:
        return [
            {"event": "::group::Log message source details"},
            {"event": f"log of {task_id} in {run_id}, try {attempt}", "level": "info"},
            {
                "event": "Task failed with exception",
                "level": "error",
                "error_detail": [{"exc_type": "GateFailed", "exc_value": "3 lines are not accounted for"}],
            },
        ]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo, "POLL_SECONDS", 0.0)
    path = tmp_path / "flowlake.yaml"
    path.write_text("lake: {path: lake}\n")
    return path


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    shown: list[str] = []

    def run(airflow: FakeAirflow, window: Window = WINDOW) -> tuple[HourRun, ...]:
        @contextlib.contextmanager
        def running(started: local.LocalAirflow, _progress: Any) -> Iterator[FakeAirflow]:
            assert started.scheduled is False
            started.home.mkdir(exist_ok=True)
            (started.home / "airflow.db").touch()
            airflow.calls.append("start")
            yield airflow

        monkeypatch.setattr(local, "running", running)
        progress = Progress(shown.append, live=False)
        return run_hours(window, home=config.parent / "airflow", config=config, progress=progress)

    run.shown = shown  # type: ignore[attr-defined]
    return run


def test_hours_run_in_order_through_one_backfill_whose_end_counts_in(run: Any) -> None:
    airflow = FakeAirflow()
    results = run(airflow)
    assert results == tuple(HourRun(f"2024-03-05T{hour}", 9.0, ran=True) for hour in (12, 13, 14))
    assert airflow.calls == ["start", "unpause flow_logs_hourly", "backfill 05T12 05T14 completed 1"]
    assert run.shown[0].startswith("[1/3] 2024-03-05T12 done in 9.0 s (register 1.5, build_staging 1.5")


def test_hours_that_succeeded_before_are_not_run_again(run: Any) -> None:
    run(FakeAirflow())
    again = FakeAirflow()
    results = run(again)
    assert again.calls == []
    assert [result.ran for result in results] == [False, False, False]
    assert run.shown[-1] == f"All 3 hours of {WINDOW} ran before: nothing to do\n"


def test_only_the_missing_hours_are_run_around_those_that_succeeded(run: Any) -> None:
    run(FakeAirflow(), Window.parse("2024-03-05T13", "2024-03-05T14"))
    airflow = FakeAirflow()
    results = run(airflow)
    assert [call for call in airflow.calls if call.startswith("backfill")] == [
        "backfill 05T12 05T12 completed 1",
        "backfill 05T14 05T14 completed 1",
    ]
    assert [result.ran for result in results] == [True, False, True]
    assert "1 of the 3 hours" in "".join(run.shown)


def test_other_settings_run_everything_again(run: Any, config: Path) -> None:
    run(FakeAirflow())
    config.write_text("lake: {path: other}\n")
    again = FakeAirflow()
    run(again)
    assert "backfill 05T12 05T14 completed 1" in again.calls


def test_a_lost_metadata_database_runs_everything_again(run: Any, config: Path) -> None:
    run(FakeAirflow())
    (config.parent / "airflow" / "airflow.db").unlink()
    assert all(result.ran for result in run(FakeAirflow()))


def test_a_failure_names_hour_and_task_shows_its_log_and_ends_the_backfill(run: Any) -> None:
    airflow = FakeAirflow(fails={"13": "validate_staging"})
    with pytest.raises(HoursFailedError) as caught:
        run(airflow)
    assert str(caught.value).splitlines() == [
        "validate_staging failed for 2024-03-05T13. The end of its log:",
        "  log of validate_staging in run 13, try 1",
        "  ERROR Task failed with exception",
        "  GateFailed: 3 lines are not accounted for",
    ]
    assert airflow.calls[-1] == "cancel 7"
    assert airflow.states[WINDOW.end - timedelta(hours=1)] == "failed"
    mended = FakeAirflow()
    assert [result.ran for result in run(mended)] == [False, True, True]


def test_control_characters_in_a_log_stay_text_on_the_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"exc_type": "GateFailed", "exc_value": "one\x1b[2J\ntwo\u202e"}
    monkeypatch.setattr(FakeAirflow, "log", lambda *_: [{"event": "\x1b]0;x\x07", "error_detail": [error]}])
    with pytest.raises(HoursFailedError) as caught:
        run(FakeAirflow(fails={"13": "validate_staging"}))
    assert str(caught.value).splitlines()[1:] == [r"  \x1b]0;x\x07", r"  GateFailed: one\x1b[2J", r"  two\u202e"]


def test_a_backfill_is_cancelled_again_until_airflow_has_done_so(run: Any) -> None:
    airflow = FakeAirflow(fails={"13": "validate_staging"})
    airflow.busy = 2
    with pytest.raises(HoursFailedError):
        run(airflow)
    assert airflow.calls[-3:] == ["cancel 7", "cancel 7", "cancel 7"]
    assert airflow.active == []
    assert airflow.states[WINDOW.end - timedelta(hours=1)] == "failed"


def test_a_run_that_a_scheduler_starts_over_its_cancelled_backfill_is_ended(run: Any) -> None:
    airflow = FakeAirflow(fails={"13": "validate_staging"})
    last = WINDOW.end - timedelta(hours=1)
    airflow.starting = [None, None, last, None, last]
    with pytest.raises(HoursFailedError):
        run(airflow)
    assert airflow.calls[-3:] == ["cancel 7", "fail run 14", "fail run 14"]
    assert airflow.states[last] == "failed"


def test_what_a_killed_call_left_is_ended_first(run: Any) -> None:
    airflow = FakeAirflow()
    airflow.active = [3]
    airflow.states[WINDOW.start] = "running"
    run(airflow)
    assert airflow.calls[1:3] == ["cancel 3", "fail run 12"]


def test_a_terminal_gets_one_line_that_changes_and_anything_else_plain_lines() -> None:
    live: list[str] = []
    progress = Progress(live.append, live=True)
    progress.now("[1/3] 2/6 tasks")
    progress.now("[1/3] 3/6")
    progress.line("done")
    assert live == ["\r[1/3] 2/6 tasks", "\r[1/3] 3/6      ", "\rdone     \n"]
    plain: list[str] = []
    progress = Progress(plain.append, live=False)
    progress.now("[1/3] 2/6 tasks")
    progress.line("done")
    assert plain == ["done\n"]
