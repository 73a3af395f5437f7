-- One row per arrival hour and event hour that it has ever brought records of. Rows are never taken back: when a
-- window is run again and brings less, the hours that it used to touch are restated all the same.
-- Written between what each hour says of interfaces and what is learnt of it (macros/flows/learning.sql).
-- depends_on: {{ ref("int_interfaces__observed") }}
{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key=["arrival_hour", "event_hour"],
        on_schema_change="append_new_columns",
    )
}}

select arrival_hour, event_hour
from {{ ref("int_coverage__partials") }}
where {{ in_arrival_window("arrival_hour") }}

union

select arrival_hour, event_hour
from {{ ref("int_gateway_flows__partials") }}
where {{ in_arrival_window("arrival_hour") }}
