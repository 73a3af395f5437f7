"""The tables equal the traffic: each packet once, with the last verdict that anyone logged.

The generator knows who really sent what to whom, from the traffic and not from the records. Each seed is another
network on another day, so that one run over all the days tests all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from flowlake.lake.duck import connect
from flowlake.sample import SampleSpec, generate

HOURS = 2
FIRST_DAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
EDGE = "src_device_id, dst_device_id, protocol, service_port, src_role, action"

PLAIN = {"faults": True}
NETWORKS = (
    [{**PLAIN, "seed": seed} for seed in range(4)]
    + [{**PLAIN, "seed": 100 + seed, "random_logging": True} for seed in range(12)]
    + [{**PLAIN, "seed": 200 + seed, "random_logging": True, "slow_interface": True} for seed in range(4)]
)
REJECT_ONLY_RECEIVERS = [
    {**PLAIN, "seed": 300 + seed, "random_logging": True, "ambiguous_rejects": True} for seed in range(4)
]


@dataclass(frozen=True)
class Compared:
    """Truth and fact side by side, per edge and hour, in one DuckDB file."""

    database: Path

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(sql).fetchall()


def _compare(folder: Path, networks: list[dict[str, object]], make_lake: Callable[..., object]) -> Compared:
    logs = folder / "logs"
    for day, options in enumerate(networks):
        spec = SampleSpec(start=FIRST_DAY + timedelta(days=day), hours=HOURS, scale=0.05, **options)
        generate(spec, folder / f"sample-{day}")
        for source in sorted((folder / f"sample-{day}" / "logs").rglob("*")):
            target = logs / source.relative_to(folder / f"sample-{day}" / "logs")
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)
    lake = make_lake(folder, logs)
    last_day = FIRST_DAY + timedelta(days=len(networks))
    lake.build(f"{FIRST_DAY:%Y-%m-%d}T00", f"{last_day:%Y-%m-%d}T00")
    with connect(lake.settings) as connection:
        connection.execute(f"attach '{folder / 'compared.duckdb'}' as compared")
        connection.execute(
            "create table compared.truth as select * from read_parquet(?)", [f"{folder}/sample-*/truth.parquet"]
        )
        connection.execute("create table compared.fact as from lake.core.fct_edges")
    return Compared(folder / "compared.duckdb")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, make_lake: Callable[..., object]) -> Compared:
    return _compare(tmp_path_factory.mktemp("networks"), NETWORKS, make_lake)


SIDES = """
    with truth as (
        select {grain}, sum(packets) as packets, sum(bytes) as bytes,
            sum(crossing_packets) as crossing_packets, sum(crossing_bytes) as crossing_bytes
        from (select *, hour as event_hour, hour::date as day from truth where observed and not is_nat_endpoint)
        group by all
    ),
    fact as (
        select {grain}, sum(packets) as packets, sum(bytes) as bytes, bool_or(is_lossy) as is_lossy
        from (select *, event_hour::date as day from fact where not is_translated)
        group by all
    )
    select {grain}, truth.packets, fact.packets, truth.bytes, fact.bytes,
        coalesce(crossing_packets, 0), coalesce(crossing_bytes, 0)
    from truth full join fact using ({grain})
"""
WRONG = "coalesce(truth.packets, 0) <> coalesce(fact.packets, 0) or coalesce(truth.bytes, 0) <> coalesce(fact.bytes, 0)"


def test_over_the_whole_range_every_edge_equals_the_truth_exactly(networks: Compared) -> None:
    counted = networks.query(
        "select count(distinct hour::date), sum(packets) from truth where observed and not is_nat_endpoint"
    )
    assert counted[0][0] == len(NETWORKS)
    assert counted[0][1] > 1_000_000
    assert networks.query(SIDES.format(grain=f"day, {EDGE}") + f" where {WRONG} limit 10") == []


def test_per_hour_every_edge_equals_the_truth_up_to_what_crossing_windows_carry(networks: Compared) -> None:
    beyond = (
        "abs(coalesce(truth.packets, 0) - coalesce(fact.packets, 0)) > coalesce(crossing_packets, 0) "
        "or abs(coalesce(truth.bytes, 0) - coalesce(fact.bytes, 0)) > coalesce(crossing_bytes, 0)"
    )
    assert networks.query(SIDES.format(grain=f"event_hour, {EDGE}") + f" where {beyond} limit 10") == []


def test_a_plain_sum_would_have_counted_about_twice_the_truth(networks: Compared) -> None:
    (observed,) = networks.query("select sum(packets * observations) / sum(packets) from fact where is_counted")[0]
    assert observed > 1.3


def test_what_counts_lies_between_the_traffic_that_was_seen_end_to_end_and_all_traffic(networks: Compared) -> None:
    """Legs of NAT gateways count for clients that nobody else saw, and for no others."""
    ((legs,),) = networks.query("select count(*) from fact where is_translated and not is_counted")
    assert legs > 100
    ((seen, everything),) = networks.query(
        "select sum(bytes) filter (where observed and not is_nat_endpoint), sum(bytes) from truth"
    )
    ((counted,),) = networks.query("select sum(bytes) from fact where is_counted")
    assert seen <= counted <= everything


def test_receivers_that_only_log_rejects_are_counted_once_up_to_what_crossing_windows_carry(
    tmp_path: Path, make_lake: Callable[..., object]
) -> None:
    """The sender says ACCEPT, the receiver says REJECT and no more: two hours' sums, set off against each other."""
    compared = _compare(tmp_path, REJECT_ONLY_RECEIVERS, make_lake)
    ambiguous = compared.query("select count(*) from truth where action = 'REJECT' and observed")
    assert ambiguous[0][0] > 100
    beyond = (
        "abs(coalesce(truth.packets, 0) - coalesce(fact.packets, 0)) > coalesce(crossing_packets, 0) "
        "or abs(coalesce(truth.bytes, 0) - coalesce(fact.bytes, 0)) > coalesce(crossing_bytes, 0)"
    )
    assert compared.query(SIDES.format(grain=f"day, {EDGE}") + f" where {beyond} limit 10") == []
