-- One row per device and event hour in which packets of its were rejected.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

select
    event_hour,
    src_device_id,
    cast(sum(flows) as bigint) as flows,
    cast(sum(packets) as bigint) as packets,
    cast(sum(bytes) as bigint) as bytes,
    count(distinct dst_device_id) as targets
from {{ ref("fct_edges") }}
where is_counted and action = 'REJECT' and {{ in_restated_hours("event_hour") }}
group by 1, 2
