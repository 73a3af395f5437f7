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
