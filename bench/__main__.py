"""python -m bench [--only "fixed worst"] [--scale 0.02]: measure, print one table, keep the results, write the page."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click

from bench.inputs import Bench
from bench.page import COLUMNS, TITLES, render, shown_row, text_table
from bench.results import Findings, Section, now, read_results, this_commit, this_machine, write_results
from flowlake.dbt import REPOSITORY
from flowlake.errors import FlowlakeError

RESULTS = REPOSITORY / "docs" / "benchmarks.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
DATA = REPOSITORY / "data" / "bench"

NEEDS = {"worst": ("floor",)}
"""What a section compares itself with must be measured in the same run."""


APART = ("athena", "sizing")
"""Measured when they are named: `make bench-athena`."""


def chosen(only: str) -> list[str]:
    """The sections to run, in order: all, or those named and what they need. Raises FlowlakeError for unknown ones."""
    names = only.split() or [name for name in TITLES if name not in APART]
    if unknown := [name for name in names if name not in TITLES]:
        message = f"there is no section {', '.join(unknown)}; the sections are {', '.join(TITLES)}"
        raise FlowlakeError(message)
    needed = {*names, *(need for name in names for need in NEEDS.get(name, ()))}
    return [name for name in TITLES if name in needed]


def measure_section(name: str, bench: Bench) -> Section:
    """Run one section's module."""
    at, load, started = now(), os.getloadavg()[0], time.monotonic()
    findings: Findings = import_module(f"bench.{name}").section(bench)
    return Section(
        measured_at=at,
        commit=this_commit(REPOSITORY),
        machine=this_machine(),
        load=round(load, 2),
        seconds=round(time.monotonic() - started, 1),
        rows=tuple(replace(row, value=_rounded(row.value)) for row in findings.rows),
        tables=tuple(findings.tables),
        notes=tuple(findings.notes),
    )


def _rounded(value: float) -> float:
    return round(value) if abs(value) >= 10_000 else round(value, 3)


@click.command()
@click.option("--only", default="", help=f"Sections, apart by spaces: {' '.join(TITLES)}.")
@click.option("--scale", default=1.0, help="Smaller inputs, to try the benchmarks out: results stay below data/bench.")
def main(only: str, scale: float) -> None:
    """Measure."""
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"[{time.monotonic() - started:5.0f} s] {text}", err=True)

    # Asked to end, it ends what it started on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = DATA / f"scale-{scale:g}"
    results, page = (RESULTS, PAGE) if scale == 1 else (folder / RESULTS.name, folder / PAGE.name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done: dict[str, Section] = {}
        for name in chosen(only):
            say(f"{name}: {TITLES[name]}")
            kept = {**read_results(results), **done}
            done[name] = measure_section(name, Bench(scale, folder, say, done, kept))
            # After each: what was measured stays when a later section fails.
            sections = {**kept, name: done[name]}
            write_results(results, {name: sections[name] for name in TITLES if name in sections})
            page.write_text(render(sections), encoding="utf-8")
    except FlowlakeError as error:
        raise click.ClickException(str(error)) from None
    click.echo(text_table(COLUMNS, [shown_row(row) for section in done.values() for row in section.rows]))
    say(f"written: {_shown(results)}, {_shown(page)}")


def _shown(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
