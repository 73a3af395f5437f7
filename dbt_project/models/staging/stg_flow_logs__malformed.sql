-- One row per line that is no record, with its reason and its text: nothing is lost.
{{ config(materialized="report_view") }}

select source_uri, arrival_hour, flow_log_id, format_id, malformed_reason, raw_line, line_bytes
from {{ ref("stg_flow_logs__lines") }}
where line_kind = 'malformed'
