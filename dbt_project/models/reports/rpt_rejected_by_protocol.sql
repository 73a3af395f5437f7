-- One row per day and protocol of which packets were rejected, by packets.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    daily as (
        select
            cast(event_hour as date) as event_date,
            protocol,
            sum(packets) as packets,
            sum(bytes) as bytes,
            sum(flows) as flows
        from {{ ref("rpt_rejected_ports_hourly") }}
        group by 1, 2
    )

select
    daily.event_date,
    row_number() over (partition by daily.event_date order by daily.packets desc, daily.protocol) as place,
    daily.protocol,
    {{ protocol_name("daily.protocol") }} as protocol_name,
    cast(daily.packets as bigint) as packets,
    cast(daily.bytes as bigint) as bytes,
    cast(daily.flows as bigint) as flows,
    days.incomplete_hours
from daily
left join {{ incomplete_days() }} as days on daily.event_date = days.event_date
