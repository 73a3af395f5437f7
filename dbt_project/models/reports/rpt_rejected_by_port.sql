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
    event_date,
    row_number() over (partition by event_date order by bytes desc, protocol, dst_port nulls last) as place,
    protocol,
    {{ protocol_name("protocol") }} as protocol_name,
    dst_port,
    service,
    cast(bytes as bigint) as bytes,
    cast(packets as bigint) as packets,
    cast(flows as bigint) as flows
from daily
