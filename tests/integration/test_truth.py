"""The tables equal the traffic: each packet once, with the last verdict that anyone logged.

The generator knows who really sent what to whom, from the traffic and not from the records. Each seed is another
network on another day, so that one run over all the days tests all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from flowlake.lake.duck import connect
from flowlake.sample import SampleSpec, generate
from flowlake.sample.network import sample_flow_logs

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


def _compare(
    folder: Path,
    networks: list[dict[str, object]],
    make_lake: Callable[..., object],
    change: Callable[[Path], None] = lambda logs: None,
) -> Compared:
    logs = folder / "logs"
    for day, options in enumerate(networks):
        spec = SampleSpec(start=FIRST_DAY + timedelta(days=day), hours=HOURS, scale=0.05, **options)
        generate(spec, folder / f"sample-{day}")
        for source in sorted((folder / f"sample-{day}" / "logs").rglob("*")):
            target = logs / source.relative_to(folder / f"sample-{day}" / "logs")
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)
    change(logs)
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


REPLACED_AT = FIRST_DAY + timedelta(minutes=20)
OTHER_FLOW_LOGS = pytest.mark.parametrize(
    "other", ["fl-00000000000000000", "fl-fffffffffffffffff"], ids=["lower", "higher"]
)


def _records(logs: Path, flow_log_id: str, connection: duckdb.DuckDBPyConnection) -> list[Path]:
    """A table of what a flow log's Parquet objects hold, each record with its `path`; the objects."""
    paths = sorted(logs.rglob(f"*_{flow_log_id}_*.parquet"))
    connection.execute(
        "create table records as select * exclude (filename), filename as path "
        "from read_parquet(?, filename = true, hive_partitioning = false)",
        [list(map(str, paths))],
    )
    return paths


def _replace(logs: Path, flow_log_id: str, successor: str) -> None:
    """Let another flow log take over in the middle of the first hour, from one capture window of an interface on."""
    with duckdb.connect() as connection:
        paths = _records(logs, flow_log_id, connection)
        connection.execute(
            "create table taken_over as select interface_id, min(start) as moment from ("
            'select interface_id, start, max("end") over (partition by interface_id order by start, "end" '
            "rows between unbounded preceding and 1 preceding) as last_end from records"
            ") where start >= ? and start > coalesce(last_end, 0) group by all",
            [int(REPLACED_AT.timestamp())],
        )
        parts = {
            flow_log_id: "start < coalesce(moment, start + 1)",
            successor: "start >= coalesce(moment, start + 1)",
        }
        counts = dict.fromkeys(parts, 0)
        for path in paths:
            arrived = path.stat().st_mtime
            path.unlink()
            for name, condition in parts.items():
                part = connection.execute(
                    "select records.* exclude (path) from records left join taken_over using (interface_id) "
                    f"where path = ? and {condition}",
                    [str(path)],
                ).to_arrow_table()
                counts[name] += part.num_rows
                if part.num_rows:
                    target = path.with_name(path.name.replace(flow_log_id, name))
                    pq.write_table(part, target)
                    os.utime(target, (arrived, arrived))
    assert min(counts.values()) > 50, counts


def _double(logs: Path, flow_log_id: str, second: str) -> None:
    """Let another flow log say the same, in capture windows of ten minutes, which cross the turn of the hour."""
    with duckdb.connect() as connection:
        paths = _records(logs, flow_log_id, connection)
        merged = connection.execute(
            "select * exclude (part) from ("
            'select * exclude (path, start, "end", packets, bytes), (start - 300) // 600 as part, '
            'min(start) as start, max("end") as "end", sum(packets)::bigint as packets, sum(bytes)::bigint as bytes '
            "from records group by all)"
        ).to_arrow_table()
        crossing = connection.execute(
            'select count(*) from merged where start // 3600 < "end" // 3600 and packets > 0'
        ).fetchone()
    assert crossing is not None
    assert crossing[0] > 5
    target = paths[-1].with_name(paths[-1].name.replace(flow_log_id, second))
    pq.write_table(merged, target)
    os.utime(target, (paths[-1].stat().st_mtime,) * 2)


@OTHER_FLOW_LOGS
@pytest.mark.parametrize("change", [_replace, _double])
def test_interfaces_of_two_flow_logs_count_once(
    tmp_path: Path, make_lake: Callable[..., object], change: Callable[[Path, str, str], None], other: str
) -> None:
    """One that is replaced within an hour counts to its end, its successor from then on; of two at once one counts."""
    seed = 400
    flow_log_id = next(log.flow_log_id for log in sample_flow_logs(seed) if log.letter == "C")

    compared = _compare(
        tmp_path, [{"seed": seed, "faults": False}], make_lake, lambda logs: change(logs, flow_log_id, other)
    )

    assert compared.query(SIDES.format(grain=f"day, {EDGE}") + f" where {WRONG} limit 10") == []
