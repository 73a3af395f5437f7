"""The records: windows, legs, verdicts, gaps."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def test_windows_last_a_minute_at_most_and_an_eni_shares_them(sample: Any) -> None:
    assert sample.value('select max("end" - start + 1) from lines') <= 60
    ends = sample.value('select max(n) from (select count(distinct "end") n from lines group by interface_id, start)')
    assert ends == 1
    assert sample.value("select avg(n) from (select count(*) n from records group by interface_id, start)") > 2


def test_windows_overlap_on_gateways_and_nowhere_else(sample: Any) -> None:
    overlapping = sample.rows(
        """with windows as (select distinct interface_id, start, "end" from records),
        following as (
            select *, lag("end") over (partition by interface_id order by start) as before from windows
        )
        select distinct is_nat_gateway from following join enis using (interface_id) where start <= before"""
    )
    assert overlapping == [(True,)]


def test_interfaces_do_not_share_their_phase(sample: Any) -> None:
    shared, count = sample.rows(
        """select max(n), count(*) from (
            select start % 60 as phase, count(distinct interface_id) n from lines
            where start % 3600 < 60 group by all)"""
    )[0]
    assert count > 10
    assert shared <= 5


def test_every_logging_interface_speaks_before_the_first_and_after_the_last_packet(sample: Any) -> None:
    silent = sample.rows(
        """select e.name, min(start), max("end") from enis e left join lines using (interface_id)
        where traffic_type is not null group by e.name
        having count(start) = 0 or min(start) >= epoch(timestamp '2026-11-20 12:00:00')
            or max("end") < epoch(timestamp '2026-11-20 15:00:00')"""
    )
    assert silent == []


def test_no_window_is_left_out(sample: Any) -> None:
    """Each window of an ordinary ENI begins in the second after the last one's end."""
    holes = sample.value(
        """with windows as (select distinct interface_id, start, "end" from lines)
        select count(*) from (
            select start - lag("end") over (partition by interface_id order by start) as step
            from windows join enis using (interface_id) where not is_nat_gateway
        ) where step <> 1"""
    )
    assert holes == 0


def test_nodata_stands_only_where_no_record_does(sample: Any) -> None:
    assert sample.value("select count(*) from lines where log_status = 'NODATA'") > 100
    both = sample.value(
        """select count(*) from lines g join enis using (interface_id) join records r using (interface_id, start)
        where g.log_status = 'NODATA' and not is_nat_gateway"""
    )
    assert both == 0


def test_skipdata_stands_beside_other_lines(sample: Any) -> None:
    alone = sample.value(
        """select count(*) from lines s where log_status = 'SKIPDATA' and not exists (
            from lines o where o.interface_id = s.interface_id and o.start = s.start and o.log_status <> 'SKIPDATA')"""
    )
    assert sample.value("select count(*) from lines where log_status = 'SKIPDATA'") > 0
    assert alone == 0


def test_a_reject_only_flow_log_has_no_accept(sample: Any) -> None:
    actions = sample.rows(
        "select distinct action from records join enis using (interface_id) where traffic_type = 'REJECT'"
    )
    assert actions == [("REJECT",)]


def test_what_one_security_group_lets_out_another_stops(sample: Any) -> None:
    """web to db on 3306: the same packets are ACCEPT at their sender and REJECT at their receiver."""
    seen = sample.rows(
        """select action, split_part(name, '-', 1), sum(packets) from records join enis using (interface_id)
        where dstport = 3306 and srcaddr like '10.20.1_.%' group by all order by all"""
    )
    assert [row[:2] for row in seen] == [("ACCEPT", "web"), ("REJECT", "db")]
    assert seen[0][2] == seen[1][2]


def test_nothing_answers_a_rejected_conversation(sample: Any) -> None:
    assert sample.value("select count(*) from records where srcport = 3306") == 0


def test_own_address_stands_in_every_record(sample: Any) -> None:
    foreign = sample.value(
        """select count(*) from records join enis using (interface_id)
        where address not in (srcaddr, dstaddr) and coalesce(address_v6, address) not in (srcaddr, dstaddr)"""
    )
    assert foreign == 0


def legs(sample: Any, gateway: str) -> set[tuple[Any, ...]]:
    """The shapes of a gateway's records; addresses as NAT, PRIVATE, INTERNET, in the order of AWS' example."""

    def kind(column: str) -> str:
        return f"""case when {column} is null then '-' when {column} = address then 'NAT'
            when {column} like '10.%' then 'PRIVATE' else 'INTERNET' end"""

    columns = ", ".join(kind(name) for name in ("srcaddr", "dstaddr", "pkt_srcaddr", "pkt_dstaddr"))
    return set(
        sample.rows(
            f"""select distinct {columns} from records join enis using (interface_id)
            where name = '{gateway}' and srcaddr not like '203.0.113.%'"""
        )
    )


def test_legs_of_a_gateway_with_packet_addresses_are_those_of_the_aws_example(sample: Any) -> None:
    expected = {
        ("PRIVATE", "NAT", "PRIVATE", "INTERNET"),
        ("NAT", "INTERNET", "NAT", "INTERNET"),
        ("INTERNET", "NAT", "INTERNET", "NAT"),
        ("NAT", "PRIVATE", "INTERNET", "PRIVATE"),
    }
    assert legs(sample, "nat-b") == expected
    assert legs(sample, "nat-c") == expected


def test_legs_of_a_gateway_in_the_default_format_have_no_packet_addresses(sample: Any) -> None:
    assert legs(sample, "nat-a") == {
        ("PRIVATE", "NAT", "-", "-"),
        ("NAT", "INTERNET", "-", "-"),
        ("INTERNET", "NAT", "-", "-"),
        ("NAT", "PRIVATE", "-", "-"),
    }


def test_what_enters_a_gateway_leaves_it(sample: Any) -> None:
    for gateway in ("nat-a", "nat-b", "nat-c"):
        inside, outside = sample.rows(
            f"""select sum(packets) filter (srcaddr like '10.%' and dstaddr = address),
                sum(packets) filter (srcaddr = address and dstaddr not like '10.%')
            from records join enis using (interface_id) where name = '{gateway}' and srcaddr not like '203.0.113.%'"""
        )[0]
        assert inside == outside > 0


def test_a_gateway_translates_the_port_on_its_outer_leg(sample: Any) -> None:
    inner, outer = sample.rows(
        """select [min(srcport) filter (dstaddr = address), max(srcport) filter (dstaddr = address)],
            [min(srcport) filter (srcaddr = address), max(srcport) filter (srcaddr = address)]
        from records join enis using (interface_id)
        where is_nat_gateway and dstport = 443 and protocol = 6 and srcaddr not like '203.0.113.%'"""
    )[0]
    assert 32768 <= inner[0] < inner[1] < 61000
    assert 1024 <= outer[0] < 5000
    assert 61000 < outer[1] <= 65535


def test_an_idle_interface_has_nodata_alone(sample: Any) -> None:
    statuses = sample.rows(
        "select distinct log_status from lines join enis using (interface_id) where name = 'spare-1'"
    )
    assert statuses == [("NODATA",)]


def test_flags_say_who_began(sample: Any) -> None:
    wrong = sample.value(
        """select count(*) from records where tcp_flags is not null and protocol = 6
        and ((tcp_flags & 18 = 2 and srcport < 1024) or (tcp_flags & 16 = 16 and dstport < 1024))"""
    )
    values = {row[0] for row in sample.rows("select distinct tcp_flags from records where tcp_flags is not null")}
    assert wrong == 0
    assert {0, 1, 2, 3, 18, 19} <= values <= {0, 1, 2, 3, 5, 7, 18, 19}


def test_every_address_is_written_as_records_have_it(sample: Any) -> None:
    columns = ("srcaddr", "dstaddr", "pkt_srcaddr", "pkt_dstaddr")
    found = sample.rows(" union ".join(f"select {name} from records where {name} is not null" for name in columns))
    assert len(found) > 300
    assert [text for (text,) in found if str(ip_address(text)) != text] == []


@pytest.mark.parametrize("claim", ["srcport between 1025 and 5000 and dstport = 443", "protocol = 1 and dstport = 8"])
def test_the_records_have_oddities_that_are_observed(sample: Any, claim: str) -> None:
    assert sample.value(f"select count(*) from records where {claim}") > 0


def test_parquet_has_the_documented_types(sample: Any) -> None:
    path = next(iter(sorted(sample.report.logs.rglob("*.parquet"))))
    schema = pq.read_schema(path)
    numbers = {field.name: field.type for field in schema if field.type != pa.string()}
    assert numbers == dict.fromkeys(
        ("version", "srcport", "dstport", "protocol", "tcp_flags", "traffic_path"), pa.int32()
    ) | dict.fromkeys(("packets", "bytes", "start", "end"), pa.int64())
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "GZIP"
    table = pq.read_table(path, partitioning=None)
    gap = table.filter(pa.compute.equal(table["log_status"], "NODATA")).to_pylist()[0]
    assert (gap["srcaddr"], gap["srcport"], gap["packets"]) == ("-", None, None)
