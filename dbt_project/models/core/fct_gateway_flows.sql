-- One row per flow that an attachment of a Transit Gateway logged, flow log and event hour: what went through the
-- gateway and what it lost. Of a packet's two rows, where it came in and where it went out, one is counted.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

{%- set key = gateway_flow_key() %}
{%- set measures = ["flows", "packets", "bytes"] + lost_packets() %}

with

    partials as (select * from {{ ref("int_gateway_flows__partials") }} where {{ in_restated_hours("event_hour") }}),

    -- Per gateway, attachment and hour: what each of its flow logs can tell, and the one that speaks for it: one that
    -- tells directions, else one that logged traffic. An attachment that logged nothing but NODATA is logged all the
    -- same. Two gateways that are peers share an attachment; a format that does not name the gateway speaks for one
    -- that no other format speaks for.
    voices as (
        select
            event_hour,
            tgw_id,
            attachment_id,
            flow_log_id,
            has_skipdata,
            has_directions,
            (tgw_id is not null or count(tgw_id) over (partition by event_hour, attachment_id) = 0)
            and row_number() over (
                partition by event_hour, tgw_id, attachment_id
                order by case when has_directions then 0 when not has_directions then 1 else 2 end, flow_log_id
            )
            = 1 as speaks
        from
            (
                select
                    event_hour,
                    tgw_id,
                    attachment_id,
                    flow_log_id,
                    sum(skipdata_records) > 0 as has_skipdata,
                    case when sum(flows) > 0 then bool_or(flow_direction is not null) end as has_directions
                from partials
                group by 1, 2, 3, 4
            ) as logged
    ),

    -- Who speaks at the other end; where the format does not name the gateway, of any.
    pairs as (
        select event_hour, attachment_id, tgw_id, false as is_any, has_directions
        from voices
        where speaks
        union all
        select event_hour, attachment_id, cast(null as varchar), true, bool_or(has_directions)
        from voices
        where speaks
        group by 1, 2
    ),

    summed as (
        select
            {{ key | join(", ") }},
            {%- for measure in measures %} cast(sum({{ measure }}) as bigint) as {{ measure }}, {%- endfor %}
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at
        from partials
        where flows > 0
        group by {{ range(1, key | length + 1) | join(", ") }}
    )

select
    {%- for column in key %} summed.{{ column }}, {%- endfor %}
    case
        summed.flow_direction when 'ingress' then summed.attachment_id when 'egress' then summed.pair_attachment_id
    end as src_attachment_id,
    case
        summed.flow_direction when 'ingress' then summed.pair_attachment_id when 'egress' then summed.attachment_id
    end as dst_attachment_id,
    {%- for measure in measures %} summed.{{ measure }}, {%- endfor %}
    summed.first_seen_at,
    summed.last_seen_at,
    -- By what is logged, never by comparing sums (docs/adr/0025-gateway-flows.md).
    voices.speaks
    and case
        when summed.flow_direction = 'ingress'
        then true
        when summed.pair_attachment_id is null
        then false
        when pairs.attachment_id is null
        then true
        when summed.flow_direction = 'egress'
        then not coalesce(pairs.has_directions, true)
        -- Nobody knows which of the two it came in by: the first of them counts.
        else not coalesce(pairs.has_directions, false) and summed.attachment_id < pairs.attachment_id
    end as is_counted,
    voices.has_skipdata as is_lossy
from summed
inner join
    voices
    on summed.event_hour = voices.event_hour
    and summed.attachment_id = voices.attachment_id
    and summed.flow_log_id = voices.flow_log_id
    and coalesce(summed.tgw_id, '') = coalesce(voices.tgw_id, '')
left join
    pairs
    on summed.event_hour = pairs.event_hour
    and summed.pair_attachment_id = pairs.attachment_id
    and pairs.is_any = (summed.tgw_id is null)
    and coalesce(pairs.tgw_id, summed.tgw_id, '') = coalesce(summed.tgw_id, '')
