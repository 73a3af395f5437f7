"""The arrival window: the unit of work of every run.

An object belongs to the UTC hour in which it arrived, and to no other; so a window of whole hours names a fixed set of
objects, the same for every run over it (docs/adr/0001-arrival-window.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flowlake.errors import FlowlakeError

HOUR_FORMAT = "%Y-%m-%dT%H"
"""How an arrival hour is written everywhere: text that sorts, prunes and compares alike on every engine."""

_HOUR = timedelta(hours=1)


class WindowError(FlowlakeError):
    """An hour or a range of hours that cannot be a window."""


def parse_hour(text: str) -> datetime:
    """The start of the hour written as `2026-11-20T12`, UTC. Raises WindowError for any other spelling."""
    try:
        moment = datetime.strptime(text, HOUR_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or format_hour(moment) != text:
        message = f"{text!r} is not an hour: write it as YYYY-MM-DDTHH in UTC, for example 2026-11-20T12"
        raise WindowError(message)
    return moment


def format_hour(moment: datetime) -> str:
    """The arrival hour in which an aware moment lies, as text."""
    # isoformat, not strftime: the latter does not pad the years before 1000 on Linux.
    return moment.astimezone(UTC).isoformat(timespec="hours")[:13]


@dataclass(frozen=True, order=True)
class Window:
    """The arrival hours from `start` (inclusive) to `end` (exclusive), both whole hours in UTC.

    Any aware datetimes are taken and turned into plain UTC ones, so an Airflow data interval can be passed as it is.
    Raises WindowError when a bound is naive or not a whole hour, or when the window is empty.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Normalise both bounds to UTC and refuse what is no window."""
        for name in ("start", "end"):
            moment: datetime = getattr(self, name)
            if moment.tzinfo is None:
                message = f"the window's {name} {moment.isoformat()} has no time zone: give it in UTC"
                raise WindowError(message)
            utc = datetime.fromtimestamp(moment.timestamp(), tz=UTC)
            if utc.replace(minute=0, second=0, microsecond=0) != utc:
                message = f"the window's {name} {utc.isoformat()} is not a whole hour: windows are whole hours in UTC"
                raise WindowError(message)
            object.__setattr__(self, name, utc)
        if self.start >= self.end:
            message = (
                f"the window {format_hour(self.start)}/{format_hour(self.end)} is empty: "
                "its end is exclusive and must lie after its start"
            )
            raise WindowError(message)

    @classmethod
    def parse(cls, start: str, end: str) -> Window:
        """The window between two hours as text, for example `2026-11-20T12` and `2026-11-20T15` (three hours)."""
        return cls(parse_hour(start), parse_hour(end))

    @property
    def hours(self) -> tuple[str, ...]:
        """Every arrival hour of the window, ascending."""
        count = int((self.end - self.start) / _HOUR)
        return tuple(format_hour(self.start + index * _HOUR) for index in range(count))

    @property
    def days(self) -> tuple[date, ...]:
        """Every UTC day that the window touches, ascending."""
        first, last = self.start.date(), (self.end - _HOUR).date()
        return tuple(first + timedelta(days=index) for index in range((last - first).days + 1))

    def require_over(self, now: datetime | None = None) -> None:
        """Raise WindowError when objects can still arrive in the window: half an hour must not count as that hour."""
        if self.end > (now or datetime.now(tz=UTC)):
            message = (
                f"the window {self} is not over: its objects can still arrive; "
                f"run it after {format_hour(self.end)}:00 UTC, or end it earlier"
            )
            raise WindowError(message)

    def __contains__(self, moment: datetime) -> bool:
        """Whether an aware moment lies in the window."""
        return self.start <= moment < self.end

    def __str__(self) -> str:
        """The window as `2026-11-20T12/2026-11-20T15`."""
        return f"{format_hour(self.start)}/{format_hour(self.end)}"
