{#-
  Materialization `replaced`: the table keeps all that lies outside of the scope (config `replaces`) and holds,
  inside of it, exactly what the model selects. Delete and insert are one transaction. A killed run leaves the old
  rows; the same run again leaves the same rows. dbt's own incremental writes every row twice (temporary table,
  then target); this one writes once.
-#}
{% materialization replaced, adapter="duckdb" -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}
    {%- if not config.get("contract").enforced -%}
        {{ exceptions.raise_compiler_error("a `replaced` model needs an enforced contract: " ~ this) }}
    {%- endif -%}
    {%- set columns = model.columns.values() | list -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}

    {% if existing is none %}
        {% call statement("create") -%}
            create table {{ target_relation }} {{ get_table_columns_and_constraints() }}
        {%- endcall %}
        {% if config.get("partitioned_by") %}
            {% call statement("partition") -%}
                alter table {{ target_relation }} set partitioned by ({{ config.get("partitioned_by") }})
            {%- endcall %}
        {% endif %}
        {% do adapter.commit() %}
        {#- DuckLake takes options for tables that are committed alone. -#}
        {% if config.get("compression") %}
            {% call statement("compress") -%}
                call ducklake_set_option(
                    {{ text_literal(this.database) }}, 'parquet_compression', {{ text_literal(config.get("compression")) }},
                    schema => {{ text_literal(this.schema) }}, table_name => {{ text_literal(this.identifier) }}
                )
            {%- endcall %}
        {% endif %}
    {% else %}
        {%- set present = adapter.get_columns_in_relation(existing) | map(attribute="name") | map("lower") | list -%}
        {% for column in columns if column.name | lower not in present %}
            {% call statement("add_column") -%}
                alter table {{ target_relation }} add column {{ adapter.quote(column.name) }} {{ column.data_type }}
            {%- endcall %}
        {% endfor %}
    {% endif %}

    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- set names = get_quoted_csv(columns | map(attribute="name")) -%}
    {{ get_assert_columns_equivalent(sql) }}
    {% call statement("main") -%}
        delete from {{ target_relation }} where {{ replaced_scope(config.require("replaces")) }};
        insert into {{ target_relation }} ({{ names }})
        select {{ names }}
        from ({{ sql }}) as replacement
    {%- endcall %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}

{#-
  The same on Athena, as two statements: what lies in the scope is deleted, then the new rows are appended. Readers have
  pinned snapshots and see neither. The insert refuses what the contract does not allow: Athena casts nothing that loses
  anything. Partitions are the days of the scope, so that a window's delete and insert touch its own days' files alone.
-#}
{% materialization replaced, adapter="athena" -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}
    {%- if not config.get("contract").enforced -%}
        {{ exceptions.raise_compiler_error("a `replaced` model needs an enforced contract: " ~ this) }}
    {%- endif -%}
    {%- set replaces = config.require("replaces") -%}
    {%- set partition = {
        "arrival_hour": "truncate(10, arrival_hour)", "coverage": "truncate(10, arrival_hour)", "event_hour": "day(event_hour)"
    }.get(replaces) -%}

    {{ run_hooks(pre_hooks) }}
    {% do ensure_iceberg_table(target_relation, existing, partition) %}
    {%- set query = kept_steps(sql) -%}
    {% if existing is not none %}
        {% call statement("delete") -%}
            delete from {{ target_relation }} where {{ replaced_scope(replaces) }}
        {%- endcall %}
    {% endif %}
    {%- set names = get_quoted_csv(model.columns.values() | map(attribute="name")) -%}
    {% call statement("main") -%}
        insert into {{ target_relation }} ({{ names }})
        select {{ names }}
        from ({{ query.sql }}) as replacement
    {%- endcall %}
    {%- for table in query.tables -%} {%- do drop_relation_glue(table) -%} {%- endfor -%}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks) }}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}
