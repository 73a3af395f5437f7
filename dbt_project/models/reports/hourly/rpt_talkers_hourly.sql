-- One row per device and event hour in which it sent anything or was sent anything that was let in.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    edges as (
        select event_hour, src_device_id, dst_device_id, action, flows, packets, bytes
        from {{ ref("fct_edges") }}
        where is_counted and {{ in_restated_hours("event_hour") }}
    ),

    ends as (
        select
            event_hour,
            src_device_id as device_id,
            flows as sent_flows,
            packets as sent_packets,
            bytes as sent_bytes,
            case when action = 'REJECT' then packets else 0 end as rejected_packets,
            case when action = 'REJECT' then bytes else 0 end as rejected_bytes,
            0 as received_flows,
            0 as received_packets,
            0 as received_bytes
        from edges
        union all
        -- What was rejected was sent, and never received.
        select event_hour, dst_device_id, 0, 0, 0, 0, 0, flows, packets, bytes
        from edges
        where action <> 'REJECT'
    )

select
    event_hour,
    device_id,
    cast(sum(sent_flows) as bigint) as sent_flows,
    cast(sum(sent_packets) as bigint) as sent_packets,
    cast(sum(sent_bytes) as bigint) as sent_bytes,
    cast(sum(rejected_packets) as bigint) as rejected_packets,
    cast(sum(rejected_bytes) as bigint) as rejected_bytes,
    cast(sum(received_flows) as bigint) as received_flows,
    cast(sum(received_packets) as bigint) as received_packets,
    cast(sum(received_bytes) as bigint) as received_bytes
from ends
group by 1, 2
