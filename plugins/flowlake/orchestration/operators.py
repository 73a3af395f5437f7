"""A step of a run as an Airflow task: the data interval becomes the arrival window, the rest is `flowlake.steps`."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped] # it ships no types
from airflow.sdk import BaseOperator  # noqa: TID253 - this package is where Airflow is imported
from airflow.sdk.bases.operator import chain  # noqa: TID253
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout  # noqa: TID253

from flowlake.lake.windows import Window, WindowError
from flowlake.orchestration.assets import published_assets
from flowlake.orchestration.connections import s3_client_factory
from flowlake.settings import SettingsError, load_settings
from flowlake.steps import STEPS, GateFailed, RunContext, Step, StepReport, run_step

if TYPE_CHECKING:
    from airflow.sdk import Context

ACCEPT_MISSING = "accept_missing"
"""The run parameter that lets `register` go on when objects that it saw before are gone."""

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

    An error of flowlake that a repetition cannot cure (a failed gate, wrong settings) fails the task at once; every
    other error is left to the retries. Returns the step's numbers, which Airflow keeps as the task's XCom.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#e8f0ea"

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        """Take the name of a step; everything else is Airflow's."""
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step, which logs what it handled; log its details; return its numbers."""
        _quieten()
        try:
            report = run_step(self.step, self._run_context(context))
        except (GateFailed, SettingsError) as error:
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

    def _run_context(self, context: Context) -> RunContext:
        settings = load_settings()
        return RunContext(
            settings=settings,
            window=window_of(context),
            run_id=context["run_id"],
            s3_client=s3_client_factory(settings),
            accept_missing=bool(context["params"].get(ACCEPT_MISSING, False)),
        )


def _quieten() -> None:
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
