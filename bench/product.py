"""flowlake as people run it: `flowlake run` as a child process, and what its own log says about steps and models."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.inputs import is_made, mark_made
from bench.processes import BenchError, Measured, measure
from bench.results import Table
from flowlake.dbt import REPOSITORY
from flowlake.lake.windows import Window
from flowlake.settings import LAKE_PATH_VARIABLE

FLOWLAKE = str(Path(sys.executable).parent / "flowlake")
PRODUCT = (
    "plugins",
    "dbt_project/models",
    "dbt_project/macros",
    "dbt_project/seeds",
    "dbt_project/profiles.yml",
    "dbt_project/dbt_project.yml",
)

MEMORY_LIMIT_VARIABLE = "FLOWLAKE_MEMORY_LIMIT"
UNSET = {MEMORY_LIMIT_VARIABLE, "FLOWLAKE_CATALOG", "FLOWLAKE_TARGET", "FLOWLAKE_CONFIG"}
"""What would make it another lake, or another run, than those that are compared."""

TESTS = "dbt's tests"
SHOWN_MODELS = 12

_STEP = re.compile(r"^\[\d+/\d+\] (\w+) +([\d.]+) s", re.MULTILINE)
_NODE = re.compile(r"dbt: [\d:]+ +\d+ of \d+ (\w+) .*?([\w.]+) +\.* ?\[[A-Z]+(?: \d+)? in ([\d.]+)s\]", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A run of flowlake: what it took, and the seconds by step and by model; dbt's tests are one more node."""

    measured: Measured
    steps: Mapping[str, float]
    nodes: Mapping[str, float]


def run(config: Path, window: Window, lake: Path, *, memory_limit: str | None = None) -> Run:
    """Run `flowlake run` over a window into a lake. Raises BenchError when it fails, or logs nothing of its steps."""
    start, end = str(window).split("/")
    measured = measure(
        [FLOWLAKE, "--config", str(config), "run", "--from", start, "--to", end, "-v"],
        log=lake.with_name(f"{lake.name}.log"),
        cwd=config.parent,
        environ=environment(lake, memory_limit),
        spill=lake / "dbt" / "spill",
    )
    found = Run(measured, steps_of(measured.output), nodes_of(measured.output))
    if not (found.steps and found.nodes):
        message = "`flowlake run -v` logs its steps and models otherwise than bench/product.py reads them"
        raise BenchError(message)
    return found


def environment(lake: Path, memory_limit: str | None = None) -> dict[str, str]:
    """The caller's environment with this lake; DuckDB's memory limit is flowlake's default unless one is given."""
    environ = {name: value for name, value in os.environ.items() if name not in UNSET}
    limit = {MEMORY_LIMIT_VARIABLE: memory_limit} if memory_limit else {}
    return {**environ, LAKE_PATH_VARIABLE: str(lake), **limit}


def obtain_lake(config: Path, windows: tuple[Window, ...], lake: Path) -> float:
    """A lake into which these windows were run by the product as it is now; returns the seconds that it took to make.

    One that was made before by the same product is kept.
    """
    if known := is_made(lake, _facts(windows)):
        return float(str(known["seconds"]))
    clear(lake)
    seconds = sum(run(config, window, lake).measured.seconds for window in windows)
    mark_lake(lake, windows, seconds)
    return seconds


def mark_lake(lake: Path, windows: tuple[Window, ...], seconds: float) -> None:
    """Note that a lake holds these windows, so that obtain_lake finds it."""
    mark_made(lake, {**_facts(windows), "seconds": seconds})


def _facts(windows: tuple[Window, ...]) -> dict[str, object]:
    return {"windows": [str(window) for window in windows], "product": fingerprint()}


def clear(lake: Path) -> Path:
    """An empty place for a lake."""
    shutil.rmtree(lake, ignore_errors=True)
    return lake


def fingerprint() -> str:
    """What the product is: a hash over its sources, so that a lake made by another one is not taken for its work."""
    digest = hashlib.sha256()
    for name in PRODUCT:
        path = REPOSITORY / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in {".py", ".sql", ".yml", ".csv"}:
                digest.update(f"{file.relative_to(REPOSITORY)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def steps_of(output: str) -> dict[str, float]:
    """Seconds by step, from the progress of `flowlake run`."""
    return {name: float(seconds) for name, seconds in _STEP.findall(output)}


def nodes_of(output: str) -> dict[str, float]:
    """Seconds by model and seed, and of all tests together, from dbt's log lines that `flowlake run -v` passes on."""
    found: defaultdict[str, float] = defaultdict(float)
    for verdict, name, seconds in _NODE.findall(output):
        found[TESTS if verdict in ("PASS", "WARN") else name] += float(seconds)
    return dict(found)


def time_tables(runs: Mapping[str, Run]) -> list[Table]:
    """Where the time of some runs went: by step, and by the models that took most of the last of them."""

    def line(what: str, seconds: Iterable[float]) -> tuple[str, ...]:
        return what, *(f"{each:.1f}" for each in seconds)

    ran = list(runs.values())
    last = ran[-1]
    models = [name for name in last.nodes if name != TESTS]
    slowest = sorted(models, key=lambda name: -last.nodes[name])[:SHOWN_MODELS]
    shown = {*slowest, TESTS}
    steps = [line(step, [one.steps.get(step, 0.0) for one in ran]) for step in last.steps]
    steps.append(line("the process in all", [one.measured.seconds for one in ran]))
    steps.append(line("CPU, user and system", [one.measured.cpu_seconds for one in ran]))
    nodes = [line(name, [one.nodes.get(name, 0.0) for one in ran]) for name in (*slowest, TESTS)]
    others = [sum(taken for name, taken in one.nodes.items() if name not in shown) for one in ran]
    nodes.append(line("other models", others))
    return [
        Table("Seconds by step", ("step", *runs), tuple(steps)),
        Table("Seconds by model", ("model", *runs), tuple(nodes)),
    ]
