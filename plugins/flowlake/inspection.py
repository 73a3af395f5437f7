"""`flowlake inspect`: what a window would read, flow log by flow log, and what looks wrong; it writes nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from flowlake.lake.manifests import read_objects, registered_hours
from flowlake.lake.objects import shown
from flowlake.lake.register import Plan, PlannedFlowLog, UnusualText, plan
from flowlake.lake.windows import Window, format_hour, parse_hour
from flowlake.settings import Arrival, Settings
from flowlake.terminal import counted, human_bytes, human_count, make_table, print_table

if TYPE_CHECKING:
    from flowlake.lake.storage import S3ClientFactory

LATE = timedelta(minutes=60)
"""An object that arrives longer than this after the time in its name is late, as in `ops.fct_coverage`."""


@dataclass(frozen=True)
class Inspection:
    """The plan of a window and the findings about it. `compared_with` is the registered hour that it was held against.

    `problems` are lines for people: unreadable objects, unknown fields, late objects, flow logs that have gone silent.
    """

    plan: Plan
    compared_with: str | None
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The inspection in the words of JSON: times ISO 8601 in UTC, sizes in bytes."""
        return {
            "window": {"from": format_hour(self.plan.window.start), "to": format_hour(self.plan.window.end)},
            "objects": self.plan.objects,
            "bytes": self.plan.bytes,
            "flow_logs": [_flow_log_json(flow_log) for flow_log in self.plan.flow_logs],
            "compared_with": self.compared_with,
            "problems": list(self.problems),
        }


def inspect_window(settings: Settings, window: Window, *, s3_client: S3ClientFactory | None = None) -> Inspection:
    """List the window's objects, read headers, hold them against the last hour registered before the window."""
    planned = plan(settings, window, s3_client=s3_client)
    last = last_registered_hour(settings, window)
    problems = [*planned.problems]
    for flow_log in planned.flow_logs:
        name = f"{flow_log.source}, {flow_log.flow_log_id}"
        problems += [f"{name}: {problem}" for problem in flow_log.problems]
        if _is_late(settings, window, flow_log):
            named = _minute(flow_log.first_named_at)
            problems.append(f"{name}: late objects, the oldest is named {named}: they restate earlier event hours")
    if last is not None:
        problems += _silent(settings, last, planned)
    by_time = any(source.arrival is Arrival.LAST_MODIFIED for source in settings.sources)
    if not planned.objects:
        problems.append(
            f"no object arrived in {window}: look at the window (UTC, by arrival, end exclusive) and at the sources"
            + ("; what was copied or uploaded arrived then" if by_time else "")
            + (", unless the source says `arrival: object_name`" if by_time else "")
        )
    return Inspection(planned, last, tuple(dict.fromkeys(problems)))


def last_registered_hour(settings: Settings, window: Window) -> str | None:
    """The newest hour before the window that was registered, None when there is none."""
    return max((hour for hour in registered_hours(settings) if hour < window.hours[0]), default=None)


def show_inspection(inspection: Inspection, settings: Settings, console: Console) -> None:
    """Print the inspection for people."""
    planned = inspection.plan
    hours = counted(len(planned.window.hours), "arrival hour")
    console.print(
        Text(
            f"{planned.window} ({hours}) would read {counted(planned.objects, 'object')}, "
            f"{human_bytes(planned.bytes)}, of {counted(len(planned.flow_logs), 'flow log')} "
            f"in {counted(len(settings.sources), 'source')}"
        )
    )
    by_source: dict[str, list[PlannedFlowLog]] = defaultdict(list)
    for flow_log in planned.flow_logs:
        by_source[flow_log.source].append(flow_log)
    for source in settings.sources:
        console.print()
        console.print(Text(f"source {source.name}: {shown(source.uri)} (arrival: {source.arrival})", style="bold"))
        if by_source[source.name]:
            print_table(console, _flow_log_table(by_source[source.name]))
            for flow_log in by_source[source.name]:
                for found in flow_log.unusual:
                    _show_unusual(flow_log.flow_log_id, found, console)
        else:
            console.print("  nothing arrived")
    console.print()
    if inspection.problems:
        console.print(Text("what looks wrong", style="bold"))
        for problem in inspection.problems:
            console.print(Text(f"  {shown(problem)}", style="yellow"))
    else:
        console.print("nothing looks wrong")
    if inspection.compared_with is None:
        console.print("no earlier hour is registered: silent flow logs cannot be told")
    looked = sum(flow_log.headers_read for flow_log in planned.flow_logs)
    console.print(f"read {counted(looked, 'header')} of {counted(planned.objects, 'object')}; nothing was written")


def _show_unusual(flow_log_id: str, found: UnusualText, console: Console) -> None:
    console.print()
    what = f"in {found.wrapping}" if found.wrapping else "without a header"
    example = f", for example {shown(found.uri)}"
    console.print(Text(f"  {flow_log_id}: {counted(found.objects, 'object')} {what}{example}"), soft_wrap=True)
    for number, line in enumerate(found.lines, 1):
        console.print(Text(f"    line {number}: {line}"), soft_wrap=True)
    taken_for = f"format {found.format}" if found.format else "not read"
    console.print(Text(f"    {taken_for}: {found.how}"), soft_wrap=True)


def _flow_log_table(flow_logs: list[PlannedFlowLog]) -> Any:
    return make_table(
        ["account", "region", "flow log", "layout", "format", "objects", "bytes", "named from", "to"],
        [
            (
                flow_log.account_id,
                flow_log.region,
                flow_log.flow_log_id,
                ", ".join(flow_log.layouts),
                ", ".join(flow_log.formats) or "?",
                human_count(flow_log.objects),
                human_bytes(flow_log.bytes),
                _minute(flow_log.first_named_at),
                _minute(flow_log.last_named_at),
            )
            for flow_log in flow_logs
        ],
        right=("objects", "bytes"),
        whole=("account", "region", "flow log"),
    )


def _flow_log_json(flow_log: PlannedFlowLog) -> dict[str, Any]:
    facts = asdict(flow_log)
    for key in ("first_named_at", "last_named_at"):
        facts[key] = _iso(facts[key])
    return facts


def _is_late(settings: Settings, window: Window, flow_log: PlannedFlowLog) -> bool:
    arrival = next(source.arrival for source in settings.sources if source.name == flow_log.source)
    return arrival is Arrival.LAST_MODIFIED and window.start - flow_log.first_named_at > LATE


def _silent(settings: Settings, last: str, planned: Plan) -> list[str]:
    here = {(flow_log.source, flow_log.flow_log_id) for flow_log in planned.flow_logs}
    retired = set(settings.gates.retired_flow_logs)
    before = {(row.source, row.flow_log_id) for row in read_objects(settings, last) or () if row.flow_log_id}
    gap = int((planned.window.start - parse_hour(last)) / timedelta(hours=1))
    when = f"delivered in {last}" + (f", {gap} hours before the window" if gap > 1 else "")
    return [
        f"{source}, {flow_log}: silent, it {when} and nothing now"
        for source, flow_log in sorted(before - here, key=str)
        if flow_log not in retired
    ]


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M}"


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
