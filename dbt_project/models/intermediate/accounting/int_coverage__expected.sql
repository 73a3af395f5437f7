-- One row per flow log and arrival hour that was run since the flow log first delivered; `silent` where nothing came.
-- A view: what an hour brought may be the first word of a flow log that was silent in hours that were run before it,
-- and runs of different hours must not write the same rows.
{{ config(materialized="report_view") }}

with

    flow_logs as (
        select
            flow_log_id, min(arrival_hour) as first_arrival_hour, min(account_id) as account_id, min(region) as region
        from {{ ref("int_coverage__delivered") }}
        group by flow_log_id
    )

select
    flow_logs.flow_log_id,
    hours.arrival_hour,
    flow_logs.account_id,
    flow_logs.region,
    coalesce(delivered.objects, 0) as objects,
    coalesce(delivered.unreadable_objects, 0) as unreadable_objects,
    coalesce(delivered.object_bytes, 0) as object_bytes,
    coalesce(delivered.lines, 0) as lines,
    coalesce(delivered.records, 0) as records,
    coalesce(delivered.malformed, 0) as malformed,
    coalesce(delivered.gaps, 0) as gaps,
    coalesce(delivered.headers, 0) as headers,
    coalesce(delivered.blanks, 0) as blanks,
    coalesce(delivered.late_objects, 0) as late_objects,
    case
        when delivered.objects is null then 'silent' when delivered.late_objects > 0 then 'late' else 'on_time'
    end as status
from {{ source("ledger", "windows") }} as hours
inner join flow_logs on hours.arrival_hour >= flow_logs.first_arrival_hour
left join
    {{ ref("int_coverage__delivered") }} as delivered
    on flow_logs.flow_log_id = delivered.flow_log_id
    and hours.arrival_hour = delivered.arrival_hour
