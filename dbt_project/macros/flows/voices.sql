{#-
  Where several flow logs log one interface, one of them speaks for its accepted packets in an hour, and one for its
  rejected ones, so that a packet counts once: of those that have ever logged such, and that were there all the time,
  the first by its id, which is the same one in every hour. Where one replaces another within the hour both speak, for
  what lies apart in time is not the same packets. What was there when is told by the times of all that it sent, NODATA
  too; never by how many packets it saw, for capture windows carry packets across the turn of an hour. Over rows of an
  interface, hour and flow log (docs/adr/0006-who-counts.md).
-#}

{#-
  Was it there for less of the hour than another one that logs such? A capture window of ten minutes may begin so late in
  it. What is not known, of hours that were run before times were kept, is taken for the whole hour.
-#}
{% macro is_partial(verdict) -%}
    {%- set seconds = "coalesce(date_diff('second', first_at, last_at), 3600)" -%}
    coalesce(
        {{ seconds }} + 900
        < max(case when logs_{{ verdict }} then {{ seconds }} end) over (partition by event_hour, interface_id),
        false
    )
{%- endmacro %}

{#- The place of a flow log among those of its interface, of which the first speaks. -#}
{% macro voice_rank(verdict) -%}
    {%- if verdict not in ["accept", "reject"] -%}
        {{ exceptions.raise_compiler_error("a flow log speaks for accept or reject, not '" ~ verdict ~ "'") }}
    {%- endif -%}
    row_number() over (
        partition by event_hour, interface_id
        order by
            case when logs_{{ verdict }} then 0 else 1 end,
            case when is_partial_{{ verdict }} then 1 else 0 end,
            {% if verdict == "reject" -%} case when logs_accept then 0 else 1 end, {%- endif %}
            flow_log_id
    )
{%- endmacro %}

{#-
  Did it end before the first one began (-1), or begin after its end (1)? Within one capture window it says nothing: each
  flow log has windows of its own, and what was sent at once may lie apart in them.
-#}
{% macro side_of_first(rank) -%}
    {%- set first = "over (partition by event_hour, interface_id order by " ~ rank ~ ")" -%}
    case
        when
            last_at <= first_value(first_at) {{ first }}
            and date_diff('second', first_at, first_value(last_at) {{ first }}) > 900
        then -1
        when
            first_at >= first_value(last_at) {{ first }}
            and date_diff('second', first_value(first_at) {{ first }}, last_at) > 900
        then 1
    end
{%- endmacro %}

{#- Does it speak: as the first one, or as the one that was there longest before or behind it? -#}
{% macro speaks_for(verdict) -%}
    logs_{{ verdict }} and (
        {{ verdict }}_rank = 1
        or {{ verdict }}_side is not null
        and row_number() over (
            partition by event_hour, interface_id, {{ verdict }}_side
            order by
                case when logs_{{ verdict }} then 0 else 1 end,
                date_diff('second', first_at, last_at) desc,
                flow_log_id
        )
        = 1
    )
{%- endmacro %}
