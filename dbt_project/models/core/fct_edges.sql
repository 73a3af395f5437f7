-- One row per edge and event hour: who sent how much to whom, on which service, let in or not. Each packet once.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

{%- set edge = ["event_hour", "src_device_id", "dst_device_id", "protocol", "service_port", "src_role"] %}

with

    partials as (select * from {{ ref("int_edges__partials") }} where {{ in_restated_hours("event_hour") }}),

    own_addresses as (
        select addresses.interface_id, {{ device_id("addresses.own_address", "interfaces.vpc_id") }} as own_device_id
        from {{ ref("int_addresses__merged") }} as addresses
        inner join {{ ref("int_interfaces__merged") }} as interfaces using (interface_id)
        where addresses.own_address is not null
    ),

    -- Per interface, hour and flow log: whether it speaks for accepted and for rejected packets. Where several flow
    -- logs log one interface, one of them speaks, so that its packets count once.
    voices as (
        select
            coverage.event_hour,
            coverage.interface_id,
            coverage.flow_log_id,
            flow_logs.logs_accept
            and row_number() over (
                partition by coverage.event_hour, coverage.interface_id
                order by case when flow_logs.logs_accept then 0 else 1 end, coverage.flow_log_id
            )
            = 1 as speaks_for_accept,
            flow_logs.logs_reject
            and row_number() over (
                partition by coverage.event_hour, coverage.interface_id
                order by
                    case when flow_logs.logs_reject then 0 else 1 end,
                    case when flow_logs.logs_accept then 0 else 1 end,
                    coverage.flow_log_id
            )
            = 1 as speaks_for_reject,
            coverage.has_skipdata
        from
            (
                select event_hour, interface_id, flow_log_id, sum(skipdata_records) > 0 as has_skipdata
                from {{ ref("int_coverage__partials") }}
                where {{ in_restated_hours("event_hour") }}
                group by 1, 2, 3
            ) as coverage
        inner join {{ ref("int_flow_logs__merged") }} as flow_logs using (flow_log_id)
    ),

    -- A device is covered in an hour when its interface sent anything at all for it, in a flow log that logs the
    -- verdict.
    covered as (
        select
            voices.event_hour,
            own_addresses.own_device_id as device_id,
            bool_or(voices.speaks_for_accept) as covers_accept,
            bool_or(voices.speaks_for_reject) as covers_reject,
            bool_or(voices.has_skipdata) as has_skipdata
        from voices
        inner join own_addresses using (interface_id)
        where voices.speaks_for_accept or voices.speaks_for_reject
        group by 1, 2
    ),

    -- One row per edge, verdict and interface, all arrival hours together, with the interface's place on the way.
    observed as (
        select
            {%- for column in edge %} partials.{{ column }}, {%- endfor %}
            partials.action,
            partials.interface_id,
            max(
                case
                    when own_destination.own_device_id is not null
                    then 'dest'
                    when own_source.own_device_id is not null
                    then 'source'
                    else 'between'
                end
            ) as side,
            bool_or(voices.has_skipdata) as has_skipdata,
            sum(partials.flows) as flows,
            sum(partials.packets) as packets,
            sum(partials.bytes) as bytes,
            min(partials.first_seen_at) as first_seen_at,
            max(partials.last_seen_at) as last_seen_at,
            {{ bit_or_agg("partials.tcp_flags") }} as tcp_flags
        from partials
        inner join
            voices
            on partials.event_hour = voices.event_hour
            and partials.interface_id = voices.interface_id
            and partials.flow_log_id = voices.flow_log_id
            and case when partials.action = 'REJECT' then voices.speaks_for_reject else voices.speaks_for_accept end
        left join
            own_addresses as own_destination
            on partials.interface_id = own_destination.interface_id
            and partials.dst_device_id = own_destination.own_device_id
        left join
            own_addresses as own_source
            on partials.interface_id = own_source.interface_id
            and partials.src_device_id = own_source.own_device_id
        group by 1, 2, 3, 4, 5, 6, 7, 8
    ),

    placed as (
        select
            observed.*,
            coalesce(destination.covers_accept, false) as dest_covers_accept,
            coalesce(destination.covers_reject, false) as dest_covers_reject,
            coalesce(source.covers_accept, false) as source_covers_accept,
            case
                when destination.covers_accept
                then coalesce(destination.has_skipdata, false)
                else coalesce(source.has_skipdata, false)
            end as is_doubtful
        from observed
        left join
            covered as destination
            on observed.event_hour = destination.event_hour
            and observed.dst_device_id = destination.device_id
        left join
            covered as source on observed.event_hour = source.event_hour and observed.src_device_id = source.device_id
    ),

    -- Where neither end is covered, of those in between the one that saw most of the pair speaks for it.
    best_between as (
        select event_hour, src_device_id, dst_device_id, interface_id, 'between' as side
        from
            (
                select
                    event_hour,
                    src_device_id,
                    dst_device_id,
                    interface_id,
                    row_number() over (
                        partition by event_hour, src_device_id, dst_device_id order by sum(packets) desc, interface_id
                    ) as place
                from placed
                where side = 'between' and (is_doubtful or not (dest_covers_accept or source_covers_accept))
                group by 1, 2, 3, 4
            ) as sums
        where place = 1
    ),

    -- Where the side that should count had SKIPDATA, the one that saw more packets counts.
    fullest_side as (
        select
            {{ edge | join(", ") }},
            case
                when dest_packets >= greatest(source_packets, between_packets) and dest_covers_accept
                then 'dest'
                when source_packets >= between_packets and source_covers_accept
                then 'source'
                when between_packets > 0
                then 'between'
                when dest_covers_accept
                then 'dest'
                else 'source'
            end as side
        from
            (
                select
                    {%- for column in edge %} placed.{{ column }}, {%- endfor %}
                    bool_or(placed.dest_covers_accept) as dest_covers_accept,
                    bool_or(placed.source_covers_accept) as source_covers_accept,
                    sum(case when placed.side = 'dest' then placed.packets else 0 end) as dest_packets,
                    sum(
                        case when placed.side = 'source' and placed.action <> 'REJECT' then placed.packets else 0 end
                    ) as source_packets,
                    sum(
                        case
                            when
                                placed.side = 'between'
                                and placed.action <> 'REJECT'
                                and best_between.interface_id is not null
                            then placed.packets
                            else 0
                        end
                    ) as between_packets
                from placed
                left join best_between using (event_hour, src_device_id, dst_device_id, interface_id, side)
                where placed.is_doubtful
                group by 1, 2, 3, 4, 5, 6
            ) as sums
    ),

    -- A destination that only logs REJECT says which of the packets that others let pass were
    -- stopped after all.
    stopped as (
        select
            {{ edge | join(", ") }},
            true as is_stoppable,
            sum(packets) as packets,
            sum(bytes) as bytes,
            sum(flows) as flows
        from placed
        where side = 'dest' and action = 'REJECT' and not dest_covers_accept
        group by 1, 2, 3, 4, 5, 6
    ),

    chosen as (
        select
            placed.*,
            case
                coalesce(
                    fullest_side.side,
                    case
                        when placed.dest_covers_accept
                        then 'dest'
                        when placed.source_covers_accept
                        then 'source'
                        else 'between'
                    end
                )
                -- The destination has the last word; of the source's packets only those count that never left.
                when 'dest'
                then placed.side = 'dest' or (placed.side = 'source' and placed.action = 'REJECT')
                when 'source'
                then
                    placed.side = 'source'
                    or (placed.side = 'dest' and placed.action = 'REJECT' and not placed.dest_covers_accept)
                else
                    best_between.interface_id is not null
                    or (placed.side in ('dest', 'source') and placed.action = 'REJECT')
            end as counts
        from placed
        left join fullest_side using ({{ edge | join(", ") }})
        left join
            best_between
            on placed.event_hour = best_between.event_hour
            and placed.src_device_id = best_between.src_device_id
            and placed.dst_device_id = best_between.dst_device_id
            and placed.interface_id = best_between.interface_id
            and placed.side = best_between.side
    ),

    summed as (
        select
            {{ edge | join(", ") }},
            action,
            max(case when counts then side end) as counted_side,
            sum(case when counts then flows else 0 end) as flows,
            sum(case when counts then packets else 0 end) as packets,
            sum(case when counts then bytes else 0 end) as bytes,
            min(case when counts then first_seen_at end) as first_seen_at,
            max(case when counts then last_seen_at end) as last_seen_at,
            {{ bit_or_agg("case when counts then tcp_flags else 0 end") }} as tcp_flags,
            count(*) as observations,
            bool_or(is_doubtful or (counts and has_skipdata)) as is_lossy,
            bool_or(counts) as counts,
            action <> 'REJECT' and max(case when counts then side end) <> 'dest' as is_stoppable
        from chosen
        group by 1, 2, 3, 4, 5, 6, 7
    ),

    remaining as (
        select
            {%- for column in edge %} summed.{{ column }}, {%- endfor %}
            summed.action,
            summed.counted_side,
            greatest(summed.flows - coalesce(stopped.flows, 0), 1) as flows,
            summed.packets - coalesce(stopped.packets, 0) as packets,
            greatest(summed.bytes - coalesce(stopped.bytes, 0), 0) as bytes,
            summed.first_seen_at,
            summed.last_seen_at,
            summed.tcp_flags,
            summed.observations,
            summed.is_lossy
        from summed
        left join stopped using ({{ edge | join(", ") }}, is_stoppable)
        where summed.counts and (stopped.packets is null or summed.packets > stopped.packets)
    ),

    gateways as (
        select distinct own_addresses.own_device_id as device_id
        from {{ ref("int_interfaces__merged") }} as interfaces
        inner join own_addresses using (interface_id)
        where interfaces.nat_source is not null
        {%- for gateway in var("nat_gateways") %}
            union
            select {{ text_literal(gateway) }}
        {%- endfor %}
    )

select
    {{
        hash_key(
            ["remaining." ~ edge[0]]
            + [
                "remaining.src_device_id",
                "remaining.dst_device_id",
                "remaining.protocol",
                "remaining.service_port",
                "remaining.src_role",
                "remaining.action",
            ]
        )
    }} as edge_id,
    {%- for column in edge %} remaining.{{ column }}, {%- endfor %}
    remaining.action,
    cast(remaining.flows as bigint) as flows,
    cast(remaining.packets as bigint) as packets,
    cast(remaining.bytes as bigint) as bytes,
    remaining.first_seen_at,
    remaining.last_seen_at,
    remaining.tcp_flags,
    cast(remaining.observations as integer) as observations,
    remaining.counted_side,
    source_gateway.device_id is not null or destination_gateway.device_id is not null as is_translated,
    -- A translated leg is left out of totals where the client's own side was seen: always on the outer leg, whose
    -- packets the inner leg names; on the inner leg when the client is covered.
    case
        when source_gateway.device_id is null and destination_gateway.device_id is null
        then true
        when source_gateway.device_id is not null and destination_gateway.device_id is not null
        then false
        when source_gateway.device_id is not null
        then
            {{ in_networks(device_address("remaining.dst_device_id"), var("internal_cidrs")) }}
            and not coalesce(covered_destination.covers_accept, false)
        else
            {{ in_networks(device_address("remaining.src_device_id"), var("internal_cidrs")) }}
            and not coalesce(covered_source.covers_accept, false)
    end as is_counted,
    remaining.is_lossy
from remaining
left join gateways as source_gateway on remaining.src_device_id = source_gateway.device_id
left join gateways as destination_gateway on remaining.dst_device_id = destination_gateway.device_id
left join
    covered as covered_source
    on remaining.event_hour = covered_source.event_hour
    and remaining.src_device_id = covered_source.device_id
left join
    covered as covered_destination
    on remaining.event_hour = covered_destination.event_hour
    and remaining.dst_device_id = covered_destination.device_id
