-- How much traffic stays inside, comes in and goes out, by action, estimated from a tenth of the edges: for a history
-- that is too long to read whole. Compile it (`dbt compile --select internal_external_sampled`), or copy it from here
-- with the published names: flowlake.fct_edges, flowlake.dim_devices.
--
-- The shares are close where no single edge dominates; the sums are ten times the sample's. TABLESAMPLE draws another
-- tenth each time. For the same tenth each time, and on every engine, choose by the edge's hash instead: leave the
-- sample out and add `and substr(edge_id, 1, 1) = '0'`, a sixteenth.
--
-- Athena spells the sample `tablesample bernoulli (10)`, DuckDB `tablesample bernoulli (10 percent)`.
with

    sampled as (
        select src_device_id, dst_device_id, action, packets, bytes
        from {{ sample_of(ref("fct_edges"), 10) }}
        where is_counted
    )

select
    sources.scope as src_scope,
    destinations.scope as dst_scope,
    sampled.action,
    count(*) as sampled_edges,
    sum(sampled.packets) * 10 as packets,
    sum(sampled.bytes) * 10 as bytes
from sampled
inner join {{ ref("dim_devices") }} as sources on sampled.src_device_id = sources.device_id
inner join {{ ref("dim_devices") }} as destinations on sampled.dst_device_id = destinations.device_id
group by 1, 2, 3
order by 1, 2, 3
