-- One row per event hour: how many vertices and edges the graph of that hour has.
{{ config(materialized="replaced", replaces="event_hour", meta={"published": true}) }}

with

    edges as (
        select event_hour, src_device_id, dst_device_id
        from {{ ref("fct_edges") }}
        where is_counted and {{ in_restated_hours("event_hour") }}
    ),

    pairs as (select event_hour, src_device_id, dst_device_id, count(*) as edges from edges group by 1, 2, 3),

    pair_counts as (select event_hour, count(*) as pairs, cast(sum(edges) as bigint) as edges from pairs group by 1),

    vertex_counts as (
        select event_hour, count(distinct device_id) as vertices
        from
            (
                select event_hour, src_device_id as device_id
                from pairs
                union all
                select event_hour, dst_device_id
                from pairs
            ) as ends
        group by 1
    )

select pair_counts.event_hour, vertex_counts.vertices, pair_counts.pairs, pair_counts.edges
from pair_counts
inner join vertex_counts on pair_counts.event_hour = vertex_counts.event_hour
