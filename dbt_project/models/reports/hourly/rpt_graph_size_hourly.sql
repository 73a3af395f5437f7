-- One row per event hour: how many vertices and edges the graph of that hour has.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    pairs as (
        select event_hour, src_device_id, dst_device_id
        from {{ ref("rpt_pairs_hourly") }}
        where {{ in_restated_hours("event_hour") }}
    ),

    edge_counts as (
        select event_hour, count(*) as edges
        from {{ ref("fct_edges") }}
        where is_counted and {{ in_restated_hours("event_hour") }}
        group by 1
    ),

    pair_counts as (select event_hour, count(*) as pairs from pairs group by 1),

    vertex_counts as (
        select event_hour, count(*) as vertices
        from
            (
                select event_hour, src_device_id as device_id
                from pairs
                union
                select event_hour, dst_device_id
                from pairs
            ) as vertices
        group by 1
    )

select edge_counts.event_hour, vertex_counts.vertices, pair_counts.pairs, edge_counts.edges
from edge_counts
inner join pair_counts on edge_counts.event_hour = pair_counts.event_hour
inner join vertex_counts on edge_counts.event_hour = vertex_counts.event_hour
