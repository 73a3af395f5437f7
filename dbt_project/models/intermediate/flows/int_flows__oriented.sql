-- One row per VPC record of the window that has two endpoints: who spoke to whom, on which service, in which role.
-- depends_on: {{ ref("service_ports") }}
{{ config(materialized="ephemeral", contract={"enforced": false}) }}

with

    records as {{ recomputed() }} (
        select
            source_uri,
            arrival_hour,
            flow_log_id,
            event_hour,
            coalesce(interface_id, resource_id, 'none') as interface_id,
            {{ device_id("coalesce(pkt_srcaddr, srcaddr)", "vpc_id") }} as src_device_id,
            {{ device_id("coalesce(pkt_dstaddr, dstaddr)", "vpc_id") }} as dst_device_id,
            srcport,
            dstport,
            coalesce(protocol, -1) as protocol,
            coalesce(action, 'UNKNOWN') as action,
            coalesce(packets, 0) as packets,
            coalesce(bytes, 0) as bytes,
            coalesce(start_at, end_at, event_hour) as seen_from_at,
            coalesce(end_at, start_at, event_hour) as seen_to_at,
            coalesce(tcp_flags, 0) as tcp_flags,
            {{ has_ports("protocol") }} as has_ports,
            case when {{ has_ports("protocol") }} then {{ role_by_port("srcport", "dstport") }} else 0 end as port_role,
            case
                when protocol <> 6 or tcp_flags is null or srcport is null or dstport is null
                then 0
                when {{ has_bit("tcp_flags", 2) }} and not {{ has_bit("tcp_flags", 16) }}
                then -1
                when {{ has_bit("tcp_flags", 2) }}
                then 1
                else 0
            end as flag_role
        from {{ ref("stg_flow_logs__records") }}
        where
            {{ in_arrival_window("arrival_hour") }}
            and resource_type is null
            and coalesce(pkt_srcaddr, srcaddr) is not null
            and coalesce(pkt_dstaddr, dstaddr) is not null
    ),

    -- What flags decide against the ports holds for the whole conversation. Its scope is the arrival hour, so that a
    -- window of many hours decides as its hours would one by one. Where flags and ports agree nothing needs keeping.
    overruled as (
        select
            arrival_hour,
            protocol,
            least(src_device_id, dst_device_id) as low_device_id,
            greatest(src_device_id, dst_device_id) as high_device_id,
            case when src_device_id <= dst_device_id then srcport else dstport end as low_port,
            case when src_device_id <= dst_device_id then dstport else srcport end as high_port,
            -- Contradictions are settled alike in every order of reading.
            min(case when (src_device_id <= dst_device_id) = (flag_role = 1) then 'low' else 'high' end) as server
        from records
        where flag_role <> 0 and flag_role <> port_role
        group by 1, 2, 3, 4, 5, 6
    ),

    decided as (
        select
            records.*,
            case
                when overruled.server is null
                then port_role
                when (overruled.server = 'low') = (records.src_device_id <= records.dst_device_id)
                then 1
                else -1
            end as role
        from records
        left join
            overruled
            on records.arrival_hour = overruled.arrival_hour
            and records.protocol = overruled.protocol
            and least(records.src_device_id, records.dst_device_id) = overruled.low_device_id
            and greatest(records.src_device_id, records.dst_device_id) = overruled.high_device_id
            and case when records.src_device_id <= records.dst_device_id then records.srcport else records.dstport end
            = overruled.low_port
            and case when records.src_device_id <= records.dst_device_id then records.dstport else records.srcport end
            = overruled.high_port
    )

select
    source_uri,
    arrival_hour,
    flow_log_id,
    event_hour,
    interface_id,
    src_device_id,
    dst_device_id,
    protocol,
    {{ service_port("role") }} as service_port,
    {{ role_name("role") }} as src_role,
    action,
    packets,
    bytes,
    seen_from_at,
    seen_to_at,
    tcp_flags
from decided
