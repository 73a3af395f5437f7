-- One row per NODATA or SKIPDATA record: a capture window without traffic, or with records that AWS skipped.
{{ config(materialized="report_view") }}

select
    source_uri, arrival_hour, flow_log_id, format_id, event_hour, account_id, interface_id, start_at, end_at, log_status
from {{ ref("stg_flow_logs__lines") }}
where line_kind = 'gap'
