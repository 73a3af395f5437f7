"""The benchmark's sample: every record another edge, so that nothing folds. No truth is needed beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from flowlake.sample.arrays import ints
from flowlake.sample.arrow import numbers, texts
from flowlake.sample.faults import compress
from flowlake.sample.network import sample_flow_logs
from flowlake.sample.objects import SLOT_SECONDS, folder, object_name
from flowlake.sample.spec import SampleError

SOURCES = 49_999
TARGETS = 2_003
MAX_RECORDS = SOURCES * TARGETS
SERVICES = (22, 53, 80, 443, 3306, 5432, 6379, 8080, 8443, 9100)
CHUNK = 1_000_000
NOTHING = texts([""])[0]


@dataclass(frozen=True)
class WorstCaseReport:
    """What was written; `arrival_from` and `arrival_to` are the window that reads it."""

    logs: Path
    records: int
    objects: int
    bytes: int
    packets: int
    record_bytes: int
    arrival_from: str
    arrival_to: str


def generate_worst_case(
    records: int,
    out: Path,
    *,
    objects: int = 20,
    seed: int = 7,
    arrival_hour: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC),
    progress: Callable[[str], None] | None = None,
) -> WorstCaseReport:
    """Write `records` version 2 records in `objects` text objects that all arrive in `arrival_hour`, below `out/logs`.

    Every record is another (source, destination) pair: 49,999 sources outside, 2,003 interfaces inside, each with its
    own address as destination. Windows of 60 s, all in the first half of the arrival hour.

    Raises:
        SampleError: when there are more records than pairs (100,147,997), or `out/logs` already holds something.
    """
    if not 1 <= records <= MAX_RECORDS:
        raise SampleError(f"records must lie between 1 and {MAX_RECORDS}, not {records}")
    if not 1 <= objects <= records:
        raise SampleError(f"objects must lie between 1 and the number of records, not {objects}")
    logs = out / "logs"
    if logs.exists() and any(logs.iterdir()):
        raise SampleError(f"{logs} is not empty: remove it, or choose another folder for the sample")
    begin = int(arrival_hour.timestamp())
    flow_log = sample_flow_logs(seed)[0]
    header = (" ".join(flow_log.fields) + "\n").encode()
    sources = texts([f"198.{18 + i // 65536}.{i // 256 % 256}.{i % 256} " for i in range(SOURCES)])
    targets = texts([f"10.{i // 256}.{i % 256}.10 " for i in range(TARGETS)])
    interfaces = texts([f"2 {flow_log.account_id} eni-{i:017x} " for i in range(TARGETS)])
    counts = texts([f"{i} " for i in range(65_536)])
    services = texts([f"{port} 6 " for port in SERVICES])
    seconds = texts([f"{begin + i} {begin + i + 59} ACCEPT OK\n" for i in range(1800)])
    cuts = [records * number // objects for number in range(objects + 1)]
    written, packets_sum, bytes_sum = 0, 0, 0
    for number, (low, high) in enumerate(pairwise(cuts)):
        rng = np.random.default_rng([seed, 9, number])
        slot = begin + SLOT_SECONDS * (number % 6)
        parts: list[bytes | memoryview] = [header]
        for first in range(low, high, CHUNK):
            i = np.arange(first, min(first + CHUNK, high), dtype=np.int64)
            target = i % TARGETS
            packets = rng.integers(1, 60, len(i))
            sizes = packets * rng.integers(40, 1000, len(i))
            at = (slot - begin + (target * 7) % (SLOT_SECONDS - 60)) % 1800
            columns = (
                (interfaces, target),
                (sources, i % SOURCES),
                (targets, target),
                (counts, rng.integers(32768, 61000, len(i))),
                (services, i % len(SERVICES)),
                (counts, packets),
                (counts, sizes),
                (seconds, at),
            )
            lines = pc.binary_join_element_wise(
                *(words.take(numbers(ints(index))) for words, index in columns), NOTHING
            )
            _, offsets, data = lines.buffers()
            parts.append(memoryview(data)[: int(np.frombuffer(offsets, dtype=np.int32)[len(lines)])])
            packets_sum += int(packets.sum())
            bytes_sum += int(sizes.sum())
        path = logs / folder(flow_log, slot, "") / object_name(flow_log, slot, seed, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = compress(b"".join(parts))
        path.write_bytes(content)
        arrival = begin + 2400 + number % 1200
        os.utime(path, (arrival, arrival))
        written += len(content)
        if progress:
            progress(f"{high:,} of {records:,} records in {number + 1} objects")
    return WorstCaseReport(
        logs=logs,
        records=records,
        objects=objects,
        bytes=written,
        packets=packets_sum,
        record_bytes=bytes_sum,
        arrival_from=f"{arrival_hour:%Y-%m-%dT%H}",
        arrival_to=f"{arrival_hour + timedelta(hours=1):%Y-%m-%dT%H}",
    )
