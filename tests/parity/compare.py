"""One table of two engines: the same columns, and the same rows in any order.

Only the representation is made alike, by `engines`, which reads the tables. Here a value is equal or it is not: a null
is no empty text, a sum that was rounded otherwise is another sum, and a row that stands twice stands twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Row = tuple[Hashable, ...]

SHOWN_ROWS = 3


@dataclass(frozen=True)
class Table:
    """A table as read: what kind of value each column holds, by name, and the rows in the order of those names."""

    kinds: Mapping[str, str]
    rows: Sequence[Row]

    def without(self, columns: Iterable[str]) -> Table:
        """The table without some of its columns, which it must have."""
        left_out = set(columns)
        if missing := left_out - self.kinds.keys():
            raise KeyError(f"there are no columns {sorted(missing)}")
        kept = [place for place, name in enumerate(self.kinds) if name not in left_out]
        names = list(self.kinds)
        return Table(
            {names[place]: self.kinds[names[place]] for place in kept},
            [tuple(row[place] for place in kept) for row in self.rows],
        )

    def ordered(self, names: Sequence[str]) -> Table:
        """The same table with its columns in another order."""
        places = [list(self.kinds).index(name) for name in names]
        return Table({name: self.kinds[name] for name in names}, [tuple(row[at] for at in places) for row in self.rows])


class Difference(Exception):
    """Two tables that should be the same are not; the message names the first row and column that differ."""


def assert_same(name: str, expected: Table, found: Table, sides: tuple[str, str] = ("duckdb", "athena")) -> None:
    """Compare a table of two engines.

    Raises:
        Difference: naming the table, and what differs first: columns, kinds of values, or a row and its column.
    """
    one, other = sides
    if expected.kinds.keys() != found.kinds.keys():
        only = [
            f"only in {side}: {', '.join(sorted(extra))}"
            for side, extra in (
                (one, expected.kinds.keys() - found.kinds.keys()),
                (other, found.kinds.keys() - expected.kinds.keys()),
            )
            if extra
        ]
        raise Difference(f"{name} has other columns: {'; '.join(only)}")
    for column, kind in expected.kinds.items():
        if found.kinds[column] != kind:
            raise Difference(f"{name}.{column} is a {kind} in {one} and a {found.kinds[column]} in {other}")
    found = found.ordered(list(expected.kinds))
    missing = Counter(map(_strict, expected.rows)) - Counter(map(_strict, found.rows))
    extra = Counter(map(_strict, found.rows)) - Counter(map(_strict, expected.rows))
    if not missing and not extra:
        return
    counts = f"{len(expected.rows)} rows in {one}, {len(found.rows)} in {other}"
    raise Difference(
        f"{name} differs ({counts}; {missing.total()} only in {one}, {extra.total()} only in {other}): "
        + _first(list(expected.kinds), _sorted(missing), _sorted(extra), sides)
    )


def _strict(row: Row) -> Row:
    """A row whose values are equal only to values of the same type: for Python, True is 1 and 1 is 1.0."""
    return tuple((type(value).__name__, _digits(value)) for value in row)


def _digits(value: Hashable) -> Hashable:
    """A float by its digits: a NaN is then equal to a NaN, and -0.0 is not 0.0."""
    return repr(value) if isinstance(value, float) else value


def _sorted(rows: Counter[Row]) -> list[Row]:
    return sorted(rows.elements(), key=lambda row: tuple(map(repr, row)))


def _first(columns: list[str], missing: list[Row], extra: list[Row], sides: tuple[str, str]) -> str:
    """The first row that differs, beside the row of the other side that is most like it."""
    one, other = sides
    if not missing or not extra:
        side, rows = (one, missing) if missing else (other, extra)
        shown = "\n".join(f"  {_shown(columns, row)}" for row in rows[:SHOWN_ROWS])
        return f"the first rows that only {side} has, or has more often:\n{shown}"
    row = missing[0]
    like = max(extra, key=lambda candidate: sum(a == b for a, b in zip(row, candidate, strict=True)))
    differing = [name for name, a, b in zip(columns, row, like, strict=True) if a != b]
    at = columns.index(differing[0])
    return (
        f"column {differing[0]} is {_value(row[at])} in {one} and {_value(like[at])} in {other}"
        + (f" (also differing: {', '.join(differing[1:])})" if len(differing) > 1 else "")
        + f", in the row\n  {_shown(columns, row)}"
    )


def _shown(columns: list[str], row: Row) -> str:
    """A row without its nulls, which wide tables are full of."""
    cells = zip(columns, row, strict=True)
    return ", ".join(f"{name}={_value(cell)}" for name, cell in cells if _value(cell) != "None") or "(nulls only)"


def _value(cell: Hashable) -> str:
    """What `_strict` made of a value, as it was."""
    kind, value = cell if isinstance(cell, tuple) else ("", cell)
    return str(value) if kind == "float" else repr(value)
