-- One row per scope of the sender, scope of the recipient, action and event hour.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

select
    edges.event_hour,
    sources.scope as src_scope,
    destinations.scope as dst_scope,
    edges.action,
    cast(sum(edges.flows) as bigint) as flows,
    cast(sum(edges.packets) as bigint) as packets,
    cast(sum(edges.bytes) as bigint) as bytes
from {{ ref("fct_edges") }} as edges
inner join
    {{ ref("dim_devices") }} as sources
    on edges.src_device_id = sources.device_id
    and {{ seen_since_restated("sources.last_seen_at") }}
inner join
    {{ ref("dim_devices") }} as destinations
    on edges.dst_device_id = destinations.device_id
    and {{ seen_since_restated("destinations.last_seen_at") }}
where edges.is_counted and {{ in_restated_hours("edges.event_hour") }}
group by 1, 2, 3, 4
