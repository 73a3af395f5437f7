-- One row per day and pair of devices among the 10 pairs that exchanged the most bytes, both directions together.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            least(src_device_id, dst_device_id) as device_id,
            greatest(src_device_id, dst_device_id) as peer_device_id,
            sum(case when src_device_id <= dst_device_id then bytes else 0 end) as sent_bytes,
            sum(case when src_device_id <= dst_device_id then 0 else bytes end) as received_bytes,
            sum(bytes) as bytes,
            sum(packets) as packets,
            sum(rejected_bytes) as rejected_bytes
        from {{ ref("rpt_pairs_hourly") }}
        group by 1, 2, 3
    ),

    ranked as (
        select
            event_date,
            row_number() over (partition by event_date order by bytes desc, device_id, peer_device_id) as place,
            device_id,
            peer_device_id,
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
    ranked.peer_device_id,
    peers.name as peer_name,
    cast(ranked.bytes as bigint) as bytes,
    cast(ranked.sent_bytes as bigint) as sent_bytes,
    cast(ranked.received_bytes as bigint) as received_bytes,
    cast(ranked.packets as bigint) as packets,
    cast(ranked.rejected_bytes as bigint) as rejected_bytes,
    days.incomplete_hours
from ranked
inner join {{ ref("dim_devices") }} as devices on ranked.device_id = devices.device_id
inner join {{ ref("dim_devices") }} as peers on ranked.peer_device_id = peers.device_id
left join {{ incomplete_days() }} as days on ranked.event_date = days.event_date
where ranked.place <= 10
