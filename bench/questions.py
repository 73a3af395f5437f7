"""The six questions of the Opsgenie post and the three of the AWS Kinesis post, asked of text and of flowlake's tables.

By bytes or packets, never by the number of records. `records` is the text, read and typed; `{since}` an hour. In SQL
that both engines take; only a share of rows, `(10 percent)`, is `(10)` on Athena.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question, in SQL on the text and on the tables. An estimate has another answer each time."""

    name: str
    on_text: str
    on_tables: str
    is_estimate: bool = False


_TEXT_SCOPES = (
    "case when srcaddr like '10.%' then 'internal' else 'external' end as src_scope,"
    " case when dstaddr like '10.%' then 'internal' else 'external' end as dst_scope, action"
)

QUESTIONS = (
    Question(
        "10 most active hosts",
        """
        select address, cast(sum(bytes) as bigint) as moved
        from (
            select srcaddr as address, bytes from records
            union all
            select dstaddr, bytes from records where action <> 'REJECT'
        )
        where address is not null group by 1 order by 2 desc, 1 limit 10
        """,
        """
        select device_id, cast(sum(sent_bytes + received_bytes) as bigint) as moved
        from rpt_talkers_hourly where event_hour >= {since} group by 1 order by 2 desc, 1 limit 10
        """,
    ),
    Question(
        "host pairs that talk most",
        """
        select least(srcaddr, dstaddr), greatest(srcaddr, dstaddr), cast(sum(bytes) as bigint) as moved
        from records group by 1, 2 order by 3 desc, 1, 2 limit 10
        """,
        """
        select least(src_device_id, dst_device_id), greatest(src_device_id, dst_device_id),
            cast(sum(bytes) as bigint) as moved
        from rpt_pairs_hourly where event_hour >= {since} group by 1, 2 order by 3 desc, 1, 2 limit 10
        """,
    ),
    Question(
        "rejects by destination port",
        """
        select protocol, dstport, cast(sum(packets) as bigint), cast(sum(bytes) as bigint)
        from records where action = 'REJECT' group by 1, 2 order by 4 desc, 1, 2
        """,
        """
        select protocol, case when src_role = 'client' then service_port end,
            cast(sum(packets) as bigint), cast(sum(bytes) as bigint)
        from rpt_rejected_ports_hourly where event_hour >= {since} group by 1, 2 order by 4 desc, 1, 2
        """,
    ),
    Question(
        "correlation of bytes with packets, by action",
        "select action, round(corr(packets, bytes), 6) from records group by 1 order by 1",
        """
        select action, round((n * pb - p * b) / sqrt((n * pp - p * p) * (n * bb - b * b)), 6)
        from (
            select action, cast(sum(edges) as double) as n,
                cast(sum(packets) as double) as p, cast(sum(bytes) as double) as b,
                cast(sum(packets_squared) as double) as pp, cast(sum(bytes_squared) as double) as bb,
                cast(sum(packets_times_bytes) as double) as pb
            from rpt_sizes_hourly where event_hour >= {since} group by 1
        )
        order by 1
        """,
    ),
    Question(
        "internal or external, by action",
        f"select {_TEXT_SCOPES}, cast(sum(bytes) as bigint) from records group by 1, 2, 3 order by 1, 2, 3",
        """
        select src_scope, dst_scope, action, cast(sum(bytes) as bigint)
        from rpt_scopes_hourly where event_hour >= {since} group by 1, 2, 3 order by 1, 2, 3
        """,
    ),
    Question(
        "the same over a tenth of the rows",
        f"""
        select {_TEXT_SCOPES}, cast(sum(bytes) as bigint) * 10
        from records tablesample bernoulli (10 percent) group by 1, 2, 3 order by 1, 2, 3
        """,
        """
        select sources.scope, destinations.scope, action, cast(sum(bytes) as bigint) * 10
        from fct_edges as edges tablesample bernoulli (10 percent)
        join dim_devices as sources on src_device_id = sources.device_id
        join dim_devices as destinations on dst_device_id = destinations.device_id
        where is_counted and event_hour >= {since} group by 1, 2, 3 order by 1, 2, 3
        """,
        is_estimate=True,
    ),
    Question(
        "protocols rejected most",
        """
        select protocol, cast(sum(packets) as bigint)
        from records where action = 'REJECT' group by 1 order by 2 desc, 1
        """,
        """
        select protocol, cast(sum(packets) as bigint)
        from rpt_rejected_ports_hourly where event_hour >= {since} group by 1 order by 2 desc, 1
        """,
    ),
    Question(
        "10 addresses most rejected, last 14 days",
        """
        select srcaddr, cast(sum(bytes) as bigint)
        from records where action = 'REJECT' group by 1 order by 2 desc, 1 limit 10
        """,
        "select src_device_id, bytes from rpt_rejected_sources order by place",
    ),
    Question(
        "10 servers that receive most HTTPS",
        """
        select dstaddr, cast(sum(bytes) as bigint)
        from records
        where dstport = 443 and srcport > dstport and protocol in (6, 17) and action <> 'REJECT'
        group by 1 order by 2 desc, 1 limit 10
        """,
        """
        select server_device_id, cast(sum(received_bytes) as bigint)
        from rpt_servers_hourly
        where event_hour >= {since} and service_port = 443 and protocol in (6, 17)
        group by 1 order by 2 desc, 1 limit 10
        """,
    ),
)
