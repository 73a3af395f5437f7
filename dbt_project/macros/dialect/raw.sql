{#-
  How each engine reads the raw layer: whole lines of text objects by format, and Parquet records by name.

  On DuckDB the files are those that the window's manifests list. Their names reach DuckDB as session variables, set
  before the model runs, never as SQL text: an object's key is whatever somebody chose.

  On Athena they are two tables of Glue whose partitions hold the same manifests.
-#}
{% macro raw_text_lines(format_id) -%}{{ return(adapter.dispatch("raw_text_lines", "flowlake")(format_id)) }}{%- endmacro %}
{% macro default__raw_text_lines(format_id) -%}{{ unsupported_dialect("raw_text_lines") }}{%- endmacro %}
{#-
  Objects are ASCII; `register` puts a copy with one character for each byte (latin-1 as UTF-8) in the place of one
  that is not. So any bytes at all are read, length(line) is their number, and the delimiter, a character beyond
  latin-1, cannot occur. No quotes, escapes or comments. An empty line is a null.
-#}
{% macro duckdb__raw_text_lines(format_id) -%}
    read_csv(
        getvariable('text_lines_{{ checked_format_id(format_id) | replace("-", "_") }}'),
        columns = {'line': 'varchar'}, header = false, auto_detect = false, delim = '{{ "\u241e" }}',
        quote = '', escape = '', comment = '', strict_mode = false, new_line = '\n',
        max_line_size = 16777216, buffer_size = 33554432, compression = 'gzip', filename = 'read_path',
        hive_partitioning = false
    )
{%- endmacro %}
{% macro athena__raw_text_lines(format_id) -%}
    (
        select nullif(line, '') as line, "$path" as read_path
        from {{ source("raw", "text_lines") }}
        where format_id = '{{ checked_format_id(format_id) }}' and {{ in_arrival_window("arrival_hour") }}
    )
{%- endmacro %}

{% macro raw_parquet_records() -%}{{ return(adapter.dispatch("raw_parquet_records", "flowlake")()) }}{%- endmacro %}
{% macro default__raw_parquet_records() -%}{{ unsupported_dialect("raw_parquet_records") }}{%- endmacro %}
{% macro duckdb__raw_parquet_records() -%}
    read_parquet(
        getvariable('parquet_records'), union_by_name = true, filename = 'read_path', hive_partitioning = false
    )
{%- endmacro %}
{% macro athena__raw_parquet_records() -%}
    (
        select *, "$path" as read_path
        from {{ source("raw", "parquet_records") }}
        where {{ in_arrival_window("arrival_hour") }}
    )
{%- endmacro %}

{#- Statements that make the two above ready for the window; nothing where an engine needs none. -#}
{% macro prepare_raw_reads() -%}{{ return(adapter.dispatch("prepare_raw_reads", "flowlake")()) }}{%- endmacro %}
{% macro default__prepare_raw_reads() -%}{{ unsupported_dialect("prepare_raw_reads") }}{%- endmacro %}
{% macro duckdb__prepare_raw_reads() -%}
    {%- for format in window_formats() -%}
        {{ set_manifest_paths(
            "text_lines_" ~ checked_format_id(format.format_id) | replace("-", "_"),
            "text_lines/format_id=" ~ format.format_id
        ) }}
    {%- endfor -%}
    {%- if window_has_parquet() -%}
        {{ set_manifest_paths("parquet_records", "parquet_records") }}
    {%- endif -%}
    select 1
{%- endmacro %}
{% macro athena__prepare_raw_reads() -%}{%- endmacro %}

{#- The window's manifests are looked up first, so that those of other hours are not opened. -#}
{% macro set_manifest_paths(variable, folder) -%}
    set variable manifests = (
        select list(file)
        from glob({{ text_literal(env_var("FLOWLAKE_LAKE_PATH") ~ "/raw/" ~ folder ~ "/*/manifest") }})
        where {{ in_arrival_window("regexp_extract(file, 'arrival_hour=([^/]+)/manifest$', 1)") }}
    );
    set variable {{ variable }} = (
        select list(path order by path)
        from (select unnest(string_split(content, chr(10))) as path from read_text(getvariable('manifests')))
        where path <> ''
    );
{%- endmacro %}

{% macro checked_format_id(format_id) -%}
    {%- if not modules.re.match('^[a-z0-9-]+$', format_id) -%}
        {{ exceptions.raise_compiler_error("not a format id: '" ~ format_id ~ "'") }}
    {%- endif -%}
    {{ format_id }}
{%- endmacro %}

{#-
  The columns that the window's Parquet objects may have: name -> type. What an object lacks reads as null, and rows are
  the same whichever of the others are named.
-#}
{% macro parquet_columns() -%}
    {%- if not execute -%} {{ return({}) }} {%- endif -%}
    {{ return(adapter.dispatch("parquet_columns", "flowlake")()) }}
{%- endmacro %}
{% macro default__parquet_columns() -%}{{ unsupported_dialect("parquet_columns") }}{%- endmacro %}
{% macro duckdb__parquet_columns() -%}
    {%- set columns = {} -%}
    {%- do run_query(prepare_raw_reads()) -%}
    {%- for row in run_query("describe select * from " ~ raw_parquet_records()).rows -%}
        {%- do columns.update({row[0]: row[1]}) -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}
{#-
  Those of the table: all that are known, and others that `register` has met (RecordColumns of
  flowlake.lake.plain_parquet). What it has no column for is in flowlake_fields of plain copies.
-#}
{% macro athena__parquet_columns() -%}
    {%- set columns = {} -%}
    {%- for field in flow_log_fields() -%}
        {%- do columns.update({field.raw_column: "varchar" if field.type == "varchar" else "bigint"}) -%}
    {%- endfor -%}
    {%- set own = ["arrival_hour", "flowlake_texts", "flowlake_fields"] -%}
    {%- for column in adapter.get_columns_in_relation(source("raw", "parquet_records")) -%}
        {%- if column.name not in columns and column.name not in own -%}
            {%- do columns.update({column.name: "varchar"}) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{#- The text in a column of Parquet records, as its object has it; `type` as parquet_columns says it. -#}
{% macro parquet_text(column, type) -%}{{ return(adapter.dispatch("parquet_text", "flowlake")(column, type)) }}{%- endmacro %}
{% macro default__parquet_text(column, type) -%}{{ unsupported_dialect("parquet_text") }}{%- endmacro %}
{% macro duckdb__parquet_text(column, type) -%}cast({{ adapter.quote(column | replace('"', '""')) }} as varchar){%- endmacro %}
{#- A column of numbers is null where a plain copy keeps what is none. -#}
{% macro athena__parquet_text(column, type) -%}
    {%- if type == "bigint" -%} coalesce(element_at(flowlake_texts, '{{ column }}'), cast({{ adapter.quote(column) }} as varchar))
    {%- else -%} cast({{ adapter.quote(column) }} as varchar)
    {%- endif -%}
{%- endmacro %}

{#-
  Likewise, of a field of numbers; null for what is no whole number. Engines cast such texts leniently and differently,
  and '443.0' is what an object holds that a spreadsheet or a data frame has written.
-#}
{% macro parquet_number(column, type) -%}{{ return(adapter.dispatch("parquet_number", "flowlake")(column, type)) }}{%- endmacro %}
{% macro default__parquet_number(column, type) -%}{{ unsupported_dialect("parquet_number") }}{%- endmacro %}
{% macro duckdb__parquet_number(column, type) -%}
    {%- set text = parquet_text(column, type) -%}
    {%- if type == "VARCHAR" -%} case when {{ matches(text, "-?[0-9]{1,19}") }} then {{ text }} end
    {%- else -%} {{ text }}
    {%- endif -%}
{%- endmacro %}
{% macro athena__parquet_number(column, type) -%}
    {%- set kept = "element_at(flowlake_texts, '" ~ column ~ "')" -%}
    coalesce(case when {{ matches(kept, "-?[0-9]{1,19}") }} then {{ kept }} end, cast({{ adapter.quote(column) }} as varchar))
{%- endmacro %}

{#- What a Parquet record has in these columns, which nobody knows, and in any that are none here; null without any. -#}
{% macro parquet_extra_fields(columns) -%}{{ return(adapter.dispatch("parquet_extra_fields", "flowlake")(columns)) }}{%- endmacro %}
{% macro default__parquet_extra_fields(columns) -%}{{ unsupported_dialect("parquet_extra_fields") }}{%- endmacro %}
{% macro duckdb__parquet_extra_fields(columns) -%}
    {{ present_entries(column_texts(columns)) if columns else text_map([], []) }}
{%- endmacro %}
{% macro athena__parquet_extra_fields(columns) -%}
    {%- set nothing = "cast(map() as map(varchar, varchar))" -%}
    {%- set kept = "coalesce(flowlake_fields, " ~ nothing ~ ")" -%}
    {{ present_entries("map_concat(" ~ column_texts(columns) ~ ", " ~ kept ~ ")" if columns else kept) }}
{%- endmacro %}

{#- Columns of unknown fields as a map of texts. -#}
{% macro column_texts(columns) -%}
    {%- set names = [] -%}
    {%- set texts = [] -%}
    {%- for column in columns -%}
        {%- do names.append(text_literal(column)) -%}
        {%- do texts.append(parquet_text(column, "varchar")) -%}
    {%- endfor -%}
    {{ text_map(names, texts) }}
{%- endmacro %}

{#- The formats of the window's text objects: [{format_id, header, fields: [{position, name, column}]}]. -#}
{% macro window_formats() -%}
    {%- if not execute or flags.WHICH == 'test' -%} {{ return([]) }} {%- endif -%}
    {%- set rows = asked_once(
        "select format_id, position, field_name, column_name, header from " ~ source("raw", "formats")
        ~ " where format_id in (select format_id from " ~ source("raw", "objects")
        ~ " where status = 'readable' and kind = 'text' and " ~ in_arrival_window("arrival_hour") ~ ") order by 1, 2"
    ).rows -%}
    {%- set formats = {} -%}
    {%- for row in rows -%}
        {%- if row[0] not in formats -%}
            {%- do formats.update({row[0]: {"format_id": row[0], "header": row[4], "fields": []}}) -%}
        {%- endif -%}
        {%- do formats[row[0]]["fields"].append({"position": row[1], "name": row[2], "column": row[3]}) -%}
    {%- endfor -%}
    {{ return(formats.values() | list) }}
{%- endmacro %}

{% macro window_has_parquet() -%}
    {%- if not execute or flags.WHICH == 'test' -%} {{ return(false) }} {%- endif -%}
    {{ return(asked_once(
        "select count(*) from " ~ source("raw", "objects")
        ~ " where status = 'readable' and kind = 'parquet' and " ~ in_arrival_window("arrival_hour")
    ).columns[0].values()[0] > 0) }}
{%- endmacro %}
