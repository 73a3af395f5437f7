-- One row per day: how many vertices and edges the graph of that day has.
{{ config(materialized="report_view", meta={"published": "view"}) }}

with

    pairs as (
        select cast(event_hour as date) as event_date, src_device_id, dst_device_id
        from {{ ref("rpt_pairs_hourly") }}
        group by 1, 2, 3
    ),

    pair_counts as (select event_date, count(*) as pairs from pairs group by 1),

    vertex_counts as (
        select event_date, count(distinct device_id) as vertices
        from
            (
                select event_date, src_device_id as device_id
                from pairs
                union all
                select event_date, dst_device_id
                from pairs
            ) as ends
        group by 1
    ),

    edge_counts as (
        select event_date, count(*) as edges
        from
            (
                select cast(event_hour as date) as event_date
                from {{ ref("fct_edges") }}
                where is_counted
                group by
                    cast(event_hour as date), src_device_id, dst_device_id, protocol, service_port, src_role, action
            ) as edges
        group by 1
    )

select vertex_counts.event_date, vertex_counts.vertices, pair_counts.pairs, edge_counts.edges, days.incomplete_hours
from vertex_counts
inner join pair_counts on vertex_counts.event_date = pair_counts.event_date
inner join edge_counts on vertex_counts.event_date = edge_counts.event_date
left join {{ incomplete_days() }} as days on vertex_counts.event_date = days.event_date
