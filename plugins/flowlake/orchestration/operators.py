"""What flowlake does, as Airflow tasks.

A step of a run: the data interval becomes the arrival window, the rest is `flowlake.steps`. Maintenance. And a bulk
backfill, a task for each of its windows.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped] # it ships no types
from airflow.sdk import BaseOperator  # noqa: TID253 - this package is where Airflow is imported
from airflow.sdk.bases.operator import chain  # noqa: TID253 - likewise
from airflow.sdk.configuration import conf  # noqa: TID253 - likewise
from airflow.sdk.exceptions import (  # noqa: TID253 - likewise
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from flowlake.errors import BudgetError
from flowlake.lake.objects import shown
from flowlake.lake.windows import Window, WindowError
from flowlake.orchestration.assets import publishing_outlets, tell, told, told_together
from flowlake.orchestration.connections import s3_client_factory, use_athena_connection
from flowlake.settings import SettingsError, load_settings
from flowlake.steps import STEPS, GateFailed, RunContext, Step, StepReport, run_step

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flowlake.lake.maintain import MaintenanceReport

ACCEPT_MISSING = "accept_missing"
"""The run parameter that lets `register` go on when objects that it saw before are gone."""

DRY_RUN_ONLY = "dry_run_only"
"""The run parameter that ends maintenance after its dry run."""

FROM, TO, WINDOW_SIZE, DRY_RUN, AGAIN = "from", "to", "window", "dry_run", "again"
"""The run parameters of a backfill, beside ACCEPT_MISSING."""

PLAN_TASK, WINDOWS_TASK = "plan", "windows"

WINDOW_TIMEOUT = timedelta(days=1)
"""For all steps of a window that may be a month, and the wait for another run before it."""

_LOOK_AGAIN = timedelta(seconds=30)
"""How soon a window looks again whether those before it are over."""

PUBLISHING_STEP = "publish"
"""The step whose success says that the published tables are new."""

_HOUR = timedelta(hours=1)


def window_of(context: Context, now: datetime | None = None) -> Window:
    """The arrival window of a run: its data interval.

    A run triggered without a logical date has no data interval; it takes the last whole hour before it was due.
    Raises WindowError for an interval that is no window, AirflowFailException when the window is not over yet: objects
    could still arrive in it, and a run that read half an hour must not count as that hour's run.
    """
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is not None and end is not None:
        window = Window(start, end)
    else:
        due = context["dag_run"].run_after.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        window = Window(due - _HOUR, due)
    try:
        window.require_over(now)
    except WindowError as error:
        raise AirflowFailException(str(error)) from error
    return window


def report_values(report: StepReport) -> dict[str, Any]:
    """A report as plain values for XCom.

    Details become printable text: XCom must never depend on what a step puts there. PostgreSQL refuses a NUL in it.
    """
    return {
        "step": report.step,
        "seconds": round(report.seconds, 3),
        "objects": report.objects,
        "lines": report.lines,
        "records": report.records,
        "bytes": report.bytes,
        "details": {shown(str(name)): shown(str(value)) for name, value in report.details.items()},
    }


class _Stoppable(BaseOperator):
    """A task that runs steps, which have child processes."""

    template_fields: Sequence[str] = ()

    def on_kill(self) -> None:
        """End the step when Airflow ends its task: dbt runs as a child process, and it must not outlive the task."""
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        if isinstance(sys.exception(), AirflowTaskTimeout):
            return
        # Airflow calls this from its signal handler and would go on with the step as if nothing had been said.
        message = f"The task {self.task_id} was stopped."
        raise AirflowException(message)


class StepOperator(_Stoppable):
    """Runs one step of `flowlake.steps` over the run's arrival window.

    An error of flowlake that a repetition cannot cure (a failed gate, wrong settings), or would pay for again (a spent
    budget), fails the task at once; every other error is left to the retries. Returns the step's numbers, which Airflow
    keeps as the task's XCom.
    """

    ui_color = "#e8f0ea"

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        """Take the name of a step; everything else is Airflow's."""
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step, which logs what it handled; log its details; return its numbers."""
        quieten()
        window = window_of(context)
        try:
            report = run_step(self.step, run_context(context, window))
        except (BudgetError, GateFailed, SettingsError) as error:
            raise AirflowFailException(str(error)) from error
        for name, value in report.details.items():
            self.log.info("%s: %s", name, shown(str(value)))
        if self.step == PUBLISHING_STEP:
            tell(context["outlet_events"], told(window, report.restated))
        return report_values(report)


def run_context(context: Context, window: Window) -> RunContext:
    """What the steps of a task's window need. Raises SettingsError."""
    settings = load_settings()
    use_athena_connection(settings)
    return RunContext(
        settings=settings,
        window=window,
        run_id=context["run_id"],
        s3_client=s3_client_factory(settings),
        accept_missing=bool(context["params"].get(ACCEPT_MISSING, False)),
    )


def maintenance_values(report: MaintenanceReport) -> dict[str, Any]:
    """A report as plain values for XCom: of each kind what was found and done, and where the pins are."""
    found = {
        finding.kind.name.lower(): {"count": finding.count, "bytes": finding.bytes, "done": finding.done}
        for finding in report.findings
    }
    return {"dry_run": report.dry_run, "found": found, "pins": report.pins}


class MaintenanceOperator(BaseOperator):
    """Runs `flowlake.lake.maintain`, or only says what it would do.

    Returns what was found and done, which Airflow keeps as the task's XCom. Killed at any moment it leaves the rest to
    the next one.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#e8ecf0"

    def __init__(self, *, dry_run: bool, **kwargs: Any) -> None:
        """Whether nothing is to be changed; everything else is Airflow's."""
        super().__init__(**kwargs)
        # Not `dry_run`: Airflow's operators have a method of that name.
        self.only_reports = dry_run

    def execute(self, context: Context) -> dict[str, Any]:
        """Maintain the lake, log what was found and done, return it."""
        from flowlake.lake.maintain import maintain

        if not self.only_reports and context["params"].get(DRY_RUN_ONLY, False):
            message = f"{DRY_RUN_ONLY} was asked for: nothing is changed"
            raise AirflowSkipException(message)
        quieten()
        try:
            settings = load_settings()
            use_athena_connection(settings)
            report = maintain(settings, dry_run=self.only_reports)
        except (BudgetError, SettingsError) as error:
            raise AirflowFailException(str(error)) from error
        for finding in report.findings:
            size = "" if finding.bytes is None else f", {finding.bytes:,} bytes"
            done = "" if finding.done is None else f", done {finding.done:,}"
            self.log.info("%s: %d%s%s", finding.kind, finding.count, size, done)
        self.log.info("published views: %s", report.pins)
        return maintenance_values(report)


def range_of(context: Context) -> Window:
    """The range that a backfill was asked for. Raises WindowError when it is none."""
    moments = []
    for name in (FROM, TO):
        text = str(context["params"][name])
        try:
            moments.append(datetime.fromisoformat(text))
        except ValueError as error:
            message = f"{name} is no time: {text!r}; write it as 2026-11-20T00:00:00Z"
            raise WindowError(message) from error
    return Window(*moments)


class BackfillPlanOperator(BaseOperator):
    """Says what there is to run in the range of a backfill; changes nothing.

    Returns the windows, as text, for each of which a task is made: none where only the dry run was asked for. What was
    found of each is the XCom `plan`.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#f0ece8"

    def execute(self, context: Context) -> list[str]:
        """Look at every window, and log what there is to do."""
        from flowlake.backfill import named, plan

        quieten()
        params = context["params"]
        try:
            run = run_context(context, range_of(context))
            planned = plan(run, str(params[WINDOW_SIZE]), again=bool(params[AGAIN]))
        except (SettingsError, WindowError) as error:
            raise AirflowFailException(str(error)) from error
        for look in planned.looks:
            what = "done" if look.is_done else "to run"
            counts = f"{look.objects:,} objects, {look.bytes:,} bytes, {len(look.flow_logs):,} flow logs"
            self.log.info("%s: %s; %s: %s", named(look.window), counts, what, look.reason)
        self.log.info("%s", planned)
        values = [
            {
                "window": str(look.window),
                "objects": look.objects,
                "bytes": look.bytes,
                "flow_logs": len(look.flow_logs),
                "is_done": look.is_done,
                "reason": look.reason,
            }
            for look in planned.looks
        ]
        context["ti"].xcom_push(key=PLAN_TASK, value={"summary": str(planned), "windows": values})
        if params[DRY_RUN]:
            self.log.info("%s is set: nothing is run", DRY_RUN)
            return []
        most = conf.getint("core", "max_map_length", fallback=1024)
        if len(planned.looks) > most:
            message = (
                f"{len(planned.looks):,} windows are more than the {most:,} tasks that Airflow makes of one "
                "([core] max_map_length): take larger windows, or a part of the range"
            )
            raise AirflowFailException(message)
        return [str(look.window) for look in planned.looks]


class BackfillWindowOperator(_Stoppable):
    """Runs all steps over one window of a backfill, when those before it are over, unless it is done.

    Behind a window that failed it is skipped. Returns what became of it, which Airflow keeps as the task's XCom.
    """

    ui_color = "#e8f0ea"

    def __init__(self, *, window: str, **kwargs: Any) -> None:
        """Take the window as text; everything else is Airflow's."""
        super().__init__(**kwargs)
        self.window = window

    @property
    def window_name(self) -> str:
        """The window as it stands in the list of tasks."""
        from flowlake.backfill import named

        return named(Window.parse(*self.window.split("/")))

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait for its turn, run the window, return its numbers."""
        from flowlake.backfill import fill, window_context

        number = (context["ti"].map_index or 0) + 1
        self._await_turn(number, _window_states(context))
        quieten()
        try:
            run = run_context(context, Window.parse(*self.window.split("/")))
            filled = fill(window_context(run, run.window, number), again=bool(context["params"][AGAIN]))
        except (BudgetError, GateFailed, SettingsError) as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("%s: %s", "run" if filled.ran else "skipped", filled.look.reason)
        if filled.held_back is not None:
            self.log.warning("not shown yet: %s", filled.held_back)
        return {
            "window": self.window,
            "ran": filled.ran,
            "reason": filled.look.reason,
            "seconds": round(filled.seconds, 3),
            "steps": [report_values(report) for report in filled.reports],
            "told": told(run.window, [one for report in filled.reports for one in report.restated]),
        }

    def _await_turn(self, number: int, states: Mapping[int, str | None]) -> None:
        earlier = {other: state for other, state in states.items() if other < number}
        failed = [other for other, state in earlier.items() if state in ("failed", "upstream_failed")]
        if failed:
            message = f"window {min(failed)} failed: cure it, then clear the task {WINDOWS_TASK}, all of it"
            raise AirflowSkipException(message)
        waited_for = [other for other, state in earlier.items() if state not in ("success", "skipped")]
        if waited_for:
            self.log.info("window %d is not over: looking again in %s", min(waited_for), _LOOK_AGAIN)
            # Airflow leaves this one untyped.
            raise AirflowRescheduleException(datetime.now(UTC) + _LOOK_AGAIN)  # type: ignore[no-untyped-call]


def _window_states(context: Context) -> dict[int, str | None]:
    """The state of the task of each window, by its number from 1."""
    ti = context["ti"]
    run_id = context["run_id"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[WINDOWS_TASK], run_ids=[run_id]).get(run_id, {})
    return {int(name.rpartition("_")[2]) + 1: state for name, state in states.items() if name != WINDOWS_TASK}


class BackfillPublishOperator(_Stoppable):
    """Sees that readers see every window of a backfill. Returns the step's numbers."""

    ui_color = "#e8f0ea"

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, unless it was a dry run, or windows were left out."""
        from flowlake.backfill import publish

        windows = context["ti"].xcom_pull(task_ids=PLAN_TASK)
        if not windows:
            raise AirflowSkipException("nothing was to be run")
        left_out = sorted(number for number, state in _window_states(context).items() if state == "skipped")
        if left_out:
            message = (
                f"{len(left_out)} of {len(windows)} windows were left out, the first is number {left_out[0]}: "
                f"clear the task {WINDOWS_TASK}, all of it; what is done is not done again"
            )
            raise AirflowFailException(message)
        quieten()
        last = Window.parse(*windows[-1].split("/"))
        try:
            report = publish(run_context(context, last))
        except (BudgetError, SettingsError) as error:
            raise AirflowFailException(str(error)) from error
        done = context["ti"].xcom_pull(task_ids=WINDOWS_TASK)
        # Airflow gives the value of a single window by itself.
        # A window that ran before an upgrade may have told nothing.
        parts = [one["told"] for one in ([done] if isinstance(done, Mapping) else done) if "told" in one]
        whole = Window(Window.parse(*windows[0].split("/")).start, last.end)
        tell(context["outlet_events"], told_together(whole, [*parts, told(last, report.restated)]))
        return report_values(report)


def quieten() -> None:
    """Keep other packages' chatter out of the tasks' logs: Airflow shows everything from INFO on, of everyone."""
    for name in ("great_expectations", "botocore", "boto3", "s3transfer"):
        logging.getLogger(name).setLevel(logging.WARNING)


def step_task(step: Step) -> StepOperator:
    """The task of a step, in the DAG that is being built."""
    return StepOperator(
        task_id=step.name,
        step=step.name,
        doc_md=step.summary,
        outlets=publishing_outlets() if step.name == PUBLISHING_STEP else [],
    )


def step_tasks() -> list[StepOperator]:
    """The tasks of all steps, one after the other, in the order in which `flowlake.steps` lists them."""
    tasks = [step_task(step) for step in STEPS]
    chain(*tasks)
    return tasks


def maintenance_tasks() -> list[MaintenanceOperator]:
    """A dry run, whose report stands in its log and XCom, then maintenance itself."""
    tasks = [
        MaintenanceOperator(
            task_id="dry_run", dry_run=True, doc_md="count what there is to merge, expire and remove; change nothing"
        ),
        MaintenanceOperator(
            task_id="maintain",
            dry_run=False,
            doc_md="merge small files, move the pins to them, expire versions, remove files that nothing needs",
        ),
    ]
    chain(*tasks)
    return tasks


def backfill_tasks() -> None:
    """A plan, which is all of a dry run; then one task per window, oldest first; then what shows readers all of it."""
    planned = BackfillPlanOperator(
        task_id=PLAN_TASK, doc_md="list every window and say what there is to run; all of a dry run"
    )
    windows = BackfillWindowOperator.partial(
        task_id=WINDOWS_TASK,
        doc_md="one task per window, one at a time, oldest first: all steps, unless the window is done",
        execution_timeout=WINDOW_TIMEOUT,
        max_active_tis_per_dagrun=1,
        map_index_template="{{ task.window_name }}",
    ).expand(window=planned.output)
    shown = BackfillPublishOperator(
        task_id=PUBLISHING_STEP,
        doc_md="see that readers see all windows",
        outlets=publishing_outlets(),
        trigger_rule="none_failed",
    )
    chain(windows, shown)
