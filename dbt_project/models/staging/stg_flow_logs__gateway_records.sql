-- One row per good record of a Transit Gateway: of traffic, or of none (NODATA, SKIPDATA).
{{ config(materialized="report_view") }}

select
    source_uri,
    arrival_hour,
    flow_log_id,
    format_id,
    line_kind,
    event_hour,
    {%- for field in flow_log_fields() %} {{ adapter.quote(field.column) }}, {%- endfor %}
    extra_fields
from {{ ref("stg_flow_logs__lines") }}
where line_kind in ('record', 'gap') and resource_type is not null
