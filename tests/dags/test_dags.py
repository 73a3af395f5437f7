"""The DAGs as Airflow sees them: which, how wired, with which manuals and parameters."""

from __future__ import annotations

import ast
import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.sdk import AssetAlias

from flowlake.orchestration.assets import PUBLISHED_TABLES, RESTATEMENTS
from flowlake.orchestration.defaults import DEFAULT_ARGS, HOURLY_DAG, Tag, max_active_runs
from flowlake.orchestration.operators import FROM, TO, WINDOW_TIMEOUT, WINDOWS_TASK
from flowlake.steps import STEPS

DAGS = {"flow_logs_backfill", "flow_logs_hourly", "flow_logs_maintenance", "flow_logs_replay"}


def test_every_file_imports_and_gives_exactly_these_dags(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == DAGS
    assert HOURLY_DAG in DAGS


def test_every_dag_file_gives_a_dag(dag_bag: Any, project: Path) -> None:
    files = {path.name for path in (project / "dags").glob("*.py")}
    assert files == {Path(dag.fileloc).name for dag in dag_bag.dags.values()}


def test_airflow_takes_nothing_under_plugins_for_a_plugin(project: Path) -> None:
    from airflow._shared.module_loading import find_path_from_directory

    assert list(find_path_from_directory(str(project / "plugins"), ".airflowignore", "glob")) == []


@pytest.mark.parametrize("dag_id", sorted(DAGS))
class TestEveryDag:
    def test_shows_its_docstring_as_its_manual(self, dag_bag: Any, dag_id: str) -> None:
        dag = dag_bag.dags[dag_id]
        docstring = ast.get_docstring(ast.parse(Path(dag.fileloc).read_text()), clean=False)
        assert dag.doc_md == docstring
        for chapter in ("Who runs it", "Parameters", "A worked example", "When it fails"):
            assert f"**{chapter}.**" in dag.doc_md

    def test_has_only_tags_of_the_closed_list(self, dag_bag: Any, dag_id: str) -> None:
        assert dag_bag.dags[dag_id].tags
        assert set(dag_bag.dags[dag_id].tags) <= set(Tag)

    def test_uses_the_shared_default_arguments(self, dag_bag: Any, dag_id: str) -> None:
        dag = dag_bag.dags[dag_id]
        assert dag.default_args == DEFAULT_ARGS
        for task in dag.tasks:
            assert task.retries == 2
            assert task.execution_timeout == (
                WINDOW_TIMEOUT if task.task_id in (WINDOWS_TASK, "replay") else timedelta(hours=2)
            )
            assert task.on_failure_callback == DEFAULT_ARGS["on_failure_callback"]

    def test_has_typed_params_with_descriptions_and_valid_defaults(self, dag_bag: Any, dag_id: str) -> None:
        dag = dag_bag.dags[dag_id]
        for name in dag.params:
            param = dag.params.get_param(name)
            assert "type" in param.schema, name
            assert param.description, name
            assert f"`{name}`" in dag.doc_md
            if param.has_value or "null" in param.schema["type"]:
                param.resolve()
            else:
                assert dag_id == "flow_logs_backfill"
                assert name in (FROM, TO)

    def test_is_paused_when_new_and_does_not_catch_up(self, dag_bag: Any, dag_id: str) -> None:
        dag = dag_bag.dags[dag_id]
        assert dag.is_paused_upon_creation is True
        assert dag.catchup is False


def test_a_retry_waits_longer_each_time() -> None:
    assert DEFAULT_ARGS["retry_delay"] == timedelta(minutes=1)
    assert DEFAULT_ARGS["retry_exponential_backoff"] == 2.0
    assert DEFAULT_ARGS["max_retry_delay"] >= DEFAULT_ARGS["retry_delay"]


def test_failures_are_logged_before_anyone_is_called() -> None:
    from flowlake.orchestration.alerts import FAILURE_CALLBACKS, log_failure

    assert DEFAULT_ARGS["on_failure_callback"] is FAILURE_CALLBACKS
    assert FAILURE_CALLBACKS[0] is log_failure


def test_no_text_of_a_task_is_a_template(dag_bag: Any) -> None:
    """A key or a line that came there would be evaluated."""
    tasks = [task for dag in dag_bag.dags.values() for task in dag.tasks]
    assert {task.task_id: tuple(task.template_fields) for task in tasks if task.template_fields} == {}
    # The name of a window in a backfill's list, which is made of times.
    names = {getattr(task, "map_index_template", None) for task in tasks}
    assert names == {None, "{{ task.window_name }}"}


def test_the_hourly_tasks_are_the_steps_in_their_order(hourly: Any) -> None:
    names = [step.name for step in STEPS]
    assert [task.task_id for task in hourly.topological_sort()] == names
    for index, name in enumerate(names):
        assert hourly.get_task(name).get_flat_relative_ids(upstream=True) == set(names[:index])
        assert hourly.get_task(name).trigger_rule == "all_success"


def test_nothing_is_built_before_its_gate_and_published_only_after_both(hourly: Any) -> None:
    upstream = {task.task_id: task.get_flat_relative_ids(upstream=True) for task in hourly.tasks}
    assert "register" in upstream["build_staging"]
    assert "validate_staging" in upstream["build_marts"]
    assert {"validate_staging", "validate_marts"} <= upstream["publish"]


def test_one_run_at_a_time(hourly: Any) -> None:
    assert hourly.max_active_runs == 1  # what SQLite takes


def test_more_runs_at_a_time_are_a_number_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_MAX_ACTIVE_RUNS", "4")
    assert max_active_runs() == 4
    for wrong in ("0", "-1", "many"):
        monkeypatch.setenv("FLOWLAKE_MAX_ACTIVE_RUNS", wrong)
        with pytest.raises(ValueError, match="must be a number of runs"):
            max_active_runs()


def test_accept_missing_is_a_boolean_that_nothing_else_passes_for(hourly: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    param = hourly.params.get_param("accept_missing")
    assert param.resolve() is False
    assert param.resolve(True) is True
    with pytest.raises(ParamValidationError):
        param.resolve("yes")


def test_maintenance_says_what_it_would_do_before_it_does_it(dag_bag: Any) -> None:
    maintenance = dag_bag.dags["flow_logs_maintenance"]
    assert [task.task_id for task in maintenance.topological_sort()] == ["dry_run", "maintain"]
    dry_run, maintain = maintenance.topological_sort()
    assert (dry_run.only_reports, maintain.only_reports) == (True, False)
    assert maintain.upstream_task_ids == {"dry_run"}
    assert maintain.trigger_rule == "all_success"
    assert maintenance.max_active_runs == 1
    assert maintenance.params.get_param("dry_run_only").resolve() is False


class TestBackfill:
    @pytest.fixture
    def backfill(self, dag_bag: Any) -> Any:
        return dag_bag.dags["flow_logs_backfill"]

    def test_is_a_plan_then_a_task_for_each_window_then_publish(self, backfill: Any) -> None:
        assert [task.task_id for task in backfill.topological_sort()] == ["plan", "windows", "publish"]
        plan, windows, publish = backfill.topological_sort()
        assert (windows.upstream_task_ids, publish.upstream_task_ids) == ({"plan"}, {"windows"})
        assert windows.is_mapped
        assert windows.max_active_tis_per_dagrun == 1
        assert (windows.trigger_rule, publish.trigger_rule) == ("all_success", "none_failed")
        assert [outlet.name for outlet in publish.outlets] == [
            *(f"x-flowlake://flowlake/{it}" for it in PUBLISHED_TABLES),
            RESTATEMENTS,
        ]
        assert not plan.outlets
        assert not windows.outlets

    def test_is_started_by_hand_and_only_plans_unless_told_otherwise(self, backfill: Any) -> None:
        assert backfill.schedule is None
        assert backfill.max_active_runs == 1
        defaults = {name: backfill.params.get_param(name).resolve() for name in ("window", "dry_run", "again")}
        assert defaults == {"window": "day", "dry_run": True, "again": False}
        assert backfill.params.get_param("accept_missing").resolve() is False

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("from", "2026-11-20T00:00:00Z", "yesterday"),
            ("to", "2026-11-20T00:00:00+00:00", None),
            ("window", "6h", "week"),
            ("window", "month", "6h; drop"),
            ("dry_run", False, "no"),
        ],
    )
    def test_takes_only_what_its_parameters_are(self, backfill: Any, name: str, good: object, bad: object) -> None:
        from airflow.sdk.exceptions import ParamValidationError

        param = copy.deepcopy(backfill.params.get_param(name))  # it keeps what it has resolved
        assert param.resolve(good) == good
        with pytest.raises(ParamValidationError):
            param.resolve(bad)

    def test_has_a_range_that_nobody_chose_for_you(self, backfill: Any) -> None:
        from airflow.sdk.exceptions import ParamValidationError

        for name in ("from", "to"):
            with pytest.raises(ParamValidationError):
                backfill.params.get_param(name).resolve()


def test_only_publish_updates_the_assets_of_the_published_tables(hourly: Any) -> None:
    outlets = {task.task_id: list(task.outlets) for task in hourly.tasks}
    *published, restatements = outlets.pop("publish")
    assert [outlet.uri for outlet in published] == [f"x-flowlake://flowlake/{table}" for table in PUBLISHED_TABLES]
    assert restatements == AssetAlias(RESTATEMENTS), "an asset would have an event each time"
    assert not any(outlets.values())


def test_a_followers_plain_asset_is_the_same_asset(hourly: Any) -> None:
    from airflow.sdk import Asset

    assert Asset("x-flowlake://flowlake/fct_edges") in hourly.get_task("publish").outlets


class TestDataIntervals:
    """In Airflow 3 `@hourly` gives empty intervals; a run would have no window."""

    @pytest.fixture
    def scheduled(self, hourly: Any) -> Any:
        """The DAG as the scheduler reads it back from the database."""
        from airflow.serialization.serialized_objects import DagSerialization

        return DagSerialization.from_dict(DagSerialization.to_dict(hourly))

    def test_a_scheduled_run_gets_the_hour_before_it_is_due(self, scheduled: Any) -> None:
        from airflow.timetables.base import DataInterval, TimeRestriction

        before = DataInterval(pendulum.datetime(2024, 3, 5, 11), pendulum.datetime(2024, 3, 5, 12))
        info = scheduled.timetable.next_dagrun_info(
            last_automated_data_interval=before,
            restriction=TimeRestriction(earliest=scheduled.start_date, latest=None, catchup=True),
        )
        assert info.data_interval == DataInterval(before.end, pendulum.datetime(2024, 3, 5, 13))
        assert info.run_after == pendulum.datetime(2024, 3, 5, 13)

    def test_the_first_scheduled_run_is_the_last_whole_hour(self, scheduled: Any) -> None:
        from airflow.timetables.base import TimeRestriction

        info = scheduled.timetable.next_dagrun_info(
            last_automated_data_interval=None,
            restriction=TimeRestriction(earliest=scheduled.start_date, latest=None, catchup=False),
        )
        assert info.data_interval.end - info.data_interval.start == timedelta(hours=1)
        assert timedelta() <= datetime.now(tz=UTC) - info.data_interval.end < timedelta(hours=1, minutes=1)

    def test_a_manual_run_gets_the_last_whole_hour(self, scheduled: Any) -> None:
        interval = scheduled.timetable.infer_manual_data_interval(run_after=pendulum.datetime(2024, 3, 5, 5, 25))
        assert (interval.start, interval.end) == (pendulum.datetime(2024, 3, 5, 4), pendulum.datetime(2024, 3, 5, 5))

    def test_a_backfill_counts_its_end_in_and_skips_no_hour(self, scheduled: Any) -> None:
        infos = scheduled.iter_dagrun_infos_between(pendulum.datetime(2024, 3, 5, 22), pendulum.datetime(2024, 3, 6, 1))
        hours = [(info.data_interval.start.hour, info.data_interval.end.hour) for info in infos]
        assert hours == [(22, 23), (23, 0), (0, 1), (1, 2)]
