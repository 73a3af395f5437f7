"""Names, folders and arrival times of the sample's objects, as S3 would have them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import PurePosixPath

from flowlake.sample.formats import FileFormat, FlowLog, Layout

SLOT_SECONDS = 300
DELIVERY_SECONDS = (60, 600)
LATE_SECONDS = (3600, 3 * 3600)


def digest(*parts: object) -> int:
    """Return a number that follows from the parts alone, on every machine (Python's own hash does not)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def folder(flow_log: FlowLog, slot: int, prefix: str) -> PurePosixPath:
    """Return the folder of an object whose name says `slot` (Unix seconds), below the source's root."""
    at = datetime.fromtimestamp(slot, UTC)
    parts = [part for part in prefix.split("/") if part] + ["AWSLogs"]
    if flow_log.organization_id:
        parts.append(flow_log.organization_id)
    if flow_log.layout in {Layout.HIVE, Layout.HIVE_HOURLY}:
        parts += [f"aws-account-id={flow_log.account_id}", "aws-service=vpcflowlogs", f"aws-region={flow_log.region}"]
        parts += [f"year={at:%Y}", f"month={at:%m}", f"day={at:%d}"]
        parts += [f"hour={at:%H}"] if flow_log.layout is Layout.HIVE_HOURLY else []
    else:
        parts += [flow_log.account_id, "vpcflowlogs", flow_log.region, f"{at:%Y}", f"{at:%m}", f"{at:%d}"]
        parts += [f"{at:%H}"] if flow_log.layout is Layout.HOURLY else []
    return PurePosixPath(*parts)


def object_name(flow_log: FlowLog, slot: int, seed: int, part: object) -> str:
    """Return the object's name; `part` tells several objects of one slot apart."""
    at = datetime.fromtimestamp(slot, UTC)
    suffix = "log.parquet" if flow_log.file_format is FileFormat.PARQUET else "log.gz"
    tail = digest("name", seed, flow_log.flow_log_id, slot, part) & 0xFFFFFFFF
    stem = f"{flow_log.account_id}_vpcflowlogs_{flow_log.region}_{flow_log.flow_log_id}"
    return f"{stem}_{at:%Y%m%dT%H%MZ}_{tail:08x}.{suffix}"


def arrival_time(name: str, slot: int, seed: int, late_share: float, last_hour: int) -> tuple[int, bool]:
    """Return an object's LastModified (Unix seconds), and whether it is late by an hour or more.

    An object is published after its five minutes, 1 to 10 minutes later. Late ones never come after `last_hour` (the
    Unix time of the last arrival hour's start), so that a sample has as few arrival hours as its traffic needs.
    """
    chance = digest("delivery", seed, name)
    arrival = slot + SLOT_SECONDS + DELIVERY_SECONDS[0] + chance % (DELIVERY_SECONDS[1] - DELIVERY_SECONDS[0])
    latest = last_hour + 3599 - arrival
    if (chance >> 20) % 10_000 >= late_share * 10_000 or latest < LATE_SECONDS[0]:
        return arrival, False
    return arrival + LATE_SECONDS[0] + (chance >> 36) % (min(LATE_SECONDS[1], latest) - LATE_SECONDS[0] + 1), True
