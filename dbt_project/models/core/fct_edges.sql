-- One row per edge and event hour: who sent how much to whom, on which service, let in or not. Each packet once.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

{%- set edge = ["event_hour", "src_device_id", "dst_device_id", "protocol", "service_port", "src_role"] %}
{%- set measures = ["flows", "packets", "bytes", "first_seen_at", "last_seen_at", "tcp_flags"] %}
{%- set ends = ["dest_covers_accept", "source_covers_accept", "is_doubtful", "is_from_gateway", "is_to_gateway"] %}

with

    partials as (select * from {{ ref("int_edges__partials") }} where {{ in_restated_hours("event_hour") }}),

    own_devices as (
        select addresses.interface_id, {{ device_id("addresses.own_address", "interfaces.vpc_id") }} as device_id
        from {{ ref("int_addresses__merged") }} as addresses
        inner join {{ ref("int_interfaces__merged") }} as interfaces on addresses.interface_id = interfaces.interface_id
        where addresses.own_address is not null
    ),

    -- Per interface, hour and flow log: whether it speaks for accepted and for rejected packets.
    voices as (
        select
            hours.event_hour,
            hours.interface_id,
            hours.flow_log_id,
            hours.counts_accepted as speaks_for_accept,
            hours.counts_rejected as speaks_for_reject,
            hours.skipdata_records > 0 as has_skipdata,
            own.one_device_id,
            own.other_device_id
        from {{ ref("fct_interface_hours") }} as hours
        -- At most two, one of each address family.
        left join
            (
                select interface_id, min(device_id) as one_device_id, max(device_id) as other_device_id
                from own_devices
                group by 1
            ) as own
            on hours.interface_id = own.interface_id
        where {{ in_restated_hours("hours.event_hour") }}
    ),

    gateways as (
        select own_devices.device_id
        from {{ ref("int_interfaces__merged") }} as interfaces
        inner join own_devices on interfaces.interface_id = own_devices.interface_id
        where interfaces.nat_source is not null
        {%- for gateway in var("nat_gateways") %}
            union all
            select {{ text_literal(gateway) }}
        {%- endfor %}
    ),

    -- A device is covered in an hour when its interface sent anything at all for it, in a flow log that logs the
    -- verdict.
    devices as {{ kept() }} (
        select
            event_hour,
            device_id,
            bool_or(covers_accept) as covers_accept,
            bool_or(covers_reject) as covers_reject,
            bool_or(has_skipdata) as has_skipdata,
            bool_or(is_gateway) as is_gateway
        from
            (
                select
                    voices.event_hour,
                    own_devices.device_id,
                    voices.speaks_for_accept as covers_accept,
                    voices.speaks_for_reject as covers_reject,
                    voices.has_skipdata,
                    false as is_gateway
                from voices
                inner join own_devices on voices.interface_id = own_devices.interface_id
                where voices.speaks_for_accept or voices.speaks_for_reject
                union all
                select hours.event_hour, gateways.device_id, false, false, false, true
                from gateways
                cross join (select distinct event_hour from voices) as hours
            ) as facts
        group by 1, 2
    ),

    -- Who speaks, with the interface's place on the way and what is known of both ends.
    placed as (
        select
            {%- for column in edge + ["action", "interface_id"] + measures %} partials.{{ column }}, {%- endfor %}
            case
                when partials.dst_device_id in (voices.one_device_id, voices.other_device_id)
                then 'dest'
                when partials.src_device_id in (voices.one_device_id, voices.other_device_id)
                then 'source'
                else 'between'
            end as side,
            voices.has_skipdata,
            coalesce(destination.covers_accept, false) as dest_covers_accept,
            coalesce(destination.covers_reject, false) as dest_covers_reject,
            coalesce(source.covers_accept, false) as source_covers_accept,
            case
                when destination.covers_accept
                then coalesce(destination.has_skipdata, false)
                else coalesce(source.has_skipdata, false)
            end as is_doubtful,
            coalesce(source.is_gateway, false) as is_from_gateway,
            coalesce(destination.is_gateway, false) as is_to_gateway,
            {{
                row_hash(
                    [
                        "partials.event_hour",
                        "partials.src_device_id",
                        "partials.dst_device_id",
                        "partials.protocol",
                        "partials.service_port",
                        "partials.src_role",
                        "partials.action",
                    ]
                )
            }} as edge_hash
        from partials
        inner join
            voices
            on partials.event_hour = voices.event_hour
            and partials.interface_id = voices.interface_id
            and partials.flow_log_id = voices.flow_log_id
            and case when partials.action = 'REJECT' then voices.speaks_for_reject else voices.speaks_for_accept end
        left join
            devices as destination
            on partials.event_hour = destination.event_hour
            and partials.dst_device_id = destination.device_id
        left join
            devices as source on partials.event_hour = source.event_hour and partials.src_device_id = source.device_id
    ),

    -- Most edges are one row that one end's coverage judges. They skip all that follows: nothing to add up, to compare
    -- or to take off. Rows that only share a hash take the long way for nothing (docs/adr/0016-what-marts-skip.md).
    shared as (select edge_hash from placed group by 1 having count(*) > 1),

    plain as (
        select
            {{ (edge + ["action"] + measures) | join(", ") }},
            side as counted_side,
            1 as observations,
            has_skipdata as is_lossy,
            {{ ends | join(", ") }}
        from placed
        where
            not is_doubtful
            and (dest_covers_accept or (source_covers_accept and not dest_covers_reject))
            and {{ stands_alone("edge_hash", "shared") }}
            and case
                when dest_covers_accept
                then side = 'dest' or (side = 'source' and action = 'REJECT')
                else side = 'source'
            end
    ),

    -- One row per edge, verdict and interface, all arrival hours together.
    observed as {{ kept() }} (
        select
            {{ (edge + ["action", "interface_id", "side"]) | join(", ") }},
            bool_or(has_skipdata) as has_skipdata,
            {%- for column in ends %} bool_or({{ column }}) as {{ column }}, {%- endfor %}
            sum(flows) as flows,
            sum(packets) as packets,
            sum(bytes) as bytes,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at,
            {{ bit_or_agg("tcp_flags") }} as tcp_flags
        from placed
        where
            is_doubtful
            or not (dest_covers_accept or (source_covers_accept and not dest_covers_reject))
            or {{ is_repeated("edge_hash", "shared") }}
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9
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
                from observed
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
                    {%- for column in edge %} observed.{{ column }}, {%- endfor %}
                    bool_or(observed.dest_covers_accept) as dest_covers_accept,
                    bool_or(observed.source_covers_accept) as source_covers_accept,
                    sum(case when observed.side = 'dest' then observed.packets else 0 end) as dest_packets,
                    sum(
                        case
                            when observed.side = 'source' and observed.action <> 'REJECT' then observed.packets else 0
                        end
                    ) as source_packets,
                    sum(
                        case
                            when
                                observed.side = 'between'
                                and observed.action <> 'REJECT'
                                and best_between.interface_id is not null
                            then observed.packets
                            else 0
                        end
                    ) as between_packets
                from observed
                left join
                    best_between
                    on observed.event_hour = best_between.event_hour
                    and observed.src_device_id = best_between.src_device_id
                    and observed.dst_device_id = best_between.dst_device_id
                    and observed.interface_id = best_between.interface_id
                    and observed.side = best_between.side
                where observed.is_doubtful
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
        from observed
        where side = 'dest' and action = 'REJECT' and not dest_covers_accept
        group by 1, 2, 3, 4, 5, 6
    ),

    chosen as (
        select
            observed.*,
            case
                coalesce(
                    fullest_side.side,
                    case
                        when observed.dest_covers_accept
                        then 'dest'
                        when observed.source_covers_accept
                        then 'source'
                        else 'between'
                    end
                )
                -- The destination has the last word; of the source's packets only those count that never left.
                when 'dest'
                then observed.side = 'dest' or (observed.side = 'source' and observed.action = 'REJECT')
                when 'source'
                then
                    observed.side = 'source'
                    or (observed.side = 'dest' and observed.action = 'REJECT' and not observed.dest_covers_accept)
                else
                    best_between.interface_id is not null
                    or (observed.side in ('dest', 'source') and observed.action = 'REJECT')
            end as counts
        from observed
        left join fullest_side on {{ columns_equal("observed", "fullest_side", edge) }}
        left join
            best_between
            on observed.event_hour = best_between.event_hour
            and observed.src_device_id = best_between.src_device_id
            and observed.dst_device_id = best_between.dst_device_id
            and observed.interface_id = best_between.interface_id
            and observed.side = best_between.side
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
            {%- for column in ends %} bool_or({{ column }}) as {{ column }}, {%- endfor %}
            action <> 'REJECT' and max(case when counts then side end) <> 'dest' as is_stoppable
        from chosen
        group by 1, 2, 3, 4, 5, 6, 7
    ),

    remaining as (
        select
            {%- for column in edge + ["action"] %} summed.{{ column }}, {%- endfor %}
            greatest(summed.flows - coalesce(stopped.flows, 0), 1) as flows,
            summed.packets - coalesce(stopped.packets, 0) as packets,
            greatest(summed.bytes - coalesce(stopped.bytes, 0), 0) as bytes,
            summed.first_seen_at,
            summed.last_seen_at,
            summed.tcp_flags,
            summed.counted_side,
            summed.observations,
            summed.is_lossy,
            {{ ends | join(", ") }}
        from summed
        left join stopped on {{ columns_equal("summed", "stopped", edge + ["is_stoppable"]) }}
        where summed.counts and (stopped.packets is null or summed.packets > stopped.packets)
    ),

    edges as (
        select *
        from plain
        union all
        select *
        from remaining
    )

select
    {{ hash_key([timestamp_text("event_hour")] + edge[1:] + ["action"]) }} as edge_id,
    {{ (edge + ["action"]) | join(", ") }},
    cast(flows as bigint) as flows,
    cast(packets as bigint) as packets,
    cast(bytes as bigint) as bytes,
    first_seen_at,
    last_seen_at,
    tcp_flags,
    cast(observations as integer) as observations,
    counted_side,
    is_from_gateway or is_to_gateway as is_translated,
    -- A translated leg is left out of totals where the client's own side was seen: always on the outer leg, whose
    -- packets the inner leg names; on the inner leg when the client is covered.
    case
        when is_from_gateway and is_to_gateway
        then false
        when is_from_gateway
        then {{ in_networks(device_address("dst_device_id"), var("internal_cidrs")) }} and not dest_covers_accept
        when is_to_gateway
        then {{ in_networks(device_address("src_device_id"), var("internal_cidrs")) }} and not source_covers_accept
        else true
    end as is_counted,
    is_lossy
from edges
