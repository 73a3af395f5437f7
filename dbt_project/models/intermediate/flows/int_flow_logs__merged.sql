-- One row per flow log: which verdicts it has ever logged. A flow log that only logs REJECT covers no ACCEPT.
{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key="flow_log_id",
        on_schema_change="append_new_columns",
    )
}}

with

    seen as (
        select flow_log_id, sum(accepted_records) > 0 as logs_accept, sum(rejected_records) > 0 as logs_reject
        from {{ ref("int_coverage__partials") }}
        where {{ in_arrival_window("arrival_hour") }}
        group by 1
    ),

    known as (
        {% if is_incremental() -%}select * from {{ this }}
        {%- else -%}
            select
                cast(null as varchar) as flow_log_id,
                false as logs_accept,
                false as logs_reject,
                false as needs_restating
            where false
        {%- endif %}
    )

select
    seen.flow_log_id,
    seen.logs_accept or coalesce(known.logs_accept, false) as logs_accept,
    seen.logs_reject or coalesce(known.logs_reject, false) as logs_reject,
    coalesce(known.needs_restating, false)
    or (seen.logs_accept and not coalesce(known.logs_accept, false))
    or (seen.logs_reject and not coalesce(known.logs_reject, false)) as needs_restating
from seen
left join known on seen.flow_log_id = known.flow_log_id
where
    known.flow_log_id is null
    or (seen.logs_accept and not known.logs_accept)
    or (seen.logs_reject and not known.logs_reject)
