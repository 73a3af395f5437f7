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
            max(arrival_hour) as last_arrival_hour
        from {{ ref("int_coverage__partials") }}
        where {{ in_restated_hours("event_hour") }}
        group by 1, 2, 3
    )

select
    sent.event_hour,
    sent.interface_id,
    sent.flow_log_id,
    cast(sent.accepted_records as bigint) as accepted_records,
    cast(sent.rejected_records as bigint) as rejected_records,
    cast(sent.nodata_records as bigint) as nodata_records,
    cast(sent.skipdata_records as bigint) as skipdata_records,
    cast(sent.late_records as bigint) as late_records,
    sent.last_arrival_hour,
    case
        when sent.accepted_records + sent.rejected_records > 0
        then 'traffic'
        when sent.nodata_records > 0
        then 'nodata'
        else 'skipdata'
    end as status,
    {{ speaks_for("accept", "sent", "flow_logs") }} as counts_accepted,
    {{ speaks_for("reject", "sent", "flow_logs") }} as counts_rejected
from sent
inner join {{ ref("int_flow_logs__merged") }} as flow_logs on sent.flow_log_id = flow_logs.flow_log_id
