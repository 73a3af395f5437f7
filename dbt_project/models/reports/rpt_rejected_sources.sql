-- One row per device among the 10 whose rejected packets carried the most bytes in the last 14 days of the data.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    -- The newest hour of the data, not the clock's: a lake that stands still keeps its answer.
    newest as (select max(event_hour) as event_hour from {{ ref("rpt_graph_size_hourly") }}),

    recent as (
        select
            sources.src_device_id,
            sum(sources.flows) as flows,
            sum(sources.packets) as packets,
            sum(sources.bytes) as bytes,
            min(sources.event_hour) as first_rejected_at,
            max(sources.event_hour) as last_rejected_at
        from {{ ref("rpt_rejected_sources_hourly") }} as sources
        cross join newest
        where sources.event_hour > newest.event_hour - interval '14' day
        group by 1
    ),

    ranked as (
        select
            row_number() over (order by bytes desc, src_device_id) as place,
            src_device_id,
            flows,
            packets,
            bytes,
            first_rejected_at,
            last_rejected_at
        from recent
    ),

    completeness as (
        select case when count(*) > 0 then count(*) filter (where not hours.is_complete) end as incomplete_hours
        from {{ complete_hours() }} as hours
        cross join newest
        where hours.event_hour > newest.event_hour - interval '14' day and hours.event_hour <= newest.event_hour
    )

select
    ranked.place,
    ranked.src_device_id,
    devices.name,
    devices.scope,
    cast(ranked.bytes as bigint) as bytes,
    cast(ranked.packets as bigint) as packets,
    cast(ranked.flows as bigint) as flows,
    ranked.first_rejected_at,
    ranked.last_rejected_at,
    completeness.incomplete_hours
from ranked
cross join completeness
inner join {{ ref("dim_devices") }} as devices on ranked.src_device_id = devices.device_id
where ranked.place <= 10
