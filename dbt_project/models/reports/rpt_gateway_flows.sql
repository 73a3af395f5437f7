-- One row per pair of attachments and of VPCs of a Transit Gateway and event hour.
{# Older lakes have a table of its name, which readers may still be pinned to. #}
{{ config(materialized="report_view", alias="rpt_gateway_flows_report", meta={"published": "view"}) }}

select
    flows.event_hour,
    flows.tgw_id,
    flows.src_attachment_id,
    flows.dst_attachment_id,
    flows.src_vpc_id,
    flows.dst_vpc_id,
    flows.src_account_id,
    flows.dst_account_id,
    flows.flows,
    flows.packets,
    flows.bytes,
    {%- for reason in lost_packets() %} flows.{{ reason }}, {%- endfor %}
    flows.is_lossy,
    hours.is_complete
from {{ ref("rpt_gateway_flows_hourly") }} as flows
left join {{ complete_hours() }} as hours on flows.event_hour = hours.event_hour
