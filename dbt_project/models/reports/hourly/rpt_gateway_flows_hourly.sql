-- One row per pair of attachments and of VPCs of a Transit Gateway and event hour.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

select
    event_hour,
    tgw_id,
    src_attachment_id,
    dst_attachment_id,
    src_vpc_id,
    dst_vpc_id,
    src_account_id,
    dst_account_id,
    cast(sum(flows) as bigint) as flows,
    cast(sum(packets) as bigint) as packets,
    cast(sum(bytes) as bigint) as bytes,
    {%- for reason in lost_packets() %} cast(sum({{ reason }}) as bigint) as {{ reason }}, {%- endfor %}
    bool_or(is_lossy) as is_lossy
from {{ ref("fct_gateway_flows") }}
where is_counted and {{ in_restated_hours("event_hour") }}
group by 1, 2, 3, 4, 5, 6, 7, 8
