{#-
  A seed on Athena: one statement has all its rows, and they lie in a place that is named after them, so a seed that is
  as it was costs no statement. dbt-athena's own is made anew by each build, from a file that it uploads before it drops
  what a killed run left in that file's place: with the file, and the seed had no rows.
-#}
{% macro athena__create_csv_table(model, agate_table) -%}
    {%- set location = seed_location(model) -%}
    {%- do adapter.delete_from_s3(location) -%}
    {%- set names = agate_table.column_names -%}
    {% call statement("create") -%}
        create table {{ this }} with (
            table_type = 'iceberg', is_external = false, format = 'parquet', write_compression = 'zstd',
            location = '{{ location }}'
        ) as
        select
            {% for name in names -%}
            cast({{ adapter.quote(name) }} as {{ model.config.column_types[name] }}) as {{ adapter.quote(name) }}
            {{- ", " if not loop.last }}
            {% endfor %}
        from (values
            {% for row in agate_table.rows -%}
            (
                {%- for value in row -%}
                    {{ "null" if value is none else "'" ~ (value | string | replace("'", "''")) ~ "'" }}
                    {{- ", " if not loop.last }}
                {%- endfor -%}
            ){{ ", " if not loop.last }}
            {% endfor %}
        ) as seeded ({% for name in names %}{{ adapter.quote(name) }}{{ ", " if not loop.last }}{% endfor %})
    {%- endcall %}
    {{ return("") }}
{%- endmacro %}

{% macro athena__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {%- if full_refresh or adapter.get_glue_table_location(old_relation) != seed_location(model) -%}
        {%- do drop_relation_glue(old_relation) -%}
        {%- do create_csv_table(model, agate_table) -%}
    {%- endif -%}
    {{ return("") }}
{%- endmacro %}

{#- Where the rows of a seed lie: a folder for each content, with the types that it is given. -#}
{% macro seed_location(model) -%}
    {%- set content = local_md5(model.checksum.checksum ~ model.config.column_types) -%}
    {{ return(adapter.generate_s3_location(this, target.s3_data_dir, target.s3_data_naming) ~ "/" ~ content) }}
{%- endmacro %}
