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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bench.athena_questions import ask_all, questions_rows, questions_table
from bench.history_logs import DAYS, START, obtain_history
from bench.inputs import Bench, Logs, is_made, mark_made
from bench.results import Aim, Bound, Findings, Row, Table, Unit
from flowlake.dbt import REPOSITORY
from flowlake.lake.athena import AthenaLake
from flowlake.lake.maintain import maintain
from flowlake.lake.tables import SCHEMAS, in_window
from flowlake.lake.windows import Window
from flowlake.sampling import write_sample
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

NETWORK_SCALE = 1.0
"""Of the sample network in the second measured hour: about 88,000 records, some ten of each edge."""

BEFORE = Window(START - timedelta(hours=1), START)
QUIET = Window(START, START + timedelta(hours=1))
MEASURED = Window(START + timedelta(days=DAYS), START + timedelta(days=DAYS, hours=1))

NETWORK_START = datetime(2026, 11, 20, 12, tzinfo=UTC)
NETWORK_HOURS = tuple(
    Window(NETWORK_START + timedelta(hours=n), NETWORK_START + timedelta(hours=n + 1)) for n in (0, 1)
)

BUCKET, NETWORK_BUCKET = "bench-logs", "bench-network"

STATEMENTS = "its statements"
FIXED = "scanned by an hour in which nothing arrives, by the line through a quiet hour and a busy one"
SHARE = "scanned more for each byte that arrives"
STORED = "bytes of tables for each byte of flow logs, after 30 days"
REQUESTS: Mapping[str, str] = {
    "s3 write": "PUT, COPY, POST and LIST requests to S3",
    "s3 read": "GET and HEAD requests to S3",
    "glue": "requests to Glue",
}
"""What is billed by the call, as the local services count it (`local_athena.aws.billed_as`), and its name."""

OF_A_RUN, OF_AN_HOUR = "{} of a run of one object", "{} more for each other hour of a window"

MOST_TIMES_READ = 1.3
MOST_GROWTH = 1.1


@dataclass(frozen=True)
class Statement:
    """A statement of a run, as Athena accounts for it: which step, and which model or test of dbt's, asked for it."""

    step: str
    node: str
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Ran:
    """A run: its statements, the calls that were made for it, by what the bill takes them for, and its objects."""

    statements: list[Statement]
    requests: Mapping[str, int]
    objects: int

    @property
    def bytes(self) -> int:
        """Bytes scanned."""
        return sum(statement.bytes for statement in self.statements)


def section(bench: Bench) -> Findings:
    """Run the same hour on two lakes, compare what it scanned, and ask the nine questions of the older one."""
    logs = obtain_history(bench, "athena", pairs=PAIRS, busy=BUSY_PAIRS)
    network = _obtain_network(bench)
    days = [START + timedelta(days=day) for day in range(0, DAYS + 1, BULK_DAYS)]
    bulk = [Window(start, end) for start, end in pairwise(days)]
    with _local_athena() as local:
        _upload(local, logs, BUCKET)
        _upload(local, network, NETWORK_BUCKET)

        def run(settings: Settings, window: Window) -> Ran:
            ran = _run(local, settings, window)
            bench.say(f"{window}: {human_bytes(ran.bytes)} by {len(ran.statements)} statements, {dict(ran.requests)}")
            return ran

        sample = _settings(local, network, "network", NETWORK_BUCKET)
        *_, shaped = [run(sample, window) for window in NETWORK_HOURS]
        shape = Shape(shaped.bytes, _raw(sample, NETWORK_HOURS[-1])[0] + _staged(sample), *_records_and_edges(sample))
        young, old = _settings(local, logs, "young", BUCKET), _settings(local, logs, "old", BUCKET)
        run(young, BEFORE)
        quiet, first = run(young, QUIET), run(young, MEASURED)
        run(old, BEFORE)
        many = [run(old, window) for window in bulk]
        # As its DAG does it each night: windows of hours leave many more files than these, too many to measure.
        maintain(old)
        later = run(old, MEASURED)
        answers = ask_all(local, old, BUCKET, MEASURED)
        sizes = Sizes(
            quiet=_raw(young, QUIET)[0],
            busy=_raw(young, MEASURED)[0],
            staged=_staged(young),
            history=_raw(old, Window(BEFORE.start, MEASURED.end))[0],
            tables=_tables(old),
        )
    found = _findings({"young": first, "old": later}, sizes, logs, shape)
    return replace(
        found,
        rows=[*found.rows, *_inputs(quiet, first, many, sizes), *questions_rows(answers)],
        tables=[*found.tables, questions_table(answers)],
        notes=[
            *found.notes,
            "The older lake was maintained before its hour, as `flow_logs_maintenance` does it each night.",
            "The questions go over the text as AWS's own table has it, a partition a day; over the cleaned lines; and"
            " over the marts. Where the answers differ the benchmark fails.",
            "Requests are those of flowlake, dbt, the gates and Trino together, of a run of one object and of one of"
            f" {BULK_DAYS} days with an object an hour; Athena's own differ from Trino's.",
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
class Shape:
    """An hour of the sample network: bytes scanned, those of its objects and staged rows, what it holds."""

    scanned: int
    least: int
    records: int
    edges: int


def _obtain_network(bench: Bench) -> Logs:
    """Two hours of the sample network, without faults; the second one is to be measured."""
    folder = bench.folder / "athena-network"
    hours, scale = len(NETWORK_HOURS), NETWORK_SCALE * bench.scale
    facts = {"hours": hours, "scale": scale}
    if not is_made(folder, facts):
        bench.say("making two hours of the sample network")
        shutil.rmtree(folder, ignore_errors=True)
        write_sample(folder, hours=hours, scale=scale, start=NETWORK_START, seed=7, faults=False)
        mark_made(folder, facts)
    return Logs(folder / "flowlake.yaml", NETWORK_HOURS[-1], 0, 0)


def _inputs(quiet: Ran, busy: Ran, many: Sequence[Ran], sizes: Sizes) -> list[Row]:
    """What the section `sizing` reckons with."""
    share = (busy.bytes - quiet.bytes) / (sizes.busy - sizes.quiet)
    most = max(many, key=lambda ran: ran.objects)
    return [
        Row(FIXED, max(0.0, quiet.bytes - share * sizes.quiet), Unit.BYTES),
        Row(SHARE, share, Unit.TIMES),
        Row(STORED, sizes.tables / sizes.history, Unit.TIMES),
        *(Row(OF_A_RUN.format(name), busy.requests.get(kind, 0), Unit.COUNT) for kind, name in REQUESTS.items()),
        *(
            Row(
                OF_AN_HOUR.format(name),
                max(0, most.requests.get(kind, 0) - busy.requests.get(kind, 0)) / (most.objects - busy.objects),
                Unit.TIMES,
            )
            for kind, name in REQUESTS.items()
        ),
    ]


def _findings(runs: Mapping[str, Ran], sizes: Sizes, logs: Logs, shape: Shape) -> Findings:
    young, old = runs["young"].bytes, runs["old"].bytes
    least = sizes.busy + sizes.staged
    rows = [
        Row("raw objects of the hour and its staged rows, once each", least, Unit.BYTES),
        Row(
            f"scanned by an hour of {logs.records:,} records, each another edge, on a young lake",
            young,
            Unit.BYTES,
            Aim(Bound.AT_MOST, MOST_TIMES_READ * least),
            young / least,
            "reading once",
        ),
        Row(
            f"scanned by an hour of the sample network, {shape.records:,} records of {shape.edges:,} edges",
            shape.scanned,
            Unit.BYTES,
            Aim(Bound.AT_MOST, MOST_TIMES_READ * shape.least),
            shape.scanned / shape.least,
            "reading once",
        ),
        Row(
            f"scanned by the hour of {logs.records:,} edges after {DAYS} days",
            old,
            Unit.BYTES,
            Aim(Bound.AT_MOST, MOST_GROWTH * young),
            old / young,
            "a young lake",
        ),
        Row(STATEMENTS, len(runs["old"].statements), Unit.COUNT),
        Row("their seconds on this machine", sum(one.seconds for one in runs["old"].statements), Unit.SECONDS),
    ]
    nodes = {name: _by_node(ran.statements) for name, ran in runs.items()}
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


def _upload(local: LocalAthena, logs: Logs, bucket: str) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket=bucket)
    files = [path for path in (logs.folder / "logs").rglob("*") if path.is_file()]

    def put(path: Path) -> None:
        s3.upload_file(str(path), bucket, str(path.relative_to(logs.folder / "logs")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))


def _settings(local: LocalAthena, logs: Logs, name: str, bucket: str) -> Settings:
    """A lake of its own over the bucket. Its objects were all written now; their names know when they are from."""
    settings = load_settings(logs.config, {})
    folder = logs.folder / f"{name}-lake"
    shutil.rmtree(folder, ignore_errors=True)
    return replace(
        settings,
        sources=(replace(settings.sources[0], uri=f"s3://{bucket}", arrival=Arrival.OBJECT_NAME),),
        lake=replace(settings.lake, path=folder),
        target=Target.ATHENA,
        athena=AthenaSettings(f"s3://{local.bucket}/{name}", f"bench_{name}", local.work_group),
    )


def _run(local: LocalAthena, settings: Settings, window: Window) -> Ran:
    """Run a window; its statements are read from the lake's own ledger."""
    run_id, before = f"bench {window}", local.requests()
    run_window(RunContext(settings, window, run_id))
    requests = {kind: number - before.get(kind, 0) for kind, number in local.requests().items()}
    lake = AthenaLake(settings)
    rows = lake.query(
        f"select step, node, scanned_bytes, total_ms from {lake.table('ops', 'query_costs')} where run_id = '{run_id}'"
    )
    statements = [
        Statement(str(step), _node_name(node or ""), int(scanned or 0), int(milliseconds or 0) / 1000)
        for step, node, scanned, milliseconds in rows
    ]
    _, objects = _raw(settings, window)
    return Ran(statements, requests, objects)


def _node_name(node: str) -> str:
    """`model.flowlake.fct_edges` by its last part; all tests are one."""
    return "dbt's tests" if node.startswith("test.") else node.rpartition(".")[2]


def _raw(settings: Settings, window: Window) -> tuple[int, int]:
    """Bytes of a window's objects as delivered, and how many there are."""
    lake = AthenaLake(settings, asked=True)
    ((raw, objects),) = lake.query(
        f"select sum(size), count(*) from {lake.table('raw', 'objects')} where {in_window(window)}"
    )
    return int(raw or 0), int(objects or 0)


def _records_and_edges(settings: Settings) -> tuple[int, int]:
    """Of the last hour of the sample network: records staged, and edges of the hour of their events."""
    lake, window = AthenaLake(settings), NETWORK_HOURS[-1]
    (found,) = lake.query(
        f"select (select count(*) from {lake.table('staging', 'stg_flow_logs__lines')}"
        f" where line_kind = 'record' and {in_window(window)}), (select count(*) from"
        f" {lake.table('core', 'fct_edges')} where event_hour = timestamp '{window.start:%Y-%m-%d %H:%M:%S}')"
    )
    records, edges = found
    return int(records or 0), int(edges or 0)


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
