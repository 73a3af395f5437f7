-- One row per arrival hour and event hour that it has ever brought records of. Rows are never taken back: when a
-- window is run again and brings less, the hours that it used to touch are restated all the same.
{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key=["arrival_hour", "event_hour"],
        on_schema_change="append_new_columns",
    )
}}

select distinct arrival_hour, event_hour
from {{ ref("int_coverage__partials") }}
where {{ in_arrival_window("arrival_hour") }}
