"""A lake on Athena that is killed, held back and mended, and what it must come to: one on DuckDB after one clean run.

Both read the same bucket. So what is compared are the invariant and the parity of the engines at once.
"""

from __future__ import annotations

import io
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from flowlake import cli
from flowlake.errors import FlowlakeError
from flowlake.lake.athena_views import RECORD
from flowlake.lake.files import open_files
from flowlake.lake.windows import Window
from flowlake.settings import AthenaSettings, Settings
from flowlake.steps import RunContext, Step, StepReport, run_window
from histories.killing import Kill, Killed, run_and_kill
from histories.world import LogObject, World
from local_athena.server import LocalAthena
from parity.compare import Table, assert_same
from parity.engines import AthenaReader
from parity.lakes import Lake, make_lake, on_athena, on_duckdb
from parity.world import Bucket, make_bucket
from shared_dbt.start import shared_dbt

BOOKKEEPING = {
    "intermediate.int_hours__restated": "the hours that the last run restated",
    "ops.windows": "which run came how far",
    "raw.formats": "with the formats of objects that were overwritten since",
}
"""Tables that say what runs did, with what they say; every other one must not depend on which runs led to it."""

LEAST_TABLES = 70
"""Fewer, and the comparison looks past something."""

WATCHED = {
    "fct_edges": "core",
    "dim_devices": "core",
    "fct_coverage": "ops",
    "rpt_talkers_hourly": "marts",
}
"""Published tables that a reader reads all the time, and where their rows lie."""


class StageError(Exception):
    """A run went another way than it should."""


@dataclass(frozen=True)
class Failure:
    """A run that meets errors (`LocalAthena.inject`) from the begin of a step on, until it fails with certain words."""

    step: str
    faults: tuple[Mapping[str, object], ...]
    says: str

    def __str__(self) -> str:
        """What happens."""
        return f"fails in {self.step} of " + ", ".join(str(fault["error"]) for fault in self.faults)


@dataclass
class Stage:
    """A world's bucket, a lake of it on Athena, and what was published there."""

    local: LocalAthena
    folder: Path
    world: World
    name: str
    published: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in WATCHED})
    """Each watched table's states that were decided to be shown."""

    def __post_init__(self) -> None:
        self.bucket: Bucket = make_bucket(self.local, f"{self.name}-logs".replace("_", "-"))
        target = {
            "target": "athena",
            "athena": {
                "location": f"s3://{self.local.bucket}/{self.name}",
                "database": self.name,
                "work_group": self.local.work_group,
            },
        }
        self.lake: Lake = make_lake(self.folder / "athena", self.bucket.uri, target, self.world.settings)

    @property
    def settings(self) -> Settings:
        return self.lake.settings

    @property
    def athena(self) -> AthenaSettings:
        assert self.settings.athena is not None
        return self.settings.athena

    @property
    def reader(self) -> AthenaReader:
        return AthenaReader(self.local.client("athena"), self.local.work_group)

    def put(self, objects: Iterable[LogObject]) -> None:
        self.bucket.put(objects)

    def context(self, window: Window, run_id: str = "stage") -> RunContext:
        return RunContext(self.settings, window, run_id)

    def run(self, window: Window) -> None:
        """A run that nobody disturbs."""
        self.lake.run(window)
        self.note_published()

    def type(self, *words: str) -> str:
        """What `flowlake` says to a command that nobody disturbs. Raises StageError when it fails."""
        config = self.settings.lake.path.parent / "flowlake.yaml"
        with io.StringIO() as said, redirect_stdout(said), redirect_stderr(said), shared_dbt():
            code = cli.run(["--config", str(config), *words])
            text = said.getvalue()
        if code != 0:
            raise StageError(f"flowlake {' '.join(words)} ended with {code}: {text[-3000:]}")
        self.note_published()
        return text

    def fail(self, window: Window, failure: Failure) -> None:
        """A run whose services fail from a step on; it says so in one line. Raises StageError when it does not."""

        def meet(step: Step, report: StepReport | None) -> None:
            if step.name == failure.step and report is None:
                for fault in failure.faults:
                    self.local.inject(**{name: self._named(value) for name, value in fault.items()})

        try:
            with shared_dbt():
                run_window(self.context(window), meet)
        except FlowlakeError as error:
            said = str(error)
        else:
            raise StageError(f"a run that {failure} succeeded")
        finally:
            self.local.clear_faults()
        if "\n" in said or not re.search(failure.says, said):
            raise StageError(f"a run that {failure} says {said!r}")

    def _named(self, value: object) -> object:
        return value.replace("<database>", self.athena.database) if isinstance(value, str) else value

    def kill(self, window: Window, kill: Kill, step: str = "") -> Killed:
        """A run in a process of its own that is killed, in a certain step; without one, wherever it then is."""
        with patch.dict(os.environ, LOCAL_WORK_GROUP=self.local.work_group):
            killed = run_and_kill(self.settings, window, kill)
        is_as_wanted = killed.was_killed and killed.step == step if step else killed.was_killed or killed.code == 0
        if not is_as_wanted:
            ended = f"was killed in {killed.step}" if killed.was_killed else f"ended with {killed.code}"
            raise StageError(f"{kill}, in {step or 'a step'}: instead the run {ended}: {killed.output[-3000:]}")
        self.note_published()
        return killed

    def slow(self, statement: str, seconds: float) -> None:
        """Have Athena keep the next statement that matches waiting, whoever sends it."""
        self.local.inject(statement=statement, delay=seconds)

    def target(self, schema: str, table: str) -> str:
        """How dbt names a table of this lake in a statement, as a regular expression."""
        return rf'"{self.athena.schema(schema)}"\."{table}"'

    def note_published(self) -> None:
        """Remember what the snapshots hold that were last decided to be shown."""
        content = open_files(self.settings).read(RECORD)
        for name, snapshot in json.loads(content)["snapshots"].items() if content else ():
            if name in WATCHED:
                self.published[name].add(self.state(WATCHED[name], name, f" for version as of {snapshot}"))

    def state(self, schema: str, name: str, version: str = "") -> str:
        """A number of a table's rows that differs when any of them does."""
        database = self.athena.schema(schema)
        columns = ", ".join(f'"{column}"' for column in self.columns(WATCHED[name], name))
        query = f'select count(*), to_hex(checksum(row({columns}))) from "{database}"."{name}"{version}'
        return str(self.reader.rows(self.reader.run(query))[0])

    def columns(self, schema: str, name: str) -> list[str]:
        found = self.local.client("glue").get_table(DatabaseName=self.athena.schema(schema), Name=name)
        return [column["Name"] for column in found["Table"]["StorageDescriptor"]["Columns"]]

    def shown(self) -> dict[str, str]:
        """What people read of the watched tables now."""
        with ThreadPoolExecutor(len(WATCHED)) as pool:
            return dict(zip(WATCHED, pool.map(lambda name: self.state("flowlake", name), WATCHED), strict=True))

    def write(self, path: str, content: bytes) -> None:
        """Put a file among those of the lake."""
        open_files(self.settings).write(path, content)

    def files(self, folder: str) -> list[str]:
        """What lies below a folder of the lake."""
        return sorted(open_files(self.settings).list(folder))

    def snapshots(self, schema: str, name: str) -> int:
        """How many snapshots a table has."""
        query = f'select count(*) from "{self.athena.schema(schema)}"."{name}$snapshots"'
        return int(str(self.reader.rows(self.reader.run(query))[0][0]))

    def tables(self) -> Mapping[str, Table]:
        """Everything in the lake, each report once: their views are the dearest to ask."""
        return on_athena(self.lake, self.reader, but=self.lake.reports)

    def clean(self, window: Window) -> Mapping[str, Table]:
        """The same of a lake on DuckDB after one run over what the bucket holds now."""
        folder = self.folder / f"clean-{time.monotonic_ns()}"
        lake = make_lake(folder, self.bucket.uri, {}, self.world.settings)
        lake.run(window)
        return on_duckdb(lake, but=lake.reports)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Read what people read all the while, and see nothing but what was published."""
        reader = Watcher(self)
        reader.start()
        try:
            yield
        finally:
            reader.done.set()
            reader.join(timeout=60)
        reader.check()


class Watcher(threading.Thread):
    """Reads the published tables, again and again, and keeps every state that it saw of each."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self.stage, self.done = stage, threading.Event()
        self.seen: dict[str, list[str]] = {name: [] for name in WATCHED}
        self.errors: list[Exception] = []

    def run(self) -> None:
        while not self.done.is_set():
            for name, states in self.seen.items():
                try:
                    state = self.stage.state("flowlake", name)
                except Exception as error:
                    self.errors.append(error)
                else:
                    if states[-1:] != [state]:
                        states.append(state)
            self.done.wait(5.0)  # each look is some statements, and two cores run all of it

    def check(self) -> None:
        """Raises StageError when a read failed, or saw what was never published."""
        if self.errors:
            raise StageError(f"a reader met an error: {self.errors[0]}")
        for name, states in self.seen.items():
            if not states:
                raise StageError(f"nobody read {name}")
            for state in states:
                if state not in self.stage.published[name]:
                    raise StageError(f"{name} showed {state}, published were {self.stage.published[name]}")
            if len(states) > len(set(states)):
                raise StageError(f"{name} went back to a state that was shown before: {states}")


def assert_same_tables(expected: Mapping[str, Table], found: Mapping[str, Table]) -> None:
    """The same rows everywhere but in the bookkeeping. Raises compare.Difference, naming what differs first."""
    assert expected.keys() == found.keys()
    assert len(expected) >= LEAST_TABLES
    layers = ["raw", "seeds", "staging", "intermediate", "core", "marts", "ops", "flowlake"]
    for name in sorted(expected, key=lambda name: (layers.index(name.partition(".")[0]), name)):
        if name not in BOOKKEEPING:
            assert_same(name, expected[name], found[name])
