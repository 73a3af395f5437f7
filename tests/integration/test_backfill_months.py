"""Windows of months leave what windows of hours and days leave, also those that the range cuts in mid-month."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake import cli
from flowlake.sample import SampleSpec, generate
from shared_dbt.start import shared_dbt

RANGE = ("2026-08-31T23", "2026-09-30T01")
MONTHS = ("2026-08-31T23/2026-09-01T00", "2026-09-01T00/2026-09-30T01")
OTHERWISE = (
    # Over the end of the month, hours, weeks in which nothing came, an hour.
    ("2026-08-31T23", "2026-09-01T01"),
    ("2026-09-01T01", "2026-09-01T06"),
    ("2026-09-01T06", "2026-09-30T00"),
    ("2026-09-30T00", "2026-09-30T01"),
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came over the end of August and in the night to the last day of September, an hour more on both sides."""
    folder = tmp_path_factory.mktemp("months")
    for start in (datetime(2026, 8, 31, 22, tzinfo=UTC), datetime(2026, 9, 29, 23, tzinfo=UTC)):
        made = generate(SampleSpec(seed=7, start=start, hours=3, scale=0.01), folder / f"{start:%m}")
        assert made.arrival_from == f"{start:%Y-%m-%dT%H}"
        shutil.copytree(made.logs, folder / "logs", dirs_exist_ok=True)
    return folder / "logs"


@pytest.fixture(scope="module")
def by_months(tmp_path_factory: pytest.TempPathFactory, logs: Path, make_lake: Callable[..., Any]) -> tuple[Any, str]:
    """A lake that a backfill by months has filled, and what was said."""
    # In most of these hours nothing came.
    lake = make_lake(tmp_path_factory.mktemp("by-months"), logs, gates={"silent_flow_log": "warn"})
    return lake, backfill(lake)


def backfill(lake: Any, *options: str) -> str:
    """What `flowlake backfill --window month` says."""
    said = lake.config.parent / "said"
    typed = ["backfill", "--from", RANGE[0], "--to", RANGE[1], "--window", "month", *options]
    with shared_dbt(), said.open("w") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", file)
        patch.setattr("sys.stderr", file)
        code = cli.run(["--config", str(lake.config), *typed])
    assert code == 0, said.read_text()
    return said.read_text()


def test_a_range_is_cut_at_the_end_of_the_month_and_at_its_own_ends(by_months: tuple[Any, str]) -> None:
    lake, said = by_months
    for number, window in enumerate(MONTHS, start=1):
        assert f"[{number}/2] {window} done in " in said
    assert "2 windows, 2 done before: nothing to run" in backfill(lake, "--dry-run")
    with_objects = "select distinct arrival_hour from flowlake.fct_coverage where objects > 0 order by 1"
    hours = [hour for (hour,) in lake.rows(with_objects)]
    assert hours[0] == "2026-08-31T23"
    assert hours[-1] == "2026-09-30T00"
    assert {hour[:7] for hour in hours} == {"2026-08", "2026-09"}


def test_months_leave_what_other_windows_leave(
    *,
    tmp_path: Path,
    logs: Path,
    by_months: tuple[Any, str],
    make_lake: Callable[..., Any],
    assert_same_tables: Callable[..., None],
) -> None:
    lake, _ = by_months
    otherwise = make_lake(tmp_path, logs)
    for start, end in OTHERWISE:
        otherwise.build(start, end)
    assert_same_tables(otherwise, lake)
    edges = "select cast(event_hour as date), count(*), sum(bytes) from {}.fct_edges group by 1 order by 1"
    shown = lake.rows(edges.format("lake.flowlake"))
    assert shown == otherwise.rows(edges.format("lake.core"))
    assert {(day.month, day.day) for day, *_ in shown} >= {(8, 31), (9, 1), (9, 29), (9, 30)}
