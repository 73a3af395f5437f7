"""Bytes that an hourly run scans on Athena, statement by statement: on a young lake, and after 30 days of history.

Measured on the local Athena of the tests (tests/local_athena), whose bytes are Trino's physical input; its seconds are
those of this machine and say little of the service.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bench.history_logs import DAYS, START, obtain_history
from bench.inputs import Bench, Logs
from bench.results import Aim, Bound, Findings, Row, Table, Unit
from flowlake.dbt import REPOSITORY
from flowlake.lake.athena import AthenaLake
from flowlake.lake.windows import Window
from flowlake.settings import Arrival, AthenaSettings, Settings, Target, load_settings
from flowlake.steps import RunContext, run_window
from flowlake.terminal import human_bytes

if TYPE_CHECKING:
    from local_athena.server import LocalAthena

PAIRS = 1_000
"""Of an hour of the history: a fifteenth of the section `history`, for the local Athena is no fast one."""

BUSY_PAIRS = 53_334
"""A hundred thousand records in the measured hour."""

BULK_DAYS = 10

BEFORE = Window(START - timedelta(hours=1), START)
MEASURED = Window(START + timedelta(days=DAYS), START + timedelta(days=DAYS, hours=1))

BUCKET = "bench-logs"
MOST_TIMES_READ = 1.3
MOST_GROWTH = 1.1


@dataclass(frozen=True)
class Statement:
    """A statement of a run, as Athena accounts for it: which step, and which model or test of dbt's, asked for it."""

    step: str
    node: str
    bytes: int
    seconds: float


def section(bench: Bench) -> Findings:
    """Run the same hour on two lakes and compare what it scanned."""
    logs = obtain_history(bench, "athena", pairs=PAIRS, busy=BUSY_PAIRS)
    with _local_athena() as local:
        _upload(local, logs)
        bulk = [
            Window(START + timedelta(days=day), START + timedelta(days=day + BULK_DAYS))
            for day in range(0, DAYS, BULK_DAYS)
        ]
        runs: dict[str, list[Statement]] = {}
        for name, history in (("young", []), ("old", bulk)):
            settings = _settings(local, logs, name)
            for window in (BEFORE, *history):
                _run(settings, window)
                bench.say(f"{window} on the {name} lake")
            runs[name] = _run(settings, MEASURED)
            bench.say(f"{MEASURED} on the {name} lake: {human_bytes(_bytes(runs[name]))}")
        raw, staged = _inputs(settings)
    return _findings(runs, raw, staged, logs)


def _findings(runs: Mapping[str, list[Statement]], raw: int, staged: int, logs: Logs) -> Findings:
    young, old = _bytes(runs["young"]), _bytes(runs["old"])
    least = raw + staged
    rows = [
        Row("raw objects of the hour and its staged rows, once each", least, Unit.BYTES),
        Row(
            f"scanned by an hour of {logs.records:,} records on a young lake",
            young,
            Unit.BYTES,
            Aim(Bound.AT_MOST, MOST_TIMES_READ * least),
            young / least,
            "reading once",
        ),
        Row(
            f"scanned by the same hour after {DAYS} days",
            old,
            Unit.BYTES,
            Aim(Bound.AT_MOST, MOST_GROWTH * young),
            old / young,
            "a young lake",
        ),
        Row("its statements", len(runs["old"]), Unit.COUNT),
    ]
    nodes = {name: _by_node(statements) for name, statements in runs.items()}
    every = sorted(
        {*nodes["young"], *nodes["old"]}, key=lambda node: -max(n.get(node, _NOTHING).bytes for n in nodes.values())
    )
    table = Table(
        "Bytes scanned, by model and step",
        ("model or step", "young lake", "statements", f"after {DAYS} days", "statements", "s"),
        tuple(
            (
                node,
                human_bytes(nodes["young"].get(node, _NOTHING).bytes),
                str(nodes["young"].get(node, _NOTHING).statements),
                human_bytes(nodes["old"].get(node, _NOTHING).bytes),
                str(nodes["old"].get(node, _NOTHING).statements),
                f"{nodes['old'].get(node, _NOTHING).seconds:.1f}",
            )
            for node in every
        ),
    )
    return Findings(
        rows=rows,
        tables=[table],
        notes=[
            "On the local Athena of the tests: bytes are those of Trino's reader, seconds those of this machine.",
            f"The history is a fifteenth of that of the section `history`, run in windows of {BULK_DAYS} days.",
        ],
    )


@dataclass
class _Sum:
    """What a model, or a step of its own, cost."""

    bytes: int = 0
    statements: int = 0
    seconds: float = 0.0


_NOTHING = _Sum()


def _bytes(statements: list[Statement]) -> int:
    return sum(statement.bytes for statement in statements)


def _by_node(statements: list[Statement]) -> dict[str, _Sum]:
    sums: dict[str, _Sum] = defaultdict(_Sum)
    for statement in statements:
        found = sums[statement.node or statement.step]
        found.bytes += statement.bytes
        found.statements += 1
        found.seconds += statement.seconds
    return sums


@contextmanager
def _local_athena() -> Iterator[LocalAthena]:
    """The local Athena, and its environment in this process' own."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from local_athena.server import local_athena

    with (
        tempfile.TemporaryDirectory(prefix="bench-athena-", ignore_cleanup_errors=True) as folder,
        local_athena(Path(folder)) as local,
    ):
        os.environ.update(local.environment)
        yield local


def _upload(local: LocalAthena, logs: Logs) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    files = [path for path in (logs.folder / "logs").rglob("*") if path.is_file()]

    def put(path: Path) -> None:
        s3.upload_file(str(path), BUCKET, str(path.relative_to(logs.folder / "logs")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))


def _settings(local: LocalAthena, logs: Logs, name: str) -> Settings:
    """A lake of its own over the bucket. Its objects were all written now; their names know when they are from."""
    settings = load_settings(logs.config, {})
    folder = logs.folder / f"{name}-lake"
    shutil.rmtree(folder, ignore_errors=True)
    return replace(
        settings,
        sources=(replace(settings.sources[0], uri=f"s3://{BUCKET}", arrival=Arrival.OBJECT_NAME),),
        lake=replace(settings.lake, path=folder),
        target=Target.ATHENA,
        athena=AthenaSettings(f"s3://{local.bucket}/{name}", f"bench_{name}", local.work_group),
    )


def _run(settings: Settings, window: Window) -> list[Statement]:
    """Run a window, and return its statements, as the lake's own ledger has them."""
    run_id = f"bench {window}"
    run_window(RunContext(settings, window, run_id))
    lake = AthenaLake(settings)
    rows = lake.query(
        f"select step, node, scanned_bytes, total_ms from {lake.table('ops', 'query_costs')} where run_id = '{run_id}'"
    )
    return [
        Statement(str(step), _node_name(node or ""), int(scanned or 0), int(milliseconds or 0) / 1000)
        for step, node, scanned, milliseconds in rows
    ]


def _node_name(node: str) -> str:
    """`model.flowlake.fct_edges` by its last part; all tests are one."""
    return "dbt's tests" if node.startswith("test.") else node.rpartition(".")[2]


def _inputs(settings: Settings) -> tuple[int, int]:
    """Bytes of the measured hour: of its objects as delivered, and of its rows in staging."""
    lake = AthenaLake(settings)
    hour = MEASURED.hours[0]
    ((raw,),) = lake.query(f"select sum(size) from {lake.table('raw', 'objects')} where arrival_hour = '{hour}'")
    # What the run has added last: delete, then insert.
    metadata = lake.metadata(lake.glue_table("staging", "stg_flow_logs__lines") or {}) or {}
    newest = next(item for item in metadata["snapshots"] if item["snapshot-id"] == metadata["current-snapshot-id"])
    return int(raw or 0), int(newest["summary"]["added-files-size"])
