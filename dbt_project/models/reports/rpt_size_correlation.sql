-- One row per day and action: how closely the bytes of an edge and hour follow its packets.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            action,
            sum(edges) as edges,
            cast(sum(edges) as double) as n,
            cast(sum(packets) as double) as packets,
            cast(sum(bytes) as double) as bytes,
            cast(sum(packets_squared) as double) as packets_squared,
            cast(sum(bytes_squared) as double) as bytes_squared,
            cast(sum(packets_times_bytes) as double) as packets_times_bytes
        from {{ ref("rpt_sizes_hourly") }}
        group by 1, 2
    ),

    spread as (
        select
            event_date,
            action,
            edges,
            packets_times_bytes - packets * bytes / n as covariance,
            packets_squared - packets * packets / n as packets_variance,
            bytes_squared - bytes * bytes / n as bytes_variance,
            packets_squared,
            bytes_squared
        from daily
    )

select
    spread.event_date,
    spread.action,
    cast(spread.edges as bigint) as edges,
    -- Null where all edges are alike; what is less than 10^-12 of the squares is the rounding of a double.
    case
        when packets_variance > 1e-12 * packets_squared and bytes_variance > 1e-12 * bytes_squared
        then greatest(-1e0, least(1e0, covariance / sqrt(packets_variance * bytes_variance)))
    end as correlation,
    days.incomplete_hours
from spread
left join {{ incomplete_days() }} as days on spread.event_date = days.event_date
