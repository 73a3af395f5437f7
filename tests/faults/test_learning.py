"""What is learnt of interfaces follows the objects that there are in the end, whatever was killed on the way."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.settings import Settings
from flowlake.steps import RunContext, run_window
from histories.killing import Kill, run_and_kill
from histories.lakes import write_settings
from histories.points import ended
from histories.world import FIRST_DAY, PLAIN, LogObject
from shared_dbt.start import shared_dbt

HOURS = [FIRST_DAY + timedelta(hours=hour) for hour in (10, 11)]
FIRST, BOTH = (Window(HOURS[0], HOURS[0] + timedelta(hours=hours)) for hours in (1, 2))

LEARNT = (
    "select interface_id, candidate_a, candidate_b, own_address from lake.intermediate.int_addresses__merged",
    "select event_hour, src_device_id, dst_device_id, counted_side, packets from lake.core.fct_edges",
)


@pytest.fixture(scope="module", autouse=True)
def _one_dbt() -> Iterator[None]:
    with shared_dbt():
        yield


def log_object(hour: int, *pairs: tuple[str, str], minute: int = 10) -> LogObject:
    """An object that came in a minute of an hour, with a record of eni-1 for each pair of addresses."""
    at = HOURS[hour]
    start = int(at.timestamp()) + 60
    lines = [
        f"2 111122223333 eni-00000000000000001 {source} {target} 40000 443 6 3 180 {start} {start + 50} ACCEPT OK"
        for source, target in pairs
    ]
    folder = f"AWSLogs/111122223333/vpcflowlogs/us-east-1/{at:%Y/%m/%d}"
    name = f"111122223333_vpcflowlogs_us-east-1_fl-00000000000000001_{at:%Y%m%dT%H%MZ}_0000000{hour}.log.gz"
    return LogObject(f"{folder}/{name}", gzip.compress("\n".join([PLAIN, *lines, ""]).encode()), start + minute * 60)


def learnt(settings: Settings) -> list[list[tuple[object, ...]]]:
    with connect(settings) as connection:
        return [sorted(connection.execute(query).fetchall(), key=str) for query in LEARNT]


def run(settings: Settings, window: Window) -> None:
    run_window(RunContext(settings, window, "learning"))


def test_what_an_object_said_before_is_unlearnt_although_the_run_was_killed(tmp_path: Path) -> None:
    """The first hour alone says that 10.0.0.2 is the own address; without it, it is taken to be 10.0.0.1."""
    before, emptied = log_object(0, ("10.0.0.2", "10.0.0.3")), log_object(0, minute=20)
    stays = log_object(1, ("10.0.0.1", "10.0.0.2"))

    clean = write_settings(tmp_path / "clean", tmp_path / "clean" / "logs")
    for item in (emptied, stays):
        item.write(tmp_path / "clean" / "logs")
    run(clean, BOTH)

    settings = write_settings(tmp_path / "killed", tmp_path / "killed" / "logs")
    for item in (before, stays):
        item.write(tmp_path / "killed" / "logs")
    run(settings, BOTH)
    assert learnt(settings) != learnt(clean)
    emptied.write(tmp_path / "killed" / "logs")
    killed = run_and_kill(settings, FIRST, Kill(line=ended("int_interfaces__observed")))
    assert killed.was_killed, killed.output
    assert killed.step == "build_marts"
    run(settings, FIRST)
    assert learnt(settings) == learnt(clean)
