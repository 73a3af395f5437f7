"""A step as a task: the window, the parameters, what is retried, what is reported."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from flowlake.errors import BudgetError, FlowlakeError
from flowlake.lake import maintain as maintenance
from flowlake.lake.windows import Window, WindowError
from flowlake.orchestration import operators
from flowlake.orchestration.alerts import describe_failure
from flowlake.orchestration.operators import MaintenanceOperator, StepOperator, report_values, window_of
from flowlake.settings import SettingsError
from flowlake.steps import GateFailed, RunContext, StepReport

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


def test_a_failure_without_interval_or_reason_is_still_a_line() -> None:
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r1", try_number=1)
    assert describe_failure({"ti": ti}) == "d.t failed (run r1, try 1): no reason was given"
