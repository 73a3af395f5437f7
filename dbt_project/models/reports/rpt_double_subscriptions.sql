-- One row per interface and flow log of those that several flow logs log in the same hours, such as one of the network
-- and one of the subnet: since when, and how many records of each are counted. No packet counts twice.
{{ config(materialized="report_view", meta={"published": "view"}) }}

select
    interface_id,
    flow_log_id,
    max(flow_logs) as flow_logs,
    min(event_hour) as first_event_hour,
    max(event_hour) as last_event_hour,
    count(*) as hours,
    cast(sum(accepted_records + rejected_records) as bigint) as records,
    cast(
        sum(
            case when counts_accepted then accepted_records else 0 end
            + case when counts_rejected then rejected_records else 0 end
        ) as bigint
    ) as counted_records
from
    (
        select hours.*, count(*) over (partition by event_hour, interface_id) as flow_logs
        from {{ ref("fct_interface_hours") }} as hours
        where interface_id <> 'none'
    ) as logged
where flow_logs > 1
group by 1, 2
