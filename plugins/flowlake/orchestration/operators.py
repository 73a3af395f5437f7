"""What flowlake does, as Airflow tasks.

A step of a run: the data interval becomes the arrival window, the rest is `flowlake.steps`. And maintenance.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped] # it ships no types
from airflow.sdk import BaseOperator  # noqa: TID253 - this package is where Airflow is imported
from airflow.sdk.bases.operator import chain  # noqa: TID253 - likewise
from airflow.sdk.exceptions import (  # noqa: TID253 - likewise
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from flowlake.errors import BudgetError
from flowlake.lake.windows import Window, WindowError
from flowlake.orchestration.assets import published_assets
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
    """A report as plain values for XCom. Details become text: XCom must never depend on what a step puts there."""
    return {
        "step": report.step,
        "seconds": round(report.seconds, 3),
        "objects": report.objects,
        "lines": report.lines,
        "records": report.records,
        "bytes": report.bytes,
        "details": {str(name): str(value) for name, value in report.details.items()},
    }


class StepOperator(BaseOperator):
    """Runs one step of `flowlake.steps` over the run's arrival window.

    An error of flowlake that a repetition cannot cure (a failed gate, wrong settings), or would pay for again (a spent
    budget), fails the task at once; every other error is left to the retries. Returns the step's numbers, which Airflow
    keeps as the task's XCom.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#e8f0ea"

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        """Take the name of a step; everything else is Airflow's."""
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step, which logs what it handled; log its details; return its numbers."""
        quieten()
        try:
            report = run_step(self.step, self._run_context(context))
        except (BudgetError, GateFailed, SettingsError) as error:
            raise AirflowFailException(str(error)) from error
        for name, value in report.details.items():
            self.log.info("%s: %s", name, value)
        return report_values(report)

    def on_kill(self) -> None:
        """End the step when Airflow ends its task: dbt runs as a child process, and it must not outlive the task."""
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        if isinstance(sys.exception(), AirflowTaskTimeout):
            return
        # Airflow calls this from its signal handler and would go on with the step as if nothing had been said.
        message = f"The step {self.step} was stopped."
        raise AirflowException(message)

    def _run_context(self, context: Context, window: Window | None = None) -> RunContext:
        settings = load_settings()
        use_athena_connection(settings)
        return RunContext(
            settings=settings,
            window=window or window_of(context),
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
        except SettingsError as error:
            raise AirflowFailException(str(error)) from error
        for finding in report.findings:
            size = "" if finding.bytes is None else f", {finding.bytes:,} bytes"
            done = "" if finding.done is None else f", done {finding.done:,}"
            self.log.info("%s: %d%s%s", finding.kind, finding.count, size, done)
        self.log.info("published views: %s", report.pins)
        return maintenance_values(report)


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
        outlets=published_assets() if step.name == PUBLISHING_STEP else [],
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
