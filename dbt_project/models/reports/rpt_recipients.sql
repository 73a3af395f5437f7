-- One row per day and sender: how many devices it reached, and how many it tried to.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            src_device_id,
            dst_device_id,
            sum(packets) as packets,
            sum(bytes) as bytes,
            sum(rejected_packets) as rejected_packets,
            sum(rejected_bytes) as rejected_bytes
        from {{ ref("rpt_pairs_hourly") }}
        group by 1, 2, 3
    )

select
    daily.event_date,
    daily.src_device_id,
    count(*) filter (where daily.packets > daily.rejected_packets) as recipients,
    count(*) as targets,
    cast(sum(daily.packets - daily.rejected_packets) as bigint) as packets,
    cast(sum(daily.bytes - daily.rejected_bytes) as bigint) as bytes,
    cast(sum(daily.rejected_packets) as bigint) as rejected_packets,
    max(days.incomplete_hours) as incomplete_hours
from daily
left join {{ incomplete_days() }} as days on daily.event_date = days.event_date
group by 1, 2
