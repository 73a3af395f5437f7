{#-
  What is learnt of interfaces is learnt hour by hour, and kept by hour (`int_interfaces__observed`). An hour that is new
  adds to what is known. One that is there already may say something else now: objects of it came since, were mended or
  are gone. Then everything is learnt again, of all hours; so it does not matter what an hour said in between.
  Whether an hour is there already is asked of `int_hours__touched`, which holds every hour that anything was learnt of
  (and those of Transit Gateways, which teach nothing): it is written after this is asked, before anything is learnt
  (int_addresses__merged), and a killed run leaves it.
-#}
{% macro is_learnt_again() -%} {{ return(learning().again) }} {%- endmacro %}

{#-
  Whether hours are to be observed that were run before there was a place to keep what they say. Not all of them can be:
  what is known stays then.
-#}
{% macro is_learnt_late() -%} {{ return(learning().late) }} {%- endmacro %}

{#- Asked once, before the window's hours are written. -#}
{% macro learning() -%}
    {%- if not execute or flags.WHICH == 'test' or flags.EMPTY -%} {{ return({"again": false, "late": false}) }} {%- endif -%}
    {%- set answers = graph.setdefault("flowlake_answers", {}) -%}
    {%- if "learning" not in answers -%}
        {%- set observed = adapter.get_relation(this.database, this.schema, "int_interfaces__observed") -%}
        {%- set touched = adapter.get_relation(this.database, this.schema, "int_hours__touched") -%}
        {%- set merged = adapter.get_relation(this.database, this.schema, "int_addresses__merged") -%}
        {%- set nothing = "(select 1 as one where false) as nothing" -%}
        {%- set row = run_query(
            "select (select count(*) from (select 1 as one from " ~ (touched or nothing)
            ~ (" where " ~ in_arrival_window("arrival_hour") if touched else "") ~ " limit 1) as of_window), "
            ~ "(select count(*) from (select 1 as one from " ~ (observed or nothing) ~ " limit 1) as of_all), "
            ~ "(select count(*) from (select 1 as one from " ~ (merged or nothing) ~ " limit 1) as of_known)"
        ).rows[0] -%}
        {%- do answers.update({"learning": {"again": row[0] > 0, "late": row[1] == 0 and row[2] > 0}}) -%}
    {%- endif -%}
    {{ return(answers["learning"]) }}
{%- endmacro %}

{#-
  The hours to observe. Athena writes to 100 days at once, so of what was run before this was kept, the 90 days before
  the window's end and the week after it are seen to.
-#}
{% macro in_observed_hours(column) -%}
    {%- if is_learnt_late() -%}
        {%- set end = modules.datetime.datetime.strptime(arrival_bound("arrival_to") | trim, "%Y-%m-%dT%H") -%}
        ({{ in_arrival_window(column) }} or (
            {{ column }} >= '{{ (end - modules.datetime.timedelta(days=90)).strftime("%Y-%m-%dT%H") }}'
            and {{ column }} < '{{ (end + modules.datetime.timedelta(days=7)).strftime("%Y-%m-%dT%H") }}'
            and {{ column }} in (
                select windows.arrival_hour from {{ source("ledger", "windows") }} as windows
                where windows.state in ('validated', 'building', 'failed')
            )
        ))
    {%- else -%} {{ in_arrival_window(column) }}
    {%- endif -%}
{%- endmacro %}
