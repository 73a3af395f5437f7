-- The graph queries of PuppyGraph's demo, as SQL over the published schema. In Gremlin, where devices are vertices and
-- rpt_pairs_hourly their edges:
-- g.V('10.0.1.10').out().dedup().count()                              -> rpt_recipients
-- g.V('10.0.1.10').outE().group().by(inV()).by(values('packets').sum()).order(local).by(values, desc).limit(local, 20)
-- -> rpt_top_recipients
-- g.V().count(), g.E().count()                                        -> rpt_graph_size
-- Two steps away (whom do those reach, to whom the sender sent?) is a join of the pairs with themselves, on one hour:
with

    pairs as (
        select src_device_id, dst_device_id
        from {{ ref("rpt_pairs_hourly") }}
        where event_hour = timestamp '2026-11-20 12:00:00' and packets > rejected_packets
    )

select first_step.dst_device_id as via_device_id, count(distinct second_step.dst_device_id) as reached
from pairs as first_step
inner join pairs as second_step on first_step.dst_device_id = second_step.src_device_id
where first_step.src_device_id = '10.0.1.10' and second_step.dst_device_id <> first_step.src_device_id
group by 1
order by 2 desc, 1
