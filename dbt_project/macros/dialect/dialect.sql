{#-
  Every difference between the engines, as dispatched macros. A model never asks for its target. A `default__`
  raises: an engine without a body here is not supported, and says so at compile time.
-#}
{% macro unsupported_dialect(name) -%}
    {{ exceptions.raise_compiler_error("macro " ~ name ~ " has no body for the engine '" ~ target.type ~ "'") }}
{%- endmacro %}

{#- Unix seconds (bigint) -> timestamp in UTC, without a zone. -#}
{% macro epoch_to_timestamp(seconds) -%}{{ return(adapter.dispatch("epoch_to_timestamp", "flowlake")(seconds)) }}{%- endmacro %}
{% macro default__epoch_to_timestamp(seconds) -%}{{ unsupported_dialect("epoch_to_timestamp") }}{%- endmacro %}
{% macro duckdb__epoch_to_timestamp(seconds) -%}make_timestamp({{ seconds }} * 1000000){%- endmacro %}
{% macro athena__epoch_to_timestamp(seconds) -%}(timestamp '1970-01-01 00:00:00.000000' + ({{ seconds }}) * interval '1' second){%- endmacro %}

{#- 'YYYY-MM-DDTHH' -> timestamp of that hour. -#}
{% macro hour_to_timestamp(arrival_hour) -%}{{ return(adapter.dispatch("hour_to_timestamp", "flowlake")(arrival_hour)) }}{%- endmacro %}
{% macro default__hour_to_timestamp(arrival_hour) -%}{{ unsupported_dialect("hour_to_timestamp") }}{%- endmacro %}
{% macro duckdb__hour_to_timestamp(arrival_hour) -%}strptime({{ arrival_hour }}, '%Y-%m-%dT%H'){%- endmacro %}
{% macro athena__hour_to_timestamp(arrival_hour) -%}cast(date_parse({{ arrival_hour }}, '%Y-%m-%dT%H') as timestamp(6)){%- endmacro %}

{#- Timestamp -> 'YYYY-MM-DDTHH'. -#}
{% macro timestamp_to_hour(moment) -%}{{ return(adapter.dispatch("timestamp_to_hour", "flowlake")(moment)) }}{%- endmacro %}
{% macro default__timestamp_to_hour(moment) -%}{{ unsupported_dialect("timestamp_to_hour") }}{%- endmacro %}
{% macro duckdb__timestamp_to_hour(moment) -%}strftime({{ moment }}, '%Y-%m-%dT%H'){%- endmacro %}
{% macro athena__timestamp_to_hour(moment) -%}date_format(date_trunc('hour', {{ moment }}), '%Y-%m-%dT%H'){%- endmacro %}

{#- Text -> array of the fields between single spaces. -#}
{% macro split_fields(line) -%}{{ return(adapter.dispatch("split_fields", "flowlake")(line)) }}{%- endmacro %}
{% macro default__split_fields(line) -%}{{ unsupported_dialect("split_fields") }}{%- endmacro %}
{% macro duckdb__split_fields(line) -%}string_split({{ line }}, ' '){%- endmacro %}
{% macro athena__split_fields(line) -%}split({{ line }}, ' '){%- endmacro %}

{#- The field at a position from 1, null beyond the end. -#}
{% macro field_at(fields, position) -%}{{ return(adapter.dispatch("field_at", "flowlake")(fields, position)) }}{%- endmacro %}
{% macro default__field_at(fields, position) -%}{{ unsupported_dialect("field_at") }}{%- endmacro %}
{% macro duckdb__field_at(fields, position) -%}{{ fields }}[{{ position }}]{%- endmacro %}
{% macro athena__field_at(fields, position) -%}element_at({{ fields }}, {{ position }}){%- endmacro %}

{% macro field_count(fields) -%}{{ return(adapter.dispatch("field_count", "flowlake")(fields)) }}{%- endmacro %}
{% macro default__field_count(fields) -%}{{ unsupported_dialect("field_count") }}{%- endmacro %}
{% macro duckdb__field_count(fields) -%}len({{ fields }}){%- endmacro %}
{% macro athena__field_count(fields) -%}cardinality({{ fields }}){%- endmacro %}

{#- Does the whole text match the regular expression? Null for null. -#}
{% macro matches(text, pattern) -%}{{ return(adapter.dispatch("matches", "flowlake")(text, pattern)) }}{%- endmacro %}
{% macro default__matches(text, pattern) -%}{{ unsupported_dialect("matches") }}{%- endmacro %}
{% macro duckdb__matches(text, pattern) -%}regexp_full_match({{ text }}, '{{ pattern }}'){%- endmacro %}
{% macro athena__matches(text, pattern) -%}regexp_like({{ text }}, '\A(?:{{ pattern }})\z'){%- endmacro %}

{#- Two lists of expressions -> map of text to text; null without entries. -#}
{% macro text_map(names, expressions) -%}{{ return(adapter.dispatch("text_map", "flowlake")(names, expressions)) }}{%- endmacro %}
{% macro default__text_map(names, expressions) -%}{{ unsupported_dialect("text_map") }}{%- endmacro %}
{% macro duckdb__text_map(names, expressions) -%}
    {%- if names -%} map([{{ names | join(", ") }}], [{{ expressions | join(", ") }}])
    {%- else -%} cast(null as map(varchar, varchar))
    {%- endif -%}
{%- endmacro %}
{% macro athena__text_map(names, expressions) -%}
    {%- if names -%}
        cast(map(array[{{ names | join(", ") }}], array[{{ expressions | join(", ") }}]) as map(varchar, varchar))
    {%- else -%} cast(null as map(varchar, varchar))
    {%- endif -%}
{%- endmacro %}

{#- The entries of a map of texts that have a value; null without any. -#}
{% macro present_entries(texts) -%}{{ return(adapter.dispatch("present_entries", "flowlake")(texts)) }}{%- endmacro %}
{% macro default__present_entries(texts) -%}{{ unsupported_dialect("present_entries") }}{%- endmacro %}
{% macro duckdb__present_entries(texts) -%}
    nullif(map_from_entries(list_filter(map_entries({{ texts }}), lambda entry: entry.value is not null)), map {})
{%- endmacro %}
{% macro athena__present_entries(texts) -%}
    nullif(map_filter({{ texts }}, (name, value) -> value is not null), cast(map() as map(varchar, varchar)))
{%- endmacro %}

{#- Aggregate: bitwise or. -#}
{% macro bit_or_agg(expression) -%}{{ return(adapter.dispatch("bit_or_agg", "flowlake")(expression)) }}{%- endmacro %}
{% macro default__bit_or_agg(expression) -%}{{ unsupported_dialect("bit_or_agg") }}{%- endmacro %}
{% macro duckdb__bit_or_agg(expression) -%}bit_or({{ expression }}){%- endmacro %}
{% macro athena__bit_or_agg(expression) -%}cast(bitwise_or_agg({{ expression }}) as integer){%- endmacro %}

{#- Is this bit (1, 2, 4, …) set? -#}
{% macro has_bit(flags, bit) -%}{{ return(adapter.dispatch("has_bit", "flowlake")(flags, bit)) }}{%- endmacro %}
{% macro default__has_bit(flags, bit) -%}{{ unsupported_dialect("has_bit") }}{%- endmacro %}
{% macro duckdb__has_bit(flags, bit) -%}(({{ flags }} & {{ bit }}) <> 0){%- endmacro %}
{% macro athena__has_bit(flags, bit) -%}(bitwise_and({{ flags }}, {{ bit }}) <> 0){%- endmacro %}

{#- Timestamp of whole seconds -> 'YYYY-MM-DD HH:MM:SS', the same text on every engine. -#}
{% macro timestamp_text(moment) -%}{{ return(adapter.dispatch("timestamp_text", "flowlake")(moment)) }}{%- endmacro %}
{% macro default__timestamp_text(moment) -%}{{ unsupported_dialect("timestamp_text") }}{%- endmacro %}
{% macro duckdb__timestamp_text(moment) -%}cast({{ moment }} as varchar){%- endmacro %}
{% macro athena__timestamp_text(moment) -%}date_format(date_trunc('second', {{ moment }}), '%Y-%m-%d %H:%i:%s'){%- endmacro %}

{#-
  Expressions -> a text of 32 hexadecimal digits that is the same on every engine. Timestamps go through timestamp_text:
  engines write their fractions differently.
-#}
{% macro hash_key(expressions) -%}{{ return(adapter.dispatch("hash_key", "flowlake")(expressions)) }}{%- endmacro %}
{% macro default__hash_key(expressions) -%}{{ unsupported_dialect("hash_key") }}{%- endmacro %}
{% macro duckdb__hash_key(expressions) -%}
    md5(concat_ws('|', {% for expression in expressions %}cast({{ expression }} as varchar){{ ", " if not loop.last }}{% endfor %}))
{%- endmacro %}
{% macro athena__hash_key(expressions) -%}
    lower(to_hex(md5(to_utf8(
        concat_ws('|', {% for expression in expressions %}cast({{ expression }} as varchar){{ ", " if not loop.last }}{% endfor %})
    ))))
{%- endmacro %}

{#- Expressions -> a number: the same for equal rows, seldom for others. It never leaves a query; engines differ. -#}
{% macro row_hash(expressions) -%}{{ return(adapter.dispatch("row_hash", "flowlake")(expressions)) }}{%- endmacro %}
{% macro default__row_hash(expressions) -%}{{ unsupported_dialect("row_hash") }}{%- endmacro %}
{% macro duckdb__row_hash(expressions) -%}hash({{ expressions | join(", ") }}){%- endmacro %}
{% macro athena__row_hash(expressions) -%}
    from_big_endian_64(xxhash64(to_utf8(
        {% for expression in expressions %}coalesce(cast({{ expression }} as varchar), chr(0)){{ " || '|' || " if not loop.last }}{% endfor %}
    )))
{%- endmacro %}

{#-
  After the `as` of a step that several later ones read: compute it for each of them, rather than keep its rows. DuckDB
  would keep them in memory; for a plain scan that is the dearer one.
-#}
{% macro recomputed() -%}{{ return(adapter.dispatch("recomputed", "flowlake")()) }}{%- endmacro %}
{% macro default__recomputed() -%}{{ unsupported_dialect("recomputed") }}{%- endmacro %}
{% macro duckdb__recomputed() -%}not materialized{%- endmacro %}
{% macro athena__recomputed() -%}{%- endmacro %}

{#-
  After the `as` of a step of a model's own that several later ones read: keep its rows. DuckDB does by itself; Athena
  computes a step once for each that reads it, and refuses queries that so become too large (150 stages). There the
  materializations make tables of these steps first (kept_steps).
-#}
{% macro kept() -%}{{ return(adapter.dispatch("kept", "flowlake")()) }}{%- endmacro %}
{% macro default__kept() -%}{{ unsupported_dialect("kept") }}{%- endmacro %}
{% macro duckdb__kept() -%}{%- endmacro %}
{% macro athena__kept() -%}/* kept */{%- endmacro %}

{#-
  Is the row's hash in no row of a step that has the hashes of more than one row? Such rows need no adding up, which
  spares DuckDB most of its work (docs/adr/0016-what-marts-skip.md). Athena, which computes all before these steps once
  for each that reads it, is better off adding up every row: there no row stands alone, and every one is repeated.
-#}
{% macro stands_alone(hash, step) -%}{{ return(adapter.dispatch("stands_alone", "flowlake")(hash, step)) }}{%- endmacro %}
{% macro default__stands_alone(hash, step) -%}{{ unsupported_dialect("stands_alone") }}{%- endmacro %}
{% macro duckdb__stands_alone(hash, step) -%}{{ hash }} not in (select {{ step }}.{{ hash }} from {{ step }}){%- endmacro %}
{% macro athena__stands_alone(hash, step) -%}false{%- endmacro %}

{#- The rows that do not stand alone. -#}
{% macro is_repeated(hash, step) -%}{{ return(adapter.dispatch("is_repeated", "flowlake")(hash, step)) }}{%- endmacro %}
{% macro default__is_repeated(hash, step) -%}{{ unsupported_dialect("is_repeated") }}{%- endmacro %}
{% macro duckdb__is_repeated(hash, step) -%}{{ hash }} in (select {{ step }}.{{ hash }} from {{ step }}){%- endmacro %}
{% macro athena__is_repeated(hash, step) -%}true{%- endmacro %}

{#- Is the address (text) inside one of the networks? False for null and for text that is no address. -#}
{% macro in_networks(address, networks) -%}{{ return(adapter.dispatch("in_networks", "flowlake")(address, networks)) }}{%- endmacro %}
{% macro default__in_networks(address, networks) -%}{{ unsupported_dialect("in_networks") }}{%- endmacro %}
{% macro duckdb__in_networks(address, networks) -%}
    {%- if networks -%}
        coalesce(
            {% for network in networks -%}
                (try_cast({{ address }} as inet) <<= inet '{{ checked_network(network) }}'){{ " or " if not loop.last }}
            {%- endfor %},
            false
        )
    {%- else -%} false
    {%- endif -%}
{%- endmacro %}
{#- Trino has one type for both families and takes an IPv4 address for a mapped IPv6 one: the text tells them apart. -#}
{% macro athena__in_networks(address, networks) -%}
    {%- if networks -%}
        coalesce(
            {% for network in networks -%}
                (
                    strpos({{ address }}, ':') {{ ">" if ":" in network else "=" }} 0
                    and contains('{{ with_prefix(checked_network(network) | trim) }}', try_cast({{ address }} as ipaddress))
                ){{ " or " if not loop.last }}
            {%- endfor %},
            false
        )
    {%- else -%} false
    {%- endif -%}
{%- endmacro %}

{#- An address alone is the network of that address. -#}
{% macro with_prefix(network) -%}
    {{ network if "/" in network else network ~ ("/128" if ":" in network else "/32") }}
{%- endmacro %}

{#- Networks come from the settings; they are checked again here because they become SQL text. -#}
{% macro checked_network(network) -%}
    {%- if not modules.re.match('^[0-9a-fA-F:.]+(/[0-9]{1,3})?$', network) -%}
        {{ exceptions.raise_compiler_error("not a network: '" ~ network ~ "'") }}
    {%- endif -%}
    {{ network }}
{%- endmacro %}

{#- A text literal. -#}
{% macro text_literal(text) -%}'{{ text | string | replace("'", "''") }}'{%- endmacro %}
