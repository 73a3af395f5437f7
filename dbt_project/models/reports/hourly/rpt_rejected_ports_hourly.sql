-- One row per protocol, service port, role of the sender and event hour in which packets were rejected.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

select
    edges.event_hour,
    edges.protocol,
    edges.service_port,
    edges.src_role,
    max(services.service) as service,
    cast(sum(edges.flows) as bigint) as flows,
    cast(sum(edges.packets) as bigint) as packets,
    cast(sum(edges.bytes) as bigint) as bytes
from {{ ref("fct_edges") }} as edges
left join {{ ref("service_ports") }} as services on edges.service_port = services.port
where edges.is_counted and edges.action = 'REJECT' and {{ in_restated_hours("edges.event_hour") }}
group by 1, 2, 3, 4
