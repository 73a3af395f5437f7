"""The truth against an independent count over the records, by the rule of sides (each packet once, by coverage)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowlake.sample import SampleSpec, generator

EDGES_FROM_RECORDS = """
create table edges as
with named as (
    select
        r.*, e.address, e.address_v6, r.start // 3600 * 3600 as hour,
        coalesce(pkt_srcaddr, srcaddr) as src, coalesce(pkt_dstaddr, dstaddr) as dst,
        e.is_nat_gateway and e.address in (src, dst) as is_translated
    from records r join enis e using (interface_id)
),
oriented as (
    select
        *,
        case when protocol in (6, 17) and least(srcport, dstport) < 32768 then least(srcport, dstport) else 0 end
            as service_port,
        case when protocol not in (6, 17) or least(srcport, dstport) >= 32768 then 'peer'
            when dstport < srcport then 'client' else 'server' end as src_role,
        case when src in (address, coalesce(address_v6, address)) then 'source'
            when dst in (address, coalesce(address_v6, address)) then 'dest' else 'between' end as side
    from named where not is_translated
),
covered as (
    select distinct a.address, l.start // 3600 * 3600 as hour, e.traffic_type
    from lines l join enis e using (interface_id), unnest([e.address, e.address_v6]) a(address)
),
judged as (
    select
        *,
        exists (from covered c where c.address = dst and c.hour = o.hour
            and (traffic_type = 'ALL' or action = 'REJECT')) as dst_is_covered,
        exists (from covered c where c.address = src and c.hour = o.hour
            and (traffic_type = 'ALL' or action = 'REJECT')) as src_is_covered
    from oriented o
)
select hour, src, dst, protocol, service_port, src_role, action, sum(packets) as packets, sum(bytes) as bytes
from judged
where case when dst_is_covered then side = 'dest' or (side = 'source' and action = 'REJECT')
    when src_is_covered then side = 'source' else side = 'between' end
group by all
"""

KEY = "src, dst, protocol, service_port, src_role, action"
TRUE_EDGES = """
select epoch(hour)::bigint as hour, src_device_id as src, dst_device_id as dst, protocol, service_port, src_role,
    action, packets, bytes, crossing_packets, crossing_bytes
from truth where observed and not is_nat_endpoint
"""
OVER_THE_RANGE = f"""
select {KEY}, t.packets, e.packets from
    (select {KEY}, sum(packets) as packets, sum(bytes) as bytes from ({TRUE_EDGES})
     group by all having sum(packets) > 0) t
    full join (select {KEY}, sum(packets) as packets, sum(bytes) as bytes from edges group by all) e using ({KEY})
where t.packets is distinct from e.packets or t.bytes is distinct from e.bytes
"""
BY_HOUR = f"""
select hour, {KEY}, t.packets, e.packets from ({TRUE_EDGES}) t full join edges e using (hour, {KEY})
where abs(coalesce(t.packets, 0) - coalesce(e.packets, 0)) > coalesce(t.crossing_packets, 0)
    or abs(coalesce(t.bytes, 0) - coalesce(e.bytes, 0)) > coalesce(t.crossing_bytes, 0)
"""


def assert_true(sample: Any) -> None:
    sample.db.execute(EDGES_FROM_RECORDS)
    assert sample.value("select count(*) from edges") > 500
    assert sample.rows(OVER_THE_RANGE) == []
    assert sample.rows(BY_HOUR) == []


def test_each_packet_counted_once_by_coverage_gives_the_truth(sample: Any) -> None:
    assert_true(sample)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_holds_when_interfaces_are_dealt_to_flow_logs_by_chance(
    make_sample: Callable[[SampleSpec], Any], seed: int
) -> None:
    assert_true(make_sample(SampleSpec(seed=seed, hours=2, scale=0.06, faults=False, random_logging=True)))


def test_the_truth_does_not_depend_on_how_time_is_cut_into_chunks(
    make_sample: Callable[[SampleSpec], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "CHUNK_RECORDS", 250)
    assert_true(make_sample(SampleSpec(hours=1, scale=0.06, faults=False)))


def test_a_slow_interface_only_widens_the_tolerance(make_sample: Callable[[SampleSpec], Any]) -> None:
    slow = make_sample(SampleSpec(hours=2, scale=0.06, faults=False, slow_interface=True))
    assert slow.value('select max("end" - start + 1) from lines') == 600
    assert_true(slow)


def test_ambiguous_rejects_are_off_because_they_break_the_rule(make_sample: Callable[[SampleSpec], Any]) -> None:
    ambiguous = make_sample(SampleSpec(hours=1, scale=0.5, faults=False, ambiguous_rejects=True))
    ambiguous.db.execute(EDGES_FROM_RECORDS)
    assert ambiguous.rows(OVER_THE_RANGE) != []


def test_a_plain_sum_counts_more_than_half_of_the_traffic_twice(sample: Any) -> None:
    plain = sample.value("select sum(packets) from records")
    true = sample.value(f"select sum(packets) from ({TRUE_EDGES})")
    assert plain == sample.report.record_packets
    assert true == sample.report.true_packets
    assert plain > 1.5 * true


def test_records_of_a_fully_logged_destination_sum_up_to_the_truth(sample: Any) -> None:
    """Without any rule of sides: what the DNS hosts' own ENIs took in."""
    address = sample.value("select address from enis where name = 'dns-1'")
    key = "srcaddr, protocol, action"
    taken_in = sample.rows(
        f"select {key}, sum(packets), sum(bytes) from records join enis using (interface_id)"
        f" where name = 'dns-1' and dstaddr = '{address}' group by all order by all"
    )
    true = sample.rows(
        "select src_device_id, protocol, action, sum(packets), sum(bytes) from truth"
        f" where dst_device_id = '{address}' and observed"
        " and not (action = 'REJECT' and service_port = 853) group by all having sum(packets) > 0 order by all"
    )
    assert len(true) > 10
    assert taken_in == true


def test_truth_rows_are_unique_by_their_key(sample: Any) -> None:
    key = "hour, src_device_id, dst_device_id, protocol, service_port, src_role, action"
    assert sample.rows(f"select {key} from truth group by all having count(*) > 1") == []


def test_both_directions_of_an_answered_conversation_are_edges_on_the_same_service(sample: Any) -> None:
    lonely = sample.value(
        """select count(*) from truth c where src_role = 'client' and let_in and packets > 0 and not exists (
            from truth s where s.src_role = 'server' and s.src_device_id = c.dst_device_id
                and s.dst_device_id = c.src_device_id and s.service_port = c.service_port)"""
    )
    assert lonely == 0


def test_gateways_are_no_endpoints_except_for_scanners(sample: Any) -> None:
    nats = str(tuple(sample.network["nat_addresses"]))
    rows = sample.rows(
        f"select distinct is_nat_endpoint, src_device_id like '203.0.113.%' from truth"
        f" where src_device_id in {nats} or dst_device_id in {nats}"
    )
    assert rows == [(True, True)]


@pytest.mark.parametrize(
    ("claim", "condition"),
    [
        ("let in and seen", "let_in and action = 'ACCEPT' and observed"),
        ("stopped, and its receiver says so", "not let_in and action = 'REJECT' and observed"),
        ("stopped, but its receiver logs nothing", "not let_in and action = 'ACCEPT' and observed"),
        ("seen by no one who can name the ends", "not observed and let_in"),
        ("services without ports", "protocol in (1, 50, 58) and service_port = 0 and src_role = 'peer'"),
        ("two high ports", "protocol = 17 and service_port = 0 and src_role = 'peer'"),
        ("IPv6", "src_device_id like '2600:%' and dst_device_id like '2600:%'"),
        ("a window across the turn of the hour", "crossing_packets > 0 and packets > 0"),
    ],
)
def test_the_default_network_has(sample: Any, claim: str, condition: str) -> None:
    assert sample.value(f"select count(*) from truth where {condition}") > 0, claim


def test_hosts_without_a_flow_log_behind_a_gateway_are_seen_only_through_packet_addresses(sample: Any) -> None:
    """app-legacy goes through the gateway with pkt_* fields, batch-1 through the one in the default format."""
    seen = dict(
        sample.rows(
            "select name, bool_and(observed) from truth join enis on src_device_id = address"
            " where dst_device_id like '198.51.100.%' and name in ('app-legacy', 'batch-1') group by name"
        )
    )
    assert seen == {"app-legacy": True, "batch-1": False}
