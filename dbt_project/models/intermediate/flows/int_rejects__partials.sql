-- One row per sender, recipient, protocol, quarter of an hour and arrival hour of rejected packets, as all interfaces
-- logged them. An edge knows only its hour; this keeps what is needed to tell its quarters apart.
{{ config(materialized="replaced", replaces="arrival_hour") }}

with

    rejects as (
        select
            arrival_hour,
            event_hour,
            coalesce(start_at, end_at, event_hour) as seen_from_at,
            {{ device_id("coalesce(pkt_srcaddr, srcaddr)", "vpc_id") }} as src_device_id,
            {{ device_id("coalesce(pkt_dstaddr, dstaddr)", "vpc_id") }} as dst_device_id,
            coalesce(protocol, -1) as protocol,
            coalesce(packets, 0) as packets
        from {{ ref("stg_flow_logs__records") }}
        where
            {{ in_arrival_window("arrival_hour") }}
            and action = 'REJECT'
            and resource_type is null
            and coalesce(pkt_srcaddr, srcaddr) is not null
            and coalesce(pkt_dstaddr, dstaddr) is not null
    )

select
    arrival_hour,
    event_hour,
    -- A record without a start has its hour from elsewhere; it belongs to the first quarter of that hour.
    case
        when seen_from_at < event_hour + interval '15' minute
        then event_hour
        when seen_from_at < event_hour + interval '30' minute
        then event_hour + interval '15' minute
        when seen_from_at < event_hour + interval '45' minute
        then event_hour + interval '30' minute
        when seen_from_at < event_hour + interval '60' minute
        then event_hour + interval '45' minute
        else event_hour
    end as quarter_at,
    src_device_id,
    dst_device_id,
    protocol,
    cast(sum(packets) as bigint) as packets
from rejects
group by 1, 2, 3, 4, 5, 6
