-- One row per flow log and event hour from the first on that it told of: whether all that usually comes of the hour has
-- come.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    arrivals as (
        select flow_log_id, account_id, region, {{ hour_to_timestamp("arrival_hour") }} as arrived_at
        from {{ ref("fct_coverage") }}
    ),

    flow_logs as (
        select
            arrivals.flow_log_id,
            min(arrivals.account_id) as account_id,
            min(arrivals.region) as region,
            min(arrivals.arrived_at) as first_arrived_at,
            max(arrivals.arrived_at) as last_arrived_at,
            min(tellers.first_event_hour) as first_event_hour
        from arrivals
        inner join
            (
                select flow_log_id, min(event_hour) as first_event_hour from {{ ref("fct_flow_log_hours") }} group by 1
            ) as tellers
            on arrivals.flow_log_id = tellers.flow_log_id
        group by 1
    ),

    -- Hours that were run one after the other are all as far from their places.
    places as (
        select
            flow_log_id,
            arrived_at,
            date_diff('hour', timestamp '2000-01-01 00:00:00', arrived_at)
            - row_number() over (partition by flow_log_id order by arrived_at) as stretch
        from arrivals
    ),

    reached as (
        select flow_log_id, arrived_at, min(arrived_at) over (partition by flow_log_id, stretch) as run_since
        from places
    ),

    -- The same of the lake, which may have begun later than the flow log: an hour in which anybody is accounted for
    -- was run.
    lake_places as (
        select
            arrived_at,
            date_diff('hour', timestamp '2000-01-01 00:00:00', arrived_at)
            - row_number() over (order by arrived_at) as stretch
        from (select distinct arrived_at from arrivals) as hours
    ),

    lake_reached as (select arrived_at, min(arrived_at) over (partition by stretch) as run_since from lake_places),

    -- How many hours of a day took so long. What is older than the flow log's first delivery came with it, and says
    -- nothing of what is usual.
    delays as (
        select hours.flow_log_id, cast(hours.event_hour as date) as event_date, hours.delay_hours, count(*) as hours
        from {{ ref("fct_flow_log_hours") }} as hours
        inner join flow_logs on hours.flow_log_id = flow_logs.flow_log_id
        where hours.event_hour >= flow_logs.first_arrived_at
        group by 1, 2, 3
    ),

    -- Of each day, with those of the week before it.
    weeks as (
        select
            delays.flow_log_id,
            cast(delays.event_date + days.distance * interval '1' day as date) as event_date,
            delays.delay_hours,
            sum(delays.hours) as hours
        from delays
        cross join (values (0), (1), (2), (3), (4), (5), (6), (7)) as days(distance)
        group by 1, 2, 3
    ),

    ranked as (
        select
            flow_log_id,
            event_date,
            delay_hours,
            sum(hours) over (
                partition by flow_log_id, event_date
                order by delay_hours
                rows between unbounded preceding and current row
            ) as hours_within,
            sum(hours) over (partition by flow_log_id, event_date) as hours
        from weeks
    ),

    -- What 19 of 20 hours kept to. Never less than the hour after, in which an hour's last records come, nor more than
    -- a day: objects that are copied in one go took as long as they are old.
    usual as (
        select
            flow_log_id,
            event_date,
            least(greatest(min(case when 20 * hours_within >= 19 * hours then delay_hours end), 1), 24) as delay_hours
        from ranked
        group by 1, 2
    ),

    -- Every hour that has come since, run or not.
    expected as (
        select flow_logs.flow_log_id, cast(days.event_date as timestamp) + hours.hour * interval '1' hour as event_hour
        from flow_logs
        cross join {{ each_day("flow_logs.first_arrived_at", "flow_logs.last_arrived_at") }} as days(event_date)
        cross join
            (values {%- for hour in range(24) %} ({{ hour }}){{ "," if not loop.last }} {%- endfor %}) as hours(hour)
        where
            cast(days.event_date as timestamp) + hours.hour * interval '1' hour
            between greatest(flow_logs.first_arrived_at, flow_logs.first_event_hour) and flow_logs.last_arrived_at
        union
        select flow_log_id, event_hour
        from {{ ref("fct_flow_log_hours") }}
    ),

    awaited as (
        select
            expected.flow_log_id,
            expected.event_hour,
            flow_logs.account_id,
            flow_logs.region,
            flow_logs.first_arrived_at,
            coalesce(usual.delay_hours, 1) as delay_hours,
            expected.event_hour + coalesce(usual.delay_hours, 1) * interval '1' hour as awaited_until
        from expected
        inner join flow_logs on expected.flow_log_id = flow_logs.flow_log_id
        left join
            usual on expected.flow_log_id = usual.flow_log_id and cast(expected.event_hour as date) = usual.event_date
    )

select
    awaited.event_hour,
    awaited.flow_log_id,
    awaited.account_id,
    awaited.region,
    case
        -- Older than the flow log's first delivery, and nothing is waited for.
        when awaited.awaited_until < awaited.first_arrived_at
        then 'complete'
        -- Every arrival hour from the event hour on, or from the flow log's first, to the last that is waited for. That
        -- there was none before its first, the lake must have been there to see.
        when
            reached.run_since <= greatest(awaited.event_hour, awaited.first_arrived_at)
            and (awaited.event_hour >= awaited.first_arrived_at or lake_reached.run_since <= awaited.event_hour)
        then case when told.event_hour is null then 'silent' else 'complete' end
        else 'open'
    end as status,
    coalesce(told.interfaces, 0) as interfaces,
    coalesce(told.records, 0) as records,
    coalesce(told.nodata_records, 0) as nodata_records,
    coalesce(told.skipdata_records, 0) as skipdata_records,
    coalesce(told.late_records, 0) as late_records,
    awaited.delay_hours as usual_delay_hours,
    awaited.awaited_until + interval '1' hour as complete_at
from awaited
left join
    {{ ref("fct_flow_log_hours") }} as told
    on awaited.flow_log_id = told.flow_log_id
    and awaited.event_hour = told.event_hour
left join reached on awaited.flow_log_id = reached.flow_log_id and awaited.awaited_until = reached.arrived_at
left join lake_reached on awaited.awaited_until = lake_reached.arrived_at
where
    told.event_hour is not null
    -- No flow log has an empty id, and SQL no empty list.
    or awaited.flow_log_id not in (
        {%- for flow_log in [""] + var("retired_flow_logs") -%}
            {{ text_literal(flow_log) }}{{ ", " if not loop.last }}
        {%- endfor -%}
    )
