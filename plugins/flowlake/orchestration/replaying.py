"""The replay of what is quarantined, as Airflow tasks: which hours there are, then a task for each window of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Param  # noqa: TID253 - this package is where Airflow is imported
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException  # noqa: TID253 - likewise

from flowlake.errors import BudgetError
from flowlake.lake.objects import shown
from flowlake.lake.windows import Window, WindowError, parse_hour
from flowlake.orchestration.assets import publishing_outlets, tell, told
from flowlake.orchestration.connections import use_athena_connection
from flowlake.orchestration.operators import WINDOW_TIMEOUT, StepOperator, quieten, run_context
from flowlake.settings import SettingsError, load_settings
from flowlake.steps import GateFailed

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flowlake.quarantine import Selection

_HOUR = r"^\d{4}-\d{2}-\d{2}(T\d{2})?$"

REPLAY_PARAMS: dict[str, Param] = {
    "from_hour": Param(
        default=None,
        type=["null", "string"],
        pattern=_HOUR,
        title="From",
        description="The first arrival hour, as 2026-11-20T12 or 2026-11-20, in UTC; empty: the first there is.",
    ),
    "to_hour": Param(
        default=None,
        type=["null", "string"],
        pattern=_HOUR,
        title="To",
        description="The hour to stop before; empty: none.",
    ),
    "flow_log": Param(
        default=None,
        type=["null", "string"],
        pattern="^fl-[0-9A-Za-z]+$",
        title="Flow log",
        description="Only hours in which something of this flow log is quarantined; empty: of any.",
    ),
    "reason": Param(
        default=None,
        type=["null", "string"],
        pattern="^[a-z_]+$",
        title="Reason",
        description="Only hours in which something is quarantined for this reason; empty: for any.",
    ),
    "dry_run": Param(
        default=True,
        type="boolean",
        title="Dry run",
        description="Say which hours would run, and how much they hold; run nothing.",
    ),
}
"""What a replay may be asked for; it says what it would do unless it is told to do it."""


def selection_of(params: Mapping[str, Any]) -> Selection:
    """What the parameters of a run select. Raises AirflowFailException where they select nothing possible."""
    from flowlake.quarantine import Selection
    from flowlake.querying import QueryError

    try:
        first, end = (
            parse_hour(f"{text}T00" if len(text) == len("2026-11-20") else text) if text else None
            for text in (params["from_hour"], params["to_hour"])
        )
        return Selection(first, end, params["flow_log"] or None, params["reason"] or None)
    except (QueryError, WindowError) as error:
        raise AirflowFailException(str(error)) from error


class FindQuarantinedOperator(BaseOperator):
    """Says which windows hold what the run's parameters select, and how much.

    Returns the windows to run, for the task that runs them: none in a dry run. The numbers stand in the log, and in the
    XCom `report`.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#f0ece8"

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Look into the tables; nothing is changed."""
        from flowlake.quarantine import plan_replay

        quieten()
        selection = selection_of(context["params"])
        try:
            settings = load_settings()
            use_athena_connection(settings)
        except SettingsError as error:
            raise AirflowFailException(str(error)) from error
        planned = plan_replay(settings, selection)
        report = [{**asdict(one), "window": str(one.window)} for one in planned]
        for one in report:
            self.log.info(
                "%(window)s: %(objects)d objects, %(lines)d lines, %(bytes)d bytes are quarantined; "
                "%(read_objects)d objects, %(read_lines)d lines, %(read_bytes)d bytes are read",
                one,
            )
        if not planned:
            self.log.info("nothing that is quarantined matches: there is nothing to replay")
        context["ti"].xcom_push("report", report)
        if context["params"]["dry_run"]:
            self.log.info("a dry run: nothing is run")
            return []
        return [dict(zip(("start", "end"), str(one.window).split("/"), strict=True)) for one in planned]


class ReplayOperator(StepOperator):
    """Runs all steps over one window, as an hourly run does; returns what came free and what is still quarantined."""

    def __init__(self, *, start: str, end: str, **kwargs: Any) -> None:
        """Take the window's hours, as text; everything else is Airflow's."""
        super().__init__(step="replay", **kwargs)
        self.start = start
        self.end = end

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the steps, which log what they handle; log and return what came of it.

        It is skipped when hours of other runs keep readers from seeing it yet, so that nobody is told of it: the run
        whose publish shows it tells of it.
        """
        from flowlake.quarantine import replay_window

        quieten()
        try:
            run = run_context(context, Window.parse(self.start, self.end))
            # A run of its own for the account of what it costs: each window may cost what an hourly run may.
            replayed = replay_window(replace(run, run_id=f"{run.run_id}_{self.start}"))
        except (BudgetError, GateFailed, SettingsError) as error:
            raise AirflowFailException(str(error)) from error
        for uri in replayed.freed_objects:
            self.log.info("came free: %s", shown(uri))
        for uri in replayed.left_objects:
            self.log.info("in these hours no more, replaced or removed at the source: %s", shown(uri))
        tell(context["outlet_events"], told(replayed.window, replayed.restated))
        values = {
            "window": str(replayed.window),
            "freed_objects": len(replayed.freed_objects),
            "left_objects": len(replayed.left_objects),
            "freed_lines": replayed.freed_lines,
            "still_objects": replayed.still_objects,
            "still_lines": replayed.still_lines,
        }
        self.log.info("%s", values)
        if replayed.held_back is not None:
            self.log.warning("the rows are written, and not shown yet: %s", replayed.held_back)
            context["ti"].xcom_push("return_value", values)
            raise AirflowSkipException(f"not shown yet: {replayed.held_back}")
        return values


def replay_tasks() -> None:
    """Which windows there are, then a task for each, one after the other; none where there is nothing to do."""
    find = FindQuarantinedOperator(
        task_id="find", doc_md="say which hours hold what is selected, and how much; change nothing"
    )
    ReplayOperator.partial(
        task_id="replay",
        doc_md="run all steps of an hourly run over a window of these hours; one mapped task for each window",
        execution_timeout=WINDOW_TIMEOUT,
        outlets=publishing_outlets(),
        max_active_tis_per_dagrun=1,
    ).expand_kwargs(find.output)
