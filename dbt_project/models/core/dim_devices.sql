-- One row per IP address ever seen as an endpoint, in traffic that anyone logged, counted or not.
{%- set owned = ["account_id", "vpc_id", "interface_id", "instance_id"] %}
{%- set attributes = ["device_type", "scope", "name"] + owned + ["aws_service", "first_seen_at", "last_seen_at"] %}

{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key="device_id",
        on_schema_change="append_new_columns",
        meta={"published": true},
    )
}}

with

    -- Of all partial sums that the hours' edges are made of, also those of other windows that died before they came to
    -- this: an edge without its device passes no gate.
    sightings as (
        select src_device_id as device_id, true as is_source, false as is_dest, first_seen_at, last_seen_at
        from {{ ref("int_edges__partials") }}
        where {{ in_restated_hours("event_hour") }}
        union all
        select dst_device_id, false, true, first_seen_at, last_seen_at
        from {{ ref("int_edges__partials") }}
        where {{ in_restated_hours("event_hour") }}
    ),

    seen as (
        select
            device_id,
            bool_or(is_source) as is_source,
            bool_or(is_dest) as is_dest,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at
        from sightings
        group by 1
    ),

    -- Addresses of AWS's own services, as the record names them.
    services as (
        select device_id, max(aws_service) as aws_service
        from
            (
                select
                    {{ device_id("coalesce(pkt_srcaddr, srcaddr)", "vpc_id") }} as device_id,
                    pkt_src_aws_service as aws_service
                from {{ ref("stg_flow_logs__records") }}
                where
                    resource_type is null
                    and pkt_src_aws_service is not null
                    and {{ in_arrival_window("arrival_hour") }}
                union all
                select {{ device_id("coalesce(pkt_dstaddr, dstaddr)", "vpc_id") }}, pkt_dst_aws_service
                from {{ ref("stg_flow_logs__records") }}
                where
                    resource_type is null
                    and pkt_dst_aws_service is not null
                    and {{ in_arrival_window("arrival_hour") }}
            ) as named
        group by 1
    ),

    owners as (
        select
            {{ device_id("addresses.own_address", "interfaces.vpc_id") }} as device_id,
            min(interfaces.interface_id) as interface_id,
            min(interfaces.account_id) as account_id,
            min(interfaces.vpc_id) as vpc_id,
            min(interfaces.instance_id) as instance_id
        from {{ ref("int_addresses__merged") }} as addresses
        inner join {{ ref("int_interfaces__merged") }} as interfaces on addresses.interface_id = interfaces.interface_id
        where addresses.own_address is not null
        group by 1
    ),

    known as (
        {% if is_incremental() -%}select device_id, {{ attributes | join(", ") }} from {{ this }}
        {%- else -%}
            select
                cast(null as varchar) as device_id,
                cast(null as varchar) as device_type,
                cast(null as varchar) as scope,
                cast(null as varchar) as name,
                cast(null as varchar) as account_id,
                cast(null as varchar) as vpc_id,
                cast(null as varchar) as interface_id,
                cast(null as varchar) as instance_id,
                cast(null as varchar) as aws_service,
                cast(null as timestamp) as first_seen_at,
                cast(null as timestamp) as last_seen_at
            where false
        {%- endif %}
    ),

    device_names as (
        select cast(null as varchar) as device_id, cast(null as varchar) as name
        where false
        {%- for address, name in var("device_names").items() %}
            union all
            select {{ text_literal(address) }}, {{ text_literal(name) }}
        {%- endfor %}
    ),

    -- What was seen, and every device whose owner is another than was thought, or none after all. All that is
    -- known grows for ever: it is read once.
    touched as (
        select
            coalesce(seen.device_id, known.device_id) as device_id,
            coalesce(seen.is_source, false) or coalesce(known.device_type in ('source', 'both'), false) as is_source,
            coalesce(seen.is_dest, false) or coalesce(known.device_type in ('dest', 'both'), false) as is_dest,
            {%- for column in owned %} owners.{{ column }}, {%- endfor %}
            least(
                coalesce(seen.first_seen_at, known.first_seen_at), coalesce(known.first_seen_at, seen.first_seen_at)
            ) as first_seen_at,
            greatest(
                coalesce(seen.last_seen_at, known.last_seen_at), coalesce(known.last_seen_at, seen.last_seen_at)
            ) as last_seen_at,
            {%- for column in attributes %} known.{{ column }} as known_{{ column }}, {%- endfor %}
            known.device_id is null as is_new
        from seen
        full outer join known on seen.device_id = known.device_id
        left join owners on coalesce(seen.device_id, known.device_id) = owners.device_id
        where
            seen.device_id is not null
            {%- for column in owned %} or known.{{ column }} is distinct from owners.{{ column }} {%- endfor %}
    ),

    merged as (
        select
            touched.*,
            split_part(
                touched.device_id, '/', case when strpos(touched.device_id, '/') > 0 then 2 else 1 end
            ) as address,
            device_names.name,
            coalesce(
                greatest(services.aws_service, touched.known_aws_service),
                services.aws_service,
                touched.known_aws_service
            ) as aws_service
        from touched
        left join services on touched.device_id = services.device_id
        left join device_names on touched.device_id = device_names.device_id
    ),

    described as (
        select
            *,
            case when is_source and is_dest then 'both' when is_source then 'source' else 'dest' end as device_type,
            case when {{ in_networks("address", var("internal_cidrs")) }} then 'internal' else 'external' end as scope
        from merged
    )

select
    device_id,
    address,
    device_type,
    scope,
    name,
    account_id,
    vpc_id,
    interface_id,
    instance_id,
    aws_service,
    first_seen_at,
    last_seen_at
from described
where is_new {%- for column in attributes %} or {{ column }} is distinct from known_{{ column }} {%- endfor %}
