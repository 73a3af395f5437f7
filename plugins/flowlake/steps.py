"""The ordered steps of a run: one definition, walked by the DAG and by `flowlake run`.

Each step is a plain function of a run's context, idempotent on its own: repeated, it leaves the same rows. Heavy
imports stay inside the functions, because the DAG file imports this module whenever Airflow parses it.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from flowlake.lake.windows import Window
    from flowlake.quality.report import GateReport, Layer
    from flowlake.settings import Settings, Source

log = logging.getLogger(__name__)


class GateFailed(FlowlakeError):
    """A gate found errors: what people read stays as it was."""


@dataclass(frozen=True)
class RunContext:
    """What a step needs: the settings, the arrival window, and who asks."""

    settings: Settings
    window: Window
    run_id: str
    s3_client: Callable[[Source], Any] | None = None
    """Makes an S3 client for a source; None: boto3's usual credentials."""
    accept_missing: bool = False
    """Drop the rows of objects that were registered before and are gone from the source."""
    overtaken: tuple[str, ...] | None = None
    """The recorded overtaken hours (lake.overtaken), where the run has looked them up already."""


COUNTS = ("objects", "lines", "records", "bytes")
"""What a step may count, as its report and its log line name it."""


@dataclass(frozen=True)
class StepReport:
    """What a step did. Counts are None where a step has none of that kind."""

    step: str
    seconds: float = 0.0
    objects: int | None = None
    lines: int | None = None
    records: int | None = None
    bytes: int | None = None
    window: Window | None = None
    """What the step worked on: the window of its context, or its hull with the overtaken hours."""
    overtaken: tuple[str, ...] = ()
    """Arrival hours that are recorded as holding objects which were overwritten since."""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A named step; its summary stands in the DAG's documentation."""

    name: str
    summary: str
    run: Callable[[RunContext], StepReport]


def _register(context: RunContext) -> StepReport:
    from flowlake.lake.register import register

    context.window.require_over()
    report = register(
        context.settings, context.window, s3_client=context.s3_client, accept_missing=context.accept_missing
    )
    return StepReport(
        "register",
        objects=report.objects,
        lines=report.lines,
        bytes=report.bytes,
        window=report.window,
        overtaken=report.overtaken,
        details={"unreadable": report.unreadable, "problems": report.problems},
    )


def _build_staging(context: RunContext) -> StepReport:
    from flowlake import dbt
    from flowlake.lake.duck import connect
    from flowlake.lake.ledger import HourState, ensure_ledger, mark_hours
    from flowlake.lake.manifests import require_registered
    from flowlake.lake.overtaken import ensure_table
    from flowlake.lake.spool import ensure_spooled, unchanged

    require_registered(context.settings, context.window)
    ensure_spooled(context.settings, context.window, s3_client=context.s3_client)
    with connect(context.settings, read_only=False) as connection:
        ensure_ledger(connection)
        ensure_table(connection)
        mark_hours(connection, context.window, HourState.STAGING, context.run_id)
    with unchanged(context.settings, context.window):
        built = dbt.build(context.settings, context.window, "staging")
    with connect(context.settings) as connection:
        row = connection.execute(
            "select count(*), sum(registered_lines), sum(records), sum(object_bytes) "
            "from lake.intermediate.int_objects__accounted where arrival_hour in (select unnest(?))",
            [list(context.window.hours)],
        ).fetchone()
    objects, lines, records, size = row or (0, 0, 0, 0)
    return StepReport(
        "build_staging",
        objects=int(objects or 0),
        lines=int(lines or 0),
        records=int(records or 0),
        bytes=int(size or 0),
        details={"models": built.models, "tests": built.tests, "seconds_by_node": built.seconds_by_node},
    )


def _build_marts(context: RunContext) -> StepReport:
    from flowlake import dbt
    from flowlake.lake.duck import connect
    from flowlake.lake.ledger import HourState, mark_hours

    with connect(context.settings, read_only=False) as connection:
        mark_hours(connection, context.window, HourState.BUILDING, context.run_id)
    built = dbt.build(context.settings, context.window, "marts")
    with connect(context.settings) as connection:
        row = connection.execute(
            "select count(*), coalesce(sum(flows), 0), coalesce(sum(bytes), 0) from lake.core.fct_edges "
            "where event_hour in (select event_hour from lake.intermediate.int_hours__restated)"
        ).fetchone()
        hours = connection.execute("select count(*) from lake.intermediate.int_hours__restated").fetchone()
    edges, flows, size = row or (0, 0, 0)
    return StepReport(
        "build_marts",
        records=int(flows),
        bytes=int(size),
        details={
            "edges": int(edges),
            "restated_hours": int(hours[0]) if hours else 0,
            "models": built.models,
            "tests": built.tests,
            "seconds_by_node": built.seconds_by_node,
        },
    )


def _gate(context: RunContext, layer_name: str) -> StepReport:
    from flowlake.lake.duck import connect
    from flowlake.lake.ledger import HourState, forget_pending_restatements, mark_hours
    from flowlake.quality.report import Layer
    from flowlake.quality.runner import validate

    layer = Layer(layer_name)
    report = validate(context.settings, context.window, layer)
    for warning in report.warnings:
        log.warning("%s", warning.message)
    if report.passed:
        if layer is Layer.MARTS:
            with connect(context.settings, read_only=False) as connection:
                mark_hours(connection, context.window, HourState.VALIDATED, context.run_id)
                forget_pending_restatements(connection)
        return _gate_report(layer, report)
    state = HourState.HELD if layer is Layer.STAGING else HourState.FAILED
    message = "; ".join(failure.message for failure in report.failures)
    with connect(context.settings, read_only=False) as connection:
        mark_hours(connection, context.window, state, context.run_id, message[:2000])
    raise GateFailed(f"the {layer.value} gate failed for {context.window}: {message} (pages: {report.pages})")


def _gate_report(layer: Layer, report: GateReport) -> StepReport:
    return StepReport(
        f"validate_{layer.value}",
        details={
            "checks": report.checks,
            "warnings": [warning.message for warning in report.warnings],
            "pages": str(report.pages),
        },
    )


def _validate_staging(context: RunContext) -> StepReport:
    return _gate(context, "staging")


def _validate_marts(context: RunContext) -> StepReport:
    return _gate(context, "marts")


def _publish(context: RunContext) -> StepReport:
    from flowlake import dbt
    from flowlake.lake.publish import publish
    from flowlake.lake.spool import clear_spool

    published = publish(context.settings, dbt.manifest_path(context.settings, "marts"))
    clear_spool(context.settings, context.window)
    return StepReport("publish", details={"version": published.version, "tables": len(published.tables)})


STEPS: tuple[Step, ...] = (
    Step("register", "find the window's objects, unpack each once, write the raw layer", _register),
    Step("build_staging", "parse every line into staging and account for each", _build_staging),
    Step("validate_staging", "Great Expectations over what arrived", _validate_staging),
    Step("build_marts", "edges, devices, interfaces and reports of the hours that the window restates", _build_marts),
    Step("validate_marts", "Great Expectations over what people will read", _validate_marts),
    Step("publish", "move the readers' views to this state, all at once", _publish),
)


def step_named(name: str) -> Step:
    """Find a step by name.

    Raises:
        FlowlakeError: no step has that name.
    """
    for step in STEPS:
        if step.name == name:
            return step
    raise FlowlakeError(f"there is no step {name!r}; the steps are {', '.join(step.name for step in STEPS)}")


def run_step(name: str, context: RunContext, *, locked: bool = False) -> StepReport:
    """Run one step under the run lock (unless the caller holds it) and log what it did."""
    step = step_named(name)
    with storage_errors(), _lock(context, step.name, locked):
        started = time.monotonic()
        report = _run_over_hull(step, context)
        report = replace(report, seconds=time.monotonic() - started)
    counts = [f"{name}={count}" for name in COUNTS if (count := getattr(report, name)) is not None]
    log.info("%s %s: %s", report.step, report.window, " ".join([*counts, f"seconds={report.seconds:.1f}"]))
    return report


def _run_over_hull(step: Step, context: RunContext) -> StepReport:
    """Run a step over its window and the overtaken hours before the window's end (docs/adr/0012-overtaken-objects.md).

    A step on its own looks them up: another run may have found such hours since, or dealt with them.
    """
    from flowlake.lake.overtaken import advance, begin_again, recorded_hours, widened

    recorded = recorded_hours(context.settings) if context.overtaken is None else context.overtaken
    hull = widened(context.window, recorded)
    if hull != context.window:
        log.warning("%s %s works on %s, for objects of earlier hours were overwritten", step.name, context.window, hull)
    is_concerned = not set(recorded).isdisjoint(hull.hours)
    if is_concerned and step.name == "register":
        begin_again(context.settings, hull)
    report = step.run(replace(context, window=hull))
    if is_concerned:
        advance(context.settings, hull, step.name)
    return replace(report, window=report.window or hull, overtaken=tuple({*recorded, *report.overtaken}))


def run_window(
    context: RunContext,
    on_step: Callable[[Step, StepReport | None], None] | None = None,
    *,
    only: Collection[str] = (),
) -> list[StepReport]:
    """Run every step in order (or `only` some), holding the run lock throughout; the first error ends the run.

    `on_step` is called with None before a step and with its report after it.
    """
    reports = []
    with storage_errors(), _lock(context, "flowlake run", False):
        for step in [step for step in STEPS if not only or step.name in only]:
            if on_step:
                on_step(step, None)
            report = run_step(step.name, context, locked=True)
            context = replace(context, window=report.window or context.window, overtaken=report.overtaken)
            reports.append(report)
            if on_step:
                on_step(step, report)
    return reports


@contextmanager
def _lock(context: RunContext, purpose: str, locked: bool) -> Iterator[None]:
    if locked:
        yield
        return
    from flowlake.lake.lock import run_lock

    with run_lock(context.settings.lake.path, f"{purpose} {context.window} ({context.run_id})"):
        yield
