"""A lake of one hour that passes every gate, small enough to read, and a way to break it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest

from flowlake.lake.duck import attach, install_extensions
from flowlake.lake.windows import Window
from flowlake.quality.report import GateReport, Layer
from flowlake.quality.runner import validate
from flowlake.settings import Arrival, Gates, LakeSettings, Settings, Source

HOUR = "2026-11-20T12"
EMPTY_HOUR = "2026-11-20T14"
WINDOW = Window.parse(HOUR, "2026-11-20T13")

OBJECTS = f"""
select uri, uri || '.local' as read_path, flow_log_id, 'v2-default' as format_id, '{HOUR}' as arrival_hour,
    'readable' as status, null::varchar as reason, null::varchar as detail, 'text' as kind,
    line_count::bigint as line_count, line_bytes::bigint as line_bytes, 1::bigint as empty_line_count,
    []::varchar[] as unknown_fields
from (values ('s3://b/a.log.gz', 'fl-aaaa1111', 1504, 150200), ('s3://b/b.log.gz', 'fl-bbbb2222', 1504, 150200))
    as objects (uri, flow_log_id, line_count, line_bytes)
"""

# Both interfaces log what 10.0.0.1 sends to 10.0.0.2: fl-aaaa1111 at its source, fl-bbbb2222 at its destination.
# Extreme values that are still right stand in the first records: ports 0 and 65535, protocol 255, no traffic at all,
# an end at the very tolerance after the arrival hour. The last line of each is of a Transit Gateway: what came in by
# one attachment went out by the other.
LAKE = f"""
create schema staging; create schema intermediate; create schema core; create schema ops; create schema marts;

create table staging.stg_flow_logs__lines as
with object as (from (values
    ('s3://b/a.log.gz', 'fl-aaaa1111', 'eni-0a'), ('s3://b/b.log.gz', 'fl-bbbb2222', 'eni-0b')
) as object (source_uri, flow_log_id, interface_id))
select
    source_uri, '{HOUR}' as arrival_hour, flow_log_id, 'v2-default' as format_id,
    case when n = 0 then 'header' when n = 1 then 'gap' when n = 2 then 'blank'
        when n = 3 and flow_log_id = 'fl-aaaa1111' then 'malformed' else 'record' end as line_kind,
    case when n = 2 then 2 when n = 0 then 98 else 100 end::integer as line_bytes,
    case when line_kind = 'malformed' then 'field_count: 13 instead of 14' end as malformed_reason,
    case when line_kind = 'malformed' then '2 <script>alert(1)</script> 13 fields' end as raw_line,
    timestamp '2026-11-20 12:00:00' as event_hour,
    case when line_kind in ('record', 'gap') then timestamp '2026-11-20 12:10:00' end as start_at,
    case when n = 4 then timestamp '2026-11-20 13:10:00'
        when line_kind in ('record', 'gap') then timestamp '2026-11-20 12:11:00' end as end_at,
    n = 1502 as is_gateway, case when not is_gateway then object.interface_id end as interface_id,
    null::varchar as resource_id, case when is_gateway then 'TransitGateway' end as resource_type,
    case when is_gateway then 'tgw-1' end as tgw_id,
    case when is_gateway then if(flow_log_id = 'fl-aaaa1111', 'ta', 'tb') end as tgw_attachment_id,
    case when is_gateway then if(flow_log_id = 'fl-aaaa1111', 'tb', 'ta') end as tgw_pair_attachment_id,
    case when is_gateway then if(flow_log_id = 'fl-aaaa1111', 'ingress', 'egress') end as flow_direction,
    case when is_gateway then 2 end::bigint as packets_lost_no_route, null::bigint as packets_lost_blackhole,
    null::bigint as packets_lost_mtu_exceeded, null::bigint as packets_lost_ttl_expired,
    case when line_kind = 'record' then '10.0.0.1' end as srcaddr,
    case when line_kind = 'record' then '10.0.0.2' end as dstaddr,
    null::varchar as pkt_srcaddr, null::varchar as pkt_dstaddr,
    case when line_kind = 'record' then case when n = 4 then 0 else 40000 end end::integer as srcport,
    case when line_kind = 'record' then case when n = 4 then 65535 else 443 end end::integer as dstport,
    case when line_kind = 'record' then case when n = 4 then 255 else 6 end end::integer as protocol,
    case when line_kind = 'record' then case when n = 4 then 0 else 3 end end::bigint as packets,
    case when line_kind = 'record' then case when n = 4 then 0 else 180 end end::bigint as bytes,
    case when line_kind = 'record' and not is_gateway then if(n % 10 = 9, 'REJECT', 'ACCEPT') end as action,
    case line_kind when 'record' then 'OK' when 'gap' then 'NODATA' when 'header' then 'log-status' end as log_status,
    map {{}}::map(varchar, varchar) as extra_fields
from object cross join range(1503) as lines (n);

create table intermediate.int_objects__accounted as
select
    source_uri, arrival_hour, flow_log_id, 'text' as kind, 'readable' as status,
    1504::bigint as registered_lines, 150200::bigint as registered_line_bytes, 1::bigint as empty_lines,
    count(*) as read_lines, sum(line_bytes)::bigint as read_line_bytes,
    count_if(line_kind = 'record')::bigint as records, count_if(line_kind = 'malformed')::bigint as malformed,
    count_if(line_kind = 'gap')::bigint as nodata_gaps, 0::bigint as skipdata_gaps,
    count_if(line_kind = 'header')::bigint as headers, count_if(line_kind = 'blank')::bigint as blanks
from staging.stg_flow_logs__lines group by all;

create table intermediate.int_coverage__expected as
select flow_log_id, strftime(timestamp '{HOUR}:00:00' - to_hours(n), '%Y-%m-%dT%H') as arrival_hour,
    '111122223333' as account_id, 'eu-west-1' as region, 1::bigint as objects, 0::bigint as unreadable_objects,
    1504::bigint as lines, 1500::bigint as records, 0::bigint as malformed, 'on_time' as status
from (values ('fl-aaaa1111'), ('fl-bbbb2222')) as logs (flow_log_id) cross join range(8) as hours (n);

create table intermediate.int_edges__partials as
select arrival_hour, event_hour, interface_id, flow_log_id, srcaddr as src_device_id, dstaddr as dst_device_id,
    protocol, dstport as service_port, 'client' as src_role, action, count(*) as flows, sum(packets)::bigint as packets,
    sum(bytes)::bigint as bytes, min(start_at) as first_seen_at, max(end_at) as last_seen_at, 0::integer as tcp_flags
from staging.stg_flow_logs__lines where line_kind = 'record' and not is_gateway group by all;

create table intermediate.int_gateway_flows__partials as
select arrival_hour, event_hour, flow_log_id, tgw_id, tgw_attachment_id as attachment_id,
    tgw_pair_attachment_id as pair_attachment_id, flow_direction, null::varchar as src_vpc_id,
    null::varchar as dst_vpc_id, null::varchar as src_account_id, null::varchar as dst_account_id,
    srcaddr as src_address, dstaddr as dst_address, protocol, dstport as service_port, 'client' as src_role,
    count(*) as flows, sum(packets)::bigint as packets, sum(bytes)::bigint as bytes,
    sum(packets_lost_no_route)::bigint as packets_lost_no_route, 0::bigint as packets_lost_blackhole,
    0::bigint as packets_lost_mtu_exceeded, 0::bigint as packets_lost_ttl_expired,
    0::bigint as nodata_records, 0::bigint as skipdata_records
from staging.stg_flow_logs__lines where is_gateway group by all;

create table intermediate.int_coverage__partials as
select arrival_hour, event_hour, interface_id, flow_log_id,
    count_if(line_kind = 'record' and action <> 'REJECT')::bigint as accepted_records,
    count_if(line_kind = 'record' and action = 'REJECT')::bigint as rejected_records,
    count_if(line_kind = 'gap')::bigint as nodata_records, 0::bigint as skipdata_records
from staging.stg_flow_logs__lines where line_kind in ('record', 'gap') and not is_gateway group by all;

create table intermediate.int_flow_logs__merged as
select flow_log_id, true as logs_accept, true as logs_reject
from (values ('fl-aaaa1111'), ('fl-bbbb2222')) as logs (flow_log_id);

create table intermediate.int_hours__restated as select distinct event_hour from intermediate.int_edges__partials;

-- An edge of an hour that is not restated is none of this run's business, whatever is wrong with it.
create table core.fct_edges as
select md5(concat_ws('|', event_hour, src_device_id, dst_device_id, protocol, service_port, action)) as edge_id,
    event_hour, src_device_id, dst_device_id, protocol, service_port, src_role, action, flows, packets, bytes,
    first_seen_at, last_seen_at, tcp_flags, 2::integer as observations, 'dest' as counted_side,
    false as is_translated, true as is_counted, false as is_lossy
from intermediate.int_edges__partials where interface_id = 'eni-0b';
insert into core.fct_edges
select * replace (
    timestamp '2026-11-20 09:00:00' as event_hour, '10.9.9.9' as src_device_id, 'odd' as action, -1 as packets
) from core.fct_edges;

create table core.fct_gateway_flows as
select * exclude (arrival_hour), flow_direction = 'ingress' as is_counted
from intermediate.int_gateway_flows__partials;

-- Reports that are right whatever the edges say: what breaks an edge breaks no report.
create view marts.rpt_pairs_hourly as
select event_hour, flows, packets, bytes from core.fct_edges where is_counted;
create view marts.rpt_scopes_hourly as from marts.rpt_pairs_hourly;
create view marts.rpt_rejected_ports_hourly as
select event_hour, packets, bytes from core.fct_edges where is_counted and action = 'REJECT';
create view marts.rpt_rejected_sources_hourly as from marts.rpt_rejected_ports_hourly;
create view marts.rpt_rejected_protocols_hourly as from marts.rpt_rejected_ports_hourly;
create view marts.rpt_gateway_flows_hourly as from core.fct_gateway_flows where is_counted;

create table ops.fct_interface_hours as
select event_hour, interface_id, flow_log_id, sum(accepted_records)::bigint as accepted_records,
    sum(rejected_records)::bigint as rejected_records, sum(nodata_records)::bigint as nodata_records,
    sum(skipdata_records)::bigint as skipdata_records
from intermediate.int_coverage__partials group by all;

create table ops.fct_flow_log_hours as
select event_hour, flow_log_id, sum(records)::bigint as records, sum(nodata_records)::bigint as nodata_records,
    0::bigint as skipdata_records
from (
    select event_hour, flow_log_id, accepted_records + rejected_records as records, nodata_records
    from ops.fct_interface_hours
    union all
    select event_hour, flow_log_id, flows, 0 from intermediate.int_gateway_flows__partials
) group by all;

create table core.dim_devices as
select device_id, device_id as address, device_type, 'internal' as scope, null::varchar as name,
    timestamp '2026-11-20 12:10:00' as first_seen_at, timestamp '2026-11-20 12:10:00' as last_seen_at
from (values ('10.0.0.1', 'source'), ('10.0.0.2', 'dest')) as devices (device_id, device_type);

create table core.dim_interfaces as
select interface_id, own_address, null::varchar as own_address_v6, 'vpc-01' as vpc_id,
    timestamp '2026-11-20 12:10:00' as first_seen_at, timestamp '2026-11-20 12:11:00' as last_seen_at
from (values ('eni-0a', '10.0.0.1'), ('eni-0b', '10.0.0.2')) as interfaces (interface_id, own_address);
"""


@dataclass(frozen=True)
class Lake:
    """A lake that a test may break; `reset` makes it whole again."""

    settings: Settings
    sound: Path

    def reset(self) -> None:
        """Put the catalogue back (data files are never changed, only added) and everything outside it."""
        for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
            (self.settings.lake.path / name).unlink(missing_ok=True)
        shutil.copy(self.sound, self.settings.lake.sqlite_catalog)
        shutil.rmtree(self.settings.lake.quality, ignore_errors=True)
        self.write_objects("from objects")
        self.write_objects("from objects where false", EMPTY_HOUR)

    def write_objects(self, query: str, hour: str = HOUR) -> None:
        """Replace `raw.objects` of an hour by a query over what it is when nothing is wrong (`objects`)."""
        file = self.settings.lake.raw / "objects" / f"arrival_hour={hour}" / "objects.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute(f"create view objects as {OBJECTS}")
            connection.sql(query).write_parquet(str(file))

    def execute(self, *statements: str) -> None:
        """Change the lake's tables."""
        with open_lake(self.settings) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query of the lake returns."""
        with open_lake(self.settings) as connection:
            return connection.execute(query).fetchall()

    def validate(self, layer: Layer, window: Window = WINDOW, *, pages: bool = False, **gates: Any) -> GateReport:
        """The gate's report, with thresholds other than the defaults where given, and pages only if asked."""
        settings = replace(self.settings, gates=replace(self.settings.gates, **gates))
        if pages:
            return validate(settings, window, layer)
        with patch("flowlake.quality.great.Evaluation.publish"):
            return validate(settings, window, layer)


def open_lake(settings: Settings) -> duckdb.DuckDBPyConnection:
    install_extensions()
    connection = duckdb.connect()
    attach(connection, settings, read_only=False)
    connection.execute("use lake")
    return connection


@pytest.fixture(scope="module")
def built_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    # A quote in the path: it must not end a literal.
    path = tmp_path_factory.mktemp("quality") / "the team's lake"
    settings = Settings(
        sources=(Source(name="test", uri="s3://b", arrival=Arrival.LAST_MODIFIED),),
        lake=LakeSettings(path=path),
        gates=Gates(),
    )
    settings.lake.data.mkdir(parents=True)
    with open_lake(settings) as connection:
        connection.execute("begin")
        connection.execute(LAKE)
        connection.execute("commit")
    sound = path / "sound.sqlite"
    shutil.copy(settings.lake.sqlite_catalog, sound)
    return Lake(settings, sound)


@pytest.fixture
def lake(built_lake: Lake) -> Lake:
    built_lake.reset()
    return built_lake


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Path], list[dict[str, object]]]:
    return _rows_of


def _rows_of(file: Path) -> list[dict[str, object]]:
    with duckdb.connect() as connection:
        result = connection.execute("select * from read_parquet(?)", [str(file)])
        names: Sequence[str] = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
