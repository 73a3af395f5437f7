"""The hourly DAG through a real scheduler: a backfill over hours of tiny logs, and an hour that its gate refuses."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.orchestration import local
from flowlake.orchestration.assets import PUBLISHED_TABLES
from flowlake.orchestration.demo import HourRun, HoursFailedError, Progress, run_hours
from flowlake.settings import load_settings
from flowlake.steps import STEPS
from shared_dbt.start import shared_dbt

ACCOUNT = "111122223333"
FLOW_LOG = "fl-0123456789abcdef0"
FIELDS = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def put_object(logs: Path, hour: datetime, size: int, lines: list[str] | None = None) -> None:
    """One object that arrived 10 minutes into an hour: ten records of `size` bytes each, unless lines are given."""
    begin = int(hour.timestamp())
    record = f"2 {ACCOUNT} eni-0a1b2c3d4e5f60718 10.0.0.5 10.0.1.7 44321 443 6 1 {size} {{}} {{}} ACCEPT OK"
    body = lines or [record.format(begin + second, begin + second + 5) for second in range(0, 100, 10)]
    folder = logs / "AWSLogs" / ACCOUNT / "vpcflowlogs" / "us-east-1" / f"{hour:%Y/%m/%d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ACCOUNT}_vpcflowlogs_us-east-1_{FLOW_LOG}_{hour:%Y%m%dT%H%M}Z_{begin:x}.log.gz"
    path.write_bytes(gzip.compress("\n".join([FIELDS, *body, ""]).encode()))
    os.utime(path, (begin + 600, begin + 600))


@dataclass(frozen=True)
class Ran:
    """What two calls left: two good hours, then a bad one after them."""

    home: Path
    config: Path
    first: tuple[HourRun, ...]
    error: HoursFailedError
    published: dict[str, list[tuple[object, ...]]]
    shown: str


def _published(config: Path) -> list[tuple[object, ...]]:
    with connect(load_settings(config)) as lake:
        query = "select event_hour, sum(flows), sum(bytes) from lake.flowlake.fct_edges where is_counted group by 1"
        return sorted(lake.execute(query).fetchall())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("hourly")
    home, config = folder / "airflow", folder / "flowlake.yaml"
    config.write_text("sources:\n  - name: logs\n    uri: logs\nlake: {path: lake}\n")
    put_object(folder / "logs", NOON, size=100)
    put_object(folder / "logs", NOON + timedelta(hours=1), size=7)
    put_object(folder / "logs", NOON + timedelta(hours=2), size=0, lines=["this is no record"] * 10)
    shown: list[str] = []
    progress = Progress(shown.append, live=False)
    published: dict[str, list[tuple[object, ...]]] = {}
    with shared_dbt():
        try:
            first = run_hours(Window(NOON, NOON + timedelta(hours=2)), home=home, config=config, progress=progress)
            published["before"] = _published(config)
            with pytest.raises(HoursFailedError) as caught:
                run_hours(Window(NOON, NOON + timedelta(hours=4)), home=home, config=config, progress=progress)
            published["after"] = _published(config)
            yield Ran(home, config, first, caught.value, published, "".join(shown))
        finally:
            local.down(local.LocalAirflow(home=home))


def _metadata(ran: Ran, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(ran.home / "airflow.db") as database:
        return database.execute(query).fetchall()


def test_every_hour_is_one_run_with_its_hour_as_data_interval(ran: Ran) -> None:
    query = "select data_interval_start, data_interval_end, state, run_type from dag_run order by 1"
    runs = [(start[:16], end[:16], state, kind) for start, end, state, kind in _metadata(ran, query)]
    assert runs[:3] == [
        ("2024-03-05 12:00", "2024-03-05 13:00", "success", "backfill"),
        ("2024-03-05 13:00", "2024-03-05 14:00", "success", "backfill"),
        ("2024-03-05 14:00", "2024-03-05 15:00", "failed", "backfill"),
    ]
    assert [(result.hour, result.ran) for result in ran.first] == [("2024-03-05T12", True), ("2024-03-05T13", True)]
    assert all(result.seconds > 0 for result in ran.first)


def test_every_task_of_a_good_hour_succeeded_at_its_first_try(ran: Ran) -> None:
    query = (
        "select task_id, task_instance.state, try_number from task_instance join dag_run using (dag_id, run_id) "
        "where data_interval_start like '2024-03-05 13:%' order by task_instance.start_date"
    )
    assert _metadata(ran, query) == [(step.name, "success", 1) for step in STEPS]


def test_what_people_read_are_the_records_of_both_hours(ran: Ran) -> None:
    hours = [NOON.replace(tzinfo=None), (NOON + timedelta(hours=1)).replace(tzinfo=None)]
    assert ran.published["before"] == [(hours[0], 10, 1000), (hours[1], 10, 70)]


def test_each_publication_updates_the_asset_of_every_table(ran: Ran) -> None:
    query = "select asset.uri, count(*) from asset_event join asset on asset.id = asset_id group by 1 order by 1"
    assert _metadata(ran, query) == [(f"x-flowlake://flowlake/{table}", 2) for table in PUBLISHED_TABLES]


def test_a_failed_gate_stops_its_run_without_a_retry_and_before_anything_is_shown(ran: Ran) -> None:
    query = (
        "select task_id, task_instance.state, try_number from task_instance join dag_run using (dag_id, run_id) "
        "where data_interval_start like '2024-03-05 14:%'"
    )
    tasks = {name: (state, tries) for name, state, tries in _metadata(ran, query)}
    assert tasks["build_staging"] == ("success", 1)
    assert tasks["validate_staging"] == ("failed", 1)
    assert {tasks[name][0] for name in ("build_marts", "validate_marts", "publish")} == {"upstream_failed"}
    assert ran.published["after"] == ran.published["before"]


def test_the_failure_says_which_task_of_which_hour_and_why(ran: Ran) -> None:
    message = str(ran.error)
    assert message.startswith("validate_staging failed for 2024-03-05T14. The end of its log:")
    assert "the staging gate failed for 2024-03-05T14/2024-03-05T15" in message
    assert "malformed" in message


def test_good_hours_are_not_run_again_and_hours_after_the_failure_are_ended(ran: Ran) -> None:
    assert "2 of the 4 hours of 2024-03-05T12/2024-03-05T16 ran before" in ran.shown
    assert ran.shown.count("2024-03-05T12 done in") == 1
    assert "2024-03-05T15 done" not in ran.shown
    assert _metadata(ran, "select state from dag_run where data_interval_start like '2024-03-05 15:%'") == [("failed",)]
    assert _metadata(ran, "select count(*) from backfill where completed_at is null") == [(0,)]


def test_every_step_logs_what_it_handled(ran: Ran) -> None:
    for step in STEPS:
        [log] = ran.home.glob(f"logs/dag_id=*/run_id=*2024-03-05T14*/task_id={step.name}/attempt=1.log")
        text = log.read_text()
        counted = {"register": "objects lines bytes", "build_staging": "objects lines records bytes"}
        counted["build_marts"] = "records bytes"
        for count in [*counted.get(step.name, "").split(), "seconds"]:
            assert re.search(rf"{step.name} \S+: .*\b{count}=\d", text), (step.name, count)


def test_nothing_is_left_running(ran: Ran) -> None:
    airflow = local.LocalAirflow(home=ran.home)
    assert local.status(airflow) == {}
    assert local.down(airflow) == 0
