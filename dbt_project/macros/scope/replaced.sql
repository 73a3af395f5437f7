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
  anything. Partitions are days: of a scope that names its hours, delete and insert touch those days' files alone. The
  scope of coverage has no end, and that of everything no partitions.
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
    {%- set names = get_quoted_csv(model.columns.values() | map(attribute="name")) -%}
    {%- set slices = day_slices(replaces) -%}
    {%- set rows = "(" ~ query.sql ~ ")" -%}
    {#- Computed once, whatever the number of slices; with the contract's types, which it so is held to all the same. -#}
    {% if slices | length > 1 %}
        {%- set kept = kept_table("rows") -%}
        {%- do query.tables.append(kept) -%}
        {%- do emptied_location(kept) -%}
        {%- do create_iceberg_table(kept) -%}
        {% call statement("keep_rows") -%}
            insert into {{ kept }} ({{ names }})
            select {{ names }}
            from {{ rows }} as replacement
        {%- endcall %}
        {%- set rows = kept -%}
    {% endif %}
    {% if existing is not none %}
        {% call statement("delete") -%}
            delete from {{ target_relation }} where {{ replaced_scope(replaces) }}
        {%- endcall %}
    {% endif %}
    {%- for slice in slices -%}
        {% call statement("main") -%}
            insert into {{ target_relation }} ({{ names }})
            select {{ names }}
            from {{ rows }} as replacement
            {% if slices | length > 1 %} where {{ slice }} {% endif %}
        {%- endcall %}
    {%- endfor -%}
    {%- for table in query.tables -%} {%- do drop_relation_glue(table) -%} {%- endfor -%}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks) }}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}

{#-
  The conditions that part the scope's rows into slices of as many days as Athena writes in one statement: it refuses
  to write to more than 100 partitions (ICEBERG_TOO_MANY_OPEN_PARTITIONS). All that lies in the scope is in a slice.
-#}
{% macro day_slices(replaces, most=90) -%}
    {%- set days = scope_days(replaces) -%}
    {%- set slices = [] -%}
    {%- for batch in days | batch(most) -%}
        {%- set first, last = batch[0], batch[-1] -%}
        {%- if replaces == "event_hour" -%}
            {%- do slices.append("cast(event_hour as date) between date '" ~ first ~ "' and date '" ~ last ~ "'") -%}
        {%- else -%}
            {%- do slices.append("substr(arrival_hour, 1, 10) between '" ~ first ~ "' and '" ~ last ~ "'") -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(slices or ["true"]) }}
{%- endmacro %}

{#- The days (YYYY-MM-DD, in order) in which rows of the scope can lie; none where the table has no partitions. -#}
{% macro scope_days(replaces) -%}
    {%- set days = [] -%}
    {%- if replaces == "arrival_hour" -%}
        {%- set read = modules.datetime.datetime.strptime -%}
        {%- set start = read(arrival_bound("arrival_from") | trim, "%Y-%m-%dT%H") -%}
        {%- set hours = (read(arrival_bound("arrival_to") | trim, "%Y-%m-%dT%H") - start).total_seconds() // 3600 -%}
        {%- for hour in range(hours | int) -%}
            {%- do days.append((start + modules.datetime.timedelta(hours=hour)).strftime("%Y-%m-%d")) -%}
        {%- endfor -%}
    {%- elif replaces == "event_hour" -%}
        {%- for hour in restated_hours() -%} {%- do days.append(hour[:10]) -%} {%- endfor -%}
    {%- elif replaces == "coverage" -%}
        {%- do days.extend(run_query(
            "select distinct substr(arrival_hour, 1, 10) from " ~ source("ledger", "windows")
            ~ " where arrival_hour >= '" ~ arrival_bound("arrival_from") | trim ~ "'"
        ).columns[0].values()) -%}
    {%- endif -%}
    {{ return(days | unique | sort) }}
{%- endmacro %}
