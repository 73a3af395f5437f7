{#-
  Parsing is the same for text and Parquet: `texts` maps a known field name to the SQL expression of its text, in
  which a dash stands for "not applicable" and null for "this format has no such field".
-#}

{#-
  The typed columns of every field that flow logs can have, null where this format lacks it. `numbers` are expressions
  for fields of numbers, in the place of their texts.
-#}
{% macro typed_fields(texts, is_one_format=true, numbers={}) -%}
    {%- for field in flow_log_fields() %}
    {% if field.name == "resource-type" %}{{ resource_type(texts, is_one_format) }}{% else %}{{ typed_field(field, numbers.get(field.name, texts.get(field.name))) }}{% endif %} as {{ adapter.quote(field.column) }},
    {%- endfor %}
{%- endmacro %}

{#-
  What says of a record that a Transit Gateway logged it: its constant, or that its format has any other of a Transit
  Gateway's fields, for a custom one need not have the constant. Of Parquet, whose objects are read together, a value.
-#}
{% macro resource_type(texts, is_one_format) -%}
    {%- set signs = [] -%}
    {%- for name, text in texts.items() if name.startswith("tgw-") or name.startswith("packets-lost-") -%}
        {%- do signs.append("true" if is_one_format else "nullif(" ~ text ~ ", '-') is not null") -%}
    {%- endfor -%}
    {%- set written = "nullif(" ~ texts["resource-type"] ~ ", '-')" if texts.get("resource-type") else "cast(null as varchar)" -%}
    {%- if signs -%} coalesce({{ written }}, case when {{ signs | unique | join(" or ") }} then 'TransitGateway' end)
    {%- else -%} {{ written }}
    {%- endif -%}
{%- endmacro %}

{#- Timestamps say their precision also where there is none: Athena keeps no other in a table of Iceberg. -#}
{% macro typed_field(field, text) -%}
    {%- if field.name in ("start", "end") -%}
        {%- if text -%}
            {{ epoch_to_timestamp("cast(" ~ seconds_in_range("nullif(" ~ text ~ ", '-')") ~ " as bigint)") }}
        {%- else -%} cast(null as timestamp(6))
        {%- endif -%}
    {%- elif not text -%} cast(null as {{ field.type }})
    {%- elif field.type == "varchar" -%} nullif({{ text }}, '-')
    {%- else -%} try_cast(nullif({{ text }}, '-') as {{ field.type }})
    {%- endif -%}
{%- endmacro %}

{#-
  Unix seconds of the years up to 2286: ten digits. Later times are no flow log's, and no timestamp on some engine: of
  the numbers of Parquet, which no pattern has checked, the type is the limit.
-#}
{% macro seconds_in_range(text) -%} try_cast({{ text }} as decimal(10, 0)) {%- endmacro %}

{#-
  What a well-formed field looks like. Engines cast leniently and differently ('1.5', '1e3', ' 7'), so numbers are
  checked as text: nine digits fit an integer; fifteen digits of bytes in one capture window are a petabyte.
-#}
{% macro field_pattern(field) -%}
    {%- if field.name in ("start", "end") -%} [0-9]{1,10}
    {%- elif field.type == "integer" -%} [0-9]{1,9}
    {%- elif field.type == "bigint" -%} [0-9]{1,15}
    {%- elif field.name in ("srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr") -%} [0-9a-fA-F:.]{2,45}
    {%- endif -%}
{%- endmacro %}

{#-
  The name of the first field whose text is not what its type allows, else null. `all_good` decides for all fields at
  once; only a line that fails it is looked at field by field.
-#}
{% macro first_bad_field(texts, all_good) -%}
    case
        when {{ all_good }} then null
        {%- for field in flow_log_fields() if texts.get(field.name) and field_pattern(field) | trim %}
        when not {{ matches(texts[field.name], pattern_or_dash(field)) }} then '{{ field.name }}'
        {%- endfor %}
        else cast(null as varchar)
    end
{%- endmacro %}

{#- What a field may hold: a dash, or what its type allows. Text may be anything but a space, which ends it. -#}
{% macro pattern_or_dash(field) -%}
    {%- set pattern = field_pattern(field) | trim if field else "" -%}
    {{ "(-|" ~ pattern ~ ")" if pattern else "[^ ]*" }}
{%- endmacro %}

{#- Has the line all fields of its format, each with a text that its type allows? Asked of the line as it stands. -#}
{% macro line_is_good(line, format) -%}
    {%- set known = {} -%}
    {%- for field in flow_log_fields() -%} {%- do known.update({field.name: field}) -%} {%- endfor -%}
    {%- set patterns = [] -%}
    {%- for field in format.fields -%} {%- do patterns.append(pattern_or_dash(known.get(field.name))) -%} {%- endfor -%}
    {{ matches(line, patterns | join(" ")) }}
{%- endmacro %}

{#- The same for texts that stand apart, in which a free text may hold spaces: of those fields alone that are checked. -#}
{% macro texts_are_good(texts) -%}
    {%- set checked = [] -%}
    {%- set patterns = [] -%}
    {%- for field in flow_log_fields() if texts.get(field.name) and field_pattern(field) | trim -%}
        {%- do checked.append(texts[field.name]) -%}
        {%- do patterns.append(pattern_or_dash(field)) -%}
    {%- endfor -%}
    {%- if checked -%} {{ matches(checked | join(" || ' ' || "), patterns | join(" ")) }}
    {%- else -%} true
    {%- endif -%}
{%- endmacro %}

{#-
  One format's lines, parsed: the columns that the model classifies. Of a line that is not good no field is read: which
  text is whose is not sure, and engines cast what is no number each in its own way.
-#}
{% macro parsed_text_lines(format) -%}
    {%- set texts = {} -%}
    {%- set good_texts = {} -%}
    {%- set extra_names = [] -%}
    {%- set extra_texts = [] -%}
    {%- for field in format.fields -%}
        {%- set good_text = field_at("good_fields", field.position) -%}
        {%- if field.column -%}
            {%- do texts.update({field.name: field_at("fields", field.position)}) -%}
            {%- do good_texts.update({field.name: good_text}) -%}
        {%- else -%} {%- do extra_names.append(text_literal(field.name)) -%} {%- do extra_texts.append(good_text) -%}
        {%- endif -%}
    {%- endfor -%}
    select
        read_path,
        {{ typed_fields(good_texts) }}
        {{ text_map(extra_names, extra_texts) }} as extra_fields,
        line as line_text,
        length(line) as line_bytes,
        case when words like ' %' or words like '% ' then trim(both ' ' from words) else words end
        = {{ text_literal(format.header) }} as is_header,
        case when words like ' %' or words = '' then replace(words, ' ', '') = '' else false end as is_blank,
        {{ field_count("fields") }} as fields_seen,
        {{ format.fields | length }} as fields_expected,
        {{ first_bad_field(texts, "good_fields is not null") }} as bad_field,
        {{ "true" if "srcaddr" in texts or "pkt-srcaddr" in texts else "false" }} as has_addresses
    from (
        select *, case when {{ line_is_good("words", format) }} then fields end as good_fields
        from (
            select *, {{ split_fields("words") }} as fields
            from (
                select
                    read_path,
                    line,
                    {# A byte order mark, each of whose bytes is a character here, is no part of what it stands before. -#}
                    case when line like {{ text_literal("\u00ef\u00bb\u00bf%") }} then substr(line, 4) else line end as words
                from {{ raw_text_lines(format.format_id) }}
                where line is not null
            ) as unmarked_lines
        ) as split_lines
    ) as checked_lines
{%- endmacro %}

{#-
  All that is read, as queries of which each fits into a statement together with the rest of the model: Athena takes
  262,144 bytes, and a format adds six thousand or more.
-#}
{% macro parsed_parts(formats, has_parquet, most_bytes=180000) -%}
    {%- set queries = [] -%}
    {%- for format in formats -%} {%- do queries.append(parsed_text_lines(format)) -%} {%- endfor -%}
    {%- if has_parquet -%} {%- do queries.append(parsed_parquet_records(parquet_columns())) -%} {%- endif -%}
    {%- set parts = [] -%}
    {%- set room = namespace(bytes=0) -%}
    {%- for query in queries or [parsed_nothing()] -%}
        {%- set bytes = query.encode() | length -%}
        {%- if bytes <= room.bytes -%} {%- do parts[-1].append(query) -%}
        {%- else -%}
            {%- do parts.append([query]) -%}
            {%- set room.bytes = most_bytes -%}
        {%- endif -%}
        {%- set room.bytes = room.bytes - bytes -%}
    {%- endfor -%}
    {{ return(parts | map("join", " union all ") | list) }}
{%- endmacro %}

{#-
  Parquet records, parsed likewise; `columns` maps the column names that the window's objects have to their types. Of a
  record's text and its unknown fields only what it has is kept: which columns other objects have must not show in it.
  For that reason a record without addresses is a gap when it has neither a status nor traffic, and a record otherwise:
  whether its object has columns for addresses is not to be seen.
-#}
{% macro parsed_parquet_records(columns) -%}
    {%- set texts = {} -%}
    {%- set numbers = {} -%}
    {%- set known = [] -%}
    {%- set written = [] -%}
    {%- for field in flow_log_fields() if field.raw_column in columns -%}
        {%- set text = parquet_text(field.raw_column, columns[field.raw_column]) -%}
        {%- do written.append("'" ~ field.name ~ "=' || " ~ text) -%}
        {%- do texts.update({field.name: "coalesce(" ~ text ~ ", '-')"}) -%}
        {%- if field.type != "varchar" -%}
            {%- do numbers.update({field.name: parquet_number(field.raw_column, columns[field.raw_column])}) -%}
        {%- endif -%}
        {%- do known.append(field.raw_column) -%}
    {%- endfor -%}
    {%- set unknown = columns.keys() | reject("in", known + ["read_path"]) | sort -%}
    select
        read_path,
        {{ typed_fields(texts, is_one_format=false, numbers=numbers) }}
        {{ parquet_extra_fields(unknown) }} as extra_fields,
        concat_ws(' ', {{ (written or ["''"]) | join(", ") }}) as line_text,
        cast(0 as bigint) as line_bytes,
        false as is_header,
        false as is_blank,
        {{ columns | length }} as fields_seen,
        {{ columns | length }} as fields_expected,
        {{ first_bad_field(texts, texts_are_good(texts)) }} as bad_field,
        {% for name in ("log-status", "packets", "bytes") if name in texts -%}
            nullif({{ texts[name] }}, '-') is null and
        {% endfor -%}
        true as has_addresses
    from {{ raw_parquet_records() }}
{%- endmacro %}

{#- Nothing arrived: the same columns, no rows. -#}
{% macro parsed_nothing() -%}
    select
        cast(null as varchar) as read_path,
        {{ typed_fields({}) }}
        cast(null as map(varchar, varchar)) as extra_fields,
        cast(null as varchar) as line_text,
        cast(0 as bigint) as line_bytes,
        false as is_header,
        false as is_blank,
        0 as fields_seen,
        0 as fields_expected,
        cast(null as varchar) as bad_field,
        false as has_addresses
    where false
{%- endmacro %}
