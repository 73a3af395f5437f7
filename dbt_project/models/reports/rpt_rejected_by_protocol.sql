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
    event_date,
    row_number() over (partition by event_date order by packets desc, protocol) as place,
    protocol,
    {{ protocol_name("protocol") }} as protocol_name,
    cast(packets as bigint) as packets,
    cast(bytes as bigint) as bytes,
    cast(flows as bigint) as flows
from daily
