{#-
  What was learnt of since the last run that restated it: interfaces, flow logs and gateways, nearly always none. The
  models ask at run time, in one statement, and leave out what reads all of history for nothing. A few are named as
  literals, by which either engine prunes files; many are left in a subquery, as are those whose ids are not what AWS
  writes: no other text of a log becomes a part of a statement.
-#}
{% macro pending_query(kind) -%}
    {%- if kind == "interface" -%}
        select interface_id as id from {{ ref("int_addresses__merged") }} where needs_restating
        union
        select interface_id from {{ ref("int_interfaces__merged") }} where needs_restating
    {%- elif kind == "flow_log" -%}
        select flow_log_id as id from {{ ref("int_flow_logs__merged") }} where needs_restating
    {%- elif kind == "gateway" -%}
        {#- A gateway's legs are known by its address, also in hours in which its own interface logged nothing. -#}
        select distinct {{ device_id("addresses.own_address", "interfaces.vpc_id") }} as id
        from {{ ref("int_interfaces__merged") }} as interfaces
        inner join {{ ref("int_addresses__merged") }} as addresses on interfaces.interface_id = addresses.interface_id
        where
            interfaces.nat_source is not null
            and addresses.own_address is not null
            and (interfaces.needs_restating or addresses.needs_restating)
    {%- else -%} {{ exceptions.raise_compiler_error("nothing of the kind '" ~ kind ~ "' is ever pending") }}
    {%- endif -%}
{%- endmacro %}

{#- The ids of a kind; none where they are not known, or are more or other than a statement should name. -#}
{% macro pending_ids(kind, most=300) -%}
    {%- if not execute or flags.WHICH == 'test' or flags.EMPTY -%} {{ return(none) }} {%- endif -%}
    {%- set parts = [] -%}
    {%- for each in ["interface", "flow_log", "gateway"] -%}
        {%- do parts.append(
            "select '" ~ each ~ "' as kind, id from (select id from (" ~ pending_query(each) ~ ") as pending limit "
            ~ (most + 1) ~ ") as some_of_them"
        ) -%}
    {%- endfor -%}
    {%- set ids = [] -%}
    {%- for row in asked_once(parts | join(" union all ")).rows if row[0] == kind -%}
        {%- do ids.append(row[1]) -%}
    {%- endfor -%}
    {%- if ids | length > most -%} {{ return(none) }} {%- endif -%}
    {%- for id in ids if id is none or not modules.re.fullmatch("[0-9A-Za-z_.:/-]+", id) -%}
        {{ return(none) }}
    {%- endfor -%}
    {{ return(ids | sort) }}
{%- endmacro %}

{% macro may_be_pending(kind) -%}{{ return(pending_ids(kind) != []) }}{%- endmacro %}

{% macro is_pending(column, kind) -%}
    {%- set ids = pending_ids(kind) -%}
    {%- if ids is none -%} {{ column }} in (select pending.id from ({{ pending_query(kind) }}) as pending)
    {%- else -%} {{ column }} in ({% for id in ids %}{{ text_literal(id) }}{{ ", " if not loop.last }}{% endfor %})
    {%- endif -%}
{%- endmacro %}
