"""Lakes over objects that a test writes by hand: the real register and the real dbt, without gates and publishing."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake.duck import connect
from flowlake.lake.ledger import StagingState, mark_staging
from flowlake.lake.windows import Window
from flowlake.settings import LakeSettings, Settings, Source
from flowlake.steps import RunContext, run_step
from shared_dbt.start import shared_dbt

ACCOUNT = "123456789012"
REGION = "us-east-1"


@dataclass(frozen=True)
class HandmadeLake:
    """A lake, and the folder that its objects are written to."""

    settings: Settings
    logs: Path

    def write(self, data: bytes, flow_log: str, *, named: str = "20261120T1205", extension: str = "log.gz") -> str:
        """Put an object under its documented name, arrived ten minutes after the time in it; its uri.

        `data` is the object's text (packed here), or the whole of a Parquet file.
        """
        named_at = datetime.strptime(named, "%Y%m%dT%H%M").replace(tzinfo=UTC)
        folder = self.logs / f"AWSLogs/{ACCOUNT}/vpcflowlogs/{REGION}/{named_at:%Y/%m/%d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{ACCOUNT}_vpcflowlogs_{REGION}_{flow_log}_{named}Z_0a1b2c3d.{extension}"
        path.write_bytes(gzip.compress(data, mtime=0) if extension == "log.gz" else data)
        arrived = named_at.timestamp() + 600
        os.utime(path, (arrived, arrived))
        return str(path)

    def build(self, start: str, end: str, *steps: str) -> None:
        """Run steps of the pipeline over a window; by default those that write tables."""
        window = Window.parse(start, end)
        # What a run has begun before, it takes in: other windows are other runs.
        run_id = f"test {window}"
        for step in steps or ("register", "build_staging", "build_marts"):
            if step == "build_marts":
                with connect(self.settings, read_only=False) as connection:
                    mark_staging(connection, window, StagingState.PASSED, run_id)
            with shared_dbt():
                run_step(step, RunContext(self.settings, window, run_id))

    def rows(self, query: str, parameters: list[object] | None = None) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with connect(self.settings) as connection:
            return connection.execute(query, parameters).fetchall()


@pytest.fixture(scope="session")
def handmade_lake(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., HandmadeLake]:
    def make(**settings: Any) -> HandmadeLake:
        folder = tmp_path_factory.mktemp("handmade")
        logs = folder / "logs"
        logs.mkdir()
        sources = (Source(name="logs", uri=str(logs)),)
        # A folder whose name would break a literal, a template or a command line that forgot to quote it.
        lake = LakeSettings(folder / "it's a {lake}")
        return HandmadeLake(Settings(sources=sources, lake=lake, **settings), logs)

    return make
