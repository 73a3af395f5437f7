"""flowlake as people run it: `flowlake run` as a child process, and what its own log says about steps and models."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.inputs import is_made, mark_made
from bench.processes import Measured, measure
from bench.results import Table
from flowlake.dbt import REPOSITORY
from flowlake.lake.windows import Window
from flowlake.settings import LAKE_PATH_VARIABLE

FLOWLAKE = str(Path(sys.executable).parent / "flowlake")
PRODUCT = ("plugins", "dbt_project/models", "dbt_project/macros", "dbt_project/seeds", "dbt_project/profiles.yml")

_STEP = re.compile(r"^\[\d+/\d+\] (\w+) +([\d.]+) s", re.MULTILINE)
_NODE = re.compile(r"dbt: [\d:]+ +\d+ of \d+ (\w+) .*?([\w.]+) +\.* ?\[[A-Z]+(?: \d+)? in ([\d.]+)s\]", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A run of flowlake: what it took, per step and per dbt node (seconds; a test's name begins with `test `)."""

    measured: Measured
    steps: Mapping[str, float]
    nodes: Mapping[str, float]


def run(config: Path, window: Window, lake: Path, *, memory_limit: str | None = None) -> Run:
    """Run `flowlake run` over a window into a lake. Raises BenchError when it fails."""
    environ = {**os.environ, LAKE_PATH_VARIABLE: str(lake)}
    if memory_limit:
        environ["FLOWLAKE_MEMORY_LIMIT"] = memory_limit
    start, end = str(window).split("/")
    measured = measure(
        [FLOWLAKE, "--config", str(config), "run", "--from", start, "--to", end, "-v"],
        log=lake.with_name(f"{lake.name}.log"),
        cwd=config.parent,
        environ=environ,
        spill=lake / "dbt" / "spill",
    )
    return Run(measured, steps_of(measured.output), nodes_of(measured.output))


def obtain_lake(config: Path, windows: tuple[Window, ...], lake: Path) -> float:
    """A lake into which these windows were run by the product as it is now; returns the seconds that it took to make.

    One that was made before by the same product is kept.
    """
    facts = {"windows": [str(window) for window in windows], "product": fingerprint()}
    if known := is_made(lake, facts):
        return float(str(known["seconds"]))
    clear(lake)
    seconds = sum(run(config, window, lake).measured.seconds for window in windows)
    mark_made(lake, {**facts, "seconds": seconds})
    return seconds


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
    """Seconds by model, seed and test, from dbt's log lines as `flowlake run -v` passes them on."""
    return {
        f"test {name}" if verdict in ("PASS", "WARN") else name: float(seconds)
        for verdict, name, seconds in _NODE.findall(output)
    }


def time_tables(runs: Mapping[str, Run]) -> list[Table]:
    """Where the time of some runs went: by step, and by the models that took most of the last of them."""
    names = tuple(runs)
    every = list(runs.values())
    steps = tuple(
        (step, *(f"{one.steps.get(step, 0.0):.1f}" for one in every)) for step in every[-1].steps
    )
    process = tuple(
        (what, *(f"{figure(one):.1f}" for one in every))
        for what, figure in (
            ("the process in all", lambda one: one.measured.seconds),
            ("CPU, user and system", lambda one: one.measured.cpu_seconds),
        )
    )
    models = [name for name in every[-1].nodes if not name.startswith("test ")]
    slowest = sorted(models, key=lambda name: -every[-1].nodes[name])[:12]
    rest = tuple(
        (
            what,
            *(f"{sum(taken for name, taken in one.nodes.items() if chosen(name)):.1f}" for one in every),
        )
        for what, chosen in (
            ("all other models", lambda name: not name.startswith("test ") and name not in slowest),
            ("dbt tests", lambda name: name.startswith("test ")),
        )
    )
    by_model = tuple((name, *(f"{one.nodes.get(name, 0.0):.1f}" for one in every)) for name in slowest)
    return [
        Table("Seconds by step", ("step", *names), (*steps, *process)),
        Table("Seconds by model", ("model", *names), (*by_model, *rest)),
    ]
