-- One row per interface and flow log of those whose packets several flow logs log in the same hours, such as one of the
-- network and one of the subnet: since when, and how many records of each are counted. No packet counts twice.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    doubled as (
        select event_hour, interface_id, count(*) as flow_logs
        from {{ ref("fct_interface_hours") }}
        where interface_id <> 'none'
        group by 1, 2
        -- Where one replaced another within the hour, all that they logged counts.
        having
            (
                count(*) filter (where accepted_records > 0) > 1
                and count(*) filter (where accepted_records > 0 and not counts_accepted) > 0
            )
            or (
                count(*) filter (where rejected_records > 0) > 1
                and count(*) filter (where rejected_records > 0 and not counts_rejected) > 0
            )
    )

select
    hours.interface_id,
    hours.flow_log_id,
    max(doubled.flow_logs) as flow_logs,
    min(hours.event_hour) as first_event_hour,
    max(hours.event_hour) as last_event_hour,
    count(*) as hours,
    cast(sum(hours.accepted_records + hours.rejected_records) as bigint) as records,
    cast(
        sum(
            case when hours.counts_accepted then hours.accepted_records else 0 end
            + case when hours.counts_rejected then hours.rejected_records else 0 end
        ) as bigint
    ) as counted_records
from {{ ref("fct_interface_hours") }} as hours
inner join doubled on hours.event_hour = doubled.event_hour and hours.interface_id = doubled.interface_id
group by 1, 2
