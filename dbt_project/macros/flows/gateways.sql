{#- Is the interface one that the settings name as a NAT gateway, by its id or by its own address? -#}
{% macro is_named_gateway(interface_id) -%}
    {%- set named = var("nat_gateways") -%}
    {%- if not named -%} false
    {%- else -%}
    {%- set literals = [] -%}
    {%- for name in named -%} {%- do literals.append(text_literal(name)) -%} {%- endfor -%}
    (
        {{ interface_id }} in ({{ literals | join(", ") }})
        or {{ interface_id }} in (
            select addresses.interface_id
            from {{ ref("int_addresses__merged") }} as addresses
            where addresses.own_address in ({{ literals | join(", ") }})
        )
    )
    {%- endif -%}
{%- endmacro %}

{#-
  Hours are restated when something that was learnt about an interface or a flow log changes what its earlier records
  mean. The marks are kept in the tables, so that a killed run leaves them for the next one, and are taken away when
  every model of the marts has been built.
-#}
{% macro forget_pending_restatements(results) -%}
    {%- if execute and flags.WHICH == "build" -%}
        {%- set built = [] -%}
        {%- set failed = [] -%}
        {%- for result in results -%}
            {%- if result.status in ("error", "fail", "skipped") -%} {%- do failed.append(result) -%} {%- endif -%}
            {%- if result.node.name == "fct_edges" and result.status == "success" -%} {%- do built.append(result) -%} {%- endif -%}
        {%- endfor -%}
        {%- if built and not failed -%}
            {%- for model in ("int_addresses__merged", "int_interfaces__merged", "int_flow_logs__merged") -%}
                {%- set relation = load_relation(api.Relation.create(database=target.database, schema="intermediate", identifier=model)) -%}
                {%- if relation -%}
                    update {{ relation }} set needs_restating = false where needs_restating;
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
