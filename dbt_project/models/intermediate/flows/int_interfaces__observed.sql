-- One row per interface, arrival hour and address family: which addresses stand in all of its records of the hour.
-- An interface's own address does (measured: on every one of 22 interfaces of two captures); so at most two are
-- left.
-- depends_on: {{ source("ledger", "windows") }}
{{ config(materialized="replaced", replaces="arrival_hour") }}

with

    -- Where the direction is logged, the own address is known from a single record.
    sightings as (
        select
            interface_id,
            arrival_hour,
            case when strpos(coalesce(srcaddr, dstaddr), ':') > 0 then 6 else 4 end as ip_family,
            case when flow_direction = 'ingress' then dstaddr else srcaddr end as one_address,
            case when flow_direction = 'egress' then srcaddr else dstaddr end as other_address
        from {{ ref("stg_flow_logs__records") }}
        where
            interface_id is not null
            and srcaddr is not null
            and dstaddr is not null
            and resource_type is null
            and {{ in_observed_hours("arrival_hour") }}
    ),

    -- Whatever stands in all records stands in this one.
    examples as (
        select interface_id, arrival_hour, ip_family, min(one_address || ' ' || other_address) as pair
        from sightings
        group by 1, 2, 3
    ),

    candidates as (
        select
            interface_id,
            arrival_hour,
            ip_family,
            substr(pair, 1, strpos(pair, ' ') - 1) as one_candidate,
            substr(pair, strpos(pair, ' ') + 1) as other_candidate
        from examples
    )

select
    sightings.interface_id,
    sightings.arrival_hour,
    sightings.ip_family,
    case
        when count(*) filter (where one_candidate not in (one_address, other_address)) = 0 then min(one_candidate)
    end as one_candidate,
    case
        when count(*) filter (where other_candidate not in (one_address, other_address)) = 0 then min(other_candidate)
    end as other_candidate
from sightings
inner join
    candidates
    on sightings.interface_id = candidates.interface_id
    and sightings.arrival_hour = candidates.arrival_hour
    and sightings.ip_family = candidates.ip_family
group by 1, 2, 3
