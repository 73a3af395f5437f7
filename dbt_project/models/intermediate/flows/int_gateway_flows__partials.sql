-- One row per flow that an attachment of a Transit Gateway logged, event hour, flow log and arrival hour: sums that can
-- be added up. Records of nothing (NODATA, SKIPDATA) have rows of no flows: they say that the attachment is logged.
-- depends_on: {{ ref("service_ports") }}
{{ config(materialized="replaced", replaces="arrival_hour") }}

{%- set key = ["arrival_hour"] + gateway_flow_key() %}
{%- set measures = ["packets", "bytes"] + lost_packets() %}

with

    records as (
        select
            arrival_hour,
            event_hour,
            flow_log_id,
            line_kind,
            log_status,
            tgw_id,
            coalesce(tgw_attachment_id, tgw_id, 'none') as attachment_id,
            tgw_pair_attachment_id as pair_attachment_id,
            case when flow_direction in ('ingress', 'egress') then flow_direction end as flow_direction,
            tgw_src_vpc_id as src_vpc_id,
            tgw_dst_vpc_id as dst_vpc_id,
            tgw_src_vpc_account_id as src_account_id,
            tgw_dst_vpc_account_id as dst_account_id,
            srcaddr as src_address,
            dstaddr as dst_address,
            coalesce(protocol, -1) as protocol,
            srcport,
            dstport,
            {{ has_ports("protocol") }} as has_ports,
            -- By the ports alone: they say the same of every record of a conversation, in whatever hour it comes.
            case when {{ has_ports("protocol") }} then {{ role_by_port("srcport", "dstport") }} else 0 end as role,
            {%- for measure in measures %}
                case when line_kind = 'record' then coalesce({{ measure }}, 0) else 0 end as {{ measure }},
            {%- endfor %}
            coalesce(start_at, end_at, event_hour) as seen_from_at,
            coalesce(end_at, start_at, event_hour) as seen_to_at
        from {{ ref("stg_flow_logs__gateway_records") }}
        where {{ in_arrival_window("arrival_hour") }}
    ),

    oriented as (
        select records.*, {{ service_port("role") }} as service_port, {{ role_name("role") }} as src_role from records
    )

select
    {{ key | join(", ") }},
    count(*) filter (where line_kind = 'record') as flows,
    {%- for measure in measures %} cast(sum({{ measure }}) as bigint) as {{ measure }}, {%- endfor %}
    count(*) filter (where line_kind = 'gap' and log_status is distinct from 'SKIPDATA') as nodata_records,
    count(*) filter (where line_kind = 'gap' and log_status = 'SKIPDATA') as skipdata_records,
    min(seen_from_at) as first_seen_at,
    max(seen_to_at) as last_seen_at
from oriented
group by {{ range(1, key | length + 1) | join(", ") }}
