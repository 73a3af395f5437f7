"""What was measured: rows against their aims, tables behind them; kept section by section as docs/benchmarks.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped] # it ships no types


class Unit(StrEnum):
    """What a value counts; the page writes it accordingly."""

    SECONDS = "s"
    BYTES = "B"
    BYTES_PER_RECORD = "B/record"
    RECORDS_PER_SECOND = "records/s"
    TIMES = "times"
    COUNT = ""


class Bound(StrEnum):
    """On which side of its aim a value should be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


@dataclass(frozen=True)
class Aim:
    """What a value should reach, in the value's unit."""

    bound: Bound
    value: float

    def is_met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value <= self.value if self.bound is Bound.AT_MOST else value >= self.value


@dataclass(frozen=True)
class Row:
    """One line of the one table. `ratio` compares with something measured in the same run, `to` says with what."""

    what: str
    value: float
    unit: Unit
    aim: Aim | None = None
    ratio: float | None = None
    to: str = ""


@dataclass(frozen=True)
class Table:
    """Detail behind the rows: cells are text, written as they are to be read."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Machine:
    """The shape of what it was measured on. Memory in bytes."""

    cores: int
    memory: int
    system: str
    python: str
    duckdb: str


@dataclass(frozen=True)
class Section:
    """One section's measurement, with the circumstances: a partial run leaves other sections as they were.

    seconds: how long the section took as a whole, inputs included. load: the machine's load average when it began.
    """

    measured_at: str
    commit: str
    machine: Machine
    load: float
    seconds: float
    rows: tuple[Row, ...]
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Findings:
    """What a section's module fills while it measures."""

    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def this_machine() -> Machine:
    """The machine that runs this."""
    import duckdb

    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        duckdb=duckdb.__version__,
    )


def this_commit(repository: Path) -> str:
    """The checked-out commit, with `-dirty` when files differ from it."""
    command = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def now() -> str:
    """This minute in UTC, as results are dated."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


def read_results(path: Path) -> dict[str, Section]:
    """The sections kept at `path`; none when there is no file."""
    if not path.is_file():
        return {}
    return {name: _section(raw) for name, raw in json.loads(path.read_text(encoding="utf-8"))["sections"].items()}


def write_results(path: Path, sections: Mapping[str, Section]) -> None:
    """Keep the sections, whole or not at all."""
    raw = {"sections": {name: asdict(section) for name, section in sections.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def _section(raw: Mapping[str, Any]) -> Section:
    rows = tuple(
        Row(
            **{
                **row,
                "unit": Unit(row["unit"]),
                "aim": Aim(Bound(row["aim"]["bound"]), row["aim"]["value"]) if row["aim"] else None,
            }
        )
        for row in raw["rows"]
    )
    tables = tuple(
        Table(table["title"], tuple(table["columns"]), tuple(tuple(row) for row in table["rows"]))
        for table in raw["tables"]
    )
    changes = {"machine": Machine(**raw["machine"]), "rows": rows, "tables": tables, "notes": tuple(raw["notes"])}
    return Section(**{**raw, **changes})
