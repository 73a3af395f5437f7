"""The replay as tasks: what the parameters select, what a dry run says, what a window's task runs and returns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, ParamValidationError
from airflow.sdk.execution_time.context import OutletEventAccessors

from flowlake import quarantine
from flowlake.errors import BudgetError, FlowlakeError
from flowlake.lake.publish import HoursBlock
from flowlake.lake.restatements import Restatement, Why
from flowlake.lake.windows import Window
from flowlake.orchestration.assets import PUBLISHED_TABLES, RESTATEMENTS, published_assets
from flowlake.orchestration.operators import WINDOW_TIMEOUT
from flowlake.orchestration.replaying import FindQuarantinedOperator, ReplayOperator, selection_of
from flowlake.quarantine import PlannedReplay, Replayed, Selection
from flowlake.settings import SettingsError
from flowlake.steps import GateFailed, RunContext

DEFAULTS: dict[str, Any] = {"from_hour": None, "to_hour": None, "flow_log": None, "reason": None, "dry_run": True}
WINDOWS = (Window.parse("2026-11-20T12", "2026-11-20T13"), Window.parse("2026-11-20T15", "2026-11-20T18"))
PLANNED = [PlannedReplay(window, 1, 2, 30, 4, 500, 6000) for window in WINDOWS]


@pytest.fixture
def replay(dag_bag: Any) -> Any:
    return dag_bag.dags["flow_logs_replay"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "flowlake.yaml"
    path.write_text("sources:\n  - name: logs\n    uri: logs\nlake: {path: lake}\n")
    monkeypatch.setenv("FLOWLAKE_CONFIG", str(path))
    return path


def test_nothing_is_run_before_it_was_found_and_one_window_at_a_time(replay: Any) -> None:
    find, run = replay.topological_sort()
    assert (find.task_id, run.task_id) == ("find", "replay")
    assert run.upstream_task_ids == {"find"}
    assert run.trigger_rule == "all_success"
    assert run.max_active_tis_per_dagrun == 1
    assert replay.max_active_runs == 1


def test_each_window_that_was_found_becomes_a_task(replay: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    task = replay.get_task("replay").unmap({"start": "2026-11-20T15", "end": "2026-11-20T18"})
    assert isinstance(task, ReplayOperator)
    assert (task.task_id, task.start, task.end) == ("replay", "2026-11-20T15", "2026-11-20T18")
    assert task.execution_timeout == WINDOW_TIMEOUT
    read_back = DagSerialization.from_dict(DagSerialization.to_dict(replay))
    assert read_back.get_task("replay").is_mapped
    assert not read_back.get_task("find").is_mapped


def test_it_runs_only_when_somebody_asks(replay: Any) -> None:
    assert replay.timetable.can_be_scheduled is False


def test_every_replayed_window_updates_the_assets_of_the_published_tables(replay: Any) -> None:
    find, run = replay.topological_sort()
    assert find.outlets == []
    assert [outlet.name for outlet in run.outlets] == [
        *(f"x-flowlake://flowlake/{table}" for table in PUBLISHED_TABLES),
        RESTATEMENTS,
    ]


def test_a_run_is_a_dry_run_over_everything_unless_it_is_told_otherwise(replay: Any) -> None:
    assert {name: replay.params.get_param(name).resolve() for name in replay.params} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from_hour", "20.11.2026"),
        ("to_hour", "2026-11-20T12:30"),
        ("flow_log", "vpc-1"),
        ("reason", "x' or true"),
        ("dry_run", "no"),
    ],
)
def test_a_parameter_that_can_mean_nothing_is_refused_before_the_run(replay: Any, name: str, value: str) -> None:
    with pytest.raises(ParamValidationError):
        replay.params.get_param(name).resolve(value)


def test_parameters_are_a_selection() -> None:
    assert selection_of(DEFAULTS) == Selection()
    start, end = Window.parse("2026-11-20T00", "2026-11-20T13").start, WINDOWS[0].end
    given = {"from_hour": "2026-11-20", "to_hour": "2026-11-20T13", "flow_log": "fl-1", "reason": "truncated"}
    assert selection_of({**DEFAULTS, **given}) == Selection(start, end, "fl-1", "truncated")
    for wrong in ({"from_hour": "2026-13-20"}, {"from_hour": "2026-11-20", "to_hour": "2026-11-20"}):
        with pytest.raises(AirflowFailException):
            selection_of({**DEFAULTS, **wrong})


class TestFind:
    def _find(self, monkeypatch: pytest.MonkeyPatch, planned: list[PlannedReplay], **params: Any) -> tuple[Any, Any]:
        pushed: dict[str, Any] = {}
        monkeypatch.setattr(quarantine, "plan_replay", lambda settings, selection: planned)
        operator = FindQuarantinedOperator(task_id="find")
        context = {"params": {**DEFAULTS, **params}, "ti": SimpleNamespace(xcom_push=pushed.__setitem__)}
        return operator.execute.__wrapped__(operator, context), pushed["report"]  # type: ignore[attr-defined]

    @pytest.mark.usefixtures("config")
    def test_gives_the_windows_to_the_task_that_runs_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        windows, _ = self._find(monkeypatch, PLANNED, dry_run=False)
        assert windows == [
            {"start": "2026-11-20T12", "end": "2026-11-20T13"},
            {"start": "2026-11-20T15", "end": "2026-11-20T18"},
        ]

    @pytest.mark.usefixtures("config")
    def test_in_a_dry_run_only_says_what_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        windows, report = self._find(monkeypatch, PLANNED)
        assert windows == []
        assert report[1] == {
            "window": "2026-11-20T15/2026-11-20T18",
            "objects": 1,
            "lines": 2,
            "bytes": 30,
            "read_objects": 4,
            "read_lines": 500,
            "read_bytes": 6000,
        }

    @pytest.mark.usefixtures("config")
    def test_with_nothing_to_do_gives_no_window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self._find(monkeypatch, [], dry_run=False) == ([], [])

    def test_wrong_settings_fail_without_a_retry(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config.write_text("nonsense: 1\n")
        with pytest.raises(AirflowFailException, match="nonsense"):
            self._find(monkeypatch, PLANNED)


class TestReplay:
    def _replay(self, monkeypatch: pytest.MonkeyPatch, outcome: Replayed | Exception) -> tuple[list[RunContext], Any]:
        seen: list[RunContext] = []

        def replay_window(context: RunContext) -> Replayed:
            seen.append(context)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(quarantine, "replay_window", replay_window)
        operator = ReplayOperator(task_id="replay", start="2026-11-20T15", end="2026-11-20T18")
        self.events = OutletEventAccessors()
        # A run without a schedule has no data interval.
        ti = SimpleNamespace(xcom_push=lambda key, value: self.pushed.update({key: value}))
        self.pushed: dict[str, Any] = {}
        context = {"params": DEFAULTS, "run_id": "manual__1", "outlet_events": self.events, "ti": ti}
        return seen, operator.execute.__wrapped__(operator, context)  # type: ignore[attr-defined] # Airflow wraps it

    def test_runs_its_window_as_a_run_of_its_own(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        restated = Restatement(
            *("fct_edges", WINDOWS[1].start.replace(tzinfo=None), Why.REPLAY, "r1", "2026-11-20T15", "2026-11-20T18"),
            *(1, 3, 300, 1, 4, 400),
        )
        replayed = Replayed(WINDOWS[1], ("s3://b/one", "s3://b/two"), ("s3://b/gone",), 7, 1, 5, restated=(restated,))
        [context], values = self._replay(monkeypatch, replayed)
        assert (context.window, context.run_id) == (WINDOWS[1], "manual__1_2026-11-20T15")
        assert context.settings.config_path == config
        assert context.accept_missing is False
        assert self.events[published_assets()[0]].extra["restated_hours"] == {"replay": 1}
        assert len(self.events[AssetAlias(RESTATEMENTS)].asset_alias_events) == 1
        assert values == {
            "window": "2026-11-20T15/2026-11-20T18",
            "freed_objects": 2,
            "left_objects": 1,
            "freed_lines": 7,
            "still_objects": 1,
            "still_lines": 5,
        }

    @pytest.mark.usefixtures("config")
    def test_tells_nobody_of_what_readers_do_not_see_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A task that is skipped has no asset events; what came of it can be read all the same."""
        blocked = HoursBlock([("2026-11-20T13", "building", "scheduled__1")])
        with pytest.raises(AirflowSkipException, match=r"not shown yet: .*2026-11-20T13"):
            self._replay(monkeypatch, Replayed(WINDOWS[1], (), (), 7, 0, 0, held_back=blocked))
        assert self.pushed["return_value"]["freed_lines"] == 7

    @pytest.mark.usefixtures("config")
    @pytest.mark.parametrize("error", [GateFailed("3 lines are lost"), SettingsError("missing"), BudgetError("spent")])
    def test_does_not_retry_what_a_repetition_cannot_cure(
        self, monkeypatch: pytest.MonkeyPatch, error: FlowlakeError
    ) -> None:
        with pytest.raises(AirflowFailException, match=str(error)):
            self._replay(monkeypatch, error)

    @pytest.mark.usefixtures("config")
    def test_leaves_every_other_error_to_the_retries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(OSError, match="disk full"):
            self._replay(monkeypatch, OSError("disk full"))
