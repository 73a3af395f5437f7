"""What is learnt of interfaces follows the objects that there are in the end, whatever was killed on the way; an hour
knows its devices, whoever brought them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flowlake.lake.duck import connect
from flowlake.lake.publish import HoursBlock
from flowlake.lake.windows import Window
from flowlake.settings import Settings
from flowlake.steps import RunContext, run_window
from histories.killing import Kill, run_and_kill
from histories.lakes import write_settings
from histories.points import begins, ended
from histories.world import FIRST_DAY, PLAIN, LogObject
from shared_dbt.start import shared_dbt

HOURS = [FIRST_DAY + timedelta(hours=hour) for hour in (10, 11)]
FIRST, BOTH = (Window(HOURS[0], HOURS[0] + timedelta(hours=hours)) for hours in (1, 2))
SECOND = Window(HOURS[1], HOURS[1] + timedelta(hours=1))

INTERFACE = "eni-00000000000000001"
ONE, OTHER, THIRD = "10.0.0.1", "10.0.0.2", "10.0.0.3"


@pytest.fixture(scope="module", autouse=True)
def _one_dbt() -> Iterator[None]:
    with shared_dbt():
        yield


def log_object(hour: int, *pairs: tuple[str, str], minute: int = 10, about: int | None = None) -> LogObject:
    """An object that came in a minute of an hour; a record of eni-1 for each pair, of that hour or of `about`."""
    at = HOURS[hour]
    start = int(at.timestamp()) + 60
    spoke = int(HOURS[hour if about is None else about].timestamp()) + 60
    lines = [
        f"2 111122223333 {INTERFACE} {source} {target} 40000 443 6 3 180 {spoke} {spoke + 50} ACCEPT OK"
        for source, target in pairs
    ]
    folder = f"AWSLogs/111122223333/vpcflowlogs/us-east-1/{at:%Y/%m/%d}"
    name = f"111122223333_vpcflowlogs_us-east-1_fl-00000000000000001_{at:%Y%m%dT%H%MZ}_0000000{hour}.log.gz"
    return LogObject(f"{folder}/{name}", gzip.compress("\n".join([PLAIN, *lines, ""]).encode()), start + minute * 60)


def learnt(settings: Settings) -> list[tuple[object, ...]]:
    """What is known of the interface's own address."""
    query = "select candidate_a, candidate_b, own_address from lake.intermediate.int_addresses__merged"
    with connect(settings) as connection:
        return connection.execute(query).fetchall()


def sides(settings: Settings) -> dict[object, object]:
    """By destination, from which side its edges were counted."""
    query = "select dst_device_id, counted_side from lake.core.fct_edges"
    with connect(settings) as connection:
        return dict(connection.execute(query).fetchall())


def run(settings: Settings, window: Window) -> None:
    run_window(RunContext(settings, window, "learning"))


def test_what_an_object_said_before_is_unlearnt_although_the_run_was_killed(tmp_path: Path) -> None:
    """The first hour knows that OTHER is the own address; the second one, of a single peer, is left to guess ONE."""
    settings, logs = write_settings(tmp_path, tmp_path / "logs"), tmp_path / "logs"
    log_object(0, (OTHER, THIRD)).write(logs)
    log_object(1, (ONE, OTHER)).write(logs)
    run(settings, BOTH)
    assert (learnt(settings), sides(settings)) == ([(OTHER, None, OTHER)], {THIRD: "source", OTHER: "dest"})

    # Overwritten by one without records.
    log_object(0, minute=20).write(logs)
    killed = run_and_kill(settings, FIRST, Kill(line=ended("int_interfaces__observed")))
    assert killed.was_killed, killed.output
    assert killed.step == "build_marts"
    run(settings, FIRST)
    assert (learnt(settings), sides(settings)) == ([(ONE, OTHER, ONE)], {OTHER: "source"})

    # A lake of before there was a table of what each hour says: the hours that were run are asked again.
    with connect(settings, read_only=False) as connection:
        connection.execute("drop table lake.intermediate.int_interfaces__observed")
    log_object(0, (OTHER, THIRD), minute=30).write(logs)
    run(settings, FIRST)
    assert (learnt(settings), sides(settings)) == ([(OTHER, None, OTHER)], {THIRD: "source", OTHER: "dest"})


def test_an_hour_knows_the_devices_that_a_killed_run_brought_to_it(tmp_path: Path) -> None:
    """The second hour brings records of the first one, and dies before it knows their devices."""
    settings, logs = write_settings(tmp_path, tmp_path / "logs"), tmp_path / "logs"
    log_object(0, (ONE, OTHER)).write(logs)
    log_object(1, (ONE, THIRD), about=0).write(logs)
    killed = run_and_kill(settings, SECOND, Kill(line=begins("dim_devices")))
    assert killed.was_killed, killed.output
    assert killed.step == "build_marts"

    with pytest.raises(HoursBlock, match=r"2026-03-02T11 \(building"):
        run(settings, FIRST)
    run(settings, SECOND)
    assert sides(settings) == {OTHER: "source", THIRD: "source"}
