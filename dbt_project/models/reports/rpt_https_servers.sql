-- One row per day and server among the 10 that received the most bytes of HTTPS: port 443 over TCP, or UDP (HTTP/3).
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            server_device_id,
            sum(received_bytes) as received_bytes,
            sum(received_packets) as received_packets,
            sum(sent_bytes) as sent_bytes
        from {{ ref("rpt_servers_hourly") }}
        where service_port = 443 and protocol in (6, 17)
        group by 1, 2
        having sum(received_packets) > 0
    ),

    ranked as (
        select
            event_date,
            row_number() over (partition by event_date order by received_bytes desc, server_device_id) as place,
            server_device_id,
            received_bytes,
            received_packets,
            sent_bytes
        from daily
    )

select
    ranked.event_date,
    ranked.place,
    ranked.server_device_id,
    devices.name,
    devices.scope,
    cast(ranked.received_bytes as bigint) as received_bytes,
    cast(ranked.received_packets as bigint) as received_packets,
    cast(ranked.sent_bytes as bigint) as sent_bytes,
    days.incomplete_hours
from ranked
inner join {{ ref("dim_devices") }} as devices on ranked.server_device_id = devices.device_id
left join {{ incomplete_days() }} as days on ranked.event_date = days.event_date
where ranked.place <= 10
