"""docs/benchmarks.md and the table on the terminal, from the results alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.results import Machine, Row, Section, Table, Unit
from flowlake.terminal import human_bytes

HEAD = """\
# Benchmarks

<!-- Written by `make bench` from docs/benchmarks.json. Run it again rather than edit this. -->

`make bench` measures what follows; `make bench ONLY="fixed worst"` some of it, and leaves the rest as it was. Ratios
are between things measured in the same run, on the same machine. Inputs are made below `data/bench` and kept there.
"""

TITLES: Mapping[str, str] = {
    "floor": "Floor: a plain DuckDB script",
    "worst": "Worst case: every record another edge",
    "history": "An hour after 30 days of history",
    "bulk": "A day at once, and hour by hour",
    "fixed": "One small object",
    "size": "Size, and nine questions asked of text and of marts",
    "peer": "A peer: flowlogs-reader",
    "athena": "What an hour scans on Athena",
    "sizing": "What flow logs cost, on either engine",
}
"""The sections, in the order in which they run and stand on the page."""

COLUMNS = ("what", "value", "aim", "", "ratio")


def shown_value(value: float, unit: Unit) -> str:
    """A value with its unit, for people."""
    if unit is Unit.BYTES:
        return human_bytes(value)
    if unit in (Unit.RECORDS_PER_SECOND, Unit.COUNT):
        return f"{value:,.0f} {unit}".rstrip()
    if unit is Unit.TIMES:
        return f"{value:.2f} times"
    return f"{value:,.1f} {unit}"


def shown_row(row: Row) -> tuple[str, ...]:
    """A row of the one table: what, value, aim, whether it is met, ratio."""
    aim, verdict = "", ""
    if row.aim:
        aim = f"{row.aim.bound} {shown_value(row.aim.value, row.unit)}"
        verdict = "met" if row.aim.is_met(row.value) else "MISSED"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g} times {row.to}"
    return row.what, shown_value(row.value, row.unit), aim, verdict, ratio


def text_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a terminal."""
    cells = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def render(sections: Mapping[str, Section]) -> str:
    """The page."""
    known = [name for name in TITLES if name in sections]
    parts = [HEAD]
    if not known:
        parts.append("Nothing has been measured yet.\n")
    else:
        rows = [shown_row(row) for name in known for row in sections[name].rows]
        parts.append(_markdown_table(COLUMNS, rows))
    for name in known:
        parts.append(_section(name, sections[name]))
    return "\n".join(parts)


def _section(name: str, section: Section) -> str:
    parts = [f"## {TITLES[name]}\n"]
    command = f'`make bench ONLY="{name}"`'
    parts.append(
        f"{command}, {section.measured_at} UTC, commit {section.commit}, {section.seconds:.0f} s in all, load"
        f" {section.load:.1f} at its start; {_machine(section.machine)}.\n"
    )
    if section.notes:
        parts.append("\n".join(f"* {note}" for note in section.notes) + "\n")
    parts += [_table(table) for table in section.tables]
    return "\n".join(parts)


def _machine(machine: Machine) -> str:
    return (
        f"{machine.cores} cores, {human_bytes(machine.memory)} of memory, {machine.system},"
        f" Python {machine.python}, DuckDB {machine.duckdb}"
    )


def _table(table: Table) -> str:
    return f"{table.title}\n\n" + _markdown_table(table.columns, table.rows)


def _markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
