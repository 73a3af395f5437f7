{#-
  No two rows share these columns. With `within` (restated_hours, arrival_window) only the hours that the run writes are
  read, so that the test does not grow with history; the others were tested when they were written.
-#}
{% test unique_combination(model, columns, within=none) %}

    select {{ columns | join(", ") }}, count(*) as rows_alike
    from {{ model }}
    {%- if within == "restated_hours" %} where {{ in_restated_hours("event_hour") }}
    {%- elif within == "arrival_window" %}
        where {{ in_arrival_window("arrival_hour") }}
        {%- elif within is not none %}
            {{
                exceptions.raise_compiler_error(
                    "unique_combination: within is restated_hours, arrival_window or left out, not '" ~ within ~ "'"
                )
            }}
        {%- endif %}
    group by {{ columns | join(", ") }}
    having count(*) > 1

{% endtest %}
