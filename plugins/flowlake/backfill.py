"""Backfill: a long range, cut into windows and run oldest first, each through the very steps of an hourly run.

Nothing is remembered between two calls. Whether a window is done is decided right before its turn, by the ledger and by
what its sources list at that moment; so a backfill that was killed goes on by being started again.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from flowlake.estimating import RangeEstimate, estimate_range
from flowlake.lake.duck import lake_exists
from flowlake.lake.ledger import HourState, hour_states, open_ledger
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import ObjectRow, Reason, shown
from flowlake.lake.overtaken import recorded_hours
from flowlake.lake.publish import HoursBlock
from flowlake.lake.register import list_window
from flowlake.lake.spool import clear_spool
from flowlake.lake.tables import in_window, read_rows
from flowlake.lake.windows import Window, WindowError
from flowlake.steps import RunContext, Step, StepReport, run_step, run_window
from flowlake.terminal import counted, human_bytes, human_count, human_duration, make_table

if TYPE_CHECKING:
    from rich.table import Table

    from flowlake.lake.objects import ListedObject
    from flowlake.settings import Settings

log = logging.getLogger(__name__)

SIZES = r"(day|month|[1-9][0-9]{0,2}h)"
"""How the size of a window is written."""

MOST_HOURS = 31 * 24
"""Of a window: Athena writes up to 100 partitions in one statement, and staging has one for each day."""

_READS = 16
"""Ledgers of hours that are read at the same time."""

_TRANSIENT = (Reason.VANISHED, Reason.CHANGED)
"""Of an object that was not there when it was to be read: one that is listed now was never read."""

_MENDABLE = (Reason.ACCESS_DENIED, Reason.SEALED, Reason.ARCHIVED, Reason.FORMAT_CHANGED)
"""What may be cured without a change that a listing shows."""


def cut(whole: Window, size: str) -> tuple[Window, ...]:
    """The windows of a range, oldest first: calendar days or months (UTC), or `<n>h`, so many hours from its start.

    The first and the last one end with the range. Raises WindowError for any other size.
    """
    if not re.fullmatch(SIZES, size) or (size[0].isdigit() and int(size[:-1]) > MOST_HOURS):
        message = f"{size!r} is no size of a window: write day, month, or hours as 6h ({MOST_HOURS}h at most)"
        raise WindowError(message)
    windows = []
    start = whole.start
    while start < whole.end:
        end = min(_end(start, size), whole.end)
        windows.append(Window(start, end))
        start = end
    return tuple(windows)


def _end(start: datetime, size: str) -> datetime:
    if size[0].isdigit():
        return start + timedelta(hours=int(size[:-1]))
    midnight = start.replace(hour=0)
    if size == "day":
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=31)).replace(day=1)


def named(window: Window) -> str:
    """A window as people say it: `2026-03` for a whole month, `2026-03-03` for a whole day, else its hours."""
    text = str(window)
    if window.start.hour == 0 and window.end == _end(window.start, "day"):
        return text[:10]
    if window.start.hour == 0 and window.start.day == 1 and window.end == _end(window.start, "month"):
        return text[:7]
    return text


@dataclass(frozen=True)
class Look:
    """A window as its sources and the ledger show it now: what it holds (`bytes` as stored), and why it runs or not."""

    window: Window
    objects: int
    bytes: int
    flow_logs: frozenset[str]
    is_done: bool
    reason: str


@dataclass(frozen=True)
class BackfillPlan:
    """Every window of a range, oldest first, and what those that are not done are going to take."""

    looks: tuple[Look, ...]
    estimate: RangeEstimate

    @property
    def to_run(self) -> tuple[Look, ...]:
        """The windows that are not done."""
        return tuple(look for look in self.looks if not look.is_done)

    def __str__(self) -> str:
        """One line for people."""
        to_run = self.to_run
        done = len(self.looks) - len(to_run)
        before = f", {done:,} done before" if done else ""
        if not to_run:
            return f"{counted(len(self.looks), 'window')}{before}: nothing to run"
        flow_logs = frozenset[str]().union(*(look.flow_logs for look in to_run))
        holds = (
            f"{counted(sum(look.objects for look in to_run), 'object')}, "
            f"{human_bytes(sum(look.bytes for look in to_run))}, {counted(len(flow_logs), 'flow log')}"
        )
        return f"{counted(len(self.looks), 'window')}{before}, {len(to_run):,} to run ({holds}): {self.estimate}"


@dataclass(frozen=True)
class Filled:
    """What became of a window. `reports` is empty where it was done before; `held_back` says why nobody sees it yet."""

    look: Look
    seconds: float
    reports: tuple[StepReport, ...] = ()
    held_back: HoursBlock | None = None

    @property
    def ran(self) -> bool:
        """Whether the window was run now."""
        return not self.look.is_done

    @property
    def is_shown(self) -> bool:
        """Whether readers see it, and all windows before it, by what was done now."""
        return self.ran and self.held_back is None


def plan(context: RunContext, size: str, *, again: bool) -> BackfillPlan:
    """Look at every window of the context's range; writes nothing, waits for nobody.

    Raises:
        WindowError: the size is none, or objects can still arrive in the range.
        SourceError: a source cannot be listed.
    """
    context.window.require_over()
    looks = tuple(look(replace(context, window=window), again=again) for window in cut(context.window, size))
    return BackfillPlan(looks, estimate_range(context.settings, [found.bytes for found in looks if not found.is_done]))


def look(context: RunContext, *, again: bool) -> Look:
    """List a window, and say whether it is done: validated hours, whose objects are what is listed now."""
    settings, window = context.settings, context.window
    listed, hours = list_window(settings, window, s3_client=context.s3_client)
    flow_logs = frozenset(item.name.flow_log_id for item in listed if item.name is not None)
    reason, is_done = "run again, as was asked for", False
    if not again:
        reason, is_done = _judge(context, listed, hours)
    return Look(window, len(listed), sum(item.size for item in listed), flow_logs, is_done, reason)


def fill(
    context: RunContext, *, again: bool, on_step: Callable[[Step, StepReport | None], None] | None = None
) -> Filled:
    """Run a window that is not done; the lake is held for this window alone, so other runs come in between.

    An hour of another run that keeps the published views where they are is no failure of this window: what it wrote is
    validated, and the next publish shows it.
    """
    found = look(context, again=again)
    started = time.monotonic()
    if found.is_done:
        return Filled(found, 0.0)
    reports: list[StepReport] = []

    def note(step: Step, report: StepReport | None) -> None:
        if report is not None:
            reports.append(report)
        if on_step is not None:
            on_step(step, report)

    held_back = None
    try:
        run_window(context, note)
    except HoursBlock as error:
        held_back = error
        # As a publish would have done: a long range would fill the disk.
        clear_spool(context.settings, context.window)
    return Filled(found, time.monotonic() - started, tuple(reports), held_back)


class Watch(Protocol):
    """Who follows a backfill: numbers count its windows from 1."""

    def begin(self, number: int, window: Window) -> None:
        """A window's turn has come."""

    def on_step(self, step: Step, report: StepReport | None) -> None:
        """A step of it begins (no report), or has ended."""

    def end(self, number: int, filled: Filled) -> None:
        """It is over."""


def walk(context: RunContext, planned: BackfillPlan, *, again: bool, watch: Watch) -> list[Filled]:
    """Run the windows of a plan, oldest first, and see that readers see them; the first error ends it."""
    all_filled: list[Filled] = []
    is_shown = False
    for number, planned_look in enumerate(planned.looks, start=1):
        watch.begin(number, planned_look.window)
        filled = fill(window_context(context, planned_look.window, number), again=again, on_step=watch.on_step)
        watch.end(number, filled)
        all_filled.append(filled)
        is_shown = filled.is_shown if filled.ran else is_shown
    if not is_shown:
        # Killed between its gate and its publish, a window is done and not shown.
        publish(window_context(context, planned.looks[-1].window, len(planned.looks)))
    return all_filled


def window_context(context: RunContext, window: Window, number: int) -> RunContext:
    """What one window of a backfill is run with: by an id of its own, for a budget is for one run."""
    return replace(context, window=window, run_id=f"{context.run_id}-{number}")


def publish(context: RunContext) -> StepReport:
    """Show readers what all windows brought; waits while other runs are in the marts.

    Raises:
        HoursBlock: after `lake.wait_minutes`, or when an hour failed: nothing is lost, and the next publish shows all.
    """
    deadline = time.monotonic() + context.settings.lake.wait_minutes * 60
    told = False
    while True:
        try:
            return run_step("publish", context)
        except HoursBlock as error:
            if time.monotonic() >= deadline or any(state != HourState.BUILDING for _, state, _ in error.hours):
                raise
            if not told:
                log.warning("waiting for another run to end: %s", error)
                told = True
            time.sleep(1.0)


class Pace:
    """How long the rest takes, by what the windows so far took and by what was planned."""

    def __init__(self, planned: BackfillPlan) -> None:
        """Take the plan: each window weighs what it was estimated at, else by its bytes."""
        to_run = planned.to_run
        mean = sum(found.bytes for found in to_run) / max(len(to_run), 1) or 1.0
        seconds = planned.estimate.seconds_each or tuple(1 + found.bytes / mean for found in to_run)
        self._left = {found.window: max(weight, 0.1) for found, weight in zip(to_run, seconds, strict=True)}
        self._spent = 0.0
        self._weight = 0.0

    def passed(self, filled: Filled) -> None:
        """Take a window that is over."""
        weight = self._left.pop(filled.look.window, 0.0)
        if filled.ran:
            self._spent += filled.seconds
            self._weight += weight

    @property
    def seconds_left(self) -> float | None:
        """What the windows to come are going to take; None where nothing says."""
        return self._spent / self._weight * sum(self._left.values()) if self._weight else None


def plan_table(planned: BackfillPlan) -> Table:
    """A plan for people, one row per window."""
    each = planned.estimate.seconds_each or [None] * len(planned.to_run)
    seconds = dict(zip((found.window for found in planned.to_run), each, strict=True))
    rows = []
    for found in planned.looks:
        taken = seconds.get(found.window)
        about = "-" if taken is None else human_duration(taken)
        what = f"{'skip' if found.is_done else 'run'}: {found.reason}"
        holds = (human_count(found.objects), human_bytes(found.bytes), human_count(len(found.flow_logs)))
        rows.append((named(found.window), *holds, about, what))
    columns = ("window", "objects", "bytes", "flow logs", "about", "what")
    return make_table(columns, rows, right=columns[1:5], whole=columns[:1])


def outcome_line(place: str, filled: Filled, seconds_left: float | None) -> str:
    """One line: which window, what became of it, how long the rest takes."""
    head = f"{place} {named(filled.look.window)}"
    if not filled.ran:
        return f"{head} skipped: {filled.look.reason}"
    left = f", about {human_duration(seconds_left)} left" if seconds_left else ""
    line = f"{head} done in {human_duration(filled.seconds)} ({filled.look.reason}){left}"
    return line if filled.held_back is None else f"{line}; not shown yet: {filled.held_back}"


# --- is it done? ---


def _judge(context: RunContext, listed: Sequence[ListedObject], hours: Mapping[str, str]) -> tuple[str, bool]:
    """Why a window runs or not, and whether it is done."""
    settings, window = context.settings, context.window
    if reason := _unvalidated(settings, window):
        return reason, False
    with ThreadPoolExecutor(_READS) as pool:
        ledgers = dict(
            zip(window.hours, pool.map(lambda hour: read_objects(settings, hour), window.hours), strict=True)
        )
    registered = {row.uri: row for rows in ledgers.values() for row in rows or ()}
    if reason := _differs(listed, hours, registered) or _unstaged(settings, window, ledgers):
        return reason, False
    gone = {uri for uri, row in registered.items() if row.is_readable} - hours.keys()
    if gone and context.accept_missing:
        return f"{counted(len(gone), 'object')} gone since", False
    notes = ["validated, its objects are unchanged"]
    if gone:
        notes.append(f"{counted(len(gone), 'object')} gone since, whose rows stay (--accept-missing drops them)")
    unread = sum(row.reason in _MENDABLE for row in registered.values())
    if unread:
        notes.append(f"{counted(unread, 'object')} could not be read (--again tries anew)")
    return "; ".join(notes), True


def _unvalidated(settings: Settings, window: Window) -> str | None:
    states: Mapping[str, str] = {}
    if lake_exists(settings):
        with open_ledger(settings) as connection:
            states = hour_states(connection, window)
    new = [hour for hour in window.hours if hour not in states]
    if len(new) == len(window.hours):
        return "never run"
    others = [f"{hour} is {state}" for hour, state in sorted(states.items()) if state != HourState.VALIDATED]
    if others:
        return others[0] + (f" (and {len(others) - 1} more)" if len(others) > 1 else "")
    if new:
        return f"{counted(len(new), 'hour')} never run, the first {new[0]}"
    overtaken = set(recorded_hours(settings, window)).intersection(window.hours)
    return f"objects of {min(overtaken)} were overwritten or came twice" if overtaken else None


def _differs(
    listed: Sequence[ListedObject], hours: Mapping[str, str], registered: Mapping[str, ObjectRow]
) -> str | None:
    new = [item.uri for item in listed if item.uri not in registered]
    changed = [item.uri for item in listed if item.uri in registered and not _is_same(item, registered[item.uri])]
    changed += [uri for uri, row in registered.items() if hours.get(uri, row.arrival_hour) != row.arrival_hour]
    found = [
        f"{counted(len(set(uris)), 'object')} {what} since, such as {shown(min(uris))}"
        for uris, what in ((new, "came"), (changed, "changed"))
        if uris
    ]
    return "; ".join(found) or None


def _is_same(item: ListedObject, row: ObjectRow) -> bool:
    was = (row.size, row.etag, row.arrival_hour)
    return (item.size, item.etag, item.arrival_hour) == was and row.reason not in _TRANSIENT


def _unstaged(settings: Settings, window: Window, ledgers: Mapping[str, Sequence[ObjectRow] | None]) -> str | None:
    """What a run leaves that was killed after `register`: a new ledger, beside a staging of the old one."""
    staged = defaultdict(
        lambda: (0,) * 5,
        {
            str(hour): tuple(int(value or 0) for value in sums)
            for hour, *sums in read_rows(
                settings,
                "select arrival_hour, count(*), sum(object_bytes), sum(registered_lines), sum(registered_line_bytes), "
                "sum(case when status = 'readable' then 1 else 0 end) from {intermediate}.int_objects__accounted "
                f"where {in_window(window)} group by arrival_hour",
                asked=True,
            )
        },
    )
    for hour, rows in ledgers.items():
        known = rows or ()
        sums = (
            len(known),
            sum(row.size for row in known),
            sum(row.line_count or 0 for row in known),
            sum(row.line_bytes or 0 for row in known),
            sum(row.is_readable for row in known),
        )
        if staged[hour] != sums:
            return f"{hour} was registered again and not staged since"
    return None
