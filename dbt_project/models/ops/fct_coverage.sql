-- One row per flow log and arrival hour that was run since the flow log first delivered, of the hours whose records are
-- in the marts: what a failed gate holds back is not shown before it passes.
{{ config(materialized="replaced", replaces="arrival_hour_onwards", meta={"published": true}) }}

select
    flow_log_id,
    arrival_hour,
    account_id,
    region,
    objects,
    unreadable_objects,
    object_bytes,
    lines,
    records,
    malformed,
    gaps,
    headers,
    blanks,
    late_objects,
    status
from {{ ref("int_coverage__expected") }}
where
    {{ replaced_scope("arrival_hour_onwards") }}
    and arrival_hour not in (
        select windows.arrival_hour
        from {{ source("ledger", "windows") }} as windows
        where windows.state in ('staging', 'held')
    )
