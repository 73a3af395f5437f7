{#- A random share of a relation's rows, in percent: another one each time. -#}
{% macro sample_of(relation, percent) -%}{{ return(adapter.dispatch("sample_of", "flowlake")(relation, percent)) }}{%- endmacro %}
{% macro default__sample_of(relation, percent) -%}{{ unsupported_dialect("sample_of") }}{%- endmacro %}
{% macro duckdb__sample_of(relation, percent) -%}{{ relation }} tablesample bernoulli ({{ percent }} percent){%- endmacro %}
{% macro athena__sample_of(relation, percent) -%}{{ relation }} tablesample bernoulli ({{ percent }}){%- endmacro %}
