-- One row per action and event hour: the sums of which a correlation of bytes with packets is made, over any hours.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    -- Whole numbers, so that the sums are exact, the same in every order, and can be added up. Nothing sends a petabyte
    -- or 10^15 packets along one edge in an hour; a record that says so would overflow the sums of the squares.
    -- Narrower
    -- decimals would not do: DuckDB keeps their product in 18 digits.
    sizes as (
        select event_hour, action, cast(packets as decimal(38, 0)) as packets, cast(bytes as decimal(38, 0)) as bytes
        from {{ ref("fct_edges") }}
        where
            is_counted
            and packets < 1000000000000000
            and bytes < 1000000000000000
            and {{ in_restated_hours("event_hour") }}
    )

select
    event_hour,
    action,
    count(*) as edges,
    cast(sum(packets) as decimal(38, 0)) as packets,
    cast(sum(bytes) as decimal(38, 0)) as bytes,
    cast(sum(packets * packets) as decimal(38, 0)) as packets_squared,
    cast(sum(bytes * bytes) as decimal(38, 0)) as bytes_squared,
    cast(sum(packets * bytes) as decimal(38, 0)) as packets_times_bytes
from sizes
group by 1, 2
