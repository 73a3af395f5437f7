{#- A random share of a relation's rows, in percent: another one each time. -#}
{% macro sample_of(relation, percent) -%}{{ return(adapter.dispatch("sample_of", "flowlake")(relation, percent)) }}{%- endmacro %}
{% macro default__sample_of(relation, percent) -%}{{ unsupported_dialect("sample_of") }}{%- endmacro %}
{% macro duckdb__sample_of(relation, percent) -%}{{ relation }} tablesample bernoulli ({{ percent }} percent){%- endmacro %}
{% macro athena__sample_of(relation, percent) -%}{{ relation }} tablesample bernoulli ({{ percent }}){%- endmacro %}

{#- To be joined: the days (UTC) from that of one timestamp to that of another. Athena lists 10,000 of them at most. -#}
{% macro each_day(first, last) -%}{{ return(adapter.dispatch("each_day", "flowlake")(first, last)) }}{%- endmacro %}
{% macro default__each_day(first, last) -%}{{ unsupported_dialect("each_day") }}{%- endmacro %}
{% macro duckdb__each_day(first, last) -%}unnest(generate_series(date_trunc('day', {{ first }}), {{ last }}, interval '1' day)){%- endmacro %}
{% macro athena__each_day(first, last) -%}unnest(sequence(cast({{ first }} as date), cast({{ last }} as date), interval '1' day)){%- endmacro %}
