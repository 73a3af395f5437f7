"""The report that the demo ends with, and `flowlake report`: what arrived, what it became, what it says.

Everything is read at the published version, so that the numbers agree with one another and with what people query;
while a run is under way, or after one that failed, the report stays that of the last validated state.
"""

from __future__ import annotations

import html
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from flowlake.errors import FlowlakeError
from flowlake.lake.duck import connect
from flowlake.lake.objects import shown
from flowlake.lake.publish import SCHEMA, published_version
from flowlake.quality.report import GateReport, Layer
from flowlake.settings import DEFAULT_CONFIG, Settings
from flowlake.terminal import counted, human_bytes, human_count, make_table, print_table

if TYPE_CHECKING:
    import duckdb

    from flowlake.lake.windows import Window

TOP = 5
_REMARKS = 6
_QUESTION = "from rpt_top_pairs limit 10"
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 41: "IPv6", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6"}


class ReportError(FlowlakeError):
    """There is nothing to report: nothing was published yet, or the window was never run."""


@dataclass(frozen=True)
class Verdict:
    """What a layer's gates said over the runs of a window. `runs` counts them, `checks` all their expectations."""

    layer: Layer
    runs: int
    checks: int
    failures: tuple[str, ...]
    warnings: tuple[str, ...]


def print_report(
    settings: Settings, window: Window, console: Console, *, gates: Sequence[GateReport] | None = None
) -> None:
    """Print the report of a window of arrival hours.

    `gates` are the gates' reports where the caller has them; else their last results are read from the quality folder.
    Raises LakeError when there is no lake and ReportError when there is nothing to report.
    """
    with connect(settings) as connection:
        version = published_version(connection)
        if version is None:
            raise ReportError(f"nothing is published in {settings.lake.path} yet: a run publishes when its gates pass")
        lake = _Lake(connection, version, window)
        if not lake.coverage():
            raise ReportError(
                f"no flow log delivered in {window}, or it was not run yet: "
                "`flowlake inspect` says what it would read, `flowlake run` runs it"
            )
        for section in (_arrivals, _sizes, _counting, _talkers, _rejections):
            section(lake, console)
    _gates(settings, verdicts(settings, window) if gates is None else summarised(gates), console)
    _next_commands(settings, window, console)


class _Lake:
    """The lake at its published version, and the window's hours as parameters."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, version: int, window: Window) -> None:
        self._connection = connection
        self._version = version
        self.window = window
        self._arrivals = list(window.hours)
        # The event hours that the window's records belong to: what the window added to the tables by event hour.
        self._events = [
            hour
            for (hour,) in self._fetch(
                f"select distinct event_hour from {self._table('intermediate', 'int_edges__partials')} "
                "where arrival_hour in (select unnest($hours))",
                hours=self._arrivals,
            )
        ]

    def coverage(self) -> list[tuple[Any, ...]]:
        """Per flow log: id, region, objects, unreadable, late, lines, records, gaps, malformed, silent hours."""
        return self._fetch(
            "select flow_log_id, min(region), sum(objects), sum(unreadable_objects), sum(late_objects), sum(lines), "
            "sum(records), sum(gaps), sum(malformed), count(*) filter (where status = 'silent') "
            "from fct_coverage where arrival_hour in (select unnest($hours)) group by 1 order by 7 desc, 1",
            hours=self._arrivals,
        )

    def incomplete(self) -> list[tuple[Any, ...]]:
        """Per hour of the window that is not complete: the hour, flow logs that are open, and that are silent."""
        if "rpt_completeness" not in self.names():
            # Published by a version before there was such a view.
            return []
        return self._fetch(
            "select strftime(event_hour, '%Y-%m-%dT%H') as hour, count(*) filter (where status = 'open'), "
            "count(*) filter (where status = 'silent') from rpt_completeness "
            "where status <> 'complete' and hour in (select unnest($hours)) group by 1 order by 1",
            hours=self._arrivals,
        )

    def unreadable(self) -> list[tuple[Any, ...]]:
        """Per flow log (none for a foreign object) and reason: the objects that could not be read."""
        return self._fetch(
            f"select flow_log_id, reason, count(*) from {self._objects} "
            "where status = 'unreadable' and arrival_hour in (select unnest($hours)) group by 1, 2 order by 3 desc, 2",
            hours=self._arrivals,
        )

    def names(self) -> list[str]:
        """What is published."""
        rows = self._fetch(
            "select view_name from duckdb_views() where database_name = 'lake' and schema_name = $schema order by 1",
            schema=SCHEMA,
        )
        return [str(name) for (name,) in rows]

    def tables(self) -> list[tuple[str, int]]:
        """The published tables with their rows."""
        counts = []
        for name in self.names():
            quoted = '"' + name.replace('"', '""') + '"'
            counts.append((name, int(self._fetch(f"select count(*) from {SCHEMA}.{quoted}")[0][0])))
        return counts

    def stored(self) -> tuple[int, int, int, int, int]:
        """Of the whole lake: objects, their bytes, line bytes, records, and the bytes of cleaned Parquet."""
        objects, size, line_bytes, records = self._fetch(
            "select count(*), coalesce(sum(object_bytes), 0), coalesce(sum(registered_line_bytes), 0), "
            f"coalesce(sum(records), 0) from {self._objects}"
        )[0]
        cleaned = self._fetch(
            "select coalesce(sum(file_size_bytes), 0) from ducklake_table_info('lake') where table_name = $name",
            name="stg_flow_logs__lines",
        )[0][0]
        return int(objects), int(size), int(line_bytes), int(records), int(cleaned)

    def sums(self) -> tuple[int, int, int, int]:
        """Bytes of all records, of the counted edges, of translated legs left out; observations per counted edge."""
        (plain,) = self._fetch(
            f"select coalesce(sum(bytes), 0) from {self._table('intermediate', 'int_edges__partials')} "
            "where event_hour in (select unnest($events))",
            events=self._events,
        )[0]
        counted_bytes, left_out, edges = self._fetch(
            "select coalesce(sum(bytes) filter (where is_counted), 0), "
            "coalesce(sum(bytes) filter (where not is_counted), 0), count(*) filter (where is_counted) "
            "from fct_edges where event_hour in (select unnest($events))",
            events=self._events,
        )[0]
        return int(plain), int(counted_bytes), int(left_out), int(edges)

    def talkers(self) -> list[tuple[Any, ...]]:
        """The devices with most bytes, as in rpt_top_talkers: name, address, scope, sent, received, peers."""
        return self._fetch(
            "with ends as ("
            "select src_device_id as device_id, dst_device_id as peer_id, bytes as sent, 0 as received "
            "from fct_edges where is_counted and event_hour in (select unnest($events)) "
            "union all select dst_device_id, src_device_id, 0, bytes from fct_edges "
            "where is_counted and action <> 'REJECT' and event_hour in (select unnest($events))), "
            "sums as (select device_id, sum(sent) as sent, sum(received) as received, count(distinct peer_id) as peers "
            "from ends group by 1 order by sum(sent) + sum(received) desc, 1 limit $top) "
            "select coalesce(name, aws_service), device_id, scope, sent, received, peers "
            "from sums left join dim_devices using (device_id) order by sent + received desc, device_id",
            events=self._events,
            top=TOP,
        )

    def pairs(self) -> list[tuple[Any, ...]]:
        """The pairs with most bytes, as in rpt_top_pairs: names and addresses, bytes, packets, the busiest service."""
        return self._fetch(
            "with sums as ("
            "select least(src_device_id, dst_device_id) as one_id, greatest(src_device_id, dst_device_id) as other_id, "
            "sum(bytes) as bytes, sum(packets) as packets, arg_max(protocol, bytes) as protocol, "
            "arg_max(service_port, bytes) as port "
            "from fct_edges where is_counted and event_hour in (select unnest($events)) "
            "group by 1, 2 order by 3 desc, 1, 2 limit $top) "
            "select coalesce(one.name, one.aws_service), one_id, coalesce(other.name, other.aws_service), other_id, "
            "bytes, packets, protocol, port from sums "
            "left join dim_devices as one on one.device_id = one_id "
            "left join dim_devices as other on other.device_id = other_id order by bytes desc, one_id, other_id",
            events=self._events,
            top=TOP,
        )

    def rejected(self) -> tuple[int, int, int, int]:
        """Rejected flows, packets and bytes, and the distinct sources of them."""
        flows, packets, size, sources = self._fetch(
            "select coalesce(sum(flows), 0), coalesce(sum(packets), 0), coalesce(sum(bytes), 0), "
            "count(distinct src_device_id) "
            "from fct_edges where is_counted and action = 'REJECT' and event_hour in (select unnest($events))",
            events=self._events,
        )[0]
        return int(flows), int(packets), int(size), int(sources)

    def rejected_ports(self) -> list[tuple[Any, ...]]:
        """What was rejected at which port, as in rpt_rejected_by_port: protocol, port, bytes, packets, sources."""
        return self._fetch(
            "select protocol, case when src_role = 'client' then service_port end as dst_port, sum(bytes), "
            "sum(packets), count(distinct src_device_id) "
            "from fct_edges where is_counted and action = 'REJECT' and event_hour in (select unnest($events)) "
            "group by 1, 2 order by 3 desc, 1, 2 nulls last limit $top",
            events=self._events,
            top=TOP,
        )

    def rejected_sources(self) -> list[tuple[Any, ...]]:
        """Whose packets were rejected: name, address, bytes, packets, distinct destinations."""
        return self._fetch(
            "select any_value(coalesce(name, aws_service)), src_device_id, sum(bytes), sum(packets), "
            "count(distinct dst_device_id) "
            "from fct_edges left join dim_devices on device_id = src_device_id "
            "where is_counted and action = 'REJECT' and event_hour in (select unnest($events)) "
            "group by 2 order by 3 desc, 2 limit $top",
            events=self._events,
            top=TOP,
        )

    def services(self) -> dict[int, str]:
        """Names of well-known ports."""
        return dict(self._fetch(f"select port, service from {self._table('seeds', 'service_ports')}"))

    @property
    def _objects(self) -> str:
        return self._table("intermediate", "int_objects__accounted")

    def _table(self, schema: str, name: str) -> str:
        return f"lake.{schema}.{name} at (version => {self._version:d})"

    def _fetch(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters or None).fetchall()


def _arrivals(lake: _Lake, console: Console) -> None:
    _heading(console, f"What arrived in {lake.window}, and what was missing")
    columns = ["objects", "unread", "late", "lines", "records", "gaps", "malformed", "silent"]
    print_table(
        console,
        make_table(
            ["flow log", "region", *columns],
            [
                (flow_log, region, *(human_count(int(number)) for number in numbers))
                for flow_log, region, *numbers in lake.coverage()
            ],
            right=columns,
            whole=("flow log", "region"),
        ),
    )
    if hours := lake.incomplete():
        said = []
        for hour, waiting, silent in hours[-TOP:]:
            states = {"open": waiting, "silent": silent}
            which = ", ".join(f"{counted(number, 'flow log')} {state}" for state, number in states.items() if number)
            said.append(f"{hour} ({which})")
        more = f"{len(hours) - len(said)} earlier ones and " if len(hours) > len(said) else ""
        console.print(Text(f"hours that are not complete (rpt_completeness): {more}{', '.join(said)}"))
    reasons: dict[str | None, Counter[str]] = {}
    for flow_log, reason, count in lake.unreadable():
        reasons.setdefault(flow_log, Counter())[str(reason)] += count
    for flow_log, found in sorted(reasons.items(), key=lambda item: item[0] or "~"):
        console.print(Text(f"unread: {flow_log or 'of no flow log'}: {_listed(found)}", style="yellow"))


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(
        reason.replace("_", " ") + (f" ({count})" if count > 1 else "") for reason, count in reasons.most_common()
    )


def _sizes(lake: _Lake, console: Console) -> None:
    _heading(console, "What became of it")
    tables = lake.tables()
    for kind, is_report in (("tables", False), ("reports", True)):
        rows = [f"{name} {human_count(count)}" for name, count in tables if name.startswith("rpt_") is is_report]
        if rows:
            console.print(Text(f"rows of {kind}: {', '.join(rows)}"))
    objects, before, line_bytes, records, after = lake.stored()
    sizes = (
        f"{counted(objects, 'object')} in the lake: {human_bytes(before)} as delivered"
        f" ({human_bytes(line_bytes)} of text unpacked), {human_bytes(after)} as cleaned Parquet"
    )
    if records and before:
        sizes += f"; {before / records:.1f} and {after / records:.1f} bytes a record"
    console.print(Text(sizes))


def _counting(lake: _Lake, console: Console) -> None:
    plain, moved, left_out, edges = lake.sums()
    _heading(console, "Each packet once")
    factor = f": {plain / moved:.2f} times as much as there was" if moved else ""
    console.print(
        Text(
            f"a plain sum over all records says {human_bytes(plain)}, {human_bytes(moved)} moved"
            f" over {counted(edges, 'edge')}{factor}"
        )
    )
    if left_out:
        console.print(
            Text(
                f"legs of NAT gateways, kept and left out of totals as their clients were seen: {human_bytes(left_out)}"
            )
        )


def _talkers(lake: _Lake, console: Console) -> None:
    services = lake.services()
    _heading(console, "Top talkers")
    print_table(
        console,
        make_table(
            ["device", "address", "scope", "sent", "received", "peers"],
            [
                (name or "", device, scope or "", human_bytes(sent), human_bytes(received), human_count(peers))
                for name, device, scope, sent, received, peers in lake.talkers()
            ],
            right=("sent", "received", "peers"),
        ),
    )
    _heading(console, "Top pairs")
    print_table(
        console,
        make_table(
            ["one", "the other", "bytes", "packets", "mostly"],
            [
                (
                    _named(one, one_id),
                    _named(other, other_id),
                    human_bytes(size),
                    human_count(int(packets)),
                    _service(protocol, port, services),
                )
                for one, one_id, other, other_id, size, packets, protocol, port in lake.pairs()
            ],
            right=("bytes", "packets"),
        ),
    )


def _rejections(lake: _Lake, console: Console) -> None:
    flows, packets, size, sources = lake.rejected()
    _heading(console, "What was rejected")
    console.print(
        Text(
            f"{human_bytes(size)} in {counted(packets, 'packet')} of {counted(flows, 'flow')}"
            f" from {counted(sources, 'source')}"
        )
    )
    if not flows:
        return
    services = lake.services()
    rows = zip_longest(
        [
            (_service(protocol, port, services), human_bytes(size), human_count(int(count)), human_count(who))
            for protocol, port, size, count, who in lake.rejected_ports()
        ],
        [
            (_named(name, device), human_bytes(size), human_count(int(count)), human_count(targets))
            for name, device, size, count, targets in lake.rejected_sources()
        ],
        fillvalue=("", "", "", ""),
    )
    print_table(
        console,
        make_table(
            ["at", "bytes", "packets", "sources", "from", "bytes", "packets", "devices"],
            [[*one, *other] for one, other in rows],
            right=("bytes", "packets", "sources", "devices"),
        ),
    )


def _gates(settings: Settings, said: Iterable[Verdict], console: Console) -> None:
    _heading(console, "What the gates said")
    found = list(said)
    for verdict in found:
        state = "passed" if not verdict.failures else f"FAILED ({len(verdict.failures)})"
        line = f"{verdict.layer.value}: {state}, {counted(verdict.checks, 'check')} in {counted(verdict.runs, 'run')}"
        if verdict.warnings:
            line += f", {counted(len(verdict.warnings), 'warning')}"
        console.print(Text(line, style="bold red" if verdict.failures else "green"))
        remarks = [*verdict.failures, *verdict.warnings]
        for remark in remarks[:_REMARKS]:
            console.print(Text(f"  {shown(remark)}", style="yellow"))
        if len(remarks) > _REMARKS:
            console.print(Text(f"  and {len(remarks) - _REMARKS} more", style="yellow"))
    if not found:
        console.print("no gate has run over these hours")
    console.print(Text(f"pages: {_relative(settings.lake.quality / 'data_docs' / 'index.html')}"))


def _next_commands(settings: Settings, window: Window, console: Console) -> None:
    command = str(_relative(Path(sys.executable).parent / "flowlake"))
    start, end = str(window).split("/")
    config = settings.config_path
    if config is not None and config != Path.cwd() / DEFAULT_CONFIG:
        command += f" --config {shlex.quote(str(_relative(config)))}"
    _heading(console, "What to type next")
    for line in (
        f'{command} query "{_QUESTION}"',
        f"{command} inspect --from {start} --to {end}",
        "make up",
    ):
        console.print(Text(f"  {line}"), soft_wrap=True)


def summarised(gates: Iterable[GateReport]) -> list[Verdict]:
    """Verdicts from gates' own reports, layer by layer."""
    found = []
    reports = list(gates)
    for layer in Layer:
        mine = [report for report in reports if report.layer is layer]
        if mine:
            found.append(
                Verdict(
                    layer=layer,
                    runs=len(mine),
                    checks=sum(report.checks for report in mine),
                    failures=tuple(_short(finding.message) for report in mine for finding in report.failures),
                    warnings=tuple(_short(finding.message) for report in mine for finding in report.warnings),
                )
            )
    return found


def verdicts(settings: Settings, window: Window) -> list[Verdict]:
    """The gates' last results over the window, read from what Great Expectations stored in the quality folder.

    A window counts that was validated by itself, or that lies in this one whole. Results that cannot be read are left
    out: a report is no reason to fail.
    """
    found = []
    for layer in Layer:
        runs: set[str] = set()
        failures: list[str] = []
        warnings: list[str] = []
        checks = 0
        for run, result in _last_results(settings.lake.quality / "gx" / "validations" / layer.value, layer, window):
            runs.add(run)
            checks += 1
            if not result.get("success", True):
                config = result.get("expectation_config", {})
                (failures if config.get("severity") == "critical" else warnings).append(_said(run, layer, result))
        if runs:
            found.append(Verdict(layer, len(runs), checks, tuple(failures), tuple(warnings)))
    return found


def _last_results(folder: Path, layer: Layer, window: Window) -> Iterable[tuple[str, dict[str, Any]]]:
    """(run, result) of the newest validation of every table and run that lies in the window."""
    first, last = str(window).split("/")
    for run in sorted(folder.glob(f"*/{layer.value}_*")):
        start, _, end = run.name.removeprefix(f"{layer.value}_").partition("_")
        if not first <= start < end <= last:
            continue
        newest = max((path for path in run.iterdir() if path.is_dir()), key=lambda path: path.name, default=None)
        for file in sorted(newest.glob("*.json")) if newest else ():
            try:
                results = json.loads(file.read_text(encoding="utf-8"))["results"]
            except (OSError, ValueError, KeyError):
                continue
            for result in results:
                yield run.name, result


def _said(run: str, layer: Layer, result: dict[str, Any]) -> str:
    """A failed expectation in a line: the gate's own words where it left them, else what should have held."""
    hours = run.removeprefix(f"{layer.value}_").replace("_", "/")
    detail = result.get("result") or {}
    observed = detail.get("observed_value")
    if isinstance(observed, str) and observed.startswith(f"{layer.value}: "):
        return _short(html.unescape(observed).removeprefix(f"{layer.value}: "))
    count = detail.get("unexpected_count")
    what = str(result.get("expectation_config", {}).get("description", "an expectation"))
    return f"{hours}: does not hold: {what}" + (f" ({count:,} do not)" if isinstance(count, int) else "")


def _short(message: str) -> str:
    return message.split("; rows: ", maxsplit=1)[0]


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold cyan"))


def _named(name: str | None, device: str) -> str:
    return f"{name} ({device})" if name else device


def _service(protocol: int | None, port: int | None, services: dict[int, str]) -> str:
    name = _PROTOCOLS.get(protocol or 0, f"protocol {protocol}")
    if not port:
        return name
    known = services.get(port)
    return f"{name} {port}" + (f" ({known})" if known else "")


def _relative(path: Path) -> Path:
    """A path as a person in this folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
