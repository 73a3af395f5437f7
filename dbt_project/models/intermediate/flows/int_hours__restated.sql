-- One row per event hour that this run restates: the hours that its window touches or ever touched; the hours of
-- interfaces and flow logs of which something was learnt that changes what their earlier records mean; and the hours
-- of other windows that were begun and are not validated, so that whichever gate comes next looks at those too.
{{ config(materialized="replaced", replaces="everything") }}

with

    pending_interfaces as (
        select interface_id
        from {{ ref("int_addresses__merged") }}
        where needs_restating
        union
        select interface_id
        from {{ ref("int_interfaces__merged") }}
        where needs_restating
    ),

    pending_flow_logs as (select flow_log_id from {{ ref("int_flow_logs__merged") }} where needs_restating)

select event_hour
from {{ ref("int_hours__touched") }}
where {{ in_arrival_window("arrival_hour") }}

union

select coverage.event_hour
from {{ ref("int_coverage__partials") }} as coverage
inner join pending_interfaces on coverage.interface_id = pending_interfaces.interface_id

union

select coverage.event_hour
from {{ ref("int_coverage__partials") }} as coverage
inner join pending_flow_logs on coverage.flow_log_id = pending_flow_logs.flow_log_id

union

select touched.event_hour
from {{ ref("int_hours__touched") }} as touched
inner join {{ source("ledger", "windows") }} as windows on touched.arrival_hour = windows.arrival_hour
where windows.state in ('building', 'failed')
