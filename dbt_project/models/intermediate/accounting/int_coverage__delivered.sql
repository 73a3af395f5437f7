-- One row per flow log and arrival hour that was run since the flow log first delivered; `silent` where nothing
-- came. Hours after the window are written too: what the window brought may be the first word of a flow log that was
-- silent in them.
{{ config(materialized="replaced", replaces="arrival_hour_onwards") }}

with

    delivered as (
        select
            flow_log_id,
            arrival_hour,
            min(account_id) as account_id,
            min(region) as region,
            count(*) as objects,
            count(*) filter (where status = 'unreadable') as unreadable_objects,
            sum(object_bytes) as object_bytes,
            sum(registered_lines) as lines,
            sum(records) as records,
            sum(malformed) as malformed,
            sum(nodata_gaps + skipdata_gaps) as gaps,
            sum(headers) as headers,
            sum(blanks + empty_lines) as blanks,
            count(*) filter (where is_late) as late_objects
        from {{ ref("int_objects__accounted") }}
        where flow_log_id is not null and {{ replaced_scope("arrival_hour_onwards") }}
        group by flow_log_id, arrival_hour
    ),

    flow_logs as (
        select
            flow_log_id, min(arrival_hour) as first_arrival_hour, min(account_id) as account_id, min(region) as region
        from
            (
                select flow_log_id, arrival_hour, account_id, region
                from delivered
                union all
                select flow_log_id, arrival_hour, account_id, region
                from {{ this }}
                where objects > 0 and not {{ replaced_scope("arrival_hour_onwards") }}
            ) as appearances
        group by flow_log_id
    ),

    hours as (
        select arrival_hour from {{ source("ledger", "windows") }} where {{ replaced_scope("arrival_hour_onwards") }}
    )

select
    flow_logs.flow_log_id,
    hours.arrival_hour,
    flow_logs.account_id,
    flow_logs.region,
    coalesce(delivered.objects, 0) as objects,
    coalesce(delivered.unreadable_objects, 0) as unreadable_objects,
    cast(coalesce(delivered.object_bytes, 0) as bigint) as object_bytes,
    cast(coalesce(delivered.lines, 0) as bigint) as lines,
    cast(coalesce(delivered.records, 0) as bigint) as records,
    cast(coalesce(delivered.malformed, 0) as bigint) as malformed,
    cast(coalesce(delivered.gaps, 0) as bigint) as gaps,
    cast(coalesce(delivered.headers, 0) as bigint) as headers,
    cast(coalesce(delivered.blanks, 0) as bigint) as blanks,
    coalesce(delivered.late_objects, 0) as late_objects,
    case
        when delivered.objects is null then 'silent' when delivered.late_objects > 0 then 'late' else 'on_time'
    end as status
from hours
inner join flow_logs on hours.arrival_hour >= flow_logs.first_arrival_hour
left join delivered on flow_logs.flow_log_id = delivered.flow_log_id and hours.arrival_hour = delivered.arrival_hour
