{#-
  Where several flow logs log one interface, one of them speaks for its accepted packets in an hour, and one for its
  rejected ones, so that a packet counts once: one that has ever logged such, of equals the first by its id. Over rows
  of an interface, hour and flow log, joined to int_flow_logs__merged.
-#}
{% macro speaks_for(verdict, rows, flow_logs) -%}
    {%- if verdict not in ["accept", "reject"] -%}
        {{ exceptions.raise_compiler_error("a flow log speaks for accept or reject, not '" ~ verdict ~ "'") }}
    {%- endif -%}
    {{ flow_logs }}.logs_{{ verdict }}
    and row_number() over (
        partition by {{ rows }}.event_hour, {{ rows }}.interface_id
        order by
            {% if verdict == "reject" -%} case when {{ flow_logs }}.logs_reject then 0 else 1 end, {%- endif %}
            case when {{ flow_logs }}.logs_accept then 0 else 1 end,
            {{ rows }}.flow_log_id
    )
    = 1
{%- endmacro %}
