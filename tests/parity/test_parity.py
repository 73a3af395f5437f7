"""The same runs over the same bucket on both engines leave the same rows in every table; on Athena, what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from flowlake.estimating import estimate
from flowlake.lake.athena import AthenaLake
from flowlake.lake.windows import Window
from flowlake.sample import SampleSpec
from flowlake.steps import STEPS
from histories.world import HOUR, LogObject
from local_athena.server import LocalAthena
from parity.compare import assert_same
from parity.engines import AthenaReader
from parity.lakes import Lake, make_lake, on_athena, on_duckdb
from parity.world import make_bucket, sampled, shared_samples, window

SETTINGS = {
    "gates": {
        "max_malformed_share": 1.0,
        "silent_flow_log": "warn",
        # The examples of others are years old.
        "max_event_age_hours": 24 * 3660,
        "max_event_ahead_minutes": 1440,
    },
    "device_names": {"10.0.0.1": "it's {{ one }}"},
    "overlapping_cidrs": ["10.0.0.0/30"],
}

LEAST_TABLES = 45
"""Models, seeds, the raw layer, the ledger, and what people read: fewer, and the comparison looks past something."""

NOTHING_HAPPENED = {"marts.rpt_denied_spikes", "flowlake.rpt_denied_spikes"}
"""A spike is one beside the hours before it, and there are none."""


@dataclass(frozen=True)
class Ran:
    """A lake on DuckDB and one on Athena after the same runs over one bucket, and the windows of these."""

    duckdb: Lake
    athena: Lake
    windows: tuple[Window, ...]


@pytest.fixture(scope="module")
def ran(athena: LocalAthena, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("parity")
    target = {
        "target": "athena",
        "athena": {
            "location": f"s3://{athena.bucket}/parity",
            "database": "parity",
            "work_group": athena.work_group,
        },
    }
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    objects = delayed(sampled(SampleSpec(seed=5, start=start, hours=1, scale=0.01, slow_interface=True)), 7, 1)
    first, last = min(item.hour for item in objects), max(item.hour for item in objects)
    objects += shared_samples((first + 1) * HOUR + 900)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in athena.environment.items():
            patch.setenv(name, value)
        bucket = make_bucket(athena, "parity-logs")
        bucket.put(objects)
        # Hours again, in another window: those that came late restate what the first run wrote.
        windows = (window(first, first + 1), window(first, last + 1))
        lakes = (
            make_lake(folder / "duckdb", bucket.uri, {}, SETTINGS),
            make_lake(folder / "athena", bucket.uri, target, SETTINGS),
        )
        for lake in lakes:
            for each in windows:
                lake.run(each)
        yield Ran(*lakes, windows)


def delayed(objects: list[LogObject], each: int, hours: int) -> list[LogObject]:
    """The objects, of which every so manieth came hours later."""
    return [
        replace(item, arrived=item.arrived + hours * HOUR) if place % each == 0 else item
        for place, item in enumerate(objects)
    ]


@pytest.mark.timeout(1200)
def test_both_engines_leave_the_same_rows_in_every_table(athena: LocalAthena, ran: Ran) -> None:
    one, other = on_duckdb(ran.duckdb), on_athena(ran.athena, AthenaReader(athena.client("athena"), athena.work_group))
    assert one.keys() == other.keys()
    assert len(one) >= LEAST_TABLES
    assert {name for name, table in one.items() if not table.rows} <= NOTHING_HAPPENED
    for name in sorted(one, key=upstream_first):
        assert_same(name, one[name], other[name])


def test_the_ledger_of_costs_has_every_statement_of_every_step(ran: Ran) -> None:
    settings = ran.athena.settings
    assert settings.athena is not None
    lake, results = AthenaLake(settings), settings.athena.results
    sent = {
        one["QueryExecutionId"]: int(one["Statistics"]["DataScannedInBytes"])
        for one in lake.executions(datetime(2026, 1, 1, tzinfo=UTC))
        if one["ResultConfiguration"]["OutputLocation"].startswith(results)
    }
    costs = lake.table("ops", "query_costs")
    counted = lake.query(f"select execution_id, scanned_bytes from {costs}")
    assert {str(one): int(scanned or 0) for one, scanned in counted} == sent
    assert len(counted) == len(sent)
    # Each step of each run sends some, and dbt says for which model.
    steps = lake.query(f"select step, count(distinct arrival_to), count(distinct node) from {costs} group by step")
    windows = str(len(ran.windows))
    assert {(step, runs) for step, runs, _ in steps} == {
        (step.name, windows) for step in STEPS if step.name != "register"
    }
    nodes = {str(step): int(count or 0) for step, _, count in steps}
    assert nodes["build_marts"] > 20 > nodes["publish"] == 0


def test_a_window_is_estimated_by_the_runs_before_it(ran: Ran) -> None:
    settings = ran.athena.settings
    estimated = estimate(settings, ran.windows[1])
    assert (estimated.runs, estimated.window) == (2, str(ran.windows[1]))
    assert estimated.error is not None
    lake = AthenaLake(settings)
    ((scanned, dollars),) = lake.query(
        f"select sum(scanned_bytes), sum(dollars) from {lake.table('ops', 'query_costs')} "
        f"where arrival_to = '{str(ran.windows[1]).split('/')[1]}'"
    )
    # It is one of the two runs that it was estimated by.
    assert estimated.scanned == pytest.approx(float(scanned or 0), rel=0.2)
    assert estimated.dollars == pytest.approx(float(dollars or 0), rel=0.2)


def upstream_first(name: str) -> tuple[int, str]:
    """The layer that a table is of, so that the first one that differs is where a difference begins."""
    layers = ["raw", "seeds", "staging", "intermediate", "core", "marts", "ops", "flowlake"]
    return layers.index(name.partition(".")[0]), name
