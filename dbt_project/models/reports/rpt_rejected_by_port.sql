-- One row per day, protocol and destination port at which packets were rejected, by bytes.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    -- Only a client's packets go to the service's port. Those of a server or a peer go to a port that no edge keeps:
    -- null.
    daily as (
        select
            cast(event_hour as date) as event_date,
            protocol,
            case when src_role = 'client' then service_port end as dst_port,
            max(case when src_role = 'client' then service end) as service,
            sum(flows) as flows,
            sum(packets) as packets,
            sum(bytes) as bytes
        from {{ ref("rpt_rejected_ports_hourly") }}
        group by 1, 2, 3
    )

select
    daily.event_date,
    row_number() over (
        partition by daily.event_date order by daily.bytes desc, daily.protocol, daily.dst_port nulls last
    ) as place,
    daily.protocol,
    {{ protocol_name("daily.protocol") }} as protocol_name,
    daily.dst_port,
    daily.service,
    cast(daily.bytes as bigint) as bytes,
    cast(daily.packets as bigint) as packets,
    cast(daily.flows as bigint) as flows,
    days.incomplete_hours
from daily
left join {{ incomplete_days() }} as days on daily.event_date = days.event_date
