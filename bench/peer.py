"""The Python package flowlogs-reader, aggregating the same files by 5-tuple, as its command line does.

It reads from S3; here a stand-in for its client hands it the files, which costs less than any S3.

    .venv/bin/python -m bench.peer LOGS
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.inputs import Bench, obtain_worst_case
from bench.processes import measure
from bench.product import clear, run
from bench.results import Findings, Row, Unit
from flowlake.dbt import REPOSITORY

RECORDS = 500_000
BUCKET = "bench"


class LocalObjects:
    """The calls of an S3 client that flowlogs-reader makes, answered from a folder."""

    def __init__(self, root: Path) -> None:
        """Take the folder that stands for the bucket."""
        self._root = root

    def get_paginator(self, operation: str) -> LocalObjects:
        """The paginator of list_objects_v2, the only one that is asked for."""
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:  # noqa: N803 - S3's own names
        """One page: every object whose key begins with the prefix."""
        keys = (str(path.relative_to(self._root)) for path in sorted(self._root.rglob("*.gz")))
        yield {"Contents": [{"Key": key} for key in keys if key.startswith(Prefix)]}

    def list_objects_v2(self, *, Bucket: str, Prefix: str, Delimiter: str) -> dict[str, Any]:  # noqa: N803 - likewise
        """The folders right below a prefix."""
        folders = sorted(path for path in (self._root / Prefix).iterdir() if path.is_dir())
        return {"CommonPrefixes": [{"Prefix": f"{path.relative_to(self._root)}/"} for path in folders]}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - likewise
        """An object's content."""
        path = self._root / Key
        return {"Body": path.open("rb"), "ContentLength": path.stat().st_size}


def main(logs: Path) -> None:
    """Aggregate all records below a folder; the number of flows and of bytes on standard output."""
    from flowlogs_reader import S3FlowLogsReader, aggregated_records  # type: ignore[import-untyped] # it ships no types

    reader = S3FlowLogsReader(
        BUCKET,
        boto_client=LocalObjects(logs),
        start_time=datetime(2026, 1, 1),
        end_time=datetime(2027, 1, 1),
    )
    flows, total = 0, 0
    for flow in aggregated_records(reader):
        flows += 1
        total += flow["bytes"]
    sys.stdout.write(f"{flows} {total}\n")


def section(bench: Bench) -> Findings:
    """The package and flowlake over the same files."""
    logs = obtain_worst_case(bench, bench.scaled(RECORDS))
    theirs = measure(
        [sys.executable, "-W", "ignore", "-m", "bench.peer", str(logs.folder / "logs")],
        log=bench.folder / "peer.log",
        cwd=REPOSITORY,
        environ=os.environ,
    )
    flows = int(theirs.output.split()[0])
    ours = run(logs.config, logs.window, clear(bench.folder / "peer-lake"))
    clear(bench.folder / "peer-lake")
    rate, our_rate = (logs.records / taken.seconds for taken in (theirs, ours.measured))
    rows = [
        Row(f"flowlogs-reader, {logs.records:,} records into {flows:,} flows", rate, Unit.RECORDS_PER_SECOND),
        Row(
            "flowlake run over the same files, its fixed cost included",
            our_rate,
            Unit.RECORDS_PER_SECOND,
            ratio=our_rate / rate,
            to="flowlogs-reader",
        ),
    ]
    if "worst" in bench.done:
        margin = bench.done["worst"].rows[1].value
        rows.append(
            Row(
                "flowlake's margin, from the worst case",
                margin,
                Unit.RECORDS_PER_SECOND,
                ratio=margin / rate,
                to="flowlogs-reader",
            )
        )
    return Findings(
        rows=rows,
        notes=[
            f"flowlogs-reader {version('flowlogs-reader')}: `aggregated_records` over files of the worst case, on one"
            f" core, in {theirs.peak_memory / 1e6:.0f} MB ({theirs.seconds:.1f} s). It sums by 5-tuple in memory and"
            f" writes nothing; flowlake writes all its tables, checks and publishes ({ours.measured.seconds:.1f} s)."
        ],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
