"""The fixed cost: one small object through `flowlake run`, and through the DAG of a real Airflow."""

from __future__ import annotations

import shutil
import statistics
import time

from bench.inputs import Bench, obtain_worst_case, write_settings
from bench.product import clear, run, time_tables
from bench.results import Aim, Bound, Findings, Row, Unit
from flowlake.orchestration.demo import Progress, run_hours

RECORDS = 1000
REPEATS = 3


def section(bench: Bench) -> Findings:
    """Run the object thrice into empty lakes, once more into the last of them, and once through Airflow."""
    logs = obtain_worst_case(bench, RECORDS)
    lake = bench.folder / "fixed-lake"
    first = [run(logs.config, logs.window, clear(lake)) for _ in range(REPEATS)]
    again = run(logs.config, logs.window, lake)
    seconds = statistics.median(one.measured.seconds for one in first)

    home = bench.folder / "airflow"
    shutil.rmtree(home, ignore_errors=True)
    write_settings(logs.folder)
    clear(logs.folder / "lake")
    started = time.monotonic()
    hours = run_hours(
        logs.window,
        home=home,
        config=logs.config,
        progress=Progress(lambda text: bench.say(text.rstrip()), live=False),
    )
    whole = time.monotonic() - started
    to = "flowlake run"
    return Findings(
        rows=[
            Row("flowlake run, one small object, empty lake", seconds, Unit.SECONDS, Aim(Bound.AT_MOST, 25)),
            Row(
                "the same again, in the same lake",
                again.measured.seconds,
                Unit.SECONDS,
                Aim(Bound.AT_MOST, 25),
                again.measured.seconds / seconds,
                to,
            ),
            Row(
                "the DAG in Airflow: from nothing to Airflow's end",
                whole,
                Unit.SECONDS,
                Aim(Bound.AT_MOST, 75),
                whole / seconds,
                to,
            ),
            Row("the DAG's run alone", hours[0].seconds, Unit.SECONDS, ratio=hours[0].seconds / seconds, to=to),
        ],
        tables=time_tables({"empty lake": first[-1], "again": again}),
        notes=[
            f"One object of {RECORDS:,} records. The first row is the median of {REPEATS} runs into empty lakes, each"
            " of which makes every table and lets dbt parse the project anew.",
            "Airflow begins without a home: its metadata database is made, its components start, a backfill of one hour"
            " runs, and all of it is ended.",
        ],
    )
