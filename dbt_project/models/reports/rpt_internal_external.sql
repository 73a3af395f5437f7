-- One row per scope of the sender, scope of the recipient, action and event hour.
{# Older lakes have a table of its name, which readers may still be pinned to. #}
{{ config(materialized="report_view", alias="rpt_internal_external_report", meta={"published": "view"}) }}

select
    scopes.event_hour,
    scopes.src_scope,
    scopes.dst_scope,
    scopes.action,
    scopes.flows,
    scopes.packets,
    scopes.bytes,
    hours.is_complete
from {{ ref("rpt_scopes_hourly") }} as scopes
left join {{ complete_hours() }} as hours on scopes.event_hour = hours.event_hour
