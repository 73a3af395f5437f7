-- One row per edge, event hour, logging interface, flow log and arrival hour: sums that can be added up.
-- The interface stays in the grain because which of them counts is only known when all of the hour is at hand.
{{ config(materialized="replaced", replaces="arrival_hour") }}

{%- set key = [
    "arrival_hour",
    "event_hour",
    "interface_id",
    "flow_log_id",
    "src_device_id",
    "dst_device_id",
    "protocol",
    "service_port",
    "src_role",
    "action",
] %}

with

    flows as (select *, {{ row_hash(key) }} as key_hash from {{ ref("int_flows__oriented") }}),

    -- Hours of scans and of short conversations have one record of most keys, which needs no adding up
    -- (docs/adr/0016-what-marts-skip.md).
    repeated as (select key_hash from flows group by 1 having count(*) > 1)

select
    {{ key | join(", ") }},
    cast(1 as bigint) as flows,
    packets,
    bytes,
    seen_from_at as first_seen_at,
    seen_to_at as last_seen_at,
    tcp_flags
from flows
where {{ stands_alone("key_hash", "repeated") }}

union all

select
    {{ key | join(", ") }},
    count(*) as flows,
    cast(sum(packets) as bigint) as packets,
    cast(sum(bytes) as bigint) as bytes,
    min(seen_from_at) as first_seen_at,
    max(seen_to_at) as last_seen_at,
    {{ bit_or_agg("tcp_flags") }} as tcp_flags
from flows
where {{ is_repeated("key_hash", "repeated") }}
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
