"""An hour on a young lake against the same hour on a lake of 30 days."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from datetime import timedelta
from pathlib import Path

from bench.history_logs import DAYS, START, obtain_history
from bench.inputs import Bench, Logs
from bench.processes import measure
from bench.product import FLOWLAKE, Run, clear, environment, obtain_lake, run, time_tables
from bench.results import Aim, Bound, Findings, Row, Unit
from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.settings import LAKE_PATH_VARIABLE, load_settings

WINDOW_DAYS = (10, 10, 5, 1, 1, 1, 1, 1)
"""The days that each run of the history takes: in bulk, and towards its end a day at a time."""

MEASURED = tuple(
    Window(START + timedelta(days=DAYS, hours=hour), START + timedelta(days=DAYS, hours=hour + 1)) for hour in range(3)
)
BEFORE = Window(START - timedelta(hours=1), START)
"""The small hour that makes a young lake: with it the tables are there and dbt has parsed the project once."""


def section(bench: Bench) -> Findings:
    """Run three hours on both lakes, turn by turn, and compare the medians."""
    logs, old, built = obtain_history_lake(bench)
    edges, devices = edges_and_devices(logs, old)
    bench.say(f"a lake of {edges:,} edges and {devices:,} devices, made in {built:.0f} s")
    young = clear(bench.folder / "young-lake")
    run(logs.config, BEFORE, young)
    runs: dict[str, list[Run]] = {"young": [], "old": []}
    for window in MEASURED:
        for name, lake in (("young", young), ("old", old)):
            runs[name].append(run(logs.config, window, lake))
            bench.say(f"{window} on the {name} lake: {runs[name][-1].measured.seconds:.1f} s")
    medians = {name: statistics.median(one.measured.seconds for one in every) for name, every in runs.items()}
    cpu = {name: statistics.median(one.measured.cpu_seconds for one in every) for name, every in runs.items()}
    ratio = medians["old"] / medians["young"]
    rows = [
        Row(f"an hour of {logs.records:,} records on a young lake", medians["young"], Unit.SECONDS),
        Row(
            f"the same hour after {DAYS} days, {edges:,} edges",
            medians["old"],
            Unit.SECONDS,
            Aim(Bound.AT_MOST, 1.2 * medians["young"]),
            ratio,
            "a young lake",
        ),
        Row("its CPU", cpu["old"], Unit.SECONDS, ratio=cpu["old"] / cpu["young"], to="a young lake"),
    ]
    tables = {"young lake": _middle(runs["young"]), f"{DAYS} days": _middle(runs["old"])}
    if _has_maintain():
        restore(old)
        bench.say(f"flowlake maintain: {_maintain(logs.config, old):.0f} s")
        after = [run(logs.config, window, old) for window in MEASURED]
        seconds = statistics.median(one.measured.seconds for one in after)
        rows.append(
            Row(
                "the same hour after `flowlake maintain`",
                seconds,
                Unit.SECONDS,
                Aim(Bound.AT_MOST, 1.2 * medians["young"]),
                seconds / medians["young"],
                "a young lake",
            )
        )
        tables["maintained"] = _middle(after)
    return Findings(
        rows=rows,
        tables=time_tables(tables),
        notes=[
            f"The history: {edges:,} edges between {devices:,} devices in {DAYS * 24} hours, {DAYS} days, made by"
            f" `flowlake run` in windows of {', '.join(map(str, WINDOW_DAYS))} days, in {built:.0f} s.",
            "A young lake has run one small hour: its tables are there and dbt has parsed the project, as in the old.",
            "Medians of three hours, which follow upon each other in both lakes; the lakes take turns.",
        ],
    )


def obtain_history_lake(bench: Bench) -> tuple[Logs, Path, float]:
    """The logs, the lake of 30 days as it was when it was made, and the seconds that it took to make."""
    logs = obtain_history(bench)
    lake = bench.folder / "history-lake"
    begins = [START + timedelta(days=sum(WINDOW_DAYS[:number])) for number in range(len(WINDOW_DAYS))]
    windows = tuple(Window(at, at + timedelta(days=days)) for at, days in zip(begins, WINDOW_DAYS, strict=True))
    if _kept(lake).is_dir():
        restore(lake)
    built = obtain_lake(logs.config, (BEFORE, *windows), lake)
    _copy(lake, _kept(lake))
    return logs, lake, built


def restore(lake: Path) -> None:
    """The lake as it was when it was made, at the same place: a DuckLake knows where its files are."""
    _copy(_kept(lake), lake)


def _kept(lake: Path) -> Path:
    return lake.with_name(f"{lake.name}-kept")


def _copy(source: Path, target: Path) -> None:
    """Data files never change, so they are linked; the catalogue and all the rest are copied."""
    shutil.rmtree(target, ignore_errors=True)

    def copy(file: str, to: str) -> None:
        if file.endswith(".parquet") and f"{source}/data/" in file:
            os.link(file, to)
        else:
            shutil.copy2(file, to)

    shutil.copytree(source, target, copy_function=copy)


def edges_and_devices(logs: Logs, lake: Path) -> tuple[int, int]:
    """How much a lake holds."""
    with connect(load_settings(logs.config, {LAKE_PATH_VARIABLE: str(lake)})) as connection:
        found = connection.execute(
            "select (select count(*) from lake.core.fct_edges), (select count(*) from lake.core.dim_devices)"
        ).fetchone()
    return found or (0, 0)


def _middle(runs: list[Run]) -> Run:
    """The run whose time is the median."""
    return sorted(runs, key=lambda one: one.measured.seconds)[len(runs) // 2]


def _has_maintain() -> bool:
    command = [FLOWLAKE, "maintain", "--help"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _maintain(config: Path, lake: Path) -> float:
    """Run `flowlake maintain`; returns its seconds."""
    log = lake.with_name(f"{lake.name}-maintain.log")
    command = [FLOWLAKE, "--config", str(config), "maintain"]
    return measure(command, log=log, cwd=config.parent, environ=environment(lake)).seconds
