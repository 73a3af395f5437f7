"""Inputs and lakes below data/bench: made once, marked when whole, and used again while their facts are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.results import Section
from flowlake.lake.windows import Window
from flowlake.sample.worst_case import generate_worst_case

MARK = "made.json"
OBJECT_RECORDS = 250_000


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks.

    scale: how much smaller than the real sizes (1.0) inputs are. folder: where inputs and lakes lie. say: takes a line
    of progress. done: the sections that this run measured before. kept: those, and others of earlier runs.
    """

    scale: float
    folder: Path
    say: Callable[[str], None]
    done: Mapping[str, Section]
    kept: Mapping[str, Section]

    def scaled(self, number: int) -> int:
        """A number of records at this run's scale."""
        return max(1000, round(number * self.scale))


@dataclass(frozen=True)
class Logs:
    """Logs on disk and the settings that run them; `bytes` as delivered."""

    config: Path
    window: Window
    records: int
    bytes: int

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.config.parent


def is_made(folder: Path, facts: Mapping[str, object]) -> dict[str, object] | None:
    """What was noted when a folder was made, if it was made to its end with these facts."""
    try:
        known: dict[str, object] = json.loads((folder / MARK).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return known if all(known.get(key) == value for key, value in facts.items()) else None


def mark_made(folder: Path, facts: Mapping[str, object]) -> None:
    """Note that a folder is whole."""
    (folder / MARK).write_text(json.dumps(dict(facts)))


def obtain_worst_case(bench: Bench, records: int) -> Logs:
    """Logs of so many records, each of another edge, all in one arrival hour."""
    folder = bench.folder / f"worst-{records}"
    facts = {"records": records}
    known = is_made(folder, facts)
    if not known:
        bench.say(f"making {records:,} records of the worst cardinality")
        shutil.rmtree(folder, ignore_errors=True)
        report = generate_worst_case(records, folder, objects=-(-records // OBJECT_RECORDS))
        known = {**facts, "bytes": report.bytes, "from": report.arrival_from, "to": report.arrival_to}
        write_settings(folder)
        mark_made(folder, known)
    window = Window.parse(str(known["from"]), str(known["to"]))
    return Logs(folder / "flowlake.yaml", window, records, int(str(known["bytes"])))


def write_settings(folder: Path) -> None:
    """Settings of four lines for the logs in `<folder>/logs`."""
    text = "sources:\n  - name: bench\n    uri: logs\nlake: {path: lake}\n"
    (folder / "flowlake.yaml").write_text(text)
