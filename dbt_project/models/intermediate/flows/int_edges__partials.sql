-- One row per edge, event hour, logging interface, flow log and arrival hour: sums that can be added up.
-- The interface stays in the grain because which of them counts is only known when all of the hour is at hand.
{{ config(materialized="replaced", replaces="arrival_hour") }}

select
    arrival_hour,
    event_hour,
    interface_id,
    flow_log_id,
    src_device_id,
    dst_device_id,
    protocol,
    service_port,
    src_role,
    action,
    count(*) as flows,
    cast(sum(packets) as bigint) as packets,
    cast(sum(bytes) as bigint) as bytes,
    min(seen_from_at) as first_seen_at,
    max(seen_to_at) as last_seen_at,
    {{ bit_or_agg("tcp_flags") }} as tcp_flags
from {{ ref("int_flows__oriented") }}
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
