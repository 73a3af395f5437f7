{#-
  The two scopes in which anything is ever replaced: the arrival hours of the run's window, and the event hours
  that the run restates. Both render as literals, so that either engine prunes files by them.
-#}
{% macro in_arrival_window(column) -%}
    ({{ column }} >= '{{ checked_hour(var("arrival_from")) }}' and {{ column }} < '{{ checked_hour(var("arrival_to")) }}')
{%- endmacro %}

{% macro checked_hour(hour) -%}
    {%- if not modules.re.match('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}$', hour) -%}
        {{ exceptions.raise_compiler_error("an arrival hour is YYYY-MM-DDTHH, not '" ~ hour ~ "'") }}
    {%- endif -%}
    {{ hour }}
{%- endmacro %}

{#- Hours beyond this many are named by their range; the subquery then keeps the choice exact. -#}
{% macro in_restated_hours(column) -%}
    {%- if not execute or flags.WHICH == 'test' or flags.EMPTY -%}
        {{ column }} in (select restated.event_hour from {{ ref("int_hours__restated") }} as restated)
    {%- else -%}
        {%- set hours = run_query(
            "select cast(event_hour as varchar) from " ~ ref("int_hours__restated") ~ " order by 1"
        ).columns[0].values() -%}
        {%- if hours | length == 0 -%}
            false
        {%- elif hours | length <= 400 -%}
            {{ column }} in ({% for hour in hours %}timestamp '{{ hour }}'{{ ", " if not loop.last }}{% endfor %})
        {%- else -%}
            ({{ column }} between timestamp '{{ hours[0] }}' and timestamp '{{ hours[-1] }}'
            and {{ column }} in (select restated.event_hour from {{ ref("int_hours__restated") }} as restated))
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro replaced_scope(replaces) -%}
    {%- if replaces == 'arrival_hour' -%} {{ in_arrival_window('arrival_hour') }}
    {%- elif replaces == 'arrival_hour_onwards' -%} arrival_hour >= '{{ checked_hour(var("arrival_from")) }}'
    {%- elif replaces == 'event_hour' -%} {{ in_restated_hours('event_hour') }}
    {%- elif replaces == 'everything' -%} true
    {%- else -%}
        {{ exceptions.raise_compiler_error(
            "replaces is arrival_hour, arrival_hour_onwards, event_hour or everything, not '" ~ replaces ~ "'"
        ) }}
    {%- endif -%}
{%- endmacro %}
