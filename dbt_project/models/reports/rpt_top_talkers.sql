-- One row per day and device among the 10 that sent and received the most bytes.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            device_id,
            sum(sent_bytes) as sent_bytes,
            sum(received_bytes) as received_bytes,
            sum(sent_bytes + received_bytes) as bytes,
            sum(sent_packets + received_packets) as packets,
            sum(rejected_bytes) as rejected_bytes
        from {{ ref("rpt_talkers_hourly") }}
        group by 1, 2
    ),

    ranked as (
        select
            event_date,
            row_number() over (partition by event_date order by bytes desc, device_id) as place,
            device_id,
            sent_bytes,
            received_bytes,
            bytes,
            packets,
            rejected_bytes
        from daily
    )

select
    ranked.event_date,
    ranked.place,
    ranked.device_id,
    devices.name,
    devices.scope,
    cast(ranked.bytes as bigint) as bytes,
    cast(ranked.sent_bytes as bigint) as sent_bytes,
    cast(ranked.received_bytes as bigint) as received_bytes,
    cast(ranked.packets as bigint) as packets,
    cast(ranked.rejected_bytes as bigint) as rejected_bytes,
    days.incomplete_hours
from ranked
inner join {{ ref("dim_devices") }} as devices on ranked.device_id = devices.device_id
left join {{ incomplete_days() }} as days on ranked.event_date = days.event_date
where ranked.place <= 10
