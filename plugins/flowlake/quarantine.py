"""`flowlake quarantine`: what could not be read, where it stands and why, and its second chance.

Two things are kept aside: objects that cannot be read (`raw.objects` has their reason) and lines that are no records
(staging has their text and reason). Both are answered for as staging holds them now, whether published or not. Nothing
is mended row by row: a replay runs the hours that hold them once more, whole, and so leaves what a first run over the
cured objects would have left (docs/adr/0024-replay-is-a-run.md).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.text import Text

from flowlake.lake.duck import columns_of, connect
from flowlake.lake.manifests import read_objects, read_uris
from flowlake.lake.objects import Reason, shown
from flowlake.lake.publish import HoursBlock
from flowlake.lake.spool import clear_spool
from flowlake.lake.tables import in_window, read_rows
from flowlake.lake.windows import Window, format_hour, parse_hour
from flowlake.querying import OutputFormat, QueryError, Result, write_csv, write_json
from flowlake.settings import Target
from flowlake.steps import run_window
from flowlake.terminal import counted, human_bytes, human_count, make_table, print_table

if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import Console

    from flowlake.lake.restatements import Restatement
    from flowlake.settings import Settings
    from flowlake.steps import RunContext, Step, StepReport

WINDOW_HOURS = 24
"""Consecutive hours are replayed together, up to a day: a good size for disk and memory, and for Athena's partitions.
"""

SHOWN_CHARACTERS = 120
"""How much of a line a table shows."""

_NAMED = 10
"""Objects that came free and are named; the others are counted."""

_OBJECTS = "{intermediate}.int_objects__accounted"
_LINES = "{staging}.stg_flow_logs__lines"
_NEVER_FREE = (Reason.DUPLICATE, Reason.COPY, Reason.DIRECTORY_MARKER, Reason.NOT_A_FLOW_LOG)
"""Of objects that hold nothing to be read: no cure frees them, and a replay passes them by unless it is asked for them.
"""

_IS_HELD = "(status = 'unreadable' or malformed > 0)"
_KIND = "split_part(malformed_reason, ':', 1)"
"""The word of a line's reason: `bad_field` of `bad_field: srcport`."""


@dataclass(frozen=True)
class Selection:
    """Which part of the quarantine: arrival hours from `start` (inclusive) to `end` (exclusive), a flow log, a reason.

    What is None selects all. A reason is one word, as `list` shows it. Raises WindowError and QueryError.
    """

    start: datetime | None = None
    end: datetime | None = None
    flow_log: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot select anything; what passes may stand in SQL."""
        if self.start and self.end:
            Window(self.start, self.end)
        if self.flow_log is not None and not re.fullmatch(r"fl-[0-9A-Za-z]+", self.flow_log):
            raise QueryError(f"{shown(self.flow_log)!r} is no flow log id: it is like fl-0123456789abcdef0")
        if self.reason is not None and not re.fullmatch(r"[a-z_]+", self.reason):
            raise QueryError(
                f"{shown(self.reason)!r} is no reason: give one word of those that `flowlake quarantine list` shows, "
                "for example truncated or bad_field"
            )

    def where(self, reason: str | None = None) -> str:
        """The selection as a condition; of hours and flow logs alone where no column of reasons is given."""
        conditions = [
            f"arrival_hour >= '{format_hour(self.start)}'" if self.start else None,
            f"arrival_hour < '{format_hour(self.end)}'" if self.end else None,
            f"flow_log_id = '{self.flow_log}'" if self.flow_log else None,
            f"{reason} = '{self.reason}'" if self.reason and reason else None,
        ]
        return " and ".join(condition for condition in conditions if condition) or "true"


@dataclass(frozen=True)
class Group:
    """What is quarantined of a flow log in an arrival hour for one reason: unreadable objects, or malformed lines.

    `bytes` are those of the objects as delivered, or of the lines; `example` is an object's uri.
    """

    arrival_hour: str
    flow_log_id: str | None
    reason: str
    objects: int
    lines: int
    bytes: int
    example: str


@dataclass(frozen=True)
class Entry:
    """A quarantined line with its text, or a quarantined object with what was seen of it. `bytes` as in `Group`."""

    arrival_hour: str
    flow_log_id: str | None
    object: str
    what: str
    reason: str
    text: str | None
    bytes: int


@dataclass(frozen=True)
class PlannedReplay:
    """A window that a replay runs: what matches in it, and what is read again because of that."""

    window: Window
    objects: int
    lines: int
    bytes: int
    read_objects: int
    read_lines: int
    read_bytes: int


@dataclass(frozen=True)
class Replayed:
    """What the replay of a window came to.

    `freed_objects` are read now; `left_objects` are in these hours no more (replaced ones belong to the hour of their
    new arrival). `freed_lines` are no longer malformed. What is still there is all of it, for whatever reason.
    `held_back`: which hours of other runs keep readers from seeing it yet; the next publish shows it. `restated`: the
    hours that readers see otherwise now.
    """

    window: Window
    freed_objects: tuple[str, ...]
    left_objects: tuple[str, ...]
    freed_lines: int
    still_objects: int
    still_lines: int
    held_back: HoursBlock | None = None
    restated: tuple[Restatement, ...] = ()


def list_groups(settings: Settings, selection: Selection) -> list[Group]:
    """What is quarantined, by hour, flow log and reason, in this order.

    Raises LakeError when there is no lake.
    """
    if not _is_built(settings):
        return []
    rows = read_rows(
        settings,
        "select arrival_hour, flow_log_id, reason, count(*) as objects, 0 as lines, sum(object_bytes) as bytes, "
        f"min(source_uri) as example from {_OBJECTS} "
        f"where status = 'unreadable' and {selection.where('reason')} group by 1, 2, 3 "
        f"union all select arrival_hour, flow_log_id, {_KIND}, 0, count(*), sum(line_bytes), min(source_uri) "
        f"from {_LINES} where {_malformed(selection)} group by 1, 2, 3 order by 1, 2, 3",
        asked=True,
    )
    return [
        Group(hour, flow_log, reason, int(objects), int(lines), int(size), example)
        for hour, flow_log, reason, objects, lines, size, example in rows
    ]


def list_entries(settings: Settings, selection: Selection, *, limit: int, characters: int | None = None) -> list[Entry]:
    """The quarantined objects and lines themselves, at most `limit`, by hour and object.

    `characters` cuts the texts of lines. Lines have no number: an object's lines come in the order of their texts.
    Raises LakeError when there is no lake.
    """
    if not _is_built(settings):
        return []
    text = "raw_line" if characters is None else f"substr(raw_line, 1, {characters:d})"
    rows = read_rows(
        settings,
        "select arrival_hour, flow_log_id, source_uri, 'object' as what, reason, cast(null as varchar) as text, "
        f"object_bytes as bytes from {_OBJECTS} where status = 'unreadable' and {selection.where('reason')} "
        f"union all select arrival_hour, flow_log_id, source_uri, 'line', malformed_reason, {text}, line_bytes "
        f"from {_LINES} where {_malformed(selection)} order by 1, 3, 4, 5, 6 limit {limit:d}",
        asked=True,
    )
    entries = [
        Entry(hour, flow_log, uri, what, reason, line, int(size))
        for hour, flow_log, uri, what, reason, line, size in rows
    ]
    details = {
        row.uri: row.detail
        for hour in sorted({entry.arrival_hour for entry in entries if entry.what == "object"})
        for row in read_objects(settings, hour) or ()
    }
    return [
        replace(entry, text=details.get(entry.object) or _meaning(entry.reason)) if entry.what == "object" else entry
        for entry in entries
    ]


def plan_replay(settings: Settings, selection: Selection) -> list[PlannedReplay]:
    """The windows that hold what is selected, ascending; reads the tables alone. Raises LakeError."""
    groups = [
        group for group in list_groups(settings, selection) if selection.reason or group.reason not in _NEVER_FREE
    ]
    if not groups:
        return []
    rows = read_rows(
        settings,
        f"select arrival_hour, count(*), sum(registered_lines), sum(object_bytes) from {_OBJECTS} where "
        f"arrival_hour in (select arrival_hour from {_OBJECTS} where {_IS_HELD} and {selection.where()}) group by 1",
        asked=True,
    )
    read = {
        hour: Counter(objects=int(objects), lines=int(lines), bytes=int(size)) for hour, objects, lines, size in rows
    }
    planned = []
    for window in windows_of(group.arrival_hour for group in groups):
        hours = frozenset(window.hours)
        inside = [group for group in groups if group.arrival_hour in hours]
        total = sum((read.get(hour, Counter()) for hour in window.hours), Counter())
        planned.append(
            PlannedReplay(
                window,
                objects=sum(group.objects for group in inside),
                lines=sum(group.lines for group in inside),
                bytes=sum(group.bytes for group in inside),
                read_objects=total["objects"],
                read_lines=total["lines"],
                read_bytes=total["bytes"],
            )
        )
    return planned


def windows_of(hours: Iterable[str]) -> list[Window]:
    """Exactly these hours as windows of consecutive ones, none longer than WINDOW_HOURS."""
    starts = sorted(parse_hour(hour) for hour in set(hours))
    hour = timedelta(hours=1)
    breaks = [0, *(index for index, (one, next_) in enumerate(pairwise(starts), 1) if next_ - one > hour), len(starts)]
    return [
        Window(starts[first], starts[min(first + WINDOW_HOURS, end) - 1] + hour)
        for begin, end in pairwise(breaks)
        for first in range(begin, end, WINDOW_HOURS)
    ]


def replay_window(context: RunContext, on_step: Callable[[Step, StepReport | None], None] | None = None) -> Replayed:
    """Run the steps of an hourly run over a window, and say what came free.

    Raises as `flowlake.steps.run_window`, but where hours of other runs hold back what people read: the window itself
    is validated then.
    """
    settings, window = context.settings, context.window
    objects, lines = _held(settings, window)
    held_back = None
    reports: list[StepReport] = []
    try:
        reports = run_window(context, on_step)
    except HoursBlock as error:
        held_back = error
        clear_spool(settings, window)
    still_objects, still_lines = _held(settings, window)
    registered: dict[str, bool] = {}
    for hour in window.hours:
        registered |= read_uris(settings, hour) or {}
    return Replayed(
        window,
        freed_objects=tuple(sorted(uri for uri in objects if registered.get(uri))),
        left_objects=tuple(sorted(objects - registered.keys())),
        freed_lines=sum(max(0, count - still_lines.get(uri, 0)) for uri, count in lines.items() if registered.get(uri)),
        still_objects=len(still_objects),
        still_lines=sum(still_lines.values()),
        held_back=held_back,
        restated=tuple(one for report in reports for one in report.restated),
    )


# --- words ---


def show_groups(groups: Sequence[Group], form: OutputFormat, console: Console, stream: TextIO) -> None:
    """Write groups as a table, or as rows for a program."""
    columns = ("arrival_hour", "flow_log_id", "reason", "objects", "lines", "bytes", "example")
    if form is not OutputFormat.TABLE:
        _write(columns, [tuple(vars(group).values()) for group in groups], form, stream)
        return
    if not groups:
        console.print("nothing is quarantined there")
        return
    rows = [
        (
            group.arrival_hour,
            group.flow_log_id or "-",
            group.reason,
            human_count(group.objects),
            human_count(group.lines),
            human_bytes(group.bytes),
            group.example,
        )
        for group in groups
    ]
    heads = ["arrival hour", "flow log", *columns[2:]]
    print_table(console, make_table(heads, rows, right=columns[3:6], whole=heads[:3]))
    objects, lines = sum(group.objects for group in groups), sum(group.lines for group in groups)
    console.print(f"{_amount(objects, lines)} in {counted(len({group.arrival_hour for group in groups}), 'hour')}")


def show_entries(entries: Sequence[Entry], form: OutputFormat, console: Console, stream: TextIO) -> None:
    """Write entries as a table, whose texts are cut, or as rows for a program."""
    columns = ("arrival_hour", "flow_log_id", "object", "what", "reason", "text", "bytes")
    if form is not OutputFormat.TABLE:
        _write(columns, [tuple(vars(entry).values()) for entry in entries], form, stream)
        return
    if not entries:
        console.print("nothing is quarantined there")
        return
    rows = [
        (entry.arrival_hour, entry.object, entry.what, entry.reason, _cut(entry.text or ""), human_bytes(entry.bytes))
        for entry in entries
    ]
    heads = ["arrival hour", *columns[2:]]
    print_table(console, make_table(heads, rows, right=("bytes",), whole=("arrival hour", "what")))


def show_plan(planned: Sequence[PlannedReplay], console: Console) -> None:
    """Print which windows a replay runs, what matches in each, and what each reads."""
    numbers = ["objects", "lines", "bytes", "objects read", "lines read", "bytes read"]
    rows = [
        (
            one.window,
            human_count(one.objects),
            human_count(one.lines),
            human_bytes(one.bytes),
            human_count(one.read_objects),
            human_count(one.read_lines),
            human_bytes(one.read_bytes),
        )
        for one in planned
    ]
    print_table(console, make_table(["arrival hours", *numbers], rows, right=numbers, whole=["arrival hours"]))


def show_replayed(replayed: Sequence[Replayed], console: Console) -> None:
    """Print what came free in all windows together, and what is still quarantined in them."""
    freed = [uri for one in replayed for uri in one.freed_objects]
    left = [uri for one in replayed for uri in one.left_objects]
    console.print(f"came free: {_amount(len(freed), sum(one.freed_lines for one in replayed))}")
    _name(freed, console)
    if left:
        console.print(f"in these hours no more: {counted(len(left), 'object')} (replaced or removed at the source)")
        _name(left, console)
    still = _amount(sum(one.still_objects for one in replayed), sum(one.still_lines for one in replayed))
    console.print(f"still quarantined in these hours: {still}")


def _amount(objects: int, lines: int) -> str:
    return f"{counted(objects, 'object')}, {counted(lines, 'line')}"


def _name(uris: Sequence[str], console: Console) -> None:
    for uri in uris[:_NAMED]:
        console.print(Text(f"  {shown(uri)}"))
    if len(uris) > _NAMED:
        console.print(f"  and {len(uris) - _NAMED:,} more")


def _cut(text: str) -> str:
    text = shown(text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _write(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], form: OutputFormat, stream: TextIO) -> None:
    """JSON has the texts exactly, in ASCII; in CSV what is not printable is escaped, for terminals and for readers."""
    if form is OutputFormat.JSON:
        write_json(Result(tuple(columns), (), iter(rows)), stream)
        return
    printable = (tuple(shown(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)
    write_csv(Result(tuple(columns), (), printable), stream)


# --- reading ---


def _is_built(settings: Settings) -> bool:
    """Whether an hour was ever staged; a lake may hold no more than what its first `register` wrote."""
    if settings.target is Target.ATHENA:
        from flowlake.lake.athena import AthenaLake

        return AthenaLake(settings, asked=True).glue_table("intermediate", "int_objects__accounted") is not None
    with connect(settings) as connection:
        return bool(columns_of(connection, "intermediate.int_objects__accounted"))


def _malformed(selection: Selection) -> str:
    """The condition on staging's lines. The small table of objects spares the hours that have no malformed line."""
    hours = f"select arrival_hour from {_OBJECTS} where malformed > 0 and {selection.where()}"
    return f"line_kind = 'malformed' and arrival_hour in ({hours}) and {selection.where(_KIND)}"


def _held(settings: Settings, window: Window) -> tuple[set[str], dict[str, int]]:
    """The unreadable objects of a window, and how many malformed lines each of the others has."""
    if not _is_built(settings):
        return set(), {}
    rows = read_rows(
        settings,
        f"select source_uri, status, malformed from {_OBJECTS} where {_IS_HELD} and {in_window(window)}",
        asked=True,
    )
    unreadable = {uri for uri, status, _ in rows if status == "unreadable"}
    return unreadable, {uri: int(malformed) for uri, status, malformed in rows if status != "unreadable"}


def _meaning(reason: str) -> str:
    """A reason in words; its own word where another version of flowlake wrote it."""
    return Reason(reason).meaning if reason in set(Reason) else reason
