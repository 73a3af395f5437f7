-- One row per device and hour of the last 14 days in which far more of its packets were rejected than in the 14 days
-- before that hour.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    newest as (select max(event_hour) as event_hour from {{ ref("rpt_graph_size_hourly") }}),

    hours as (
        select
            sizes.event_hour,
            -- An hour without rejections has no row below, and counts as one of none.
            count(*) over (
                order by sizes.event_hour range between interval '14' day preceding and interval '1' hour preceding
            ) as hours_before
        from {{ ref("rpt_graph_size_hourly") }} as sizes
        cross join newest
        where sizes.event_hour > newest.event_hour - interval '28' day
    ),

    rejections as (
        select
            sources.event_hour,
            sources.src_device_id,
            sources.packets,
            sources.targets,
            coalesce(sum(cast(sources.packets as double)) over earlier, 0) as packets_before,
            coalesce(
                sum(cast(sources.packets as double) * cast(sources.packets as double)) over earlier, 0
            ) as squares_before
        from {{ ref("rpt_rejected_sources_hourly") }} as sources
        cross join newest
        where sources.event_hour > newest.event_hour - interval '28' day
        window
            earlier as (
                partition by sources.src_device_id
                order by sources.event_hour range between interval '14' day preceding and interval '1' hour preceding
            )
    ),

    measured as (
        select
            rejections.event_hour,
            rejections.src_device_id,
            rejections.packets,
            rejections.targets,
            hours.hours_before,
            rejections.packets_before / hours.hours_before as mean_before,
            sqrt(
                greatest(
                    rejections.squares_before / hours.hours_before
                    - (rejections.packets_before / hours.hours_before)
                    * (rejections.packets_before / hours.hours_before),
                    0
                )
            ) as deviation_before
        from rejections
        inner join hours on rejections.event_hour = hours.event_hour
        cross join newest
        -- A day of history is the least that a mean may be taken from.
        where hours.hours_before >= 24 and rejections.event_hour > newest.event_hour - interval '14' day
    )

select
    measured.event_hour,
    measured.src_device_id,
    devices.name,
    devices.scope,
    measured.packets,
    measured.targets,
    measured.hours_before,
    measured.mean_before,
    measured.deviation_before,
    completeness.is_complete
from measured
inner join {{ ref("dim_devices") }} as devices on measured.src_device_id = devices.device_id
left join {{ complete_hours() }} as completeness on measured.event_hour = completeness.event_hour
-- 100 packets keep the first knock of every scanner out, whose mean and deviation are nothing.
where measured.packets >= 100 and measured.packets > measured.mean_before + 3 * measured.deviation_before
