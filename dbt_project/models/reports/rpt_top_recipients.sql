-- One row per day, sender and recipient among the 20 that received the most packets from it.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            src_device_id,
            dst_device_id,
            sum(packets - rejected_packets) as packets,
            sum(bytes - rejected_bytes) as bytes
        from {{ ref("rpt_pairs_hourly") }}
        group by 1, 2, 3
        having sum(packets - rejected_packets) > 0
    ),

    ranked as (
        select
            event_date,
            src_device_id,
            row_number() over (partition by event_date, src_device_id order by packets desc, dst_device_id) as place,
            dst_device_id,
            packets,
            bytes
        from daily
    )

select
    ranked.event_date,
    ranked.src_device_id,
    ranked.place,
    ranked.dst_device_id,
    devices.name,
    cast(ranked.packets as bigint) as packets,
    cast(ranked.bytes as bigint) as bytes,
    days.incomplete_hours
from ranked
inner join {{ ref("dim_devices") }} as devices on ranked.dst_device_id = devices.device_id
left join {{ incomplete_days() }} as days on ranked.event_date = days.event_date
where ranked.place <= 20
