"""Tables on terminals of any width: what does not fit is folded or runs on, and never lost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flowlake.terminal import human_duration, make_table, print_table


def _printed(width: int, columns: list[str], row: list[str], right: tuple[str, ...] = ()) -> list[str]:
    stream = io.StringIO()
    print_table(
        Console(file=stream, force_terminal=True, no_color=True, width=width), make_table(columns, [row], right=right)
    )
    return [line.rstrip() for line in stream.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()]


def test_no_column_and_no_digit_is_lost_on_a_narrow_terminal() -> None:
    names = [f"column_{number}" for number in range(12)]
    values = [str(1_000_000_000 + number) for number in range(12)]
    for right in ((), tuple(names), tuple(names[6:])):
        head, _, row = _printed(40, names, values, right)
        assert head.split() == names
        assert row.split() == values


def test_long_text_is_folded_where_that_makes_room() -> None:
    _head, _, *rows = _printed(
        40, ["number", "what"], ["123456789", "one two three four five six seven eight nine"], ("number",)
    )
    assert max(map(len, rows)) <= 40
    assert " ".join(" ".join(rows).split()) == "123456789 one two three four five six seven eight nine"


def test_a_table_that_fits_stays_as_it_is() -> None:
    assert _printed(40, ["a", "b"], ["x", "12"], ("b",))[::2] == ["a   b", "x  12"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (5940, "99 min"), (7200, "2 h"), (7800, "2 h 10 min")],
)
def test_a_duration_is_in_the_unit_that_people_name(seconds: float, said: str) -> None:
    assert human_duration(seconds) == said
