"""The worst case: as many edges as records, in one window; and twice and four times as many."""

from __future__ import annotations

from pathlib import Path

from bench.inputs import Bench, Logs, obtain_worst_case
from bench.processes import MEMORY_HELP
from bench.product import Run, clear, mark_lake, obtain_lake, run, time_tables
from bench.results import Aim, Bound, Findings, Row, Unit

RECORDS = 5_000_000
FIXED_SECONDS = 20.0
SPILLING_LIMIT = "3GB"
"""DuckDB's limit for four times as many records. What the process needs besides (Python, Arrow, allocators) comes on
top, so that the whole stays below 6 GB."""


def section(bench: Bench) -> Findings:
    """Run one, two and four times the records. The floor has been measured in the same run."""
    floor_seconds, floor_rate, floor_memory = (row.value for row in bench.done["floor"].rows[:3])
    once, _ = _run(bench, 1)
    twice, more = _run(bench, 2)
    spilling, most = _run(bench, 4, SPILLING_LIMIT)
    records = bench.scaled(RECORDS)
    margin = (more - records) / max(twice.measured.seconds - once.measured.seconds, 0.001)
    return Findings(
        rows=[
            Row(
                f"flowlake run, {records:,} records, one window",
                once.measured.seconds,
                Unit.SECONDS,
                Aim(Bound.AT_MOST, 2 * floor_seconds + FIXED_SECONDS),
                once.measured.seconds / floor_seconds,
                "the floor",
            ),
            Row(
                f"margin from {records:,} to {more:,} records",
                margin,
                Unit.RECORDS_PER_SECOND,
                Aim(Bound.AT_LEAST, 350_000),
                margin / floor_rate,
                "the floor",
            ),
            Row(
                f"memory, {records:,} records",
                once.measured.peak_memory,
                Unit.BYTES,
                Aim(Bound.AT_MOST, 4e9),
                once.measured.peak_memory / floor_memory,
                "the floor",
            ),
            Row(
                f"memory, {most:,} records in one window, FLOWLAKE_MEMORY_LIMIT={SPILLING_LIMIT}",
                spilling.measured.peak_memory,
                Unit.BYTES,
                Aim(Bound.AT_MOST, 6e9),
                spilling.measured.peak_memory / floor_memory,
                "the floor",
            ),
            Row("spilled to disk there, at its height", spilling.measured.peak_spill, Unit.BYTES),
            Row(
                "seconds there",
                spilling.measured.seconds,
                Unit.SECONDS,
                ratio=spilling.measured.seconds / once.measured.seconds,
                to=f"those of {records:,}",
            ),
        ],
        tables=time_tables({f"{records:,}": once, f"{more:,}": twice, f"{most:,}": spilling}),
        notes=[
            f"The aim for {records:,} records is twice this run's floor and {FIXED_SECONDS:.0f} s.",
            "A margin is the additional records over the additional seconds.",
            MEMORY_HELP,
            f"The memory of {records:,} and {more:,} records is under the default limit of 4 GB for DuckDB:"
            f" {more:,} took {twice.measured.peak_memory / 1e9:.1f} GB.",
        ],
    )


def obtain_worst_lake(bench: Bench) -> tuple[Logs, Path]:
    """The logs of the worst case, and the lake into which they were run."""
    logs = obtain_worst_case(bench, bench.scaled(RECORDS))
    obtain_lake(logs.config, (logs.window,), _lake(bench, 1))
    return logs, _lake(bench, 1)


def _lake(bench: Bench, times: int) -> Path:
    return bench.folder / f"worst-lake-{times}"


def _run(bench: Bench, times: int, memory_limit: str | None = None) -> tuple[Run, int]:
    logs = obtain_worst_case(bench, times * bench.scaled(RECORDS))
    lake = clear(_lake(bench, times))
    bench.say(f"flowlake run over {logs.records:,} records")
    done = run(logs.config, logs.window, lake, memory_limit=memory_limit)
    bench.say(f"{logs.records:,} records: {done.measured.seconds:.0f} s, {done.measured.peak_memory / 1e9:.1f} GB")
    if times == 1:
        # The size of this lake is looked at later.
        mark_lake(lake, (logs.window,), done.measured.seconds)
    else:
        clear(lake)
    return done, logs.records
