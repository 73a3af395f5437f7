-- One row per network interface, flow log and event hour for which it sent anything: how many records of which kind.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    sent as (
        select
            event_hour,
            interface_id,
            flow_log_id,
            sum(accepted_records) as accepted_records,
            sum(rejected_records) as rejected_records,
            sum(nodata_records) as nodata_records,
            sum(skipdata_records) as skipdata_records,
            sum(
                case
                    when {{ is_late_arrival("arrival_hour", "event_hour") }}
                    then accepted_records + rejected_records + nodata_records + skipdata_records
                    else 0
                end
            ) as late_records,
            max(arrival_hour) as last_arrival_hour,
            -- What arrived before times were kept may have been there always.
            case when count(*) = count(first_at) then min(first_at) end as first_at,
            case when count(*) = count(first_at) then max(last_at) end as last_at
        from {{ ref("int_coverage__partials") }}
        where {{ in_restated_hours("event_hour") }}
        group by 1, 2, 3
    ),

    placed as (
        select sent.*, flow_logs.logs_accept, flow_logs.logs_reject
        from sent
        inner join {{ ref("int_flow_logs__merged") }} as flow_logs on sent.flow_log_id = flow_logs.flow_log_id
    ),

    measured as (
        select *, {{ is_partial("accept") }} as is_partial_accept, {{ is_partial("reject") }} as is_partial_reject
        from placed
    ),

    ranked as (
        select *, {{ voice_rank("accept") }} as accept_rank, {{ voice_rank("reject") }} as reject_rank from measured
    ),

    sided as (
        select *, {{ side_of_first("accept_rank") }} as accept_side, {{ side_of_first("reject_rank") }} as reject_side
        from ranked
    )

select
    event_hour,
    interface_id,
    flow_log_id,
    cast(accepted_records as bigint) as accepted_records,
    cast(rejected_records as bigint) as rejected_records,
    cast(nodata_records as bigint) as nodata_records,
    cast(skipdata_records as bigint) as skipdata_records,
    cast(late_records as bigint) as late_records,
    last_arrival_hour,
    case
        when accepted_records + rejected_records > 0
        then 'traffic'
        when nodata_records > 0
        then 'nodata'
        else 'skipdata'
    end as status,
    {{ speaks_for("accept") }} as counts_accepted,
    {{ speaks_for("reject") }} as counts_rejected
from sided
