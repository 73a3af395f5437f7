-- One row per sender, recipient and event hour.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

select
    event_hour,
    src_device_id,
    dst_device_id,
    cast(sum(flows) as bigint) as flows,
    cast(sum(packets) as bigint) as packets,
    cast(sum(bytes) as bigint) as bytes,
    cast(sum(case when action = 'REJECT' then packets else 0 end) as bigint) as rejected_packets,
    cast(sum(case when action = 'REJECT' then bytes else 0 end) as bigint) as rejected_bytes
from {{ ref("fct_edges") }}
where is_counted and {{ in_restated_hours("event_hour") }}
group by 1, 2, 3
