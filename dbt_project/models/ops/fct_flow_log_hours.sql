-- One row per flow log and event hour for which it sent anything: how much, from how many interfaces, and how long its
-- records took to come.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    sent as (
        select
            flow_log_id,
            event_hour,
            arrival_hour,
            interface_id,
            accepted_records + rejected_records as records,
            nodata_records,
            skipdata_records
        from {{ ref("int_coverage__partials") }}
        where {{ in_restated_hours("event_hour") }}
        union all
        select
            flow_log_id, event_hour, arrival_hour, attachment_id, flows, coalesce(nodata_records, 0), skipdata_records
        from {{ ref("int_gateway_flows__partials") }}
        where {{ in_restated_hours("event_hour") }}
    ),

    arrived as (
        select
            flow_log_id,
            event_hour,
            arrival_hour,
            date_diff('hour', event_hour, {{ hour_to_timestamp("arrival_hour") }}) as delay_hours,
            sum(records) as records,
            sum(nodata_records) as nodata_records,
            sum(skipdata_records) as skipdata_records,
            sum(records + nodata_records + skipdata_records) as lines
        from sent
        group by 1, 2, 3
    ),

    accumulated as (
        select
            arrived.*,
            sum(lines) over (
                partition by flow_log_id, event_hour
                order by arrival_hour
                rows between unbounded preceding and current row
            ) as lines_so_far,
            sum(lines) over (partition by flow_log_id, event_hour) as lines_in_hour
        from arrived
    ),

    interfaces as (select flow_log_id, event_hour, count(distinct interface_id) as interfaces from sent group by 1, 2)

select
    accumulated.flow_log_id,
    accumulated.event_hour,
    interfaces.interfaces,
    cast(sum(accumulated.records) as bigint) as records,
    cast(sum(accumulated.nodata_records) as bigint) as nodata_records,
    cast(sum(accumulated.skipdata_records) as bigint) as skipdata_records,
    cast(
        sum(
            case
                when {{ is_late_arrival("accumulated.arrival_hour", "accumulated.event_hour") }}
                then accumulated.lines
                else 0
            end
        ) as bigint
    ) as late_records,
    max(accumulated.arrival_hour) as last_arrival_hour,
    -- A straggler is not what the flow log usually does.
    greatest(
        min(
            case when 100 * accumulated.lines_so_far >= 99 * accumulated.lines_in_hour then accumulated.delay_hours end
        ),
        0
    ) as delay_hours
from accumulated
inner join
    interfaces on accumulated.flow_log_id = interfaces.flow_log_id and accumulated.event_hour = interfaces.event_hour
group by 1, 2, 3
