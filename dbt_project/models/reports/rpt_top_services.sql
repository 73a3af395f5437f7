-- One row per day, service and server among the 10 that moved the most bytes for that service.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            protocol,
            service_port,
            server_device_id,
            max(service) as service,
            sum(received_bytes + sent_bytes) as bytes,
            sum(received_bytes) as received_bytes,
            sum(sent_bytes) as sent_bytes,
            sum(received_packets + sent_packets) as packets
        from {{ ref("rpt_servers_hourly") }}
        group by 1, 2, 3, 4
    ),

    totalled as (
        select
            event_date,
            protocol,
            service_port,
            server_device_id,
            service,
            bytes,
            received_bytes,
            sent_bytes,
            packets,
            sum(bytes) over (partition by event_date, protocol, service_port) as service_bytes,
            row_number() over (
                partition by event_date, protocol, service_port order by bytes desc, server_device_id
            ) as place
        from daily
    ),

    ranked as (
        select
            event_date,
            dense_rank() over (
                partition by event_date order by service_bytes desc, protocol, service_port
            ) as service_place,
            protocol,
            service_port,
            service,
            service_bytes,
            place,
            server_device_id,
            bytes,
            received_bytes,
            sent_bytes,
            packets
        from totalled
        where place <= 10
    )

select
    ranked.event_date,
    ranked.service_place,
    ranked.protocol,
    ranked.service_port,
    ranked.service,
    cast(ranked.service_bytes as bigint) as service_bytes,
    ranked.place,
    ranked.server_device_id,
    devices.name,
    devices.scope,
    cast(ranked.bytes as bigint) as bytes,
    cast(ranked.received_bytes as bigint) as received_bytes,
    cast(ranked.sent_bytes as bigint) as sent_bytes,
    cast(ranked.packets as bigint) as packets,
    days.incomplete_hours
from ranked
inner join {{ ref("dim_devices") }} as devices on ranked.server_device_id = devices.device_id
left join {{ incomplete_days() }} as days on ranked.event_date = days.event_date
