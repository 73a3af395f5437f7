-- One row per protocol and quarter of an hour in which packets were rejected; its packets add up to those of the edges.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    canonical as (
        select event_hour, src_device_id, dst_device_id, protocol, sum(packets) as packets
        from {{ ref("fct_edges") }}
        where is_counted and action = 'REJECT' and {{ in_restated_hours("event_hour") }}
        group by 1, 2, 3, 4
    ),

    -- Every interface's records: which of them count is the edges' business, and rarely is there more than one.
    logged as (
        select event_hour, quarter_at, src_device_id, dst_device_id, protocol, sum(packets) as packets
        from {{ ref("int_rejects__partials") }}
        where {{ in_restated_hours("event_hour") }}
        group by 1, 2, 3, 4, 5
    ),

    accumulated as (
        select
            event_hour,
            quarter_at,
            src_device_id,
            dst_device_id,
            protocol,
            packets,
            sum(packets) over (
                partition by event_hour, src_device_id, dst_device_id, protocol
                order by quarter_at
                rows between unbounded preceding and current row
            ) as packets_so_far,
            sum(packets) over (partition by event_hour, src_device_id, dst_device_id, protocol) as packets_in_hour
        from logged
    ),

    -- Where all that was logged counts, each quarter has what was logged in it. Else the hour's packets are spread over
    -- its quarters as the records were, rounded so that they add up.
    shared as (
        select
            accumulated.event_hour,
            accumulated.quarter_at,
            accumulated.protocol,
            accumulated.packets as logged_packets,
            accumulated.packets_in_hour,
            canonical.packets as canonical_packets,
            {{ share_of("canonical.packets", "accumulated.packets_so_far", "accumulated.packets_in_hour") }}
            as share_so_far,
            {{
                share_of(
                    "canonical.packets",
                    "accumulated.packets_so_far - accumulated.packets",
                    "accumulated.packets_in_hour",
                )
            }} as share_before
        from accumulated
        inner join
            canonical
            on accumulated.event_hour = canonical.event_hour
            and accumulated.src_device_id = canonical.src_device_id
            and accumulated.dst_device_id = canonical.dst_device_id
            and accumulated.protocol = canonical.protocol
    )

select
    event_hour,
    quarter_at,
    protocol,
    cast(
        sum(
            case when packets_in_hour = canonical_packets then logged_packets else share_so_far - share_before end
        ) as bigint
    ) as packets,
    bool_or(packets_in_hour <> canonical_packets) as is_estimated
from shared
group by 1, 2, 3
