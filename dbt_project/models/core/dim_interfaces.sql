-- One row per network interface (ENI) ever seen.
{{ config(materialized="replaced", replaces="everything", meta={"published": true}) }}

select
    interfaces.interface_id,
    v4.own_address,
    v6.own_address as own_address_v6,
    interfaces.interface_type,
    interfaces.nat_source is not null as is_nat_gateway,
    interfaces.nat_source,
    interfaces.account_id,
    interfaces.vpc_id,
    interfaces.subnet_id,
    interfaces.instance_id,
    interfaces.region,
    interfaces.az_id,
    interfaces.first_seen_at,
    interfaces.last_seen_at
from {{ ref("int_interfaces__merged") }} as interfaces
left join {{ ref("int_addresses__merged") }} as v4 on interfaces.interface_id = v4.interface_id and v4.ip_family = 4
left join {{ ref("int_addresses__merged") }} as v6 on interfaces.interface_id = v6.interface_id and v6.ip_family = 6
