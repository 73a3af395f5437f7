"""A step as a task: the window, the parameters, what is retried, what is reported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import psutil
import pytest
from airflow.sdk import AssetAlias
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow.sdk.execution_time.context import OutletEventAccessors

from flowlake import backfill
from flowlake.errors import BudgetError, FlowlakeError
from flowlake.lake import maintain as maintenance
from flowlake.lake.restatements import Restatement, Why
from flowlake.lake.windows import Window, WindowError
from flowlake.orchestration import operators
from flowlake.orchestration.alerts import describe_failure
from flowlake.orchestration.assets import (
    HOURS_TOLD,
    PUBLISHED_TABLES,
    RESTATEMENTS,
    published_assets,
    tell,
    told,
    told_together,
)
from flowlake.orchestration.operators import (
    BackfillPlanOperator,
    BackfillPublishOperator,
    BackfillWindowOperator,
    MaintenanceOperator,
    StepOperator,
    report_values,
    window_of,
)
from flowlake.settings import SettingsError
from flowlake.steps import STEPS, GateFailed, RunContext, StepReport

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
ONE = datetime(2024, 3, 5, 13, tzinfo=UTC)


def _context(**changes: Any) -> Any:
    context = {
        "data_interval_start": NOON,
        "data_interval_end": ONE,
        "dag_run": SimpleNamespace(run_after=ONE),
        "run_id": "scheduled__2024-03-05T13:00:00+00:00",
        "params": {"accept_missing": False},
    }
    return {**context, **changes}


class TestWindow:
    def test_is_the_data_interval(self) -> None:
        assert window_of(_context()) == Window(NOON, ONE)

    def test_is_as_long_as_the_data_interval(self) -> None:
        day = _context(data_interval_start=NOON.replace(hour=0), data_interval_end=NOON.replace(day=6, hour=0))
        assert len(window_of(day).hours) == 24

    def test_of_a_run_without_interval_is_the_last_whole_hour_before_it_was_due(self) -> None:
        due = SimpleNamespace(run_after=datetime(2024, 3, 5, 13, 25, tzinfo=UTC))
        context = _context(data_interval_start=None, data_interval_end=None, dag_run=due)
        assert window_of(context) == Window(NOON, ONE)

    def test_that_is_not_over_is_refused_without_a_retry(self) -> None:
        with pytest.raises(AirflowFailException, match=r"2024-03-05T12/2024-03-05T13 is not over.*T13:00 UTC"):
            window_of(_context(), now=datetime(2024, 3, 5, 12, 59, tzinfo=UTC))
        assert window_of(_context(), now=ONE)

    def test_an_empty_interval_is_an_error(self) -> None:
        with pytest.raises(WindowError, match="empty"):
            window_of(_context(data_interval_end=NOON))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "flowlake.yaml"
    path.write_text("sources:\n  - name: logs\n    uri: logs\nlake: {path: lake}\n")
    monkeypatch.setenv("FLOWLAKE_CONFIG", str(path))
    return path


class TestExecute:
    def _run(self, monkeypatch: pytest.MonkeyPatch, outcome: StepReport | Exception, **changes: Any) -> Any:
        seen: list[tuple[str, RunContext]] = []

        def run_step(name: str, context: RunContext) -> StepReport:
            seen.append((name, context))
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(operators, "run_step", run_step)
        result = StepOperator(task_id="register", step="register").execute.__wrapped__(  # type: ignore[attr-defined]
            StepOperator(task_id="register", step="register"), _context(**changes)
        )
        return seen, result

    def test_hands_settings_window_run_and_parameters_to_the_step(
        self, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [(name, context)], _ = self._run(monkeypatch, StepReport("register"), params={"accept_missing": True})
        assert name == "register"
        assert context.window == Window(NOON, ONE)
        assert context.run_id == "scheduled__2024-03-05T13:00:00+00:00"
        assert context.accept_missing is True
        assert context.s3_client is None
        assert context.settings.config_path == config

    @pytest.mark.usefixtures("config")
    def test_returns_the_numbers_of_the_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        report = StepReport("register", 1.23456, objects=8, lines=90, bytes=700, details={"new": ("a", "b")})
        _, result = self._run(monkeypatch, report)
        assert result == {
            "step": "register",
            "seconds": 1.235,
            "objects": 8,
            "lines": 90,
            "records": None,
            "bytes": 700,
            "details": {"new": "('a', 'b')"},
        }

    @pytest.mark.usefixtures("config")
    @pytest.mark.parametrize(
        "error", [GateFailed("3 lines are lost"), SettingsError("sources is missing"), BudgetError("all is spent")]
    )
    def test_does_not_retry_what_a_repetition_cannot_cure(
        self, monkeypatch: pytest.MonkeyPatch, error: FlowlakeError
    ) -> None:
        with pytest.raises(AirflowFailException, match=str(error)):
            self._run(monkeypatch, error)

    @pytest.mark.usefixtures("config")
    @pytest.mark.parametrize("error", [FlowlakeError("the bucket does not answer"), OSError("disk full")])
    def test_leaves_every_other_error_to_the_retries(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        with pytest.raises(type(error)) as caught:
            self._run(monkeypatch, error)
        assert caught.value is error

    def test_wrong_settings_fail_without_a_retry(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config.write_text("nonsense: 1\n")
        with pytest.raises(AirflowFailException, match="nonsense"):
            self._run(monkeypatch, StepReport("register"))


class TestKill:
    @pytest.fixture(autouse=True)
    def _others_are_not_this_tests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Servers of other tests are children of this process as well."""
        others = set(psutil.Process().children(recursive=True))
        children = psutil.Process.children

        def started_since(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
            return [child for child in children(process, recursive) if child not in others]

        monkeypatch.setattr(psutil.Process, "children", started_since)

    def _child(self) -> psutil.Process:
        return psutil.Process(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)

    def test_ends_the_steps_children_and_the_step(self) -> None:
        child = self._child()
        with pytest.raises(AirflowException, match="build_staging was stopped"):
            StepOperator(task_id="build_staging", step="build_staging").on_kill()
        assert child.wait(timeout=10) is not None

    def test_after_a_timeout_leaves_the_timeout_to_be_reported(self) -> None:
        child = self._child()
        try:
            raise AirflowTaskTimeout("too long")
        except AirflowTaskTimeout:
            # As Airflow calls it; it must not raise an error of its own in the timeout's place.
            StepOperator(task_id="build_staging", step="build_staging").on_kill()
        assert child.wait(timeout=10) is not None


class TestMaintenance:
    def _run(self, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool, **params: Any) -> Any:
        def maintain(settings: Any, *, dry_run: bool) -> maintenance.MaintenanceReport:
            finding = maintenance.Finding(maintenance.Kind.ORPHANS, 2, 700, None if dry_run else 2)
            return maintenance.MaintenanceReport((finding,), "not touched", dry_run)

        monkeypatch.setattr(maintenance, "maintain", maintain)
        operator = MaintenanceOperator(task_id="maintain", dry_run=dry_run)
        return operator.execute.__wrapped__(operator, _context(params=params))  # type: ignore[attr-defined]

    @pytest.mark.usefixtures("config")
    def test_reports_in_plain_values_what_it_found_and_did(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = {"orphans": {"count": 2, "bytes": 700, "done": 2}}
        done = self._run(monkeypatch, dry_run=False, dry_run_only=False)
        assert done == {"dry_run": False, "found": found, "pins": "not touched"}

    @pytest.mark.usefixtures("config")
    def test_changes_nothing_where_only_the_dry_run_was_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self._run(monkeypatch, dry_run=True, dry_run_only=True)["dry_run"] is True
        with pytest.raises(AirflowSkipException, match="dry_run_only"):
            self._run(monkeypatch, dry_run=False, dry_run_only=True)

    def test_wrong_settings_fail_without_a_retry(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config.write_text("nonsense: 1\n")
        with pytest.raises(AirflowFailException, match="nonsense"):
            self._run(monkeypatch, dry_run=False)

    @pytest.mark.usefixtures("config")
    def test_a_spent_budget_fails_without_a_retry_which_would_have_one_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def maintain(settings: Any, *, dry_run: bool) -> maintenance.MaintenanceReport:
            raise BudgetError("all is spent")

        monkeypatch.setattr(maintenance, "maintain", maintain)
        operator = MaintenanceOperator(task_id="maintain", dry_run=False)
        with pytest.raises(AirflowFailException, match="all is spent"):
            operator.execute.__wrapped__(operator, _context(params={}))  # type: ignore[attr-defined] # Airflow wraps it


class Looks:
    """A backfill's windows as nobody's lake has them: which are done, which were run."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.published: list[str] = []
        self.restated: tuple[Restatement, ...] = ()

    def look(self, run: RunContext, *, again: bool) -> backfill.Look:
        is_done = run.window.start.day == 6 and not again
        return backfill.Look(run.window, 2, 70, frozenset({"fl-1"}), is_done, "unchanged" if is_done else "never run")

    def run_window(self, run: RunContext, on_step: Any) -> list[StepReport]:
        if self.error is not None:
            raise self.error
        self.ran.append((str(run.window), run.run_id))
        on_step(STEPS[0], StepReport("register", 1.0, objects=2))
        on_step(STEPS[-1], StepReport("publish", restated=self.restated))
        return []

    def run_step(self, name: str, run: RunContext) -> StepReport:
        self.published.append(f"{name} {run.window}")
        return StepReport(name)


@pytest.mark.usefixtures("config")
class TestBackfill:
    RANGE: ClassVar = {
        "from": "2024-03-05T12:00:00.000Z",
        "to": "2024-03-08T00:00:00+00:00",
        "window": "day",
        "dry_run": False,
        "again": False,
    }
    done: Any = ()
    """What the windows' tasks returned."""
    WINDOWS = ("2024-03-05T12/2024-03-06T00", "2024-03-06T00/2024-03-07T00", "2024-03-07T00/2024-03-08T00")

    @pytest.fixture
    def looks(self, monkeypatch: pytest.MonkeyPatch, config: Path) -> Looks:
        (config.parent / "logs").mkdir()
        looks = Looks()
        for name in ("look", "run_window", "run_step"):
            monkeypatch.setattr(backfill, name, getattr(looks, name))
        return looks

    def _execute(
        self, operator: Any, params: dict[str, Any] | None = None, states: dict[str, str] | None = None, index: int = -1
    ) -> tuple[Any, dict[str, Any]]:
        pushed: dict[str, Any] = {}
        ti = SimpleNamespace(
            dag_id="flow_logs_backfill",
            map_index=index,
            xcom_push=lambda key, value: pushed.update({key: value}),
            xcom_pull=lambda task_ids: list(self.WINDOWS) if task_ids == "plan" else self.done,
            get_task_states=lambda dag_id, task_ids, run_ids: {run_ids[0]: states or {}},
        )
        self.events = OutletEventAccessors()
        context = _context(run_id="manual", params={**self.RANGE, **(params or {})}, ti=ti, outlet_events=self.events)
        return operator.execute.__wrapped__(operator, context), pushed

    def test_a_plan_gives_the_windows_and_says_what_they_hold(self, looks: Looks) -> None:
        windows, pushed = self._execute(BackfillPlanOperator(task_id="plan"))
        assert windows == list(self.WINDOWS)
        assert pushed["plan"]["summary"].startswith("3 windows, 1 done before, 2 to run (4 objects, 140 B, 1 flow log)")
        assert pushed["plan"]["windows"][1] == {
            "window": self.WINDOWS[1],
            "objects": 2,
            "bytes": 70,
            "flow_logs": 1,
            "is_done": True,
            "reason": "unchanged",
        }
        assert looks.ran == []

    def test_a_dry_run_gives_no_windows_and_publishes_nothing(
        self, looks: Looks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        windows, pushed = self._execute(BackfillPlanOperator(task_id="plan"), {"dry_run": True})
        assert windows == []
        assert len(pushed["plan"]["windows"]) == 3
        monkeypatch.setattr(self, "WINDOWS", ())
        with pytest.raises(AirflowSkipException, match="nothing was to be run"):
            self._execute(BackfillPublishOperator(task_id="publish"), {"dry_run": True})
        assert looks.published == []

    @pytest.mark.usefixtures("looks")
    @pytest.mark.parametrize(
        ("params", "complaint"),
        [
            ({"from": "2024-03-09T00:00:00Z"}, "is empty"),
            ({"from": "2024-03-05T12:30:00Z"}, "is not a whole hour"),
            ({"from": "2024-03-05T12:00:00"}, "has no time zone"),
            ({"from": "soon"}, "from is no time: 'soon'"),
            ({"to": "2999-01-01T00:00:00Z"}, "is not over"),
            ({"window": "week"}, "is no size of a window"),
            ({"from": "2020-01-01T00:00:00Z", "to": "2020-03-01T00:00:00Z", "window": "1h"}, "1,440 windows are more"),
        ],
    )
    def test_a_range_that_is_none_fails_without_a_retry(self, params: dict[str, Any], complaint: str) -> None:
        with pytest.raises(AirflowFailException, match=complaint):
            self._execute(BackfillPlanOperator(task_id="plan"), params)

    def _window(self, index: int) -> BackfillWindowOperator:
        return BackfillWindowOperator(task_id="windows", window=self.WINDOWS[index])

    def test_a_window_runs_all_steps_in_its_turn(self, looks: Looks) -> None:
        done, _ = self._execute(self._window(2), states={"windows_0": "success", "windows_1": "success"}, index=2)
        assert looks.ran == [(self.WINDOWS[2], "manual-3")]
        assert (done["ran"], done["reason"], done["steps"][0]["objects"]) == (True, "never run", 2)
        assert self._window(2).window_name == "2024-03-07"

    def test_a_window_that_is_done_is_over_at_once(self, looks: Looks) -> None:
        done, _ = self._execute(self._window(1), states={"windows_0": "success"}, index=1)
        assert (done["ran"], done["reason"]) == (False, "unchanged")
        assert looks.ran == []
        self._execute(self._window(1), {"again": True}, states={"windows_0": "success"}, index=1)
        assert [window for window, _ in looks.ran] == [self.WINDOWS[1]]

    @pytest.mark.parametrize("state", ["up_for_retry", "running", "queued", "scheduled", None])
    def test_a_window_waits_for_those_before_it(self, looks: Looks, state: Any) -> None:
        with pytest.raises(AirflowRescheduleException):
            self._execute(self._window(1), states={"windows_0": state, "windows_1": "running"}, index=1)
        assert looks.ran == []

    def test_behind_a_window_that_failed_the_others_are_left_out_and_nothing_is_green(self, looks: Looks) -> None:
        states = {"windows_0": "failed", "windows_1": "skipped"}
        with pytest.raises(AirflowSkipException, match="window 1 failed"):
            self._execute(self._window(2), states=states, index=2)
        # Somebody cured and cleared the failed one alone.
        states = {"windows_0": "success", "windows_1": "skipped", "windows_2": "skipped"}
        with pytest.raises(AirflowFailException, match="2 of 3 windows were left out, the first is number 2"):
            self._execute(BackfillPublishOperator(task_id="publish"), states=states)
        assert (looks.ran, looks.published) == ([], [])

    def test_publish_shows_all_of_it(self, looks: Looks) -> None:
        states = dict.fromkeys(("windows_0", "windows_1", "windows_2"), "success")
        looks.restated = (HOUR,)
        self.done = [self._execute(self._window(index), states=states, index=index)[0] for index in range(3)]
        values, _ = self._execute(BackfillPublishOperator(task_id="publish"), states=states)
        assert values["step"] == "publish"
        assert looks.published == [f"publish {self.WINDOWS[2]}"]
        # The second window was done before.
        assert self.events[published_assets()[0]].extra["restated_hours"] == {"late": 2}
        [event] = self.events[AssetAlias(RESTATEMENTS)].asset_alias_events
        assert event.extra["window"] == "2024-03-05T12/2024-03-08T00"

    @pytest.mark.usefixtures("looks")
    def test_a_backfill_of_one_window_tells_as_much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self, "WINDOWS", self.WINDOWS[:1])
        # As Airflow gives it: not a list of one.
        self.done = {"told": told(Window(NOON, ONE), [HOUR])}
        self._execute(BackfillPublishOperator(task_id="publish"), states={"windows_0": "success"})
        assert self.events[published_assets()[0]].extra["restated_hours"] == {"late": 1}

    def test_a_failed_gate_is_not_retried_and_everything_else_is(self, looks: Looks) -> None:
        looks.error = GateFailed("3 lines are lost")
        with pytest.raises(AirflowFailException, match="3 lines are lost"):
            self._execute(self._window(0), index=0)
        looks.error = FlowlakeError("the bucket does not answer")
        with pytest.raises(FlowlakeError, match="does not answer"):
            self._execute(self._window(0), index=0)


HOUR = Restatement(
    "fct_edges", datetime(2024, 3, 5, 11), Why.LATE, "r1", "2024-03-05T12", "2024-03-05T13", 1, 3, 300, 1, 4, 400
)  # fmt: skip
IN_TIME = replace(HOUR, why=Why.DELIVERY)


class TestWhatEventsSay:
    """What followers of a publication are told, by the accessors that a task's context really has."""

    def _events(self, *restated: Restatement) -> tuple[dict[str, Any], list[Any]]:
        events = OutletEventAccessors()
        tell(events, told(Window(NOON, ONE), restated))
        extras = {one.uri: events[one].extra for one in published_assets()}
        assert len(extras) == len(PUBLISHED_TABLES)
        [extra] = [json.loads(text) for text in {json.dumps(extra) for extra in extras.values()}]
        return extra, events[AssetAlias(RESTATEMENTS)].asset_alias_events

    def test_a_late_object_is_told_to_all_and_to_those_who_follow_nothing_else(self) -> None:
        gateways = replace(HOUR, table_name="fct_gateway_flows")
        extra, [event] = self._events(HOUR, gateways, replace(IN_TIME, event_hour=datetime(2024, 3, 5, 10)))
        assert extra == {
            "window": "2024-03-05T12/2024-03-05T13",
            "restated_hours": {"late": 1, "delivery": 1},
            "restated": [
                {"event_hour": "2024-03-05T11", "why": "late"},
                {"event_hour": "2024-03-05T10", "why": "delivery"},
            ],
        }
        assert (event.dest_asset_key.uri, event.source_alias_name, event.extra) == (RESTATEMENTS, RESTATEMENTS, extra)

    def test_the_end_of_an_hour_that_comes_in_the_next_one_is_no_event_of_its_own(self) -> None:
        extra, events = self._events(IN_TIME)
        assert (extra["restated_hours"], events) == ({"delivery": 1}, [])

    def test_where_nothing_is_restated_that_is_said(self) -> None:
        extra, events = self._events()
        assert (extra["restated_hours"], extra["restated"], events) == ({}, [], [])

    def test_an_event_is_small_whatever_the_number_of_hours(self) -> None:
        hours = [replace(HOUR, event_hour=HOUR.event_hour - timedelta(hours=index)) for index in range(300)]
        extra, _ = self._events(*hours)
        assert (len(extra["restated"]), extra["restated_hours"]) == (HOURS_TOLD, {"late": 300})
        assert extra["restated"][0]["event_hour"] == "2024-03-05T11"
        together = told_together(Window(NOON, ONE), [extra, extra])
        assert (len(together["restated"]), together["restated_hours"]) == (HOURS_TOLD, {"late": 600})

    @pytest.mark.usefixtures("config")
    def test_the_publishing_step_tells_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(operators, "run_step", lambda name, run: StepReport(name, restated=(HOUR,)))
        events = OutletEventAccessors()
        operator = StepOperator(task_id="publish", step="publish")
        operator.execute.__wrapped__(operator, _context(outlet_events=events))  # type: ignore[attr-defined]
        assert events[published_assets()[0]].extra["restated_hours"] == {"late": 1}
        assert len(events[AssetAlias(RESTATEMENTS)].asset_alias_events) == 1


def test_numbers_are_plain_values() -> None:
    values = report_values(StepReport("publish", 2.0, details={"version": 7, "where": Path("pages")}))
    assert values["details"] == {"version": "7", "where": "pages"}


def test_a_failure_is_one_line_with_task_hour_and_reason() -> None:
    ti = SimpleNamespace(dag_id="flow_logs_hourly", task_id="validate_marts", run_id="r1", try_number=2)
    line = describe_failure(_context(ti=ti, exception=GateFailed("two findings:\n  first\n  second")))
    assert line == (
        "flow_logs_hourly.validate_marts failed for 2024-03-05T12:00 to 2024-03-05T13:00 UTC (run r1, try 2): "
        "two findings: first second"
    )


def test_what_control_characters_and_marks_ask_for_is_shown_and_not_done() -> None:
    hostile = "a\x00b\x1b[2J\u202e{{7*7}}<script>"
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r1", try_number=1)
    line = describe_failure({"ti": ti, "exception": RuntimeError(hostile)})
    assert line.endswith(r": a\x00b\x1b[2J\u202e{{7*7}}<script>")
    assert report_values(StepReport("register", details={hostile: hostile}))["details"] == {
        r"a\x00b\x1b[2J\u202e{{7*7}}<script>": r"a\x00b\x1b[2J\u202e{{7*7}}<script>"
    }


def test_a_failure_without_interval_or_reason_is_still_a_line() -> None:
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r1", try_number=1)
    assert describe_failure({"ti": ti}) == "d.t failed (run r1, try 1): no reason was given"
