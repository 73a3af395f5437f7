-- One row per server, service and event hour: what clients sent to it that was let in, and what it sent back.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    edges as (
        select
            event_hour,
            case when src_role = 'client' then dst_device_id else src_device_id end as server_device_id,
            protocol,
            service_port,
            src_role,
            packets,
            bytes
        from {{ ref("fct_edges") }}
        where
            is_counted
            and src_role in ('client', 'server')
            and action <> 'REJECT'
            and {{ in_restated_hours("event_hour") }}
    )

select
    edges.event_hour,
    edges.server_device_id,
    edges.protocol,
    edges.service_port,
    max(services.service) as service,
    cast(sum(case when edges.src_role = 'client' then edges.packets else 0 end) as bigint) as received_packets,
    cast(sum(case when edges.src_role = 'client' then edges.bytes else 0 end) as bigint) as received_bytes,
    cast(sum(case when edges.src_role = 'server' then edges.packets else 0 end) as bigint) as sent_packets,
    cast(sum(case when edges.src_role = 'server' then edges.bytes else 0 end) as bigint) as sent_bytes
from edges
left join {{ ref("service_ports") }} as services on edges.service_port = services.port
group by 1, 2, 3, 4
