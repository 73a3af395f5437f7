"""Faults of the world around a lake. Lakes are made as in tests/integration, over a few objects written by hand."""

from __future__ import annotations

import gzip
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest


def _beside(folder: str) -> Any:
    """The fixtures of another folder: under importlib import mode tests are in no package."""
    path = Path(__file__).parent.with_name(folder) / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_integration = _beside("integration")
make_lake = _integration.make_lake
assert_same_tables = _integration.assert_same_tables

ACCOUNT = "123456789012"
FIELDS = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)


@dataclass(frozen=True)
class Logs:
    """A folder of flow logs, whose objects have the times of arrival that a test wants."""

    root: Path

    def put(
        self,
        flow_log: str,
        named: str,
        *,
        arrived: str,
        packets: tuple[int, ...] = (3,),
        lines: int = 1,
        account: str = ACCOUNT,
        extra: tuple[str, ...] = (),
    ) -> Path:
        """Write an object of a host's conversations, `packets` each; `named` and `arrived` like 2026-11-20T12:05.

        `extra` are lines of other interfaces: `{account}`, `{begun}` and `{ended}` in them stand for its own.
        """
        named_at = datetime.fromisoformat(named).replace(tzinfo=UTC)
        begun = int(named_at.timestamp())
        log = flow_log[-1]
        records = [
            f"2 {account} eni-{flow_log} 10.0.{log}.1 10.1.{log}.{line % 250} {40000 + line} 443 6 {count} "
            f"{count * 100} {begun} {begun + 60} ACCEPT OK"
            for count in packets
            for line in range(lines)
        ]
        records += [line.format(account=account, begun=begun, ended=begun + 60) for line in extra]
        folder = self.root / f"AWSLogs/{account}/vpcflowlogs/us-east-1/{named_at:%Y/%m/%d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{account}_vpcflowlogs_us-east-1_{flow_log}_{named_at:%Y%m%dT%H%M}Z_0a1b2c3d.log.gz"
        temporary = path.with_suffix(".new")
        temporary.write_bytes(gzip.compress("\n".join([FIELDS, *records, ""]).encode(), mtime=0))
        moment = datetime.fromisoformat(arrived).replace(tzinfo=UTC).timestamp()
        os.utime(temporary, (moment, moment))
        temporary.replace(path)
        return path


@pytest.fixture(scope="session")
def make_logs() -> Callable[[Path], Logs]:
    return Logs


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path / "logs")


@pytest.fixture(scope="session")
def published(make_lake: Callable[..., Any]) -> Iterator[tuple[Any, Logs]]:
    """A lake with one published hour, its logs with one more hour, where any user may look; tests add hours to both."""
    with tempfile.TemporaryDirectory(prefix="flowlake-faults-") as folder:
        Path(folder).chmod(0o755)
        logs = Logs(Path(folder) / "logs")
        for hour in (12, 13):
            logs.put("fl-1", f"2026-11-20T{hour}:05", arrived=f"2026-11-20T{hour}:10", lines=200)
        lake = make_lake(Path(folder) / "published", logs.root)
        lake.run("2026-11-20T12", "2026-11-20T13")
        yield lake, logs
