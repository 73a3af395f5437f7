-- One row per interface that behaves as a NAT gateway in an arrival hour of the window: what it takes in from the
-- outside for a service goes on to the inside for the same service, and the other way round, packet for packet.
{{ config(materialized="ephemeral", contract={"enforced": false}) }}

with

    speakers as (
        select
            partials.arrival_hour,
            partials.interface_id,
            partials.service_port,
            partials.protocol,
            partials.src_role,
            partials.src_device_id,
            partials.dst_device_id,
            {{ device_address("partials.src_device_id") }} = addresses.own_address as is_from_own,
            {{ device_address("partials.dst_device_id") }} = addresses.own_address as is_to_own,
            partials.packets
        from {{ ref("int_edges__partials") }} as partials
        inner join
            {{ ref("int_addresses__merged") }} as addresses
            on partials.interface_id = addresses.interface_id
            and addresses.ip_family = 4
        where
            {{ in_arrival_window("partials.arrival_hour") }}
            and partials.src_role in ('client', 'server')
            and partials.action <> 'REJECT'
            and strpos(partials.src_device_id, ':') = 0
            and addresses.own_address is not null
    ),

    -- Few interfaces both take in and send on for the same services. What is asked in the end of packets from the
    -- inside and the outside is a part of these sums, so nobody else needs a look at the addresses.
    suspects as (
        select arrival_hour, interface_id
        from
            (
                select
                    arrival_hour,
                    interface_id,
                    sum(case when src_role = 'client' and not is_from_own then packets else 0 end) as requests_in,
                    sum(case when src_role = 'client' and is_from_own then packets else 0 end) as requests_out,
                    sum(case when src_role = 'server' and is_to_own then packets else 0 end) as answers_in,
                    sum(case when src_role = 'server' and not is_to_own then packets else 0 end) as answers_out
                from speakers
                group by arrival_hour, interface_id, protocol, service_port
            ) as sums
        group by 1, 2
        having sum(least(requests_in, requests_out)) >= 90 and sum(least(answers_in, answers_out)) >= 90
    ),

    legs as (
        select speakers.*
        from speakers
        inner join
            suspects on speakers.arrival_hour = suspects.arrival_hour and speakers.interface_id = suspects.interface_id
    ),

    devices as (
        select device_id, {{ in_networks(device_address("device_id"), var("internal_cidrs")) }} as is_internal
        from
            (
                select src_device_id as device_id
                from legs
                union
                select dst_device_id
                from legs
            ) as endpoints
    ),

    -- With pkt_* fields the inner leg carries its real endpoints, so neither of them is the gateway's own.
    sorted_legs as (
        select
            legs.arrival_hour,
            legs.interface_id,
            legs.protocol,
            legs.service_port,
            sum(
                case
                    when
                        src_role = 'client'
                        and not is_from_own
                        and sources.is_internal
                        and (is_to_own or not destinations.is_internal)
                    then packets
                    else 0
                end
            ) as in_from_inside,
            sum(
                case when src_role = 'client' and is_from_own and not destinations.is_internal then packets else 0 end
            ) as out_to_outside,
            sum(
                case when src_role = 'server' and is_to_own and not sources.is_internal then packets else 0 end
            ) as in_from_outside,
            sum(
                case
                    when
                        src_role = 'server'
                        and not is_to_own
                        and destinations.is_internal
                        and (is_from_own or not sources.is_internal)
                    then packets
                    else 0
                end
            ) as out_to_inside
        from legs
        inner join devices as sources on legs.src_device_id = sources.device_id
        inner join devices as destinations on legs.dst_device_id = destinations.device_id
        group by 1, 2, 3, 4
    )

select distinct interface_id
from sorted_legs
group by arrival_hour, interface_id
-- Capture windows overlap on a gateway and some are skipped, so the two legs agree only nearly.
having
    sum(in_from_outside) >= 100
    and sum(in_from_inside) >= 100
    and 10 * sum(least(in_from_inside, out_to_outside)) >= 9 * sum(greatest(in_from_inside, out_to_outside))
    and 10 * sum(least(in_from_outside, out_to_inside)) >= 9 * sum(greatest(in_from_outside, out_to_inside))
