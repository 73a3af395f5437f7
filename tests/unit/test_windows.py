from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from flowlake.lake.windows import Window, WindowError, format_hour, parse_hour


def test_a_window_names_its_hours_and_days_across_midnight() -> None:
    window = Window.parse("2026-11-20T22", "2026-11-21T01")
    assert window.hours == ("2026-11-20T22", "2026-11-20T23", "2026-11-21T00")
    assert window.days == (date(2026, 11, 20), date(2026, 11, 21))
    assert str(window) == "2026-11-20T22/2026-11-21T01"


def test_the_end_is_exclusive_for_days_and_moments() -> None:
    window = Window.parse("2026-11-20T22", "2026-11-21T00")
    assert window.days == (date(2026, 11, 20),)
    assert datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC) in window
    assert datetime(2026, 11, 21, tzinfo=UTC) not in window
    assert datetime(2026, 11, 20, 21, 59, 59, tzinfo=UTC) not in window


def test_any_zone_is_turned_into_utc() -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    window = Window(datetime(2026, 11, 20, 5, 30, tzinfo=kolkata), datetime(2026, 11, 20, 6, 30, tzinfo=kolkata))
    assert window == Window.parse("2026-11-20T00", "2026-11-20T01")
    assert window.start.tzinfo is UTC


def test_an_hour_is_written_in_utc() -> None:
    assert format_hour(datetime(2026, 11, 20, 1, 59, tzinfo=timezone(timedelta(hours=2)))) == "2026-11-19T23"
    assert parse_hour("2026-11-20T12") == datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2026-11-20", "2026-11-20T1", "2026-11-20T24", "2026-02-30T00", "2026-11-20T12:00", "20261120T12", "", "x"]
)
def test_other_spellings_of_an_hour_are_refused(text: str) -> None:
    with pytest.raises(WindowError, match="write it as YYYY-MM-DDTHH"):
        parse_hour(text)


@pytest.mark.parametrize(
    ("start", "end", "complaint"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), "is empty"),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), "is empty"),
        (datetime(2026, 1, 1), datetime(2026, 1, 2, tzinfo=UTC), "start .* has no time zone"),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, 0, 0, 1, tzinfo=UTC), "end .* is not a whole hour"),
    ],
)
def test_what_is_no_window_is_refused(start: datetime, end: datetime, complaint: str) -> None:
    with pytest.raises(WindowError, match=complaint):
        Window(start, end)
