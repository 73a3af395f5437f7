-- One row per sender, recipient and event hour.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    edges as (
        select
            event_hour,
            src_device_id,
            dst_device_id,
            flows,
            packets,
            bytes,
            case when action = 'REJECT' then packets else 0 end as rejected_packets,
            case when action = 'REJECT' then bytes else 0 end as rejected_bytes,
            {{ row_hash(["event_hour", "src_device_id", "dst_device_id"]) }} as pair_hash
        from {{ ref("fct_edges") }}
        where is_counted and {{ in_restated_hours("event_hour") }}
    ),

    -- A pair of one edge needs no adding up (docs/adr/0016-what-marts-skip.md).
    repeated as (select pair_hash from edges group by 1 having count(*) > 1)

select event_hour, src_device_id, dst_device_id, flows, packets, bytes, rejected_packets, rejected_bytes
from edges
where {{ stands_alone("pair_hash", "repeated") }}

union all

select
    event_hour,
    src_device_id,
    dst_device_id,
    cast(sum(flows) as bigint) as flows,
    cast(sum(packets) as bigint) as packets,
    cast(sum(bytes) as bigint) as bytes,
    cast(sum(rejected_packets) as bigint) as rejected_packets,
    cast(sum(rejected_bytes) as bigint) as rejected_bytes
from edges
where {{ is_repeated("pair_hash", "repeated") }}
group by 1, 2, 3
