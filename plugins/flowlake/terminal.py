"""What people see on a terminal: numbers in human units, tables, and text from logs that cannot harm it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from flowlake.lake.objects import shown

PLAIN_WIDTH = 10_000
"""Columns of a console that is no terminal: wide enough that nothing is ever wrapped for a program that reads it."""

FOLDED_WIDTH = 12
"""A column of text is folded onto lines of so many characters, not of fewer: letters in a pile are no text."""

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def make_console(stream: TextIO | None = None, *, stderr: bool = False) -> Console:
    """A console on a stream (standard output, else): coloured and fitted on a terminal, plain lines elsewhere."""
    file = stream or (sys.stderr if stderr else sys.stdout)
    is_terminal = file.isatty()
    return Console(
        file=file,
        force_terminal=is_terminal,
        no_color=None if is_terminal else True,
        width=None if is_terminal else PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def human_bytes(size: float | None) -> str:
    """Bytes in decimal units, three figures at most before the unit: `1.3 GB`."""
    if size is None:
        return "-"
    value = float(size)
    for unit in _DECIMAL:
        # 999.95 would be written as 1000.0.
        if abs(value) < (999.5 if unit == "B" else 999.95) or unit == _DECIMAL[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {_DECIMAL[-1]}"


def human_duration(seconds: float) -> str:
    """A duration in the unit that people would name it in: `41 s`, `6 min`, `2 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h" if not rest else f"{hours:,} h {rest} min"


def human_count(number: int | None) -> str:
    """A count with thousands apart: `1,234,567`."""
    return "-" if number is None else f"{number:,}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: `1 object`, `2,000 objects`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def make_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = (), whole: Iterable[str] = ()
) -> Table:
    """A table whose cells are shown as they are: no markup, no control characters.

    Columns in `right` are aligned to the right; neither they nor those in `whole` are broken on a narrow terminal.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
        header_style="bold",
    )
    numbers = set(right)
    unbroken = numbers | set(whole)
    for name in columns:
        table.add_column(
            Text(shown(name)), justify="right" if name in numbers else "left", overflow="fold", no_wrap=name in unbroken
        )
    for row in rows:
        table.add_row(*(Text(shown(str(cell))) for cell in row))
    return table


def print_table(console: Console, table: Table) -> None:
    """Print every cell of a table, whatever the width of the terminal.

    What folding does not make fit is as wide as it must be, and the terminal goes on in the next line: a column that
    is squeezed away, or a number without its last digits, would be a lie.
    """
    natural = Measurement.get(console, console.options.update(width=10 * PLAIN_WIDTH), table).maximum
    spare = sum(max(0, _cells_width(column) - FOLDED_WIDTH) for column in table.columns if not column.no_wrap)
    if natural - spare > console.width:
        table.width = natural
    console.print(table, crop=False)


def _cells_width(column: Column) -> int:
    return max(cell_len(str(cell)) for cell in (column.header, *column.cells))
