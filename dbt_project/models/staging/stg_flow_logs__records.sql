-- One row per good record with traffic.
{{ config(materialized="report_view") }}

select
    source_uri,
    arrival_hour,
    flow_log_id,
    format_id,
    event_hour,
    {%- for field in flow_log_fields() %} {{ adapter.quote(field.column) }}, {%- endfor %}
    extra_fields
from {{ ref("stg_flow_logs__lines") }}
where line_kind = 'record'
