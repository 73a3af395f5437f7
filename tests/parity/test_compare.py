"""The comparison itself: each difference that there can be is found, and named."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal

import pytest

from parity.compare import Difference, Table, assert_same

KINDS = {"id": "number", "name": "text", "share": "float"}
ROWS: list[tuple[Hashable, ...]] = [(1, "a", 0.1), (2, None, 0.2), (2, None, 0.2), (3, "", 0.1 + 0.2)]


def table(*rows: tuple[Hashable, ...], **kinds: str) -> Table:
    return Table(KINDS | kinds, rows)


def difference(found: Table, expected: Table | None = None) -> str:
    with pytest.raises(Difference) as error:
        assert_same("core.things", expected or table(*ROWS), found)
    return str(error.value)


def test_the_order_of_rows_and_columns_means_nothing() -> None:
    assert_same("t", table(*ROWS), table(*reversed(ROWS)))
    turned = Table(dict(reversed(KINDS.items())), [tuple(reversed(row)) for row in ROWS])
    assert_same("t", table(*ROWS), turned)


def test_a_value_that_differs_is_named_with_its_row_and_column() -> None:
    message = difference(table((1, "b", 0.1), *ROWS[1:]))
    assert message.startswith("core.things differs (4 rows in duckdb, 4 in athena; 1 only in duckdb, 1 only in athena)")
    assert "column name is 'a' in duckdb and 'b' in athena, in the row\n  id=1, name='a', share=0.1" in message


def test_of_several_rows_the_most_alike_is_compared() -> None:
    message = difference(table((7, "z", 9.0), (1, "a", 0.5), *ROWS[1:]))
    assert "column share is 0.1 in duckdb and 0.5 in athena" in message


@pytest.mark.parametrize(
    ("found", "side", "row"),
    [
        (ROWS[1:], "duckdb", "id=1, name='a', share=0.1"),
        ([*ROWS, (4, "x", 1.0)], "athena", "id=4, name='x', share=1.0"),
        ([*ROWS, ROWS[0]], "athena", "id=1, name='a', share=0.1"),
        ([ROWS[0], ROWS[1], ROWS[3]], "duckdb", "id=2, share=0.2"),
        ([], "duckdb", "id=1, name='a', share=0.1"),
    ],
    ids=["missing", "extra", "twice", "once", "nothing"],
)
def test_a_row_that_one_side_lacks_is_shown(found: list[tuple[Hashable, ...]], side: str, row: str) -> None:
    assert f"the first rows that only {side} has, or has more often:\n  {row}" in difference(table(*found))


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (None, ""),
        ("", " "),
        (0.3, 0.1 + 0.2),
        (0.0, -0.0),
        (1, True),
        (1, 1.0),
        ("1", 1),
        (Decimal("1.5"), 1.5),
        (("a", "b"), ("b", "a")),
        ("é", "e\u0301"),
    ],
)
def test_what_looks_alike_is_not_the_same(value: Hashable, other: Hashable) -> None:
    for one, two in ((value, other), (other, value)):
        with pytest.raises(Difference, match="column a is"):
            assert_same("t", Table({"a": "x"}, [(one,)]), Table({"a": "x"}, [(two,)]))
        assert_same("t", Table({"a": "x"}, [(one,)]), Table({"a": "x"}, [(one,)]))


def test_no_number_is_no_number() -> None:
    assert_same("t", Table({"a": "float"}, [(float("nan"),)]), Table({"a": "float"}, [(float("nan"),)]))


def test_columns_and_their_kinds_must_be_the_same() -> None:
    message = difference(Table({"id": "number", "title": "text", "share": "float"}, ROWS))
    assert message == "core.things has other columns: only in duckdb: name; only in athena: title"
    assert difference(table(*ROWS, share="number")) == "core.things.share is a float in duckdb and a number in athena"


def test_columns_can_be_left_out_if_they_are_there() -> None:
    assert table(*ROWS).without(["name", "share"]) == Table({"id": "number"}, [(1,), (2,), (2,), (3,)])
    with pytest.raises(KeyError, match="title"):
        table(*ROWS).without(["title"])
