{#-
  Did what arrived in this hour come late for its event hour? Records of an hour's last minutes come in the hour after
  it: a capture window takes up to 10 minutes, and its delivery as long again.
-#}
{% macro is_late_arrival(arrival_hour, event_hour) -%}
    {{ hour_to_timestamp(arrival_hour) }} > {{ event_hour }} + interval '1' hour
{%- endmacro %}
