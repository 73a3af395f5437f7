-- One row per interface, flow log, event hour and arrival hour: how many records of which kind it sent, and when it was
-- there in that hour.
{{ config(materialized="replaced", replaces="arrival_hour") }}

select
    arrival_hour,
    event_hour,
    coalesce(interface_id, resource_id, 'none') as interface_id,
    flow_log_id,
    count(*) filter (where line_kind = 'record' and action is distinct from 'REJECT') as accepted_records,
    count(*) filter (where line_kind = 'record' and action = 'REJECT') as rejected_records,
    count(*) filter (where line_kind = 'gap' and log_status is distinct from 'SKIPDATA') as nodata_records,
    count(*) filter (where line_kind = 'gap' and log_status = 'SKIPDATA') as skipdata_records,
    -- A line that does not say when it was may be of any time of its hour.
    min(greatest(coalesce(start_at, event_hour), event_hour)) as first_at,
    max(
        case
            when start_at is null or end_at is null
            then event_hour + interval '1' hour
            else least(greatest(start_at, end_at), event_hour + interval '1' hour)
        end
    ) as last_at
from {{ ref("stg_flow_logs__lines") }}
where line_kind in ('record', 'gap') and resource_type is null and {{ in_arrival_window("arrival_hour") }}
group by 1, 2, 3, 4
