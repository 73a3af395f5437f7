-- One row per flow log and arrival hour in which it delivered: what its objects brought.
{{ config(materialized="replaced", replaces="arrival_hour") }}

select
    flow_log_id,
    arrival_hour,
    min(account_id) as account_id,
    min(region) as region,
    count(*) as objects,
    count(*) filter (where status = 'unreadable') as unreadable_objects,
    cast(sum(object_bytes) as bigint) as object_bytes,
    cast(sum(registered_lines) as bigint) as lines,
    cast(sum(records) as bigint) as records,
    cast(sum(malformed) as bigint) as malformed,
    cast(sum(nodata_gaps + skipdata_gaps) as bigint) as gaps,
    cast(sum(headers) as bigint) as headers,
    cast(sum(blanks + empty_lines) as bigint) as blanks,
    count(*) filter (where is_late) as late_objects
from {{ ref("int_objects__accounted") }}
where flow_log_id is not null and {{ in_arrival_window("arrival_hour") }}
group by flow_log_id, arrival_hour
