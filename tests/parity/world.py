"""A bucket of flow logs in the local Athena's S3, with the hours in which its objects came."""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flowlake.lake.windows import Window
from flowlake.sample import SampleSpec, generate
from histories.world import HOUR, LogObject
from local_athena.server import LocalAthena

SHARED_SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
"""Captures and examples of others, beside the checkout where somebody has them."""


@dataclass(frozen=True)
class Bucket:
    """A source's root, and what was put there."""

    local: LocalAthena
    name: str

    @property
    def uri(self) -> str:
        return f"s3://{self.name}/logs"

    def put(self, objects: Iterable[LogObject]) -> None:
        for item in objects:
            self.local.put_arrived(self.name, f"logs/{item.key}", item.content, item.arrived)


def make_bucket(local: LocalAthena, name: str) -> Bucket:
    local.client("s3").create_bucket(Bucket=name)
    return Bucket(local, name)


def window(first: int, end: int) -> Window:
    """The window of the arrival hours from `first` to before `end`, counted from 1970."""
    return Window(datetime.fromtimestamp(first * HOUR, UTC), datetime.fromtimestamp(end * HOUR, UTC))


def sampled(spec: SampleSpec) -> list[LogObject]:
    """The generator's objects: several flow logs, formats and layouts, broken, foreign and late ones."""
    with tempfile.TemporaryDirectory() as folder:
        logs = generate(spec, Path(folder)).logs
        return [
            LogObject(str(path.relative_to(logs)), path.read_bytes(), int(path.stat().st_mtime))
            for path in sorted(logs.rglob("*"))
            if path.is_file()
        ]


def shared_samples(arrived: int, folder: Path = SHARED_SAMPLES) -> Iterator[LogObject]:
    """The sample files of others, if they are there, each as the only object of a flow log."""
    at = datetime.fromtimestamp(arrived - 600, UTC)
    for path in sorted(folder.rglob("*.log")):
        digest = hashlib.sha256(path.name.encode()).hexdigest()
        account, region = "123456789012", "us-east-1"
        name = f"{account}_vpcflowlogs_{region}_fl-{digest[:17]}_{at:%Y%m%dT%H%MZ}_{digest[17:25]}.log.gz"
        key = f"AWSLogs/{account}/vpcflowlogs/{region}/{at:%Y/%m/%d}/{name}"
        yield LogObject(key, gzip.compress(path.read_bytes(), mtime=0), arrived)
