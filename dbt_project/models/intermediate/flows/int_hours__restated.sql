-- One row per event hour that this run restates: the hours that its window touches or ever touched; the hours of
-- interfaces and flow logs of which something was learnt that changes what their earlier records mean, or, of a
-- gateway,
-- what anyone's records of its address mean; and the hours of other windows that were begun and are not validated, so
-- that whichever gate comes next looks at those too.
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

    -- A gateway's legs are known by its address, also in hours in which its own interface logged nothing.
    pending_gateways as (
        select {{ device_id("addresses.own_address", "interfaces.vpc_id") }} as device_id
        from {{ ref("int_interfaces__merged") }} as interfaces
        inner join {{ ref("int_addresses__merged") }} as addresses on interfaces.interface_id = addresses.interface_id
        where
            interfaces.nat_source is not null
            and addresses.own_address is not null
            and (interfaces.needs_restating or addresses.needs_restating)
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

select partials.event_hour
from {{ ref("int_edges__partials") }} as partials
inner join pending_gateways on partials.src_device_id = pending_gateways.device_id

union

select partials.event_hour
from {{ ref("int_edges__partials") }} as partials
inner join pending_gateways on partials.dst_device_id = pending_gateways.device_id

union

select touched.event_hour
from {{ ref("int_hours__touched") }} as touched
inner join {{ source("ledger", "windows") }} as windows on touched.arrival_hour = windows.arrival_hour
where windows.state in ('building', 'failed')
