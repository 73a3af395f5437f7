-- One row per protocol and quarter of an hour in which packets were rejected; its packets add up to those of the edges.
{# Older lakes have a table of its name, which readers may still be pinned to. #}
{{ config(materialized="report_view", alias="rpt_rejected_quarter_hourly_report", meta={"published": "view"}) }}

select
    quarters.event_hour,
    quarters.quarter_at,
    quarters.protocol,
    quarters.packets,
    quarters.is_estimated,
    hours.is_complete
from {{ ref("rpt_rejected_protocols_hourly") }} as quarters
left join {{ complete_hours() }} as hours on quarters.event_hour = hours.event_hour
