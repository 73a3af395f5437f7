{#-
  The two scopes in which anything is ever replaced: the arrival hours of the run's window, and the event hours
  that the run restates. Both render as literals, so that either engine prunes files by them.
-#}
{% macro in_arrival_window(column) -%}
    ({{ column }} >= '{{ arrival_bound("arrival_from") }}' and {{ column }} < '{{ arrival_bound("arrival_to") }}')
{%- endmacro %}

{#-
  A bound of the window: a variable where one is given (unit tests, by hand), else the environment, which is read only
  when a model runs. dbt parses the whole project anew whenever a variable changes, three seconds in every hourly run.
-#}
{% macro arrival_bound(name) -%}
    {%- if var(name, none) is not none -%} {{ checked_hour(var(name)) }}
    {%- elif execute -%} {{ checked_hour(env_var("FLOWLAKE_" ~ name | upper, "1970-01-01T00")) }}
    {%- else -%} 1970-01-01T00
    {%- endif -%}
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
        {%- set hours = restated_hours() -%}
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

{#- What was seen since the first hour that the run restates: of a table that grows for ever, the newest files. -#}
{% macro seen_since_restated(column) -%}
    {%- if not execute or flags.WHICH == 'test' or flags.EMPTY -%}
        {{ column }} >= (select min(restated.event_hour) from {{ ref("int_hours__restated") }} as restated)
    {%- else -%}
        {%- set hours = restated_hours() -%}
        {%- if hours -%} {{ column }} >= timestamp '{{ hours[0] }}' {%- else -%} false {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#- The event hours that the run restates, as text and in order; to be asked once int_hours__restated is written. -#}
{% macro restated_hours() -%}
    {{ return(asked_once(
        "select cast(event_hour as varchar) from " ~ ref("int_hours__restated") ~ " order by 1"
    ).columns[0].values()) }}
{%- endmacro %}

{% macro replaced_scope(replaces) -%}
    {%- if replaces == 'arrival_hour' -%} {{ in_arrival_window('arrival_hour') }}
    {%- elif replaces == 'coverage' -%}
        {#- From the window on, for a late object changes what later hours are compared with. What a gate holds back, or
            is only staged, is not shown before it passes; if it was shown before, that stays. -#}
        arrival_hour >= '{{ arrival_bound("arrival_from") }}'
        and arrival_hour not in (
            select windows.arrival_hour
            from {{ source("ledger", "windows") }} as windows
            where windows.state in ('staging', 'held')
        )
    {%- elif replaces == 'event_hour' -%} {{ in_restated_hours('event_hour') }}
    {%- elif replaces == 'everything' -%} true
    {%- else -%}
        {{ exceptions.raise_compiler_error(
            "replaces is arrival_hour, coverage, event_hour or everything, not '" ~ replaces ~ "'"
        ) }}
    {%- endif -%}
{%- endmacro %}

{#-
  The answer to a query whose rows stay what they are for the rest of the invocation, once they are asked for. Models
  share it: on Athena every question is a statement.
-#}
{% macro asked_once(query) -%}
    {%- set answers = graph.setdefault("flowlake_answers", {}) -%}
    {%- if query not in answers -%} {%- do answers.update({query: run_query(query)}) -%} {%- endif -%}
    {{ return(answers[query]) }}
{%- endmacro %}
