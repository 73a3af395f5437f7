"""What a window is going to scan, by what earlier runs did; pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowlake.estimating import EstimateError, PastRun, error_of, estimate, predict
from flowlake.lake.costs import LEAST_BILLED, MEGABYTE, billed_bytes
from flowlake.lake.windows import Window
from flowlake.settings import LakeSettings, Settings


def test_a_fixed_part_and_one_that_grows() -> None:
    points = [(1_000, 50_000 + 12 * 1_000), (5_000, 50_000 + 12 * 5_000), (2_000, 50_000 + 12 * 2_000)]
    assert predict(points, 100_000) == 50_000 + 12 * 100_000
    assert predict(points, 0) == 50_000
    assert error_of(points) == pytest.approx(0)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1_000, 12_000)], 24_000),
        ([(1_000, 12_000), (1_000, 14_000)], 26_000),  # of one size: all of it grows
        ([(1_000, 10_000), (3_000, 36_000)], 23_600),  # less than nothing is fixed: so nothing
        ([(1_000, 12_000), (3_000, 9_000)], 10_500),  # it falls: the mean
        ([(0, 9_000), (0, 7_000)], 8_000),  # nothing came in any hour
    ],
)
def test_runs_that_say_little(points: list[tuple[int, int]], expected: int) -> None:
    assert predict(points, 2_000) == expected


def test_how_far_predictions_are_off() -> None:
    assert error_of([(1_000, 12_000)]) is None
    assert error_of([(1_000, 10_000), (1_000, 12_000)]) == pytest.approx((2 / 10 + 2 / 12) / 2)
    assert error_of([(0, 0), (0, 0)]) is None


def test_the_least_that_statements_are_billed_does_not_grow() -> None:
    assert PastRun(3, 50, 30 * MEGABYTE, 1).least_billed == 30 * MEGABYTE
    assert PastRun(3, 10**9, 1000 * MEGABYTE, 1).least_billed == 3 * LEAST_BILLED
    assert PastRun(120, 50, 20 * MEGABYTE, 1).least_billed == 20 * MEGABYTE  # DDL among them


def test_on_duckdb_there_is_nothing_to_estimate(tmp_path: Path) -> None:
    settings = Settings(sources=(), lake=LakeSettings(tmp_path))
    with pytest.raises(EstimateError, match="on the target duckdb nothing is paid for"):
        estimate(settings, Window.parse("2026-11-20T12", "2026-11-20T13"))


@pytest.mark.parametrize(
    ("kind", "form", "scanned", "billed"),
    [
        ("DML", "SELECT", 0, LEAST_BILLED),
        ("DML", "INSERT", LEAST_BILLED, LEAST_BILLED),
        ("DML", "MERGE", LEAST_BILLED + 1, LEAST_BILLED + MEGABYTE),
        ("DDL", "ALTER_TABLE", 1, 0),
        ("DDL", "CREATE_TABLE_AS_SELECT", 1, LEAST_BILLED),
        ("UTILITY", "SHOW_TABLES", 0, 0),
    ],
)
def test_what_athena_bills(kind: str, form: str, scanned: int, billed: int) -> None:
    assert billed_bytes(kind, form, scanned) == billed
