"""A day at once against its hours one by one, over the generator's sample logs."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.inputs import Bench, Logs, is_made, mark_made
from bench.processes import BenchError
from bench.product import clear, mark_lake, obtain_lake, run, time_tables
from bench.results import Aim, Bound, Findings, Row, Unit
from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.sampling import write_sample
from flowlake.settings import LAKE_PATH_VARIABLE, load_settings

DAY = datetime(2026, 11, 1, tzinfo=UTC)
HOURS = 24
_HOUR = timedelta(hours=1)


def section(bench: Bench) -> Findings:
    """Run the day into one lake, its hours into another, and see that both hold the same."""
    logs = obtain_day(bench)
    at_once = run(logs.config, logs.window, clear(_day_lake(bench)))
    mark_lake(_day_lake(bench), (logs.window,), at_once.measured.seconds)
    bench.say(f"{logs.records:,} records of {len(logs.window.hours)} hours at once: {at_once.measured.seconds:.0f} s")
    lake = clear(bench.folder / "hours-lake")
    starts = [logs.window.start + number * _HOUR for number in range(len(logs.window.hours))]
    hours = [run(logs.config, Window(start, start + _HOUR), lake) for start in starts]
    seconds = sum(one.measured.seconds for one in hours)
    bench.say(f"hour by hour: {seconds:.0f} s")
    if (once := _totals(logs, _day_lake(bench))) != (single := _totals(logs, lake)):
        message = f"a day at once holds {once} edges, packets and bytes, its hours one by one {single}"
        raise BenchError(message)
    clear(lake)
    times = seconds / at_once.measured.seconds
    return Findings(
        rows=[
            Row(f"{len(hours)} hours at once, {logs.records:,} records", at_once.measured.seconds, Unit.SECONDS),
            Row(f"{len(hours)} hours one by one", seconds, Unit.SECONDS, ratio=times, to="the day at once"),
            Row("how much faster it is at once", times, Unit.TIMES, Aim(Bound.AT_LEAST, 3)),
        ],
        tables=time_tables({"at once": at_once, "the last hour": hours[-1]}),
        notes=[
            f"Sample logs of {len(hours)} hours (`flowlake sample`, without faults). Both lakes held the same"
            f" {once[0]:,} edges and {once[2]:,} bytes.",
        ],
    )


def obtain_day(bench: Bench) -> Logs:
    """Sample logs of a day; a scaled run has fewer hours too."""
    folder = bench.folder / "day"
    hours = HOURS if bench.scale >= 1 else 2
    facts = {"hours": hours, "scale": bench.scale}
    known = is_made(folder, facts)
    if not known:
        bench.say(f"making sample logs of {hours} hours")
        shutil.rmtree(folder, ignore_errors=True)
        report = write_sample(folder, hours=hours, start=DAY, seed=7, scale=bench.scale, faults=False).report
        known = {
            **facts,
            "records": report.records,
            "bytes": report.bytes,
            "from": report.arrival_from,
            "to": report.arrival_to,
        }
        mark_made(folder, known)
    window = Window.parse(str(known["from"]), str(known["to"]))
    return Logs(folder / "flowlake.yaml", window, int(str(known["records"])), int(str(known["bytes"])))


def obtain_day_lake(bench: Bench) -> tuple[Logs, Path]:
    """The day's logs, and the lake into which they were run at once."""
    logs = obtain_day(bench)
    obtain_lake(logs.config, (logs.window,), _day_lake(bench))
    return logs, _day_lake(bench)


def _day_lake(bench: Bench) -> Path:
    return bench.folder / "day-lake"


def _totals(logs: Logs, lake: Path) -> tuple[int, int, int]:
    with connect(load_settings(logs.config, {LAKE_PATH_VARIABLE: str(lake)})) as connection:
        found = connection.execute(
            "select count(*), sum(packets)::bigint, sum(bytes)::bigint from lake.flowlake.fct_edges"
        ).fetchone()
    return found or (0, 0, 0)
