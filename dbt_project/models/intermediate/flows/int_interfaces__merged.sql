-- One row per interface ever seen: whose it is, and whether it is a NAT gateway, as far as everything so far tells.
-- Interfaces that the window does not have are judged too: their own address may be another than was thought.
-- depends_on: {{ ref("int_addresses__merged") }}
{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key="interface_id",
        on_schema_change="append_new_columns",
    )
}}

{%- set attributes = ["account_id", "vpc_id", "subnet_id", "instance_id", "interface_type", "region", "az_id"] %}

with

    seen as (
        select
            coalesce(interface_id, resource_id) as interface_id,
            {%- for attribute in attributes %} max({{ attribute }}) as {{ attribute }}, {%- endfor %}
            min(coalesce(start_at, event_hour)) as first_seen_at,
            max(coalesce(end_at, event_hour)) as last_seen_at
        from {{ ref("stg_flow_logs__lines") }}
        where
            line_kind in ('record', 'gap')
            and coalesce(interface_id, resource_id) is not null
            and resource_type is null
            and {{ in_arrival_window("arrival_hour") }}
        group by 1
    ),

    known as (
        {% if is_incremental() -%}select * from {{ this }}
        {%- else -%}
            select
                cast(null as varchar) as interface_id,
                {%- for attribute in attributes %} cast(null as varchar) as {{ attribute }},
                {%- endfor %}
                cast(null as timestamp) as first_seen_at,
                cast(null as timestamp) as last_seen_at,
                cast(null as varchar) as nat_source,
                false as needs_restating
            where false
        {%- endif %}
    ),

    merged as (
        select
            coalesce(seen.interface_id, known.interface_id) as interface_id,
            {%- for attribute in attributes %}
                coalesce(
                    greatest(seen.{{ attribute }}, known.{{ attribute }}), seen.{{ attribute }}, known.{{ attribute }}
                ) as {{ attribute }},
            {%- endfor %}
            least(
                coalesce(seen.first_seen_at, known.first_seen_at), coalesce(known.first_seen_at, seen.first_seen_at)
            ) as first_seen_at,
            greatest(
                coalesce(seen.last_seen_at, known.last_seen_at), coalesce(known.last_seen_at, seen.last_seen_at)
            ) as last_seen_at,
            known.interface_id is null as is_new,
            {%- for column in attributes + ["first_seen_at", "last_seen_at", "nat_source"] %}
                known.{{ column }} as known_{{ column }},
            {%- endfor %}
            inferred.interface_id is not null as is_inferred_now,
            coalesce(known.needs_restating, false) as known_needs_restating
        from seen
        full outer join known on seen.interface_id = known.interface_id
        left join
            (select distinct interface_id from {{ ref("int_gateways__inferred") }}) as inferred
            on seen.interface_id = inferred.interface_id
    ),

    judged as (
        select
            merged.*,
            case
                when interface_type in ('nat_gateway', 'regional_nat_gateway')
                then 'interface_type'
                when {{ is_named_gateway("merged.interface_id") }}
                then 'settings'
                when known_nat_source = 'inferred' or is_inferred_now
                then 'inferred'
            end as nat_source
        from merged
    )

select
    interface_id,
    {%- for attribute in attributes %} {{ attribute }}, {%- endfor %}
    first_seen_at,
    last_seen_at,
    nat_source,
    known_needs_restating or nat_source is distinct from known_nat_source
    {%- if var("overlapping_cidrs") %}
        -- Where networks overlap, the network is a part of the own device's name.
        or vpc_id is distinct from known_vpc_id
    {%- endif %} as needs_restating
from judged
where
    is_new
    {%- for column in attributes + ["first_seen_at", "last_seen_at", "nat_source"] %}
        or {{ column }} is distinct from known_{{ column }}
    {%- endfor %}
