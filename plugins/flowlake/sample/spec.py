"""What a sample is asked to be, and what came out: the generator's only inputs and its report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from flowlake.errors import FlowlakeError

HOUR_FORMAT = "%Y-%m-%dT%H"

# Records per hour at scale 1.0, measured 2026-11 over seeds 1 to 20; only used to turn a wanted number into a scale.
RECORDS_PER_HOUR = 88_000


class SampleError(FlowlakeError):
    """A sample that cannot be made as asked; the message says which argument is wrong."""


class FaultKind(StrEnum):
    """The ways in which the logs are made imperfect on purpose. None destroys a record that the truth counts."""

    LATE_OBJECT = "late_object"
    MALFORMED_LINES = "malformed_lines"
    BLANK_AND_HEADER_LINES = "blank_and_header_lines"
    NO_FINAL_NEWLINE = "no_final_newline"
    SEVERAL_GZIP_MEMBERS = "several_gzip_members"
    TRUNCATED_GZIP = "truncated_gzip"
    WRONG_CHECKSUM = "wrong_checksum"
    UNPACKED = "unpacked"
    TRUNCATED_PARQUET = "truncated_parquet"
    EMPTY_OBJECT = "empty_object"
    NO_HEADER = "no_header"
    FOREIGN_FILE = "foreign_file"
    DIRECTORY_MARKER = "directory_marker"
    SKIPDATA = "skipdata"
    LOST_RECORDS = "lost_records"


@dataclass(frozen=True)
class InjectedFault:
    """One fault, where it lies (`key`: the object's key below the logs folder, or an interface) and how much of it."""

    kind: FaultKind
    key: str
    count: int
    detail: str = ""


@dataclass(frozen=True)
class SampleSpec:
    """What to generate. Two equal specs give byte-identical objects.

    seed: every random choice follows from it.
    start: a whole hour, UTC; traffic lies in [start, start + hours).
    hours: hours of traffic; capture windows reach a few minutes further on both sides.
    scale: 1.0 is about 88,000 records an hour; traffic grows in proportion, the number of hosts with its root.
    faults: malformed lines, broken objects, foreign files, late objects.
    lossy: an interface with SKIPDATA lines really loses records (otherwise such lines are markers only).
    slow_interface: one interface that is not on Nitro and captures in windows of 600 s instead of 60 s or less.
    random_logging: interfaces are dealt to flow logs (or none) by chance instead of by subnet: for tests over seeds.
    ambiguous_rejects: allow packets that their sender's ENI logs as accepted and that a receiver in a REJECT-only flow
        log rejects. A rule that chooses sides by coverage counts these twice; off by default.
    prefix: folder before `AWSLogs/`, for all flow logs.
    """

    seed: int = 7
    start: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)
    hours: int = 3
    scale: float = 1.0
    faults: bool = True
    lossy: bool = False
    slow_interface: bool = False
    random_logging: bool = False
    ambiguous_rejects: bool = False
    prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse what would give a sample that nobody asked for.

        Raises:
            SampleError: when an argument is out of its range.
        """
        if self.start.utcoffset() != timedelta(0) or self.start.timestamp() % 3600:
            raise SampleError(f"start must be a whole hour in UTC, not {self.start.isoformat()}")
        if not 1 <= self.hours <= 24 * 400:
            raise SampleError(f"hours must lie between 1 and 9600, not {self.hours}")
        if not (math.isfinite(self.scale) and 0 < self.scale <= 100_000):
            raise SampleError(f"scale must lie above 0 and be at most 100000, not {self.scale}")
        if self.seed < 0:
            raise SampleError(f"seed must not be negative, not {self.seed}")
        if self.prefix.startswith("/") or ".." in self.prefix.split("/") or self.prefix.startswith("AWSLogs"):
            raise SampleError(f"prefix must be a relative folder that does not begin with AWSLogs, not {self.prefix!r}")

    @classmethod
    def for_records(cls, records: int, *, hours: int = 3, seed: int = 7, faults: bool = True) -> SampleSpec:
        """Return a spec that gives about `records` records (within some 15 %).

        Other options: `dataclasses.replace` on the result.

        Raises:
            SampleError: when `records` is not positive.
        """
        if records <= 0:
            raise SampleError(f"records must be positive, not {records}")
        return cls(seed=seed, hours=hours, scale=records / (RECORDS_PER_HOUR * hours), faults=faults)

    @property
    def begin(self) -> int:
        """First second of traffic, Unix time."""
        return int(self.start.timestamp())

    @property
    def finish(self) -> int:
        """First second after the traffic, Unix time."""
        return self.begin + 3600 * self.hours


@dataclass(frozen=True)
class SampleReport:
    """What was written.

    `records` are lines with traffic; `gap_records` NODATA and SKIPDATA lines; `bytes` the objects' size on disk;
    `record_bytes` and `record_packets` a plain sum over all records, `true_bytes` and `true_packets` what really moved
    and was observed: their quotient is what a plain sum counts too much.
    """

    logs: Path
    truth: Path
    network: Path
    objects: int
    records: int
    gap_records: int
    bytes: int
    truth_rows: int
    record_packets: int
    record_bytes: int
    true_packets: int
    true_bytes: int
    first_arrival: datetime
    last_arrival: datetime
    flow_logs: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[InjectedFault, ...] = ()

    @property
    def arrival_from(self) -> str:
        """The first hour in which an object arrived, `YYYY-MM-DDTHH`."""
        return self.first_arrival.strftime(HOUR_FORMAT)

    @property
    def arrival_to(self) -> str:
        """The hour after the last one in which an object arrived (exclusive end of a run's window)."""
        return (self.last_arrival + timedelta(hours=1)).strftime(HOUR_FORMAT)

    @property
    def double_count(self) -> float:
        """Bytes that a plain sum over all records gives, per byte that really moved."""
        return self.record_bytes / self.true_bytes if self.true_bytes else 0.0
