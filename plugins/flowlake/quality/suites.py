"""What is expected of each layer, as data: one `Check` an expectation, one function a layer.

Nothing here imports Great Expectations: `great` turns a check into an expectation of its. A check also says, in SQL,
which rows break it, so that a failure can be counted, shown and kept. SQL text is put together from this file's own
words, hours that `Window` has checked, and numbers from the settings; never from anything that a log line or a key
says. tests/quality holds a failing case for every check, and fails when one is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from string import Template

from flowlake.lake.duck import literal
from flowlake.lake.windows import Window, format_hour
from flowlake.quality.report import Layer
from flowlake.settings import Gates, Severity

NO_ROWS = "no_rows"
"""The expectation that a query of ours (`Check.failing`) returns nothing."""

TABLES: Mapping[Layer, Mapping[str, str]] = {
    Layer.STAGING: {
        "stg_flow_logs__lines": "staging",
        "int_objects__accounted": "intermediate",
        "int_coverage__expected": "intermediate",
    },
    Layer.MARTS: {
        "stg_flow_logs__lines": "staging",
        "int_coverage__partials": "intermediate",
        "int_edges__partials": "intermediate",
        "int_flow_logs__merged": "intermediate",
        "int_gateway_flows__partials": "intermediate",
        "int_hours__restated": "intermediate",
        "fct_edges": "core",
        "fct_gateway_flows": "core",
        "dim_devices": "core",
        "dim_interfaces": "core",
        "fct_flow_log_hours": "ops",
        "fct_interface_hours": "ops",
    },
}
"""The lake's tables that a layer's checks read, with their schemas; the staging checks also read `objects` (raw)."""

VOLUME_HISTORY = timedelta(days=7)
"""How far back the median of a volume goes: a week holds every hour of the day and day of the week alike."""

VOLUME_MIN_HOURS = 6
"""Fewer earlier hours than these say nothing about what is usual (2026-11: a lake's first night)."""

HOURS_LISTED = 400
"""So many restated hours stand in a statement as they are; Athena takes no statement beyond 262,144 bytes."""


@dataclass(frozen=True)
class Condition:
    """A row condition: `column operator value`, where `in` and `not in` take several values.

    Hours of events are times, not text: Athena compares nothing with a text that is none. `text`, when given, is what
    the condition is in SQL.
    """

    column: str
    operator: str
    value: str | tuple[str, ...] | tuple[datetime, ...]
    text: str = ""

    @property
    def sql(self) -> str:
        """The condition as SQL text."""
        if self.text:
            return self.text
        if isinstance(self.value, tuple):
            # An empty list is no SQL; nothing is in it.
            values = ", ".join(_literal(value) for value in self.value) or "null"
            return f"{self.column} {self.operator} ({values})"
        return f"{self.column} {self.operator} {literal(self.value)}"


@dataclass(frozen=True)
class Check:
    """One expectation: what must hold, where, how bad it is when it does not, and how to say so.

    `says` is a `str.format` template over `count` (failing rows), `where` (their hours, as words), `row` (the first of
    them) and the words of `runner.NUMBERS` ("{count} hour{s} {have} ..."). `failing` selects the rows that break the
    expectation; `keep`, when given, selects those to keep instead. Both are SQL that DuckDB and Athena take alike, with
    an @ before a table's name (`on`).
    """

    name: str
    table: str
    severity: Severity
    claim: str
    says: str
    failing: str
    keep: str = ""
    expectation: str = NO_ROWS
    arguments: Mapping[str, object] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()

    def on(self, names: Mapping[str, str]) -> Check:
        """The check with its tables called as an engine calls them (`engines.Engine.names`)."""
        return replace(self, failing=_named(self.failing, names), keep=_named(self.keep, names))


@dataclass(frozen=True)
class ReportTotals:
    """A report kept per event hour whose sums over an hour must equal those of the counted rows of a fact.

    `measures` maps a column of the report to the expression over the fact that it adds up.
    """

    table: str
    measures: Mapping[str, str]
    schema: str = "marts"
    edges: str = "is_counted"
    fact: str = "fct_edges"


_SUMS = {"flows": "flows", "packets": "packets", "bytes": "bytes"}
_LOST = tuple(f"packets_lost_{reason}" for reason in ("no_route", "blackhole", "mtu_exceeded", "ttl_expired"))
_GATEWAY_SUMS = {name: name for name in (*_SUMS, *_LOST)}
_REJECTED = {name: f"case when action = 'REJECT' then {name} else 0 end" for name in ("packets", "bytes")}

REPORT_TOTALS: tuple[ReportTotals, ...] = (
    ReportTotals("rpt_pairs_hourly", _SUMS),
    ReportTotals("rpt_scopes_hourly", _SUMS),
    ReportTotals("rpt_rejected_ports_hourly", _REJECTED),
    ReportTotals("rpt_rejected_sources_hourly", _REJECTED),
    ReportTotals("rpt_rejected_protocols_hourly", {"packets": _REJECTED["packets"]}),
    ReportTotals("rpt_gateway_flows_hourly", _GATEWAY_SUMS, fact="fct_gateway_flows"),
)
"""Reports that split every counted (or every rejected) edge of an hour without a rest or an overlap; or every flow that
is counted of Transit Gateways."""


def staging_checks(gates: Gates, window: Window) -> tuple[Check, ...]:
    """Whether what was read of a window is what arrived, and arrived as usual."""
    scope = _arrival_scope(window)
    return (
        *_object_checks(gates, window, scope),
        *_accounting_checks(scope),
        *_malformed_checks(gates, scope),
        *_delivery_checks(gates, window, scope),
        *_line_checks(scope),
        *_event_time_checks(gates, window, scope),
    )


def marts_checks(
    window: Window, restated: Sequence[datetime], totals: Sequence[ReportTotals] = ()
) -> tuple[Check, ...]:
    """Whether the edges are the staged records, once each, and every key leads somewhere.

    `restated` are the event hours that the run wrote anew (naive UTC).
    """
    hours = _restated_sql(restated)
    since = _literal(min(restated)) if restated else "null"
    seen = Condition("last_seen_at", ">=", "", f"last_seen_at >= {since}")
    edges = _edge_checks((Condition("event_hour", "in", tuple(restated), hours),))
    return (
        # A row condition of Great Expectations can only list its hours.
        *(edges if len(restated) <= HOURS_LISTED else (_as_query(check) for check in edges)),
        _key("fct_edges", "edge_id", what="edge", hours=hours),
        _devices_check(seen, hours),
        *_edge_sum_checks(_arrival_scope(window), hours),
        *_gateway_checks(_arrival_scope(window), hours),
        *_hour_checks(hours),
        *_dimension_checks(seen),
        *(_report_totals_check(total, hours) for total in totals),
    )


def _object_checks(gates: Gates, window: Window, scope: tuple[Condition, ...]) -> tuple[Check, ...]:
    hours = ", ".join(f"({literal(hour)})" for hour in window.hours)
    return (
        Check(
            name="objects_are_readable",
            table="objects",
            severity=gates.unreadable_objects,
            claim="every object that arrived could be read",
            says="{count} object{s} could not be read {where}, such as {row[uri]} ({row[reason]})",
            # Nothing is missing of what lies there twice.
            failing=_sql(
                "select * from @objects where $window and status <> 'readable'"
                " and coalesce(reason, '') not in ('duplicate', 'copy')",
                window=_all(scope),
            ),
        ),
        Check(
            name="objects_came_once",
            table="objects",
            severity=Severity.WARN,
            claim="no object holds what another one of its flow log holds",
            says="{count} object{s} came twice and {were} counted once {where}, such as {row[uri]}: {row[detail]}",
            failing=_sql("select * from @objects where $window and reason = 'copy'", window=_all(scope)),
        ),
        Check(
            name="enough_objects",
            table="objects",
            severity=Severity.ERROR,
            claim=f"at least {gates.min_objects} readable objects arrived in every hour (gates.min_objects)",
            says=f"{{count}} hour{{s}} brought fewer than {gates.min_objects} readable objects {{where}},"
            " the first of them {row[objects]}",
            failing=_sql(
                """
                select hours.arrival_hour, count(objects.uri) as objects
                from (values $hours) as hours (arrival_hour)
                left join @objects as objects
                    on objects.arrival_hour = hours.arrival_hour and objects.status = 'readable'
                group by hours.arrival_hour
                having count(objects.uri) < $least
                """,
                hours=hours,
                least=str(gates.min_objects),
            ),
        ),
    )


def _accounting_checks(scope: tuple[Condition, ...]) -> tuple[Check, ...]:
    parts = "records + malformed + nodata_gaps + skipdata_gaps + headers + blanks + empty_lines"
    return (
        Check(
            name="objects_are_accounted",
            table="int_objects__accounted",
            severity=Severity.ERROR,
            claim="every readable object that is registered was read by staging",
            says="{count} registered object{s} {were} not read by staging {where}, such as {row[uri]}:"
            " run build_staging again",
            failing=_sql(
                """
                select uri, arrival_hour, flow_log_id, line_count from @objects
                where $window and status = 'readable'
                    and uri not in (select source_uri from @int_objects__accounted where $window)
                """,
                window=_all(scope),
            ),
        ),
        Check(
            name="lines_are_accounted",
            table="int_objects__accounted",
            severity=Severity.ERROR,
            claim="lines = records + malformed + gaps + headers + blanks + empty lines, in every object",
            says="{count} object{s} {have} lines that are neither records, malformed, gaps, headers nor blanks {where},"
            " such as {row[source_uri]}: {row[registered_lines]} registered, {row[accounted_lines]} accounted for",
            failing=_sql(
                "select *, $parts as accounted_lines from @int_objects__accounted"
                " where $window and status = 'readable' and registered_lines is distinct from ($parts)",
                parts=parts,
                window=_all(scope),
            ),
        ),
        Check(
            name="bytes_are_accounted",
            table="int_objects__accounted",
            severity=Severity.ERROR,
            claim="the bytes of the lines read are the bytes of the lines registered, in every object",
            says="{count} object{s} {were} not read as they were registered {where}, such as {row[source_uri]}:"
            " {row[registered_line_bytes]} bytes registered, {row[read_line_bytes]} read",
            failing=_sql(
                "select * from @int_objects__accounted where $window and status = 'readable'"
                " and registered_line_bytes is distinct from read_line_bytes",
                window=_all(scope),
            ),
        ),
        Check(
            name="staged_lines_are_accounted",
            table="stg_flow_logs__lines",
            severity=Severity.ERROR,
            claim="every staged line belongs to a registered object of its hour",
            says="{count} hour{s} {have} staged lines that belong to no registered object {where}:"
            " {row[staged]} staged, {row[accounted]} accounted for; run register and build_staging again",
            failing=_sql(
                """
                select arrival_hour, sum(staged) as staged, sum(accounted) as accounted
                from (
                    select arrival_hour, count(*) as staged, 0 as accounted
                    from @stg_flow_logs__lines where $window group by arrival_hour
                    union all
                    select arrival_hour, 0, sum(read_lines)
                    from @int_objects__accounted where $window group by arrival_hour
                ) as sides
                group by arrival_hour
                having sum(staged) <> sum(accounted)
                """,
                window=_all(scope),
            ),
        ),
    )


def _malformed_checks(gates: Gates, scope: tuple[Condition, ...]) -> tuple[Check, ...]:
    window = _all(scope)
    keep = _sql(
        "select source_uri, arrival_hour, flow_log_id, format_id, malformed_reason, raw_line from @stg_flow_logs__lines"
        " where $window and line_kind = 'malformed'",
        window=window,
    )
    share = """
        select 1e2 * malformed / lines as percent, *
        from (
            select
                $group
                min(arrival_hour) as arrival_hour,
                max(arrival_hour) as last_arrival_hour,
                sum(malformed) as malformed,
                sum(records + malformed + nodata_gaps + skipdata_gaps) as lines
            from @int_objects__accounted
            where $window
            $by
        ) as shares
        where $bound
    """
    limit, usual = _percent(gates.max_malformed_share), _percent(gates.warn_malformed_share)
    above_max = f"malformed > {gates.max_malformed_share!r} * lines"
    above_warn = f"malformed > {gates.warn_malformed_share!r} * lines"
    return (
        Check(
            name="malformed_share",
            table="int_objects__accounted",
            severity=Severity.ERROR,
            claim=f"at most {limit} of the lines are malformed (gates.max_malformed_share)",
            says=f"malformed lines are {{row[percent]:.2g}} % of {{row[lines]:,}} (limit {limit}) {{where}}",
            failing=_sql(share, group="", by="", bound=above_max, window=window),
            keep=keep,
        ),
        Check(
            name="malformed_share_is_usual",
            table="int_objects__accounted",
            severity=Severity.WARN,
            claim=f"at most {usual} of the lines are malformed (gates.warn_malformed_share)",
            says=f"malformed lines are {{row[percent]:.2g}} % of {{row[lines]:,}} (usual up to {usual}) {{where}}",
            # Beyond the limit the error above says it.
            failing=_sql(share, group="", by="", bound=f"{above_warn} and not {above_max}", window=window),
            keep=keep,
        ),
        Check(
            name="malformed_share_of_a_flow_log",
            table="int_objects__accounted",
            severity=Severity.WARN,
            claim=f"at most {limit} of any flow log's lines are malformed",
            says="{count} flow log{s} {have} too many malformed lines {where}, the worst {row[flow_log_id]}:"
            f" {{row[percent]:.2g}} % of {{row[lines]:,}} (limit {limit})",
            failing=_sql(
                share + " order by percent desc",
                group="flow_log_id,",
                by="group by flow_log_id",
                bound=above_max,
                window=window,
            ),
            keep=keep,
        ),
        Check(
            name="malformed_lines_have_a_reason",
            table="stg_flow_logs__lines",
            severity=Severity.ERROR,
            claim="every malformed line says why it is none",
            says="{count} malformed line{s} {have} no reason {where}",
            expectation="ExpectColumnValuesToNotBeNull",
            arguments={"column": "malformed_reason"},
            conditions=(*scope, Condition("line_kind", "=", "malformed")),
            failing=_sql(
                "select * from @stg_flow_logs__lines"
                " where $window and line_kind = 'malformed' and malformed_reason is null",
                window=window,
            ),
        ),
    )


def _delivery_checks(gates: Gates, window: Window, scope: tuple[Condition, ...]) -> tuple[Check, ...]:
    earlier = (
        Condition("arrival_hour", ">=", format_hour(window.start - VOLUME_HISTORY)),
        Condition("arrival_hour", "<", format_hour(window.start)),
    )
    silent = (*scope, Condition("flow_log_id", "not in", gates.retired_flow_logs)) if gates.retired_flow_logs else scope
    return (
        Check(
            name="volume",
            table="int_coverage__expected",
            severity=Severity.WARN,
            claim=f"no hour brings {_percent(gates.volume_drop_share)} fewer lines or objects than the median hour of"
            " the week before (gates.volume_drop_share)",
            says="{count} hour{s} brought far less than usual {where}: {row[lines]} lines in {row[objects]} objects,"
            " where the median of {row[earlier_hours]} earlier hours is {row[usual_lines]:.0f} lines in"
            " {row[usual_objects]:.0f} objects",
            failing=_sql(
                """
                select hours.*, usual.*
                from (
                    select arrival_hour, sum(lines) as lines, sum(objects) as objects
                    from @int_coverage__expected where $window group by arrival_hour
                ) as hours
                cross join (
                    -- The medians: the mean of the one or two in the middle.
                    select
                        count(*) as earlier_hours,
                        avg(case when 2 * lines_place between places and places + 2 then lines end) as usual_lines,
                        avg(case when 2 * objects_place between places and places + 2 then objects end) as usual_objects
                    from (
                        select
                            lines, row_number() over (order by lines) as lines_place,
                            objects, row_number() over (order by objects) as objects_place,
                            count(*) over () as places
                        from (
                            select sum(lines) as lines, sum(objects) as objects
                            from @int_coverage__expected where $earlier group by arrival_hour
                        ) as history
                    ) as ranked
                ) as usual
                where earlier_hours >= $least
                    and (lines < $kept * usual_lines or objects < $kept * usual_objects)
                order by hours.arrival_hour
                """,
                window=_all(scope),
                earlier=_all(earlier),
                least=str(VOLUME_MIN_HOURS),
                kept=repr(round(1 - gates.volume_drop_share, 9)),
            ),
        ),
        Check(
            name="no_flow_log_is_silent",
            table="int_coverage__expected",
            severity=gates.silent_flow_log,
            claim="every flow log that has ever delivered delivers in every hour (gates.retired_flow_logs excepted)",
            says="{count} time{s} a flow log was silent {where}, such as {row[flow_log_id]} of account"
            " {row[account_id]} in {row[region]}: find out why it stopped, or name it in gates.retired_flow_logs",
            expectation="ExpectColumnValuesToNotBeInSet",
            arguments={"column": "status", "value_set": ["silent"]},
            conditions=silent,
            failing=_sql(
                "select * from @int_coverage__expected where $scope and status = 'silent'"
                " order by arrival_hour, flow_log_id",
                scope=_all(silent),
            ),
        ),
        _in_set("int_coverage__expected", scope, "status", ("on_time", "late", "silent"), what="flow log"),
        Check(
            name="coverage_key_is_unique",
            table="int_coverage__expected",
            severity=Severity.ERROR,
            claim="a flow log has one row an arrival hour",
            says="{count} flow log{s} {have} several rows for one hour {where}, such as {row[flow_log_id]}",
            failing=_sql(
                "select flow_log_id, arrival_hour, count(*) as copies from @int_coverage__expected where $window"
                " group by flow_log_id, arrival_hour having count(*) > 1",
                window=_all(scope),
            ),
        ),
    )


def _line_checks(scope: tuple[Condition, ...]) -> tuple[Check, ...]:
    lines = "stg_flow_logs__lines"
    records = (*scope, Condition("line_kind", "=", "record"))
    traffic = (*scope, Condition("line_kind", "in", ("record", "gap")))
    kinds = ("record", "gap", "malformed", "header", "blank")
    port, protocol = (0, 65535), (0, 255)
    incomplete = "(coalesce(pkt_srcaddr, srcaddr) is null or coalesce(pkt_dstaddr, dstaddr) is null)"
    return (
        _in_set(lines, scope, "line_kind", kinds, what="line"),
        _in_set(lines, records, "action", ("ACCEPT", "REJECT"), what="record"),
        _in_set(lines, traffic, "log_status", ("OK", "NODATA", "SKIPDATA"), what="record"),
        _between(lines, records, "srcport", *port, what="record"),
        _between(lines, records, "dstport", *port, what="record"),
        _between(lines, records, "protocol", *protocol, what="record"),
        _between(lines, records, "packets", 0, None, what="record"),
        _between(lines, records, "bytes", 0, None, what="record"),
        *(
            _not_null(lines, scope, column, what="line")
            for column in ("source_uri", "format_id", "line_kind", "event_hour")
        ),
        _not_null(lines, records, "flow_log_id", what="record", severity=Severity.WARN),
        Check(
            name="records_have_endpoints",
            table=lines,
            severity=Severity.ERROR,
            claim="every record has two endpoints, in a flow log that has addresses",
            says="{count} format{s} of a flow log {have} records without an endpoint {where}, such as {row[format_id]}"
            " of {row[flow_log_id]}: {row[records]:,} of {row[lines]:,}, one of them in {row[source_uri]}",
            failing=_sql(
                """
                select flow_log_id, format_id, min(arrival_hour) as arrival_hour,
                    max(arrival_hour) as last_arrival_hour, count_if($incomplete) as records, count(*) as lines,
                    min(case when $incomplete then source_uri end) as source_uri
                from @stg_flow_logs__lines
                where $records
                group by flow_log_id, format_id
                having count_if($incomplete) > 0 and count_if(not $incomplete) > 0
                """,
                records=_all(records),
                incomplete=incomplete,
            ),
            keep=_sql(
                """
                select * from @stg_flow_logs__lines
                where $records and $incomplete and coalesce(flow_log_id, '') || ' ' || format_id in (
                    select coalesce(flow_log_id, '') || ' ' || format_id from @stg_flow_logs__lines
                    where $records and not $incomplete
                )
                """,
                records=_all(records),
                incomplete=incomplete,
            ),
        ),
        Check(
            name="flow_logs_have_endpoints",
            table=lines,
            severity=Severity.WARN,
            claim="every flow log's format has the addresses of both endpoints",
            says="{count} flow log{s} {have} no records with two endpoints {where}, such as {row[flow_log_id]}"
            " ({row[records]:,} records): no edges come from them",
            failing=_sql(
                """
                select flow_log_id, format_id, min(arrival_hour) as arrival_hour,
                    max(arrival_hour) as last_arrival_hour, count(*) as records
                from @stg_flow_logs__lines
                where $records
                group by flow_log_id, format_id
                having count_if(not $incomplete) = 0
                """,
                records=_all(records),
                incomplete=incomplete,
            ),
        ),
    )


def _event_time_checks(gates: Gates, window: Window, scope: tuple[Condition, ...]) -> tuple[Check, ...]:
    kinds = (*scope, Condition("line_kind", "in", ("record", "gap")))
    arrived = "cast(replace(arrival_hour, 'T', ' ') || ':00:00' as timestamp)"
    # The later of the two, where a format has both: DuckDB's greatest passes over a missing one, Trino's does not.
    latest = "coalesce(greatest(start_at, end_at), start_at, end_at)"
    # What holds of the window's first or last hour, a literal, spares nearly every line the reading of its own hour.
    ahead = window.start + timedelta(minutes=60 + gates.max_event_ahead_minutes)
    old = window.end - timedelta(hours=1 + gates.max_event_age_hours)
    return (
        Check(
            name="event_time_is_not_ahead",
            table="stg_flow_logs__lines",
            severity=Severity.ERROR,
            claim=f"no record starts or ends more than {gates.max_event_ahead_minutes} minutes after the hour in which"
            " it arrived (gates.max_event_ahead_minutes)",
            says="{count} record{s} {lie} in the future of their arrival {where}, such as {row[start_at]} in"
            f" {{row[source_uri]}} (tolerance {gates.max_event_ahead_minutes} minutes)",
            failing=_sql(
                "select * from @stg_flow_logs__lines where $kinds"
                " and $latest > timestamp '$ahead' and $latest > $arrived + interval '$minutes' minute",
                kinds=_all(kinds),
                latest=latest,
                ahead=f"{ahead:%Y-%m-%d %H:%M:%S}",
                arrived=arrived,
                minutes=str(60 + gates.max_event_ahead_minutes),
            ),
        ),
        Check(
            name="event_time_is_recent",
            table="stg_flow_logs__lines",
            severity=Severity.WARN,
            claim=f"no record ended more than {gates.max_event_age_hours} hours before it arrived"
            " (gates.max_event_age_hours)",
            says="{count} record{s} {are} older than"
            f" {gates.max_event_age_hours} hours {{where}}, such as {{row[start_at]}} in {{row[source_uri]}}",
            failing=_sql(
                "select * from @stg_flow_logs__lines where $kinds"
                " and $latest < timestamp '$old' and $latest < $arrived - interval '$hours' hour",
                kinds=_all(kinds),
                latest=latest,
                old=f"{old:%Y-%m-%d %H:%M:%S}",
                arrived=arrived,
                hours=str(gates.max_event_age_hours),
            ),
        ),
    )


def _edge_checks(scope: tuple[Condition, ...]) -> tuple[Check, ...]:
    required = (
        "src_device_id",
        "dst_device_id",
        "src_role",
        "action",
        "flows",
        "packets",
        "bytes",
        "is_counted",
        "is_translated",
    )
    return (
        *(_not_null("fct_edges", scope, column, what="edge") for column in required),
        # UNKNOWN: a record of a format without an action (int_flows__oriented).
        _in_set("fct_edges", scope, "action", ("ACCEPT", "REJECT", "UNKNOWN"), what="edge"),
        _in_set("fct_edges", scope, "src_role", ("client", "server", "peer"), what="edge"),
        _in_set("fct_edges", scope, "counted_side", ("source", "dest", "between"), what="edge"),
        _between("fct_edges", scope, "flows", 1, None, what="edge"),
        _between("fct_edges", scope, "packets", 0, None, what="edge"),
        _between("fct_edges", scope, "bytes", 0, None, what="edge"),
        _between("fct_edges", scope, "observations", 1, None, what="edge"),
        # -1: a record of a format without a protocol (int_flows__oriented).
        _between("fct_edges", scope, "protocol", -1, 255, what="edge"),
        _between("fct_edges", scope, "service_port", 0, 65535, what="edge"),
        _seen_in_order("fct_edges", what="edge", scope=scope),
    )


def _devices_check(seen: Condition, hours: str) -> Check:
    """Of the devices only those are read that were `seen` since the first of the hours, as all of their edges' were."""
    return Check(
        name="fct_edges_devices_are_known",
        table="fct_edges",
        severity=Severity.ERROR,
        claim="every device of an edge stands in dim_devices, as seen since the first hour that was restated",
        says="{count} device{s} of edges {are} missing in dim_devices, or {were} not seen there {where},"
        " such as {row[device_id]}",
        failing=_sql(
            """
            select device_id, min(event_hour) as event_hour, max(event_hour) as last_event_hour, count(*) as edges
            from (
                select src_device_id as device_id, event_hour from @fct_edges where $hours
                union all
                select dst_device_id, event_hour from @fct_edges where $hours
            ) as sides
            where device_id is not null and device_id not in (
                select devices.device_id from @dim_devices as devices where devices.device_id is not null and $seen
            )
            group by device_id
            """,
            hours=hours,
            seen=seen.sql,
        ),
    )


def _edge_sum_checks(scope: tuple[Condition, ...], hours: str) -> tuple[Check, ...]:
    window = _all(scope)
    key = "event_hour, src_device_id, dst_device_id, protocol, service_port, src_role, action"
    return (
        Check(
            name="partials_equal_staged_records",
            table="int_edges__partials",
            severity=Severity.ERROR,
            claim="flows, packets and bytes of the edges' partial sums equal those of the staged records, interface by"
            " interface (each interface is one side of what it logs) and action by action",
            says="{count} sum{s} of an interface in an hour {differ} between records and edges {where}, such as"
            " {row[interface_id]} {row[action]}: {row[staged_flows]:,} records, {row[staged_packets]:,} packets,"
            " {row[staged_bytes]:,} bytes staged; {row[flows]:,}, {row[packets]:,}, {row[bytes]:,} in the edges",
            failing=_sql(
                """
                select *
                from (
                    select
                        arrival_hour, event_hour, flow_log_id, interface_id, action,
                        sum(staged_flows) as staged_flows, sum(flows) as flows,
                        sum(staged_packets) as staged_packets, sum(packets) as packets,
                        sum(staged_bytes) as staged_bytes, sum(bytes) as bytes
                    from (
                        select
                            arrival_hour, event_hour, flow_log_id,
                            coalesce(interface_id, resource_id, 'none') as interface_id,
                            coalesce(action, 'UNKNOWN') as action,
                            1 as staged_flows,
                            coalesce(packets, 0) as staged_packets, coalesce(bytes, 0) as staged_bytes,
                            0 as flows, 0 as packets, 0 as bytes
                        from @stg_flow_logs__lines
                        where $window and line_kind = 'record' and resource_type is null
                            and coalesce(pkt_srcaddr, srcaddr) is not null
                            and coalesce(pkt_dstaddr, dstaddr) is not null
                        union all
                        select
                            arrival_hour, event_hour, flow_log_id, interface_id, action,
                            0, 0, 0,
                            flows, packets, bytes
                        from @int_edges__partials
                        where $window
                    ) as sides
                    group by arrival_hour, event_hour, flow_log_id, interface_id, action
                ) as sums
                where staged_flows <> flows or staged_packets <> packets or staged_bytes <> bytes
                """,
                window=window,
            ),
        ),
        Check(
            name="touched_hours_are_restated",
            table="int_hours__restated",
            severity=Severity.ERROR,
            claim="every event hour that the window brings records of is restated",
            says="{count} event hour{s} {have} new records but {were} not restated {where}: run build_marts again",
            failing=_sql(
                """
                select distinct event_hour
                from (
                    select event_hour from @int_edges__partials where $window
                    union all
                    select event_hour from @int_gateway_flows__partials where $window
                ) as brought
                where event_hour not in (select event_hour from @int_hours__restated)
                """,
                window=window,
            ),
        ),
        Check(
            name="edges_have_no_hole",
            table="fct_edges",
            severity=Severity.ERROR,
            claim="every restated hour with partial sums that must count has edges",
            says="{count} hour{s} {have} input but no edges {where}: {row[flows]:,} records, {row[bytes]:,} bytes",
            # Sums must count where nobody else speaks for them (docs/adr/0006-who-counts.md): not the interface of the
            # destination, or else of the source, which may have logged nothing but NODATA; nor another flow log of
            # the interface, of which the same holds.
            failing=_sql(
                """
                select event_hour, sum(flows) as flows, sum(packets) as packets, sum(bytes) as bytes
                from @int_edges__partials as partials
                where $hours and event_hour not in (select event_hour from @fct_edges where $hours)
                    and not exists (
                        select 1 from @dim_interfaces as own
                        where partials.dst_device_id in ($names) and partials.interface_id <> own.interface_id
                    )
                    and (
                        exists (
                            select 1 from @dim_interfaces as own
                            where partials.dst_device_id in ($names) and partials.interface_id = own.interface_id
                        )
                        or not exists (
                            select 1 from @dim_interfaces as own
                            where partials.src_device_id in ($names) and partials.interface_id <> own.interface_id
                        )
                    )
                    and not exists (
                        select 1
                        from (
                            select
                                coverage.event_hour, coverage.interface_id, coverage.flow_log_id,
                                flow_logs.logs_accept and sum(coverage.accepted_records) = 0 as lacks_accepted,
                                flow_logs.logs_reject and sum(coverage.rejected_records) = 0 as lacks_rejected
                            from @int_coverage__partials as coverage
                            inner join @int_flow_logs__merged as flow_logs
                                on coverage.flow_log_id = flow_logs.flow_log_id
                            where $hours
                            group by
                                coverage.event_hour, coverage.interface_id, coverage.flow_log_id,
                                flow_logs.logs_accept, flow_logs.logs_reject
                        ) as voices
                        where voices.event_hour = partials.event_hour
                            and voices.interface_id = partials.interface_id
                            and voices.flow_log_id <> partials.flow_log_id
                            and case
                                when partials.action = 'REJECT' then voices.lacks_rejected else voices.lacks_accepted
                            end
                    )
                group by event_hour
                """,
                hours=hours,
                # With its network where the settings say that networks overlap.
                names=", ".join(
                    f"own.{address}, own.vpc_id || '/' || own.{address}"
                    for address in ("own_address", "own_address_v6")
                ),
            ),
        ),
        Check(
            name="edges_come_from_partials",
            table="fct_edges",
            severity=Severity.ERROR,
            claim="every edge of a restated hour has a partial sum of the same key",
            says="{count} edge{s} {have} no partial sum {where}, such as {row[src_device_id]} to {row[dst_device_id]}",
            failing=_sql(
                "select $key from @fct_edges where $hours except select $key from @int_edges__partials where $hours",
                key=key,
                hours=hours,
            ),
        ),
        Check(
            name="edges_count_no_packet_twice",
            table="fct_edges",
            severity=Severity.ERROR,
            claim="the edges of an hour hold no more flows, packets or bytes than were logged in it",
            says="{count} hour{s} {have} edges that hold more than was logged {where}: {row[packets]:,} packets and"
            " {row[bytes]:,} bytes, logged {row[logged_packets]:,} and {row[logged_bytes]:,}",
            failing=_sql(
                """
                select *
                from (
                    select
                        event_hour,
                        sum(flows) as flows, sum(packets) as packets, sum(bytes) as bytes,
                        sum(logged_flows) as logged_flows, sum(logged_packets) as logged_packets,
                        sum(logged_bytes) as logged_bytes
                    from (
                        select event_hour, flows, packets, bytes,
                            0 as logged_flows, 0 as logged_packets, 0 as logged_bytes
                        from @fct_edges where $hours
                        union all
                        select event_hour, 0, 0, 0, flows, packets, bytes
                        from @int_edges__partials where $hours
                    ) as sides
                    group by event_hour
                ) as sums
                where flows > logged_flows or packets > logged_packets or bytes > logged_bytes
                """,
                hours=hours,
            ),
        ),
    )


def _gateway_checks(scope: tuple[Condition, ...], hours: str) -> tuple[Check, ...]:
    """Of Transit Gateways: what their attachments logged is in the fact, all of it and once."""
    key = (
        "event_hour, flow_log_id, tgw_id, attachment_id, pair_attachment_id, flow_direction, src_vpc_id, dst_vpc_id,"
        " src_account_id, dst_account_id, src_address, dst_address, protocol, service_port, src_role"
    )
    logged = "arrival_hour, event_hour, flow_log_id, attachment_id"
    return (
        Check(
            name="gateway_partials_equal_staged_records",
            table="int_gateway_flows__partials",
            severity=Severity.ERROR,
            claim="flows, packets, bytes and lost packets of the partial sums of Transit Gateways equal those of the"
            " staged records, attachment by attachment",
            says="{count} sum{s} of an attachment in an hour {differ} between records and partial sums {where}, such as"
            " {row[attachment_id]}: {row[staged_flows]:,} records, {row[staged_packets]:,} packets,"
            " {row[staged_bytes]:,} bytes staged; {row[flows]:,}, {row[packets]:,}, {row[bytes]:,} in the sums",
            failing=_differing_sums(
                logged,
                _sql(
                    """
                    select
                        arrival_hour, event_hour, flow_log_id,
                        coalesce(tgw_attachment_id, tgw_id, 'none') as attachment_id,
                        1 as staged_flows, $staged, $zeros
                    from @stg_flow_logs__lines
                    where $window and line_kind = 'record' and resource_type is not null
                    """,
                    staged=", ".join(
                        f"coalesce({name}, 0) as staged_{name}" for name in _GATEWAY_SUMS if name != "flows"
                    ),
                    zeros=", ".join(f"0 as {name}" for name in _GATEWAY_SUMS),
                    window=_all(scope),
                ),
                _sql(
                    "select $logged, $zeros, $sums from @int_gateway_flows__partials where $window",
                    logged=logged,
                    zeros=", ".join("0" for _ in _GATEWAY_SUMS),
                    sums=", ".join(_GATEWAY_SUMS),
                    window=_all(scope),
                ),
            ),
        ),
        Check(
            name="gateway_flows_equal_partials",
            table="fct_gateway_flows",
            severity=Severity.ERROR,
            claim="flows, packets, bytes and lost packets of an hour of Transit Gateways are those of its partial sums",
            says="{count} hour{s} of Transit Gateways {differ} from what was logged {where}: {row[flows]:,} records,"
            " {row[packets]:,} packets, {row[bytes]:,} bytes; logged {row[staged_flows]:,}, {row[staged_packets]:,},"
            " {row[staged_bytes]:,}",
            failing=_differing_sums(
                "event_hour",
                _sql(
                    "select event_hour, $staged, $zeros from @int_gateway_flows__partials where $hours",
                    staged=", ".join(f"{name} as staged_{name}" for name in _GATEWAY_SUMS),
                    zeros=", ".join(f"0 as {name}" for name in _GATEWAY_SUMS),
                    hours=hours,
                ),
                _sql(
                    "select event_hour, $zeros, $sums from @fct_gateway_flows where $hours",
                    zeros=", ".join("0" for _ in _GATEWAY_SUMS),
                    sums=", ".join(_GATEWAY_SUMS),
                    hours=hours,
                ),
            ),
        ),
        Check(
            name="gateway_flow_key_is_unique",
            table="fct_gateway_flows",
            severity=Severity.ERROR,
            claim="a flow of a Transit Gateway's attachment has one row an hour",
            says="{count} flow{s} of a Transit Gateway {have} several rows for one hour {where}, such as one of"
            " {row[attachment_id]}",
            failing=_sql(
                "select $key, count(*) as copies from @fct_gateway_flows where $hours group by $key"
                " having count(*) > 1",
                key=key,
                hours=hours,
            ),
        ),
    )


def _differing_sums(by: str, staged: str, found: str) -> str:
    """The groups whose sums of what was staged are not those of what was found. Both queries have columns for both."""
    columns = ", ".join(f"sum(staged_{name}) as staged_{name}, sum({name}) as {name}" for name in _GATEWAY_SUMS)
    return _sql(
        """
        select *
        from (select $by, $columns from ($staged union all $found) as sides group by $by) as sums
        where $differs
        """,
        by=by,
        columns=columns,
        staged=staged,
        found=found,
        differs=" or ".join(f"staged_{name} <> {name}" for name in _GATEWAY_SUMS),
    )


def _hour_checks(hours: str) -> tuple[Check, ...]:
    """Of the coverage by event hour: all that was logged for an hour stands in it, and once."""
    logged = """
        select
            event_hour, flow_log_id, accepted_records + rejected_records as records, nodata_records, skipdata_records
        from @int_coverage__partials
        where $hours
    """
    through_gateways = """
        select
            event_hour, flow_log_id, flows, coalesce(nodata_records, 0), skipdata_records
        from @int_gateway_flows__partials
        where $hours
    """
    return tuple(
        Check(
            name=f"{table.removeprefix('fct_')}_equal_partials",
            table=table,
            severity=Severity.ERROR,
            claim=f"the records of a flow log and hour of {table} are those that were logged",
            says=f"{{count}} hour{{s}} of a flow log {{differ}} between {table} and what was logged {{where}}, such as"
            " {row[flow_log_id]}: {row[records]:,} records, logged {row[logged_records]:,}",
            failing=_sql(
                """
                select *
                from (
                    select
                        event_hour, flow_log_id,
                        sum(logged_records) as logged_records, sum(logged_nodata) as logged_nodata,
                        sum(logged_skipdata) as logged_skipdata,
                        sum(records) as records, sum(nodata) as nodata, sum(skipdata) as skipdata
                    from (
                        select
                            event_hour, flow_log_id, records as logged_records, nodata_records as logged_nodata,
                            skipdata_records as logged_skipdata, 0 as records, 0 as nodata, 0 as skipdata
                        from ($logged) as logged
                        union all
                        select event_hour, flow_log_id, 0, 0, 0, $records, nodata_records, skipdata_records
                        from @$table
                        where $hours
                    ) as sides
                    group by event_hour, flow_log_id
                ) as sums
                where logged_records <> records or logged_nodata <> nodata or logged_skipdata <> skipdata
                """,
                table=table,
                hours=hours,
                logged=_sql(source, hours=hours),
                records=records,
            ),
        )
        for table, records, source in (
            ("fct_interface_hours", "accepted_records + rejected_records", logged),
            ("fct_flow_log_hours", "records", f"{logged} union all {through_gateways}"),
        )
    )


def _dimension_checks(seen: Condition) -> tuple[Check, ...]:
    """Of dim_devices, which grows for ever, all keys are looked at; the other columns of devices that were `seen`, so
    that files of older ones are not read. Of an older one a run writes no more than who owns it.
    """
    return (
        _key("dim_devices", "device_id", what="device"),
        _as_query(_in_set("dim_devices", (seen,), "device_type", ("source", "dest", "both"), what="device")),
        _as_query(_in_set("dim_devices", (seen,), "scope", ("internal", "external"), what="device")),
        _seen_in_order("dim_devices", what="device", scope=(seen,)),
        _key("dim_interfaces", "interface_id", what="interface"),
        _seen_in_order("dim_interfaces", what="interface"),
    )


def _report_totals_check(total: ReportTotals, hours: str) -> Check:
    columns = ", ".join(
        f"sum({column}) as {column}, sum(edges_{column}) as edges_{column}" for column in total.measures
    )
    zeros = ", ".join("0" for _ in total.measures)
    return Check(
        name=f"{total.table}_adds_up",
        table=total.table,
        severity=Severity.ERROR,
        claim=f"{', '.join(total.measures)} of an hour of {total.table} are those of {total.fact}",
        says=f"{{count}} hour{{s}} of {total.table} {{do}} not add up to {total.fact} {{where}}",
        failing=_sql(
            """
            select *
            from (
                select event_hour, $columns
                from (
                    select event_hour, $measures, $edges_zeros from @$table where $hours
                    union all
                    select event_hour, $zeros, $edges from @$fact where $hours and $counted
                ) as sides
                group by event_hour
            ) as sums
            where $differs
            """,
            table=total.table,
            hours=hours,
            columns=columns,
            measures=", ".join(total.measures),
            edges_zeros=", ".join(f"0 as edges_{column}" for column in total.measures),
            zeros=zeros,
            edges=", ".join(total.measures.values()),
            counted=total.edges,
            fact=total.fact,
            differs=" or ".join(f"{column} is distinct from edges_{column}" for column in total.measures),
        ),
    )


def _in_set(table: str, scope: tuple[Condition, ...], column: str, values: tuple[str, ...], *, what: str) -> Check:
    listed = ", ".join(literal(value) for value in values)
    return Check(
        name=f"{_short(table)}_{column}_is_known",
        table=table,
        severity=Severity.ERROR,
        claim=f"{column} is one of {', '.join(values)}, or missing",
        says=f"{{count}} {what}{{s}} {{have}} another {column} than {', '.join(values)} {{where}},"
        f" such as {{row[{column}]}}",
        expectation="ExpectColumnValuesToBeInSet",
        arguments={"column": column, "value_set": list(values)},
        conditions=scope,
        failing=_sql(
            "select * from @$table where $scope and $column not in ($values)",
            table=table,
            scope=_all(scope),
            column=column,
            values=listed,
        ),
    )


def _between(table: str, scope: tuple[Condition, ...], column: str, low: int, high: int | None, *, what: str) -> Check:
    bounds = f"{low} to {high}" if high is not None else f"{low} or more"
    above = f" or {column} > {high}" if high is not None else ""
    return Check(
        name=f"{_short(table)}_{column}_is_in_range",
        table=table,
        severity=Severity.ERROR,
        claim=f"{column} is {bounds}, or missing",
        says=f"{{count}} {what}{{s}} {{have}} a {column} that is not {bounds} {{where}}, such as {{row[{column}]}}",
        expectation="ExpectColumnValuesToBeBetween",
        arguments={"column": column, "min_value": low, "max_value": high},
        conditions=scope,
        failing=_sql(
            "select * from @$table where $scope and ($column < $low$above)",
            table=table,
            scope=_all(scope),
            column=column,
            low=str(low),
            above=above,
        ),
    )


def _not_null(
    table: str, scope: tuple[Condition, ...], column: str, *, what: str, severity: Severity = Severity.ERROR
) -> Check:
    return Check(
        name=f"{_short(table)}_{column}_is_present",
        table=table,
        severity=severity,
        claim=f"{column} is present",
        says=f"{{count}} {what}{{s}} {{have}} no {column} {{where}}",
        expectation="ExpectColumnValuesToNotBeNull",
        arguments={"column": column},
        conditions=scope,
        failing=_sql(
            "select * from @$table where $scope and $column is null", table=table, scope=_all(scope), column=column
        ),
    )


def _key(table: str, column: str, *, what: str, hours: str = "") -> Check:
    """That a column names one row each. Reads it once: on Athena a key is what a gate scans most of."""
    bounds = ", min(event_hour) as event_hour, max(event_hour) as last_event_hour" if hours else ""
    return Check(
        name=f"{_short(table)}_{column}_is_a_key",
        table=table,
        severity=Severity.ERROR,
        claim=f"{column} is present, and another one in every row",
        says=f"{{count}} value{{s}} of {column} {{are}} missing or {{have}} more than one {what} {{where}},"
        f" such as {{row[{column}]}} in {{row[rows_alike]}} rows",
        failing=_sql(
            "select $column, count(*) as rows_alike$bounds from @$table where $scope"
            " group by $column having count(*) > 1 or $column is null",
            column=column,
            bounds=bounds,
            table=table,
            scope=hours or "true",
        ),
        keep=_sql(
            "select * from @$table where $scope and ($column is null or $column in"
            " (select $column from @$table where $scope group by $column having count(*) > 1))",
            column=column,
            table=table,
            scope=hours or "true",
        ),
    )


def _seen_in_order(table: str, *, what: str, scope: tuple[Condition, ...] = ()) -> Check:
    return Check(
        name=f"{_short(table)}_is_seen_in_order",
        table=table,
        severity=Severity.ERROR,
        claim="last_seen_at is not before first_seen_at",
        says=f"{{count}} {what}{{s}} {{were}} last seen before being first seen {{where}},"
        " such as {row[first_seen_at]}",
        failing=_sql(
            "select * from @$table where $scope and last_seen_at < first_seen_at", table=table, scope=_all(scope)
        ),
    )


def _arrival_scope(window: Window) -> tuple[Condition, ...]:
    return (
        Condition("arrival_hour", ">=", format_hour(window.start)),
        Condition("arrival_hour", "<", format_hour(window.end)),
    )


def _restated_sql(hours: Sequence[datetime]) -> str:
    # Literals, so that files are pruned by them.
    if not hours:
        return "false"
    if len(hours) > HOURS_LISTED:
        return (
            f"event_hour between {_literal(min(hours))} and {_literal(max(hours))}"
            " and event_hour in (select restated.event_hour from @int_hours__restated as restated)"
        )
    return f"event_hour in ({', '.join(_literal(hour) for hour in hours)})"


def _as_query(check: Check) -> Check:
    """The check as a query of ours alone."""
    return replace(check, expectation=NO_ROWS, arguments={}, conditions=())


def _all(conditions: Sequence[Condition]) -> str:
    return " and ".join(condition.sql for condition in conditions) or "true"


def _sql(template: str, **parts: str) -> str:
    return Template(template).substitute(parts)


def _literal(value: str | datetime) -> str:
    return literal(value) if isinstance(value, str) else f"timestamp '{value:%Y-%m-%d %H:%M:%S}'"


def _named(query: str, names: Mapping[str, str]) -> str:
    return re.sub(r"@(\w+)", lambda found: names[found[1]], query)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _short(table: str) -> str:
    return {"stg_flow_logs__lines": "lines", "int_coverage__expected": "coverage"}.get(table, table)
