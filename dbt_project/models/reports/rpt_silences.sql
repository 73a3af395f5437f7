-- One row per silence of an account, a flow log or an interface that had sent something before: since when, how many
-- hours, and whether it was heard again. Of interfaces those of the last 14 days.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    newest as (select max({{ hour_to_timestamp("arrival_hour") }}) as arrived_at from {{ ref("fct_coverage") }}),

    -- The hours in which each could have been heard. An interface is listened for while its flow log speaks. What is
    -- said of hours to come, by a clock that is wrong, ends no silence.
    listened as (
        select
            kinds.kind,
            case when kinds.kind = 'account' then hours.account_id else hours.flow_log_id end as listened_to,
            hours.event_hour,
            min(hours.account_id) as account_id,
            count(*) filter (where hours.status = 'open') = 0 as is_settled,
            count(*) filter (where hours.interfaces > 0) > 0 as is_heard
        from {{ ref("rpt_completeness") }} as hours
        cross join newest
        cross join (values ('account'), ('flow_log'), ('interface')) as kinds(kind)
        where
            hours.event_hour <= newest.arrived_at
            and case
                kinds.kind
                when 'account'
                then hours.account_id is not null
                when 'interface'
                then hours.interfaces > 0 and hours.event_hour > newest.arrived_at - interval '14' day
                else true
            end
        group by 1, 2, 3
    ),

    counted as (
        select
            listened.*,
            case when is_settled then 1 else 0 end as settled_now,
            sum(case when is_settled then 1 else 0 end) over (
                partition by kind, listened_to order by event_hour rows between unbounded preceding and current row
            ) as settled_so_far,
            sum(case when is_settled then 1 else 0 end) over (partition by kind, listened_to) as settled_in_all
        from listened
    ),

    heard as (
        select counted.*, coalesce(interfaces.interface_id, counted.listened_to) as speaker
        from counted
        left join
            {{ ref("fct_interface_hours") }} as interfaces
            on counted.kind = 'interface'
            and counted.listened_to = interfaces.flow_log_id
            and counted.event_hour = interfaces.event_hour
            and interfaces.interface_id <> 'none'
        where case when counted.kind = 'interface' then interfaces.interface_id is not null else counted.is_heard end
    ),

    followed as (
        select
            kind,
            listened_to,
            speaker,
            account_id,
            event_hour as last_heard_at,
            lead(event_hour) over speakers as heard_again_at,
            -- Those that are settled between the two, or up to now.
            coalesce(lead(settled_so_far - settled_now) over speakers, settled_in_all) - settled_so_far as silent_hours
        from heard
        window speakers as (partition by kind, listened_to, speaker order by event_hour)
    )

select
    kind,
    account_id,
    case when kind <> 'account' then listened_to end as flow_log_id,
    case when kind = 'interface' then speaker end as interface_id,
    last_heard_at,
    heard_again_at,
    cast(silent_hours as bigint) as silent_hours
from followed
where silent_hours > 0
