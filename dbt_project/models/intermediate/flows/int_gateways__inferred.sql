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

    -- Where the far ends are, row by row: to look each of them up in a list reads all legs once more for either side.
    placed_legs as (
        select
            *,
            {{ in_networks(device_address("src_device_id"), var("internal_cidrs")) }} as is_from_inside,
            {{ in_networks(device_address("dst_device_id"), var("internal_cidrs")) }} as is_to_inside
        from legs
    ),

    -- With pkt_* fields the inner leg carries its real endpoints, so neither of them is the gateway's own.
    sorted_legs as (
        select
            arrival_hour,
            interface_id,
            protocol,
            service_port,
            sum(
                case
                    when src_role = 'client' and not is_from_own and is_from_inside and (is_to_own or not is_to_inside)
                    then packets
                    else 0
                end
            ) as in_from_inside,
            sum(
                case when src_role = 'client' and is_from_own and not is_to_inside then packets else 0 end
            ) as out_to_outside,
            sum(
                case when src_role = 'server' and is_to_own and not is_from_inside then packets else 0 end
            ) as in_from_outside,
            sum(
                case
                    when src_role = 'server' and not is_to_own and is_to_inside and (is_from_own or not is_from_inside)
                    then packets
                    else 0
                end
            ) as out_to_inside
        from placed_legs
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
