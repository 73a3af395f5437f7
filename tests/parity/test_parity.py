"""The same runs over the same bucket on both engines leave the same rows in every table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowlake.sample import SampleSpec
from histories.world import HOUR, LogObject
from local_athena.server import LocalAthena
from parity.compare import assert_same
from parity.engines import AthenaReader
from parity.lakes import Lake, make_lake, on_athena, on_duckdb
from parity.world import Bucket, make_bucket, sampled, shared_samples, window

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


@pytest.fixture
def environment(athena: LocalAthena, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in athena.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(athena: LocalAthena, environment: None) -> Bucket:
    return make_bucket(athena, "parity-logs")


@pytest.fixture
def lakes(athena: LocalAthena, bucket: Bucket, tmp_path: Path) -> tuple[Lake, Lake]:
    """A lake on DuckDB and one on Athena, of the same bucket."""
    target = {
        "target": "athena",
        "athena": {
            "location": f"s3://{athena.bucket}/parity",
            "database": "parity",
            "work_group": athena.work_group,
        },
    }
    return (
        make_lake(tmp_path / "duckdb", bucket.uri, {}, SETTINGS),
        make_lake(tmp_path / "athena", bucket.uri, target, SETTINGS),
    )


def delayed(objects: list[LogObject], each: int, hours: int) -> list[LogObject]:
    """The objects, of which every so manieth came hours later."""
    return [
        replace(item, arrived=item.arrived + hours * HOUR) if place % each == 0 else item
        for place, item in enumerate(objects)
    ]


@pytest.mark.timeout(1200)
def test_both_engines_leave_the_same_rows_in_every_table(
    athena: LocalAthena, bucket: Bucket, lakes: tuple[Lake, Lake]
) -> None:
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    objects = delayed(sampled(SampleSpec(seed=5, start=start, hours=1, scale=0.01, slow_interface=True)), 7, 1)
    first, last = min(item.hour for item in objects), max(item.hour for item in objects)
    objects += shared_samples((first + 1) * HOUR + 900)
    bucket.put(objects)
    for lake in lakes:
        lake.run(window(first, first + 1))
        # Hours again, in another window: those that came late restate what the first run wrote.
        lake.run(window(first, last + 1))

    one, other = on_duckdb(lakes[0]), on_athena(lakes[1], AthenaReader(athena.client("athena"), athena.work_group))
    assert one.keys() == other.keys()
    assert len(one) >= LEAST_TABLES
    assert {name for name, table in one.items() if not table.rows} <= NOTHING_HAPPENED
    for name in sorted(one, key=upstream_first):
        assert_same(name, one[name], other[name])


def upstream_first(name: str) -> tuple[int, str]:
    """The layer that a table is of, so that the first one that differs is where a difference begins."""
    layers = ["raw", "seeds", "staging", "intermediate", "core", "marts", "ops", "flowlake"]
    return layers.index(name.partition(".")[0]), name
