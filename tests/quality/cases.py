"""For every expectation, a lake in which it must fail: the changes that break it and the rows that it must count.

Cases of one group are applied to one lake together, because a gate takes a second; each counts its own rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowlake.quality.report import Layer
from flowlake.quality.suites import REPORT_TOTALS
from flowlake.settings import Severity

HOSTILE = "<script>alert(2)</script>"


@dataclass(frozen=True)
class Case:
    """A broken expectation. `says` is what its message must contain."""

    check: str
    count: int = 1
    breaks: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR
    says: str = ""
    keeps: int | None = None
    """How many rows are kept, where they are not the rows counted."""


@dataclass(frozen=True)
class Group:
    """Cases that break one lake together."""

    name: str
    layer: Layer
    cases: tuple[Case, ...]
    objects: str = "from objects"
    gates: Mapping[str, object] = field(default_factory=dict)


def line(replaced: str, kind: str = "record") -> tuple[str, ...]:
    """One more staged line that differs from a sound one."""
    lines = "staging.stg_flow_logs__lines"
    return (f"insert into {lines} select * replace ({replaced}) from {lines} where line_kind = '{kind}' limit 1",)


def edge(replaced: str) -> tuple[str, ...]:
    """One more edge of the restated hour, with an id of its own unless it is replaced too."""
    own_id = "" if "edge_id" in replaced else ", uuid()::varchar as edge_id"
    return (
        f"insert into core.fct_edges select * replace ({replaced}{own_id}) from core.fct_edges"
        " where event_hour = timestamp '2026-11-20 12:00:00' and service_port = 443 and action = 'ACCEPT' limit 1",
    )


def copied(table: str, replaced: str) -> tuple[str, ...]:
    """One more row of a table that differs from a sound one."""
    sound = {
        "core.dim_devices": "device_id = '10.0.0.1' and device_type = 'source'",
        "core.dim_interfaces": "interface_id = 'eni-0a'",
        "intermediate.int_coverage__expected": "flow_log_id = 'fl-aaaa1111'",
    }[table]
    return (f"insert into {table} select * replace ({replaced}) from {table} where {sound} limit 1",)


LINES = Group(
    "lines",
    Layer.STAGING,
    (
        Case("lines_line_kind_is_known", breaks=line("'riddle' as line_kind"), says="such as riddle"),
        Case(
            "lines_action_is_known",
            breaks=line(f"'{HOSTILE}' as action"),
            says=f"1 record has another action than ACCEPT, REJECT in 2026-11-20T12, such as {HOSTILE}",
        ),
        Case("lines_log_status_is_known", breaks=line("'MAYBE' as log_status"), says="such as MAYBE"),
        Case("lines_srcport_is_in_range", breaks=line("65536 as srcport"), says="srcport that is not 0 to 65535"),
        Case("lines_dstport_is_in_range", breaks=line("-1 as dstport")),
        Case("lines_protocol_is_in_range", breaks=line("256 as protocol")),
        Case("lines_packets_is_in_range", breaks=line("-1 as packets"), says="packets that is not 0 or more"),
        Case("lines_bytes_is_in_range", breaks=line("-1 as bytes")),
        Case("lines_source_uri_is_present", breaks=line("null as source_uri")),
        Case("lines_format_id_is_present", breaks=line("null as format_id")),
        Case("lines_line_kind_is_present", breaks=line("null as line_kind")),
        Case("lines_event_hour_is_present", breaks=line("null as event_hour")),
        Case("lines_flow_log_id_is_present", breaks=line("null as flow_log_id"), severity=Severity.WARN),
        Case(
            "records_have_endpoints",
            breaks=(*line("null as dstaddr"), *line("null as srcaddr")),
            says="1 format of a flow log has records without an endpoint in 2026-11-20T12, such as v2-default of",
            keeps=2,
        ),
        Case(
            "flow_logs_have_endpoints",
            breaks=line("'fl-cccc3333' as flow_log_id, null as srcaddr"),
            severity=Severity.WARN,
            says="such as fl-cccc3333 (1 records)",
        ),
        Case("malformed_lines_have_a_reason", breaks=line("null as malformed_reason", "malformed")),
        Case(
            "event_time_is_not_ahead",
            breaks=line("timestamp '2026-11-20 13:10:01' as end_at"),
            says="tolerance 10 minutes",
        ),
        Case(
            "event_time_is_recent",
            breaks=line("timestamp '2026-11-18 11:59:00' as start_at, timestamp '2026-11-18 11:59:59' as end_at"),
            severity=Severity.WARN,
            says="older than 48 hours in 2026-11-20T12, such as 2026-11-18 11:59:00 in s3://b/",
        ),
        # All the lines above but the malformed one without a reason belong to no count of any object.
        Case("staged_lines_are_accounted", says="3,025 staged, 3,006 accounted for"),
    ),
)

OBJECTS = Group(
    "objects",
    Layer.STAGING,
    (
        Case("objects_are_readable", severity=Severity.WARN, says="s3://b/broken.log.gz (gzip_truncated)"),
        Case(
            "objects_came_once", severity=Severity.WARN, says="s3://b/copy.log.gz: it holds what s3://b/a.log.gz holds"
        ),
        Case("objects_are_accounted", says="s3://b/late.log.gz"),
        Case("enough_objects", says="fewer than 4 readable objects in 2026-11-20T12, the first of them 3"),
    ),
    objects="""
        select * from objects
        union all
        select * replace ('s3://b/broken.log.gz' as uri, 'unreadable' as status, 'gzip_truncated' as reason)
        from objects where uri like '%/a.%'
        union all
        select * replace (
            's3://b/copy.log.gz' as uri, 'unreadable' as status, 'copy' as reason,
            'it holds what s3://b/a.log.gz holds' as detail
        ) from objects where uri like '%/a.%'
        union all
        select * replace ('s3://b/late.log.gz' as uri) from objects where uri like '%/a.%'
    """,
    gates={"min_objects": 4},
)

ACCOUNTING = Group(
    "accounting",
    Layer.STAGING,
    (
        Case(
            "lines_are_accounted",
            breaks=(
                "update intermediate.int_objects__accounted set records = records - 1"
                " where source_uri = 's3://b/a.log.gz'",
            ),
            says="s3://b/a.log.gz: 1,504 registered, 1,503 accounted",
        ),
        Case(
            "bytes_are_accounted",
            breaks=(
                "update intermediate.int_objects__accounted set registered_line_bytes = 150201"
                " where source_uri = 's3://b/b.log.gz'",
            ),
            says="s3://b/b.log.gz: 150,201 bytes registered, 150,200 read",
        ),
    ),
)

MALFORMED = Group(
    "malformed",
    Layer.STAGING,
    (
        Case(
            "malformed_share",
            breaks=(
                "update intermediate.int_objects__accounted set malformed = malformed + 99, records = records - 99"
                " where source_uri = 's3://b/a.log.gz'",
            ),
            says="staging: malformed lines are 3.3 % of 3,002 (limit 1 %) in 2026-11-20T12",
            keeps=1,
        ),
        Case(
            "malformed_share_of_a_flow_log",
            severity=Severity.WARN,
            says="the worst fl-aaaa1111: 6.7 % of 1,501",
            keeps=1,
        ),
    ),
)

FEW_MALFORMED = Group(
    "few malformed",
    Layer.STAGING,
    (
        Case(
            "malformed_share_is_usual",
            severity=Severity.WARN,
            says="malformed lines are 0.033 % of 3,002 (usual up to 0.03 %)",
            keeps=1,
        ),
    ),
    gates={"warn_malformed_share": 0.0003},
)

DELIVERY = Group(
    "delivery",
    Layer.STAGING,
    (
        Case(
            "no_flow_log_is_silent",
            breaks=(
                "update intermediate.int_coverage__expected set status = 'silent'"
                " where flow_log_id = 'fl-bbbb2222' and arrival_hour = '2026-11-20T12'",
            ),
            says="such as fl-bbbb2222 of account 111122223333 in eu-west-1",
        ),
        Case(
            "coverage_status_is_known",
            breaks=copied(
                "intermediate.int_coverage__expected",
                "'odd' as status, 'fl-d' as flow_log_id, '2026-11-20T12' as arrival_hour",
            ),
        ),
        Case(
            "coverage_key_is_unique",
            breaks=(
                "insert into intermediate.int_coverage__expected from intermediate.int_coverage__expected"
                " where flow_log_id = 'fl-aaaa1111' and arrival_hour = '2026-11-20T12'",
            ),
        ),
        Case(
            "volume",
            breaks=("update intermediate.int_coverage__expected set lines = 1 where arrival_hour = '2026-11-20T12'",),
            severity=Severity.WARN,
            says="4 lines in 4 objects, where the median of 7 earlier hours is 3008 lines in 2 objects",
        ),
    ),
)

EDGES = Group(
    "edges",
    Layer.MARTS,
    (
        Case(
            "fct_edges_edge_id_is_a_key",
            count=2,
            breaks=(*edge("edge_id as edge_id"), *edge("null as edge_id")),
            says="2 values of edge_id are missing or have more than one edge in 2026-11-20T12, such as",
            keeps=3,
        ),
        *(
            Case(f"fct_edges_{column}_is_present", breaks=edge(f"null as {column}"))
            for column in (
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
        ),
        Case("fct_edges_action_is_known", breaks=edge("'DROP' as action"), says="in 2026-11-20T12, such as DROP"),
        Case("fct_edges_src_role_is_known", breaks=edge("'boss' as src_role")),
        Case("fct_edges_counted_side_is_known", breaks=edge("'left' as counted_side")),
        Case("fct_edges_flows_is_in_range", breaks=edge("0 as flows")),
        Case("fct_edges_packets_is_in_range", breaks=edge("-1 as packets")),
        Case("fct_edges_bytes_is_in_range", breaks=edge("-1 as bytes")),
        Case("fct_edges_observations_is_in_range", breaks=edge("0 as observations")),
        Case("fct_edges_protocol_is_in_range", breaks=edge("256 as protocol")),
        Case("fct_edges_service_port_is_in_range", breaks=edge("-1 as service_port")),
        Case("fct_edges_is_seen_in_order", breaks=edge("timestamp '2026-11-20 12:00:00' as last_seen_at")),
        Case(
            "fct_edges_devices_are_known",
            count=3,
            breaks=(
                *edge("'10.7.7.7' as src_device_id"),
                *edge("'10.8.8.8' as dst_device_id"),
                # Known, but seen last before the hour in which it speaks.
                "insert into core.dim_devices select * replace ('10.9.9.9' as device_id, '10.9.9.9' as address,"
                " timestamp '2026-11-20 11:00:00' as first_seen_at, timestamp '2026-11-20 11:59:59' as last_seen_at)"
                " from core.dim_devices limit 1",
                *edge("'10.9.9.9' as dst_device_id"),
            ),
            says="3 devices of edges are missing in dim_devices, or were not seen there in 2026-11-20T12",
        ),
    ),
)

SUMS = Group(
    "sums",
    Layer.MARTS,
    (
        Case(
            "partials_equal_staged_records",
            breaks=(
                "update intermediate.int_edges__partials set bytes = bytes + 1"
                " where interface_id = 'eni-0a' and action = 'REJECT'",
            ),
            says="such as eni-0a REJECT: 150 records, 450 packets, 27,000 bytes staged; 150, 450, 27,001 in the edges",
        ),
        Case("edges_come_from_partials", breaks=edge("4444 as service_port"), says="such as 10.0.0.1 to 10.0.0.2"),
        Case(
            "edges_count_no_packet_twice",
            breaks=(
                "insert into core.fct_edges select * replace ('twice' as edge_id) from core.fct_edges"
                " where event_hour = timestamp '2026-11-20 12:00:00' and service_port = 443",
            ),
            says="logged 8,985 and 539,101",
        ),
    ),
)

GATEWAYS = Group(
    "gateways",
    Layer.MARTS,
    (
        Case(
            "gateway_partials_equal_staged_records",
            breaks=(
                "update intermediate.int_gateway_flows__partials set packets_lost_blackhole = 1, bytes = bytes + 1"
                " where attachment_id = 'ta'",
            ),
            says="such as ta: 1 records, 3 packets, 180 bytes staged; 1, 3, 181 in the sums",
        ),
        # What is twice in the fact is also more than was logged.
        Case("gateway_flows_equal_partials", says="3 records, 9 packets, 540 bytes; logged 2, 6, 361"),
        Case(
            "gateway_flow_key_is_unique",
            breaks=("insert into core.fct_gateway_flows from core.fct_gateway_flows where attachment_id = 'tb'",),
            says="such as one of tb",
        ),
    ),
)

HOURS = Group(
    "hours",
    Layer.MARTS,
    (
        Case(
            "interface_hours_equal_partials",
            breaks=(
                "insert into ops.fct_interface_hours from ops.fct_interface_hours where flow_log_id = 'fl-bbbb2222'",
            ),
            says="such as fl-bbbb2222: 2,998 records, logged 1,499",
        ),
        Case(
            "flow_log_hours_equal_partials",
            breaks=("delete from ops.fct_flow_log_hours where flow_log_id = 'fl-aaaa1111'",),
            says="such as fl-aaaa1111: 0 records, logged 1,499",
        ),
    ),
)

HOLE = Group(
    "hole",
    Layer.MARTS,
    (
        Case(
            "edges_have_no_hole",
            breaks=("delete from core.fct_edges where event_hour = timestamp '2026-11-20 12:00:00'",),
            says="1 hour has input but no edges in 2026-11-20T12",
        ),
    ),
)

NOT_RESTATED = Group(
    "not restated",
    Layer.MARTS,
    (
        Case(
            "touched_hours_are_restated",
            count=2,
            breaks=(
                "delete from intermediate.int_hours__restated",
                "update intermediate.int_gateway_flows__partials set event_hour = timestamp '2026-11-20 11:00:00'",
            ),
        ),
    ),
)

DIMENSIONS = Group(
    "dimensions",
    Layer.MARTS,
    (
        Case(
            "dim_devices_device_id_is_a_key",
            count=2,
            breaks=(
                *copied("core.dim_devices", "device_id as device_id"),
                *copied("core.dim_devices", "null as device_id"),
            ),
            keeps=3,
        ),
        Case(
            "dim_devices_device_type_is_known",
            breaks=copied("core.dim_devices", "'d1' as device_id, 'router' as device_type"),
        ),
        Case("dim_devices_scope_is_known", breaks=copied("core.dim_devices", "'d2' as device_id, 'mars' as scope")),
        Case(
            "dim_devices_is_seen_in_order",
            breaks=copied("core.dim_devices", "'d3' as device_id, timestamp '2026-11-20 12:00:00' as last_seen_at"),
        ),
        Case(
            "dim_interfaces_interface_id_is_a_key",
            count=2,
            breaks=(
                *copied("core.dim_interfaces", "interface_id as interface_id"),
                *copied("core.dim_interfaces", "null as interface_id"),
            ),
            keeps=3,
        ),
        Case(
            "dim_interfaces_is_seen_in_order",
            breaks=copied(
                "core.dim_interfaces", "'i1' as interface_id, timestamp '2026-11-20 12:00:00' as last_seen_at"
            ),
        ),
    ),
)

REPORTS = Group(
    "reports",
    Layer.MARTS,
    tuple(
        Case(
            f"{total.table}_adds_up",
            breaks=(
                f"create table marts.broken_{total.table} as select * replace (packets + 1 as packets) "
                f"from marts.{total.table}",
                f"create or replace view marts.{total.table} as from marts.broken_{total.table}",
            ),
        )
        for total in REPORT_TOTALS
    ),
)

GROUPS = (
    LINES,
    OBJECTS,
    ACCOUNTING,
    MALFORMED,
    FEW_MALFORMED,
    DELIVERY,
    EDGES,
    SUMS,
    GATEWAYS,
    HOURS,
    HOLE,
    NOT_RESTATED,
    DIMENSIONS,
    REPORTS,
)
