{#-
  Schemas are named as the design names them (staging, core, …), after what stands before `main` in the name of the
  profile's own schema: nothing on DuckDB, `flowlake_` on Athena, where all databases of an account share one catalogue.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ target.schema[:-4] ~ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
