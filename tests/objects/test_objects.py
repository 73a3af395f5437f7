"""A seeded part of the objects of `make nightly`, and that the proof itself can fail."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from flowlake.lake.manifests import read_objects
from flowlake.records.fields import V2_DEFAULT_HEADER
from flowlake.settings import Settings
from objects.making import (
    PACKED_CHANGES,
    PACKINGS,
    PARQUET_CHANGES,
    TEXT_CHANGES,
    WRAPPINGS,
    Made,
    make_objects,
)
from objects.proof import WINDOW, Tally, differs, prove, settings_of, staged_rows
from objects.reading import COLUMNS, Expected, expect

NAMED_AT = datetime(2026, 11, 20, 12, 5)
HEADER = V2_DEFAULT_HEADER.encode()
GOOD = b"2 123456789012 eni-0a 10.0.0.1 10.0.0.2 50000 443 6 10 1000 1795176000 1795176060 ACCEPT OK"

PLAIN = Made(gzip.compress(b"\n".join([HEADER, GOOD, b"x"])), "gz", ())


def expect_text(text: bytes, pack: Callable[[bytes], bytes] = gzip.compress) -> Expected:
    return expect(Made(pack(text), "gz", ()), NAMED_AT)


def kinds(expected: Expected) -> Counter[str]:
    return Counter(kind for kind, *_ in (expected.rows or Counter()).elements())


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Tally]:
    """A lake over objects of a seed that are what they must be, a plain one the last of them."""
    folder = tmp_path_factory.mktemp("objects")
    return settings_of(folder), prove([*make_objects("1", 299), PLAIN], folder)


def test_of_any_object_every_line_has_its_row_or_the_object_its_reason(proven: tuple[Settings, Tally]) -> None:
    _, tally = proven
    assert tally.readable > 120
    assert tally.lines > 1000
    assert tally.kinds.keys() == {"header", "blank", "record", "gap", "malformed"}


def test_the_proof_sees_what_is_lost_or_moved(proven: tuple[Settings, Tally]) -> None:
    settings, _ = proven
    row = max(read_objects(settings, WINDOW.hours[0]) or (), key=lambda row: row.flow_log_id or "")
    staged = staged_rows(settings)[row.uri]
    expected = expect(PLAIN, row.named_at or NAMED_AT)
    (record,) = (key for key in staged if key[0] == "record")
    assert differs(expected, row, staged) is None

    kind, length, (hour, values, unknown) = record
    at = COLUMNS.index("srcaddr")
    swapped = (*values[:at], values[at + 1], values[at], *values[at + 2 :])
    wrong: list[tuple[Any, Any]] = [
        (row, staged - Counter([record])),
        (row, staged + Counter([record])),
        (row, staged - Counter([record]) + Counter([(kind, length, (hour, swapped, unknown))])),
        (row, staged - Counter([record]) + Counter([("gap", *record[1:])])),
        (replace(row, line_count=4), staged),
        (replace(row, line_bytes=1), staged),
        (replace(row, status="unreadable", reason="corrupt"), Counter()),
        (replace(row, status="unreadable", reason=None), Counter()),
    ]
    for other_row, other_staged in wrong:
        assert differs(expected, other_row, other_staged)
    unreadable = replace(row, status="unreadable", reason="corrupt")
    assert differs(Expected(is_readable=False), row, staged)
    assert differs(Expected(is_readable=False), unreadable, staged)
    assert differs(Expected(is_readable=False), unreadable, Counter()) is None


def test_the_rules_in_plain_python() -> None:
    """What the proof compares with is held here against what a person reads in the lines."""
    lines = [HEADER, GOOD, b"", b"  ", GOOD + b" more", GOOD.replace(b"443", b"65536"), GOOD[:-2] + b"NODATA"]
    expected = expect_text(b"\r\n".join(lines))
    assert (expected.is_readable, expected.lines, expected.empty_lines) == (True, 7, 1)
    assert expected.line_bytes == sum(map(len, lines))
    assert kinds(expected) == Counter(header=1, record=1, blank=1, malformed=2, gap=1)
    ((hour, values, unknown),) = (what for kind, _, what in expected.rows or () if kind == "record")
    named = dict(zip(COLUMNS, values, strict=True))
    assert (hour, unknown) == (datetime(2026, 11, 20, 12), None)
    assert (named["srcaddr"], named["dstport"], named["end_at"]) == ("10.0.0.1", 443, datetime(2026, 11, 20, 12, 1))
    assert expect_text(GOOD).is_readable is False
    assert expect_text(b"").is_readable is False
    assert expect_text(HEADER, lambda text: gzip.compress(text)[:-1]).is_readable is False
    assert expect_text(HEADER, lambda text: gzip.compress(text) + b"x").is_readable is False
    assert expect_text(HEADER, lambda text: gzip.compress(text) + bytes(3)).is_readable is True
    assert expect_text(HEADER, lambda text: gzip.compress(text[:5]) + gzip.compress(text[5:])).lines == 1


@pytest.fixture(scope="module")
def many() -> list[Made]:
    return make_objects("many", 1500)


def test_objects_are_the_same_for_their_seed(many: list[Made]) -> None:
    assert make_objects("many", 100) == make_objects("many", 100)
    assert make_objects("few", 100) != many[:100]


def test_every_way_to_spoil_an_object_is_taken(many: list[Made]) -> None:
    taken = {way for item in many for way in item.how}
    changes = (*WRAPPINGS, *TEXT_CHANGES, *PACKINGS, *PACKED_CHANGES, *PARQUET_CHANGES)
    assert {change.__name__.strip("_") for change in changes} <= taken
    assert {"unknown_column", "column_twice", "upper_case", "all_text"} <= taken
    verdicts = Counter(expect(item, NAMED_AT).is_readable for item in many)
    assert verdicts[True] > 600
    assert verdicts[False] > 300
