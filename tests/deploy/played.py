"""Everything that people and schedules do with a lake, done with the permissions of its roles."""

from __future__ import annotations

import gzip
import io
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from deploy.stack import ACCOUNT, Stack
from flowlake.lake.athena import AthenaLake
from flowlake.lake.athena_views import RECORD
from flowlake.lake.files import open_files
from flowlake.lake.maintain import maintain
from flowlake.lake.tables import read_rows
from flowlake.lake.unfinished import Work, noted
from flowlake.lake.windows import Window
from flowlake.querying_athena import open_query_on_athena
from flowlake.sample import SampleSpec
from flowlake.settings import Settings
from histories.world import HOUR, LogObject, gateway_objects
from local_athena.policies import Need
from mixed_bucket import MixedBucket
from parity.lakes import Lake, make_lake
from parity.world import sampled, shared_samples, window

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
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

QUESTIONS = (
    "show tables",
    "select * from fct_edges limit 3",
    "select * from dim_devices limit 3",
    "select * from fct_coverage limit 3",
    "select * from rpt_top_talkers limit 3",
    "select * from rpt_talkers_hourly limit 3",
)
"""What analysts ask, of tables of each schema that they read."""


@dataclass(frozen=True)
class Needed:
    """A permission that somebody's call needed, and whether it was there."""

    who: str
    by: str
    need: Need
    is_allowed: bool


@dataclass
class Played:
    """A lake of a stack's roles, and one on DuckDB after the same runs over the same bucket."""

    stack: Stack
    folder: Path
    made: dict[str, Lake] = field(default_factory=dict)
    """The lake as each role has it set up, when it was played before."""
    windows: tuple[Window, ...] = ()

    @contextmanager
    def role(self, who: str) -> Iterator[Lake]:
        """In a role's environment: the lake as it uses it."""
        group = {"athena": {**self.athena, "work_group": self.stack.outputs[f"{who}WorkGroup"]}}
        lake = self.made.get(who) or make_lake(self.folder / who, self.logs, {"target": "athena", **group}, SETTINGS)
        self.made[who] = lake
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("AWS_PROFILE", raising=False)
            for name, value in self.stack.session(who).items():
                patch.setenv(name, value)
            yield lake

    @property
    def logs(self) -> str:
        return f"s3://{self.stack.outputs['LogsBucket']}"

    @property
    def athena(self) -> dict[str, str]:
        return {"location": self.stack.outputs["LakeLocation"], "database": self.stack.outputs["Database"]}

    def put(self, *items: LogObject) -> None:
        """Objects of flow logs, as delivery leaves them."""
        for item in items:
            self.stack.local.put_arrived(self.stack.outputs["LogsBucket"], item.key, item.content, item.arrived)

    def needed(self) -> list[Needed]:
        """What calls needed so far."""
        names = {self.stack.role(who): who for who in ("Pipeline", "Analyst")}
        return [
            Needed(names[one["role"]], one["by"], Need(one["action"], one["resource"]), one["verdict"] == "allowed")
            for one in self.stack.local.needs()
            if one["role"] in names
        ]

    def run(self) -> Lake:
        """Runs over two windows, the second of which repeats the first, with late objects; the lake on DuckDB."""
        objects = delayed(sampled(SampleSpec(seed=5, start=START, hours=1, scale=0.01, slow_interface=True)), 7, 1)
        first, last = min(item.hour for item in objects), max(item.hour for item in objects)
        gone = text_object("gone", first * HOUR + 1200)
        gateways = gateway_objects(random.Random(5), range(first, last + 1))  # noqa: S311 - a seed, not a secret
        # A folder with a control character in a key cannot be listed by Trino from moto: XML 1.0 has none.
        mixed = [placed.object for placed in MixedBucket(first).placed if placed.reason != "unsafe_name"]
        self.put(*objects, *gateways, *mixed, *shared_samples((first + 1) * HOUR + 900), gone)
        self.windows = (window(first, first + 1), window(first, last + 1))
        duckdb = make_lake(self.folder / "duckdb", self.logs, {}, SETTINGS)
        for number, hours in enumerate(self.windows):
            if number:
                # One that was read before is gone, so its partition goes; one brings a column: partitions are changed.
                self.stack.local.client("s3").delete_object(Bucket=self.stack.outputs["LogsBucket"], Key=gone.key)
                self.put(parquet_object("novel", (first + 1) * HOUR + 1200, novelty="a"))
            duckdb.run(hours, accept_missing=True)
            with self.role("Pipeline") as lake:
                lake.run(hours, accept_missing=True)
        return duckdb

    def grow_old(self) -> None:
        """A dead run, a table that is published no more; then maintenance."""
        with self.role("Pipeline") as lake:
            settings = lake.settings
            self.die(settings)
            self.retire(settings)
            lake.run(self.windows[-1], "publish")
            assert read_rows(settings, "select 1 from {ops}.query_costs limit 1", asked=True), "as an estimate does"
            maintain(settings, now=datetime.now(UTC) + timedelta(days=2), dry_run=False)

    def die(self, settings: Settings) -> None:
        """A step that did not come to its end, with a statement under way that the next one stops."""
        with pytest.raises(RuntimeError), noted(settings, Work("deployed", "build_marts")):
            raise RuntimeError
        self.stack.local.inject(statement="1 as late", delay=30)
        assert settings.athena is not None
        late = self.stack.client("athena", "Pipeline").start_query_execution(
            QueryString=f'insert into "{settings.athena.schema("core")}"."t" select 1 as late',
            WorkGroup=settings.athena.work_group,
            ResultConfiguration={"OutputLocation": settings.athena.results},
        )
        with noted(settings, Work("deployed", "build_marts")):
            pass
        assert self.wait(late["QueryExecutionId"])["Status"]["State"] == "CANCELLED"

    def retire(self, settings: Settings) -> None:
        """A view that an older version published, and this one does not."""
        AthenaLake(settings).run(
            f"CREATE VIEW {AthenaLake(settings).table('flowlake', 'rpt_retired')} AS SELECT 1 AS x"
        )
        files = open_files(settings)
        record = json.loads(files.read(RECORD) or b"{}")
        files.write(RECORD, json.dumps({**record, "names": [*record["names"], "rpt_retired"]}).encode())

    def wait(self, execution: str) -> dict[str, Any]:
        """A statement when it has ended."""
        athena, deadline = self.stack.local.client("athena"), time.monotonic() + 60
        while True:
            found: dict[str, Any] = athena.get_query_execution(QueryExecutionId=execution)["QueryExecution"]
            if found["Status"]["State"] not in ("QUEUED", "RUNNING"):
                return found
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def ask(self, settings: Settings, question: str) -> int:
        """How many rows an analyst's question has."""
        with open_query_on_athena(settings, question) as result:
            return len(list(result.rows))


def delayed(objects: list[LogObject], each: int, hours: int) -> list[LogObject]:
    """The objects, of which every so manieth came hours later."""
    return [
        replace(item, arrived=item.arrived + hours * HOUR) if place % each == 0 else item
        for place, item in enumerate(objects)
    ]


RECORD_FIELDS: dict[str, object] = {
    **{"version": 2, "account_id": ACCOUNT, "interface_id": "eni-0123456789abcdef0"},
    **{"srcaddr": "10.0.0.1", "dstaddr": "10.0.0.2", "srcport": 40000, "dstport": 443, "protocol": 6},
    **{"packets": 3, "bytes": 300, "start": 0, "end": 60, "action": "ACCEPT", "log_status": "OK"},
}
"""The fields of version 2; times count from ten minutes before the object came."""


def text_object(name: str, arrived: int) -> LogObject:
    """An object of text in a format that no other one has."""
    record = at_time(arrived)
    fields = sorted(record)
    lines = (" ".join(field.replace("_", "-") for field in fields), " ".join(str(record[field]) for field in fields))
    return own(name, arrived, "gz", gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def parquet_object(name: str, arrived: int, **more: object) -> LogObject:
    """An object of Parquet, with columns that nobody knows."""
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([at_time(arrived) | more]), sink)
    return own(name, arrived, "parquet", sink.getvalue())


def at_time(arrived: int) -> dict[str, object]:
    return RECORD_FIELDS | {"start": arrived - 600, "end": arrived - 540}


def own(name: str, arrived: int, suffix: str, content: bytes) -> LogObject:
    at = datetime.fromtimestamp(arrived - 600, UTC)
    file = f"{ACCOUNT}_vpcflowlogs_us-east-1_fl-{name}_{at:%Y%m%dT%H%MZ}_0a1b2c3d.log.{suffix}"
    return LogObject(f"AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/{at:%Y/%m/%d}/{file}", content, arrived)
