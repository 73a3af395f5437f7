-- One row per line of a text object, or record of a Parquet object, that arrived in the window.
-- Empty lines have no row: raw.objects counts them.
{{
    config(
        materialized="replaced",
        replaces="arrival_hour",
        compression="zstd",
        pre_hook="{{ prepare_raw_reads() }}",
    )
}}

{%- set parts = parsed_parts(window_formats(), window_has_parquet()) %}

with

    objects as (
        select
            uri,
            read_path,
            flow_log_id,
            coalesce(format_id, 'parquet') as format_id,
            arrival_hour,
            coalesce(named_at, {{ hour_to_timestamp("arrival_hour") }}) as fallback_at
        from {{ source("raw", "objects") }}
        where status = 'readable' and {{ in_arrival_window("arrival_hour") }}
    ),

    {% for part in parts -%} part_{{ loop.index }} as {{ kept() if parts | length > 1 }} ({{ part }}), {% endfor %}

    parsed as (
        {% for part in parts -%}select * from part_{{ loop.index }} {{ "union all" if not loop.last }} {% endfor %}
    ),

    explained as (
        select
            *,
            case
                when is_blank or is_header
                then null
                when fields_seen <> fields_expected
                then
                    'field_count: '
                    || cast(fields_seen as varchar)
                    || ' instead of '
                    || cast(fields_expected as varchar)
                -- DuckLake cuts its catalogue's queries at a NUL in a literal: none may become a key.
                when strpos(line_text, chr(0)) > 0
                then 'bad_byte: NUL'
                when bad_field is not null
                then 'bad_field: ' || bad_field
                when log_status not in ('OK', 'NODATA', 'SKIPDATA')
                then 'bad_field: log-status'
                when action not in ('ACCEPT', 'REJECT')
                then 'bad_field: action'
                when srcport > 65535
                then 'bad_field: srcport'
                when dstport > 65535
                then 'bad_field: dstport'
                when protocol > 255
                then 'bad_field: protocol'
                when end_at < start_at
                then 'bad_field: end'
                when
                    log_status = 'OK'
                    and has_addresses
                    and srcaddr is null
                    and dstaddr is null
                    and pkt_srcaddr is null
                    and pkt_dstaddr is null
                then 'no_endpoints: log-status OK without an address'
            end as malformed_reason
        from parsed
    ),

    classified as (
        select
            *,
            case
                when malformed_reason is not null
                then 'malformed'
                when is_header
                then 'header'
                when is_blank
                then 'blank'
                when log_status in ('NODATA', 'SKIPDATA')
                then 'gap'
                -- Without log-status a record of nothing is all dashes: nobody can say which of the two it was.
                when
                    log_status is null
                    and has_addresses
                    and srcaddr is null
                    and dstaddr is null
                    and pkt_srcaddr is null
                    and pkt_dstaddr is null
                then 'gap'
                else 'record'
            end as line_kind
        from explained
    )

select
    objects.uri as source_uri,
    objects.arrival_hour,
    objects.flow_log_id,
    objects.format_id,
    classified.line_kind,
    classified.line_bytes,
    classified.malformed_reason,
    case when classified.line_kind = 'malformed' then classified.line_text end as raw_line,
    date_trunc('hour', coalesce(classified.start_at, classified.end_at, objects.fallback_at)) as event_hour,
    {%- for field in flow_log_fields() %} classified.{{ adapter.quote(field.column) }}, {%- endfor %}
    classified.extra_fields
from classified
inner join objects on objects.read_path = classified.read_path
