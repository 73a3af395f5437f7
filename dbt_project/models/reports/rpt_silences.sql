-- One row per silence of an account, a flow log or an interface that had sent something before: since when, how many
-- hours, and whether it was heard again.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    -- The hours in which each could have been heard. An interface is listened for while its flow log speaks.
    expected as (
        select
            'account' as kind,
            account_id as listened_to,
            event_hour,
            case when count(*) filter (where status = 'open') = 0 then true else false end as is_settled
        from {{ ref("rpt_completeness") }}
        where account_id is not null
        group by 2, 3
        union all
        select 'flow_log', flow_log_id, event_hour, status <> 'open'
        from {{ ref("rpt_completeness") }}
        union all
        select 'interface', flow_log_id, event_hour, status <> 'open'
        from {{ ref("rpt_completeness") }}
        where interfaces > 0
    ),

    placed as (
        select
            kind,
            listened_to,
            event_hour,
            is_settled,
            row_number() over (partition by kind, listened_to order by event_hour) as place
        from expected
    ),

    settled as (select kind, listened_to, max(place) as last_place from placed where is_settled group by 1, 2),

    heard as (
        select distinct 'account' as kind, account_id as listened_to, account_id as speaker, event_hour
        from {{ ref("rpt_completeness") }}
        where account_id is not null and interfaces > 0
        union all
        select 'flow_log', flow_log_id, flow_log_id, event_hour
        from {{ ref("rpt_completeness") }}
        where interfaces > 0
        union all
        select 'interface', flow_log_id, interface_id, event_hour
        from {{ ref("fct_interface_hours") }}
        where interface_id <> 'none'
    ),

    -- Few hours are the last before a silence: the others go no further.
    followed as (
        select *
        from
            (
                select
                    kind,
                    listened_to,
                    speaker,
                    event_hour as last_heard_at,
                    lead(event_hour) over (
                        partition by kind, listened_to, speaker order by event_hour
                    ) as heard_again_at
                from heard
            ) as hours
        where heard_again_at is null or heard_again_at > last_heard_at + interval '1' hour
    ),

    counted as (
        select followed.*, coalesce(again.place - 1, settled.last_place) - placed.place as silent_hours
        from followed
        inner join
            placed
            on followed.kind = placed.kind
            and followed.listened_to = placed.listened_to
            and followed.last_heard_at = placed.event_hour
        left join
            placed as again
            on followed.kind = again.kind
            and followed.listened_to = again.listened_to
            and followed.heard_again_at = again.event_hour
        left join settled on followed.kind = settled.kind and followed.listened_to = settled.listened_to
    )

select
    counted.kind,
    case when counted.kind = 'account' then counted.speaker else flow_logs.account_id end as account_id,
    case when counted.kind <> 'account' then counted.listened_to end as flow_log_id,
    case when counted.kind = 'interface' then counted.speaker end as interface_id,
    counted.last_heard_at,
    counted.heard_again_at,
    counted.silent_hours
from counted
left join
    (select flow_log_id, min(account_id) as account_id from {{ ref("fct_coverage") }} group by 1) as flow_logs
    on counted.listened_to = flow_logs.flow_log_id
where counted.silent_hours > 0
