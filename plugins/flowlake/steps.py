"""The ordered steps of a run: one definition, walked by the DAG and by `flowlake run`.

Each step is a plain function of a run's context, idempotent on its own: repeated, it leaves the same rows. Heavy
imports stay inside the functions, because the DAG file imports this module whenever Airflow parses it.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager

    from flowlake.lake.lock import RunLock
    from flowlake.lake.publish import HoursBlock
    from flowlake.lake.restatements import Restatement
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
    """The recorded overtaken hours (lake.overtaken), once the run has looked them up."""
    widen: Callable[[Window], None] = field(default=lambda window: None)
    """Takes the locks of a window's hours as well, until the step (or the run) ends."""
    goes_on: bool = False
    """Whether the steps that follow run in this process too."""


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
    """Arrival hours that are recorded as holding objects which were overwritten since, or which came twice."""
    restated: tuple[Restatement, ...] = ()
    """The hours that `publish` has changed for those who had seen them."""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A named step; its summary stands in the DAG's documentation."""

    name: str
    summary: str
    run: Callable[[RunContext], StepReport]
    marts: bool = False
    """Whether it needs the marts for itself: all hours share them, and one version shows all of them."""


def _register(context: RunContext) -> StepReport:
    from flowlake.lake.register import register

    context.window.require_over()
    report = register(
        context.settings,
        context.window,
        s3_client=context.s3_client,
        accept_missing=context.accept_missing,
        widen=context.widen,
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
    from flowlake.lake.ledger import StagingState, ensure_ledger, mark_staging, open_ledger
    from flowlake.lake.manifests import require_registered
    from flowlake.lake.overtaken import ensure_table
    from flowlake.lake.restatements import ensure_tables
    from flowlake.lake.spool import ensure_spooled, unchanged
    from flowlake.lake.tables import in_window, read_rows
    from flowlake.settings import Target

    require_registered(context.settings, context.window)
    if context.settings.target is Target.ATHENA:
        from flowlake.lake.glue import GlueTables, record_columns

        # An older version may have registered the hour, and staging asks for all columns that this one knows.
        GlueTables(context.settings).add_columns("parquet_records", record_columns())
    ensure_spooled(context.settings, context.window, s3_client=context.s3_client)
    with open_ledger(context.settings, read_only=False) as connection:
        ensure_ledger(connection)
        ensure_table(connection)
        ensure_tables(context.settings, connection)
        mark_staging(connection, context.window, StagingState.BUILDING, context.run_id)
    meanwhile = _import_gates if context.goes_on else lambda: None
    with unchanged(context.settings, context.window, s3_client=context.s3_client):
        built = dbt.build(context.settings, context.window, "staging", meanwhile)
    ((objects, lines, records, size),) = read_rows(
        context.settings,
        "select count(*), sum(registered_lines), sum(records), sum(object_bytes) "
        f"from {{intermediate}}.int_objects__accounted where {in_window(context.window)}",
    )
    return StepReport(
        "build_staging",
        objects=int(objects or 0),
        lines=int(lines or 0),
        records=int(records or 0),
        bytes=int(size or 0),
        details={"models": built.models, "tests": built.tests, "seconds_by_node": built.seconds_by_node},
    )


def _import_gates() -> None:
    # It takes seconds, and the first gate comes next: better while dbt starts, on another core.
    import flowlake.quality.great  # noqa: F401


def _build_marts(context: RunContext) -> StepReport:
    from flowlake import dbt
    from flowlake.lake.ledger import HourState, ensure_ledger, mark_hours, open_ledger, require_passed
    from flowlake.lake.tables import read_rows

    with open_ledger(context.settings, read_only=False) as connection:
        ensure_ledger(connection)
        require_passed(connection, context.window)
        mark_hours(connection, context.window, HourState.BUILDING, context.run_id)
    built = dbt.build(context.settings, context.window, "marts")
    ((edges, flows, size, hours),) = read_rows(
        context.settings,
        "select count(*), coalesce(sum(flows), 0), coalesce(sum(bytes), 0), "
        "(select count(*) from {intermediate}.int_hours__restated) from {core}.fct_edges "
        "where event_hour in (select event_hour from {intermediate}.int_hours__restated)",
    )
    return StepReport(
        "build_marts",
        records=int(flows),
        bytes=int(size),
        details={
            "edges": int(edges),
            "restated_hours": int(hours),
            "models": built.models,
            "tests": built.tests,
            "seconds_by_node": built.seconds_by_node,
        },
    )


def _gate(context: RunContext, layer_name: str) -> StepReport:
    from flowlake.quality.report import Layer
    from flowlake.quality.runner import validate

    layer = Layer(layer_name)
    report = validate(context.settings, context.window, layer)
    for warning in report.warnings:
        log.warning("%s", warning.message)
    message = "; ".join(failure.message for failure in report.failures)
    _mark_verdict(context, layer, report.passed, message[:2000] or None)
    if report.passed:
        return _gate_report(layer, report)
    raise GateFailed(f"the {layer.value} gate failed for {context.window}: {message} (pages: {report.pages})")


def _mark_verdict(context: RunContext, layer: Layer, passed: bool, detail: str | None) -> None:
    from flowlake.lake.duck import retried
    from flowlake.lake.ledger import (
        HourState,
        StagingState,
        forget_pending_restatements,
        mark_hours,
        mark_staging,
        open_ledger,
    )
    from flowlake.lake.restatements import note_restated, written_hours
    from flowlake.quality.report import Layer

    has_passed_marts = passed and layer is Layer.MARTS
    written = written_hours(context.settings, context.window) if has_passed_marts else []
    with open_ledger(context.settings, read_only=False) as connection:
        if layer is Layer.STAGING:
            staging = StagingState.PASSED if passed else StagingState.HELD
            mark_staging(connection, context.window, staging, context.run_id, detail)
            return
        state = HourState.VALIDATED if passed else HourState.FAILED
        if passed:  # Before the hours may be published.
            note_restated(context.settings, connection, context.window, context.run_id, written)
        mark_hours(connection, context.window, state, context.run_id, detail)
    if passed:  # After that was written down, which on Athena is when the ledger is closed.
        with open_ledger(context.settings, read_only=False) as connection:
            retried(lambda: forget_pending_restatements(context.settings, connection))


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
    from flowlake.lake.restatements import by_word, in_words
    from flowlake.lake.spool import clear_spool

    published = publish(context.settings, dbt.manifest_path(context.settings, "marts"))
    clear_spool(context.settings, context.window)
    details: dict[str, object] = {"version": published.version, "tables": len(published.tables)}
    if published.restated:
        details["restated"] = in_words(by_word(published.restated))
    return StepReport("publish", restated=published.restated, details=details)


STEPS: tuple[Step, ...] = (
    Step("register", "find the window's objects, unpack each once, write the raw layer", _register),
    Step("build_staging", "parse every line into staging and account for each", _build_staging),
    Step("validate_staging", "Great Expectations over what arrived", _validate_staging),
    Step(
        "build_marts",
        "edges, devices, interfaces and reports of the hours that the window restates",
        _build_marts,
        marts=True,
    ),
    Step("validate_marts", "Great Expectations over what people will read", _validate_marts, marts=True),
    Step("publish", "move the readers' views to this state, all at once", _publish, marts=True),
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


def run_step(name: str, context: RunContext) -> StepReport:
    """Run one step under the locks that it needs, and log what it did.

    Where runs go side by side, the hour of another one may stand between the lake and its readers for a while, in
    between two of its steps. `publish` then waits for it, without the lock, as long as any run waits for another.
    """
    from flowlake.lake.publish import HoursBlock

    step = step_named(name)
    wanted = context.window
    deadline = time.monotonic() + context.settings.lake.wait_minutes * 60
    told = False
    while True:
        try:
            with (
                storage_errors(),
                _lock(replace(context, window=wanted), step.name, marts=step.marts) as lock,
                ExitStack() as held,
            ):
                looked_up = _look_up(context) if step is STEPS[0] else _look_up_begun(context)
                hull = _hull(looked_up)
                if (hull.start >= wanted.start and hull.end <= wanted.end) or not step.marts:
                    held.enter_context(lock.hours(hull))
                    return _run(step, looked_up, lock, held)
                wanted = hull  # Hours are locked before the marts, or two runs would wait for each other.
        except HoursBlock as error:
            if not _is_under_way(context, error) or time.monotonic() >= deadline:
                raise
            if not told:
                log.warning("waiting for another run to end: %s", error)
                told = True
            time.sleep(1.0)


def run_window(
    context: RunContext, on_step: Callable[[Step, StepReport | None], None] | None = None, only: Collection[str] = ()
) -> list[StepReport]:
    """Run every step in order, or only those named; the first error ends the run.

    The window's hours are held throughout, the marts from the first step that needs them to the end. `on_step` is
    called with None before a step and with its report after it.
    """
    reports = []
    in_marts = False
    with storage_errors(), _lock(context, "flowlake run", marts=False) as lock, ExitStack() as held:
        context = _look_up(replace(context, goes_on=not only))
        held.enter_context(lock.hours(_hull(context)))
        for step in STEPS:
            if only and step.name not in only:
                continue
            if on_step:
                on_step(step, None)
            if step.marts and not in_marts:
                held.enter_context(lock.marts())
                in_marts = True
            lock.check()
            report = _run(step, context, lock, held)
            context = replace(context, window=report.window or context.window, overtaken=report.overtaken)
            reports.append(report)
            if on_step:
                on_step(step, report)
    return reports


def _run(step: Step, context: RunContext, lock: RunLock, held: ExitStack) -> StepReport:
    """Run a step over the hull of its window and the overtaken hours (docs/adr/0012-overtaken-objects.md)."""
    from flowlake.lake.overtaken import advance, begin_again
    from flowlake.lake.unfinished import Work, noted

    def widen(window: Window) -> None:
        held.enter_context(lock.hours(window))

    started = time.monotonic()
    hull = _hull(context)
    recorded = context.overtaken or ()
    if hull != context.window:
        log.warning(
            "%s %s works on %s, for objects of other hours were overwritten or came twice",
            step.name,
            context.window,
            hull,
        )
    is_concerned = not set(recorded).isdisjoint(hull.hours)
    work = Work(context.run_id, step.name, *str(hull).split("/"))
    with noted(context.settings, work) as spent:
        if is_concerned and step.name == "register":
            begin_again(context.settings, hull)
        report = step.run(replace(context, window=hull, widen=widen))
        if is_concerned:
            advance(context.settings, hull, step.name)
    report = replace(
        report,
        seconds=time.monotonic() - started,
        window=report.window or hull,
        overtaken=tuple(sorted({*recorded, *report.overtaken})),
    )
    counts = [f"{name}={count}" for name in COUNTS if (count := getattr(report, name)) is not None]
    log.info("%s %s: %s", report.step, report.window, " ".join([*counts, f"seconds={report.seconds:.1f}"]))
    if spent.run is not None:
        report = replace(report, details={**report.details, "cost": str(spent.cost), "cost of the run": str(spent.run)})
        log.info("%s %s cost %s; the run so far %s", report.step, report.window, spent.cost, spent.run)
    return report


def _look_up(context: RunContext) -> RunContext:
    """The context with the overtaken hours that are recorded now: another run may have found or cured some."""
    from flowlake.lake.overtaken import recorded_hours

    return replace(context, overtaken=recorded_hours(context.settings, context.window))


def _look_up_begun(context: RunContext) -> RunContext:
    """The context with the hours that this run has begun in an earlier step, beside the recorded ones.

    Between two steps another run may cure and release the record for which this one has widened its window: what it has
    staged it must also bring to its end.
    """
    from flowlake.lake.duck import lake_exists
    from flowlake.lake.ledger import begun_hours, open_ledger

    looked_up = _look_up(context)
    if not lake_exists(context.settings):
        return looked_up
    with open_ledger(context.settings) as connection:
        begun = begun_hours(connection, context.run_id, context.window)
    return replace(looked_up, overtaken=tuple(sorted({*(looked_up.overtaken or ()), *begun})))


def _hull(context: RunContext) -> Window:
    from flowlake.lake.overtaken import widened

    return widened(context.window, context.overtaken or ())


def _is_under_way(context: RunContext, error: HoursBlock) -> bool:
    """Whether all that blocks are hours that other runs are building, on a catalogue that takes several runs."""
    if context.settings.lake.catalog is None:
        return False
    return all(state == "building" and hour not in context.window.hours for hour, state, _ in error.hours)


def _lock(context: RunContext, purpose: str, *, marts: bool) -> AbstractContextManager[RunLock]:
    from flowlake.lake.lock import Scope, run_lock
    from flowlake.lake.storage import require_folders

    if not context.settings.lake.path.exists():
        require_folders(context.settings)  # A first run over a mistyped source leaves no lake behind.
    return run_lock(
        context.settings,
        f"{purpose} {context.window} ({context.run_id})",
        scope=Scope.MARTS if marts else Scope.STAGING,
        window=context.window,
    )
