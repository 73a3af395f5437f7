"""What crossed a Transit Gateway, from objects to the report: the truth is known, and runs may come in any order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from flowlake.records.fields import TGW_DEFAULT_HEADER
from gateway_logs import ATTACHMENTS, DIRECTIONS, GATEWAY, LOSSES, Crossing, crossings

NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())
HOUR = 3600

Sums = Counter[tuple[Any, ...]]
"""Measures by what they are sums of: ((hour, from attachment, to attachment, measure) -> number)."""


def of_hour(hour: int, seed: int) -> list[Crossing]:
    """Crossings of the event hour that is so many after noon."""
    start = NOON + hour * HOUR
    return list(crossings(random.Random(seed), range(start, start + HOUR - 60), 40))  # noqa: S311 - no secret


# What is written of which hours under which name; the last one comes hours late, and brings records of noon alone.
DELIVERED = {
    "20261120T1205": of_hour(0, 1),
    "20261120T1305": [*of_hour(0, 2), *of_hour(1, 3)],
    "20261120T1405": of_hour(0, 4),
}
EVERYTHING = [crossing for delivered in DELIVERED.values() for crossing in delivered]
TABLES = (
    "core.fct_gateway_flows",
    "marts.rpt_gateway_flows_hourly",
    "intermediate.int_gateway_flows__partials",
    "intermediate.int_hours__touched",
)


def content(crossed: Iterable[Crossing], attachments: Iterable[str] = ATTACHMENTS) -> bytes:
    """An object of what these attachments log."""
    lines = [
        crossing.line(direction)
        for crossing in crossed
        for direction in DIRECTIONS
        if crossing.logged_by(direction) in attachments
    ]
    return "".join(f"{line}\n" for line in (TGW_DEFAULT_HEADER, *lines)).encode()


def truth(crossed: Iterable[Crossing]) -> Sums:
    sums: Sums = Counter()
    for each in crossed:
        hour = datetime.fromtimestamp(each.start // HOUR * HOUR, UTC).replace(tzinfo=None)
        way = (hour, each.source, each.target)
        sums[*way, "packets"] += each.packets
        sums[*way, "bytes"] += each.bytes
        if each.loss:
            sums[*way, each.loss.replace("-", "_")] += each.packets
    return sums


def reported(lake: Any) -> Sums:
    measures = ("packets", "bytes", *(loss.replace("-", "_") for loss in LOSSES))
    sums: Sums = Counter()
    for hour, source, target, *vpcs_and_gateway, row in lake.rows(
        "select event_hour, src_attachment_id, dst_attachment_id, src_vpc_id, dst_vpc_id, tgw_id,"
        f" [{', '.join(measures)}] from lake.marts.rpt_gateway_flows_hourly"
    ):
        assert vpcs_and_gateway == [f"vpc-of-{source}", f"vpc-of-{target}" if target else None, GATEWAY]
        assert (hour, source, target, "packets") not in sums
        sums.update(
            {(hour, source, target, measure): value for measure, value in zip(measures, row, strict=True) if value}
        )
    return sums


@pytest.fixture(scope="module")
def lake(handmade_lake: Callable[..., Any]) -> Any:
    """Everything in one clean run."""
    made = handmade_lake()
    for named, crossed in DELIVERED.items():
        made.write(content(crossed), "fl-gateway", named=named)
    made.build("2026-11-20T12", "2026-11-20T15")
    return made


def test_each_crossing_counts_once_and_says_what_was_lost(lake: Any) -> None:
    assert reported(lake) == truth(EVERYTHING)
    logged = sum(2 if crossing.target else 1 for crossing in EVERYTHING)
    assert lake.rows("select sum(flows) from lake.core.fct_gateway_flows") == [(logged,)]
    assert lake.rows("select sum(flows) from lake.core.fct_gateway_flows where is_counted") == [(len(EVERYTHING),)]


def test_a_gateways_traffic_is_in_no_sum_of_the_interfaces(lake: Any) -> None:
    for table in ("core.fct_edges", "core.dim_devices", "core.dim_interfaces", "marts.rpt_pairs_hourly"):
        assert lake.rows(f"select count(*) from lake.{table}") == [(0,)]


def test_late_objects_restate_their_hours_in_any_order_of_runs(lake: Any, handmade_lake: Callable[..., Any]) -> None:
    other = handmade_lake()
    for named, crossed in DELIVERED.items():
        other.write(content(crossed), "fl-gateway", named=named)
    for first, end in (("14", "15"), ("12", "14")):
        other.build(f"2026-11-20T{first}", f"2026-11-20T{end}")
    for table in TABLES:
        expected, found = (each.rows(f"from lake.{table} order by all") for each in (lake, other))
        assert expected
        assert found == expected, table


def test_a_window_that_brings_less_takes_back_what_it_brought(handmade_lake: Callable[..., Any]) -> None:
    """Also from an hour in which nothing else arrived."""
    other = handmade_lake()
    early, late = DELIVERED["20261120T1305"], DELIVERED["20261120T1405"]
    other.write(content(early), "fl-gateway", named="20261120T1305")
    other.write(content(late), "fl-gateway", named="20261120T1405")
    other.build("2026-11-20T13", "2026-11-20T15")
    assert reported(other) == truth([*early, *late])
    kept = [crossing for crossing in early if crossing.start >= NOON + HOUR]
    other.write(content(kept), "fl-gateway", named="20261120T1305")
    other.write(content([]), "fl-gateway", named="20261120T1405")
    other.build("2026-11-20T13", "2026-11-20T15")
    assert reported(other) == truth(kept)


def test_one_attachments_flow_log_alone_tells_what_went_in_and_out_by_it(handmade_lake: Callable[..., Any]) -> None:
    other = handmade_lake()
    crossed = of_hour(0, 5)
    own = ATTACHMENTS[1]
    other.write(content(crossed, [own]), "fl-attachment")
    other.build("2026-11-20T12", "2026-11-20T13")
    assert reported(other) == truth(each for each in crossed if own in (each.source, each.target))
