{#-
  The whole part of total × part / whole, in floating point: nothing overflows. All of the whole gives exactly all of
  the total, so that shares taken one from the other add up.
-#}
{% macro share_of(total, part, whole) -%}
    case
        when {{ part }} = {{ whole }} then cast({{ total }} as bigint)
        else cast(floor(cast({{ total }} as double) * ({{ part }}) / nullif({{ whole }}, 0)) as bigint)
    end
{%- endmacro %}

{#- The name that people know a protocol number by. -#}
{% macro protocol_name(protocol) -%}
    case {{ protocol }}
        when 1 then 'ICMP'
        when 2 then 'IGMP'
        when 6 then 'TCP'
        when 17 then 'UDP'
        when 41 then 'IPv6'
        when 47 then 'GRE'
        when 50 then 'ESP'
        when 51 then 'AH'
        when 58 then 'ICMPv6'
        when 132 then 'SCTP'
        when -1 then 'not logged'
        else 'protocol ' || cast({{ protocol }} as varchar)
    end
{%- endmacro %}

{#- Whether an hour is complete for every flow log that is known: what reports of hours say of their rows, and others count. -#}
{% macro complete_hours() -%}
    (
        select event_hour, count(*) filter (where status <> 'complete') = 0 as is_complete
        from {{ ref("rpt_completeness") }}
        group by 1
    )
{%- endmacro %}

{#- How many hours of a day, as far as it has come, are not complete: what every report of days says of its rows. -#}
{% macro incomplete_days() -%}
    (
        select
            cast(event_hour as date) as event_date,
            count(distinct case when status <> 'complete' then event_hour end) as incomplete_hours
        from {{ ref("rpt_completeness") }}
        group by 1
    )
{%- endmacro %}
