{#-
  The Iceberg table of a contract on Athena: made where it is missing, given the columns that it lacks. Rows come later;
  a run that is killed in between leaves an empty table, which the next one finds.
-#}
{% macro ensure_iceberg_table(relation, existing, partition=none) -%}
    {%- if existing is none -%}
        {%- do create_iceberg_table(relation, partition) -%}
    {%- else -%}
        {%- set present = adapter.get_columns_in_relation(existing) | map(attribute="name") | map("lower") | list -%}
        {%- set missing = [] -%}
        {%- for column in model.columns.values() if column.name | lower not in present -%}
            {%- do missing.append("`" ~ column.name ~ "` " ~ ddl_data_type(column.data_type, "iceberg")) -%}
        {%- endfor -%}
        {%- if missing -%}
            {% call statement("add_columns") -%}
                alter table {{ relation.render_hive() }} add columns ({{ missing | join(", ") }})
            {%- endcall %}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro create_iceberg_table(relation, partition=none) -%}
    {%- set columns = [] -%}
    {%- for column in model.columns.values() -%}
        {%- do columns.append("`" ~ column.name ~ "` " ~ ddl_data_type(column.data_type, "iceberg")) -%}
    {%- endfor -%}
    {% call statement("create") -%}
        create table if not exists {{ relation.render_hive() }} ({{ columns | join(", ") }})
        {% if partition %} partitioned by ({{ partition }}) {% endif %}
        location '{{ adapter.generate_s3_location(relation, target.s3_data_dir, target.s3_data_naming) }}'
        {# Else Athena's OPTIMIZE passes over data files with one delete file, and over tables of less than five files. #}
        tblproperties (
            'table_type' = 'ICEBERG', 'format' = 'parquet', 'write_compression' = 'zstd',
            'optimize_rewrite_delete_file_threshold' = '1', 'optimize_rewrite_data_file_threshold' = '2'
        )
    {%- endcall %}
{%- endmacro %}

{#-
  A query whose steps that are marked as kept are tables: each is computed once, with all that stands before it. Returns
  the query that reads them instead, and the tables, for the caller to drop. They are named after the run's window: the
  next run over it drops what a killed run left, and so does maintenance where there is none.
-#}
{% macro kept_steps(sql) -%}
    {%- set state = namespace(text="", depth=0, step=none, start=0) -%}
    {%- set tables = [] -%}
    {%- for token in modules.re.split("('(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\* kept \*/|[()])", sql) -%}
        {%- if token == "/* kept */" and state.depth == 0 -%}
            {%- set state.step = modules.re.search("(\w+)\s+as\s*$", state.text).group(1) -%}
            {%- set state.start = state.text | length -%}
        {%- else -%}
            {%- set state.text = state.text ~ token -%}
            {%- set state.depth = state.depth + (1 if token == "(" else -1 if token == ")" else 0) -%}
            {%- if token == ")" and state.depth == 0 and state.step is not none -%}
                {%- set kept = kept_table(state.step) -%}
                {%- do tables.append(kept) -%}
                {%- set location = emptied_location(kept) -%}
                {% call statement("keep_" ~ state.step) -%}
                    create table {{ kept }} with (
                        table_type = 'iceberg', is_external = false, format = 'parquet', write_compression = 'zstd',
                        location = '{{ location }}'
                    ) as
                    {{ state.text }}
                    select * from {{ state.step }}
                {%- endcall %}
                {%- set state.text = state.text[:state.start] ~ "(select * from " ~ kept ~ ")" -%}
                {%- set state.step = none -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return({"sql": state.text, "tables": tables}) }}
{%- endmacro %}

{#- Where a kept table will lie, with nothing there: what was stopped may have left a table, or files without one. -#}
{% macro emptied_location(kept) -%}
    {%- do drop_relation_glue(kept) -%}
    {%- set location = adapter.generate_s3_location(kept, target.s3_data_dir, target.s3_data_naming) -%}
    {%- do adapter.delete_from_s3(location) -%}
    {{ return(location) }}
{%- endmacro %}

{% macro kept_table(step) -%}
    {%- set window = arrival_bound("arrival_from") | trim ~ "_" ~ arrival_bound("arrival_to") | trim -%}
    {%- set identifier = this.identifier ~ "__" ~ step ~ "_" ~ modules.re.sub("[^0-9_]", "", window) -%}
    {{ return(api.Relation.create(database=this.database, schema=this.schema, identifier=identifier, type="table")) }}
{%- endmacro %}

{#-
  Materialization `incremental` on Athena: one merge by the key, straight from the query. dbt-athena's own writes all
  rows twice (temporary table, then target), in five statements. Every row that a model selects is written, so models
  select none that is there already as it is. To compare them here would read all columns of the whole table; so
  it is the key's alone.
-#}
{% materialization incremental, adapter="athena" -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}
    {%- if config.get("incremental_strategy") != "merge" or not config.get("contract").enforced -%}
        {{ exceptions.raise_compiler_error("an incremental model merges, and has an enforced contract: " ~ this) }}
    {%- endif -%}
    {%- set unique_key = config.require("unique_key") -%}
    {%- set keys = [unique_key] if unique_key is string else unique_key -%}
    {%- set names = model.columns.values() | map(attribute="name") | list -%}
    {%- set values = names | reject("in", keys) | list -%}

    {{ run_hooks(pre_hooks) }}
    {% do ensure_iceberg_table(target_relation, existing) %}
    {%- set query = kept_steps(sql) -%}
    {% call statement("main") -%}
        merge into {{ target_relation }} as kept
        using (select {{ get_quoted_csv(names) }} from ({{ query.sql }}) as selected) as fresh
        on {% for key in keys %}kept."{{ key }}" = fresh."{{ key }}"{{ " and " if not loop.last }}{% endfor %}
        {% if values %}
        when matched then update set {% for name in values %}"{{ name }}" = fresh."{{ name }}"{{ ", " if not loop.last }}{% endfor %}
        {% endif %}
        when not matched then insert ({{ get_quoted_csv(names) }})
        values ({% for name in names %}fresh."{{ name }}"{{ ", " if not loop.last }}{% endfor %})
    {%- endcall %}
    {%- for table in query.tables -%} {%- do drop_relation_glue(table) -%} {%- endfor -%}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks) }}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}
