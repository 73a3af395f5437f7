-- One row per object of the window, readable or not: what its unpacking counted against what was read of it.
{{ config(materialized="replaced", replaces="arrival_hour") }}

with

    objects as (select * from {{ source("raw", "objects") }} where {{ in_arrival_window("arrival_hour") }}),

    lines as (
        select
            source_uri,
            count(*) as read_lines,
            sum(line_bytes) as read_line_bytes,
            count(*) filter (where line_kind = 'record') as records,
            count(*) filter (where line_kind = 'malformed') as malformed,
            count(*) filter (where line_kind = 'gap' and log_status is distinct from 'SKIPDATA') as nodata_gaps,
            count(*) filter (where line_kind = 'gap' and log_status = 'SKIPDATA') as skipdata_gaps,
            count(*) filter (where line_kind = 'header') as headers,
            count(*) filter (where line_kind = 'blank') as blanks
        from {{ ref("stg_flow_logs__lines") }}
        where {{ in_arrival_window("arrival_hour") }}
        group by source_uri
    )

select
    objects.uri as source_uri,
    objects.arrival_hour,
    objects.flow_log_id,
    objects.account_id,
    objects.region,
    objects.kind,
    objects.status,
    objects.reason,
    objects.size as object_bytes,
    -- An object whose arrival is taken from its name was copied, and nobody knows when it came.
    coalesce(
        objects.last_modified > objects.named_at + interval '60' minute
        and objects.arrival_hour > {{ timestamp_to_hour("objects.named_at") }},
        false
    ) as is_late,
    coalesce(objects.line_count, 0) as registered_lines,
    coalesce(objects.line_bytes, 0) as registered_line_bytes,
    coalesce(objects.empty_line_count, 0) as empty_lines,
    coalesce(lines.read_lines, 0) as read_lines,
    cast(coalesce(lines.read_line_bytes, 0) as bigint) as read_line_bytes,
    coalesce(lines.records, 0) as records,
    coalesce(lines.malformed, 0) as malformed,
    coalesce(lines.nodata_gaps, 0) as nodata_gaps,
    coalesce(lines.skipdata_gaps, 0) as skipdata_gaps,
    coalesce(lines.headers, 0) as headers,
    coalesce(lines.blanks, 0) as blanks
from objects
left join lines on objects.uri = lines.source_uri
