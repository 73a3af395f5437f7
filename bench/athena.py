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
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bench.athena_questions import ask_all, questions_rows, questions_table
from bench.history_logs import DAYS, START, obtain_history
from bench.inputs import Bench, Logs
from bench.results import Aim, Bound, Findings, Row, Table, Unit
from flowlake.dbt import REPOSITORY
from flowlake.lake.athena import AthenaLake
from flowlake.lake.aws import athena_settings
from flowlake.lake.costs import LEAST_BILLED, TERABYTE
from flowlake.lake.tables import SCHEMAS, in_window
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
QUIET = Window(START, START + timedelta(hours=1))
MEASURED = Window(START + timedelta(days=DAYS), START + timedelta(days=DAYS, hours=1))

BUCKET = "bench-logs"
RUNS_A_MONTH = 730
S3_DOLLARS = 0.023
"""For a GB and month (2026-11: aws.amazon.com/s3/pricing, us-east-1)."""

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
    """Run the same hour on two lakes, compare what it scanned, and ask the nine questions of the older one."""
    logs = obtain_history(bench, "athena", pairs=PAIRS, busy=BUSY_PAIRS)
    days = [START + timedelta(days=day) for day in range(0, DAYS + 1, BULK_DAYS)]
    bulk = [Window(start, end) for start, end in pairwise(days)]
    with _local_athena() as local:
        _upload(local, logs)

        def run(settings: Settings, window: Window) -> list[Statement]:
            statements = _run(settings, window)
            bench.say(f"{window}: {human_bytes(_bytes(statements))} by {len(statements)} statements")
            return statements

        young, old = _settings(local, logs, "young"), _settings(local, logs, "old")
        run(young, BEFORE)
        quiet, first = run(young, QUIET), run(young, MEASURED)
        for window in (BEFORE, *bulk):
            run(old, window)
        later = run(old, MEASURED)
        answers = ask_all(local, old, BUCKET, MEASURED)
        sizes = Sizes(
            quiet=_raw(young, QUIET),
            busy=_raw(young, MEASURED),
            staged=_staged(young),
            history=_raw(old, Window(BEFORE.start, MEASURED.end)),
            tables=_tables(old),
        )
    found = _findings({"young": first, "old": later}, sizes, logs)
    price = Price.between((sizes.quiet, _bytes(quiet)), (sizes.busy, _bytes(first)), len(first), old)
    return replace(
        found,
        rows=[*found.rows, *questions_rows(answers)],
        tables=[*found.tables, questions_table(answers), _sizing(price, sizes)],
        notes=[
            *found.notes,
            "The questions go over the text as AWS's own table has it, a partition a day; over the cleaned lines; and"
            " over the marts. Where the answers differ the benchmark fails.",
            "A month is 730 runs. What a run scans is a line through a quiet hour and a busy one; Athena bills at least"
            " 10 MB for a statement, so to that line comes as much for each: the bill is at most so high. S3 is 0.023"
            " dollars for a GB and month, of flow logs and tables as they are on the old lake; requests, the delivery"
            " of flow logs, and analysts' queries are not in it.",
        ],
    )


@dataclass(frozen=True)
class Sizes:
    """Bytes of the objects of the quiet and of the busy hour, of staged rows, of objects and tables of the old lake."""

    quiet: int
    busy: int
    staged: int
    history: int
    tables: int


@dataclass(frozen=True)
class Price:
    """What a run scans: a fixed part, and a part of what arrived; how many statements; dollars for a terabyte."""

    fixed: float
    share: float
    statements: int
    dollars_per_terabyte: float

    @classmethod
    def between(cls, quiet: tuple[int, int], busy: tuple[int, int], statements: int, settings: Settings) -> Price:
        """The line through two hours, each (bytes that arrived, bytes scanned)."""
        share = (busy[1] - quiet[1]) / (busy[0] - quiet[0])
        return cls(
            max(0.0, quiet[1] - share * quiet[0]), share, statements, athena_settings(settings).dollars_per_terabyte
        )

    def scanned(self, arrived: float) -> float:
        """Bytes that an hourly run scans."""
        return self.fixed + self.share * arrived

    def dollars(self, arrived: float) -> float:
        """What a month of such runs costs at most."""
        billed = self.scanned(arrived) + self.statements * LEAST_BILLED
        return RUNS_A_MONTH * billed * self.dollars_per_terabyte / TERABYTE


def _sizing(price: Price, sizes: Sizes) -> Table:
    kept = 1 + sizes.tables / sizes.history
    rows = []
    for what, day in (("1 GB", 1e9), ("100 GB", 1e11), ("1 TB", 1e12)):
        stored = day * 365 / 12 * kept
        rows.append(
            (
                what,
                human_bytes(int(price.scanned(day / 24))),
                f"{price.dollars(day / 24):,.2f}",
                human_bytes(int(stored)),
                f"{stored / 1e9 * S3_DOLLARS:,.2f}",
            )
        )
    columns = (
        "delivered a day",
        "an hourly run scans",
        "Athena, dollars a month",
        "a month adds",
        "S3, dollars a month",
    )
    return Table("What flow logs cost on AWS", columns, tuple(rows))


def _findings(runs: Mapping[str, list[Statement]], sizes: Sizes, logs: Logs) -> Findings:
    young, old = _bytes(runs["young"]), _bytes(runs["old"])
    least = sizes.busy + sizes.staged
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


def _raw(settings: Settings, window: Window) -> int:
    """Bytes of a window's objects as delivered."""
    lake = AthenaLake(settings, asked=True)
    ((raw,),) = lake.query(f"select sum(size) from {lake.table('raw', 'objects')} where {in_window(window)}")
    return int(raw or 0)


def _staged(settings: Settings) -> int:
    """Bytes of the rows that were staged last: a run deletes, then inserts."""
    lake = AthenaLake(settings)
    metadata = lake.metadata(lake.glue_table("staging", "stg_flow_logs__lines") or {}) or {}
    newest = next(item for item in metadata["snapshots"] if item["snapshot-id"] == metadata["current-snapshot-id"])
    return int(newest["summary"]["added-files-size"])


def _tables(settings: Settings) -> int:
    """Bytes of all tables as they are."""
    lake, total = AthenaLake(settings), 0
    for schema in SCHEMAS:
        for table in lake.glue_tables(schema):
            metadata = lake.metadata(table) or {"snapshots": []}
            total += sum(
                int(item["summary"].get("total-files-size", 0))
                for item in metadata["snapshots"]
                if item["snapshot-id"] == metadata["current-snapshot-id"]
            )
    return total
