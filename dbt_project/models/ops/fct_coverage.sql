-- One row per flow log and arrival hour that was run since the flow log first delivered, of the hours whose records are
-- in the marts.
{{ config(materialized="replaced", replaces="coverage", meta={"published": true}) }}

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
where {{ replaced_scope("coverage") }}
