"""`ops.overtaken_hours`: arrival hours whose tables may still hold an object that belongs to another hour by now.

An object that is overwritten gets a new arrival hour. `register` finds that out, and before it changes anything it
writes down which hours held the object before. From then on every step of every run nearby works on the hull of its
window and of the recorded hours before its end, until a marts gate has passed it (docs/adr/0012-overtaken-objects.md).

An object whose copy was registered in a later hour, before its own hour was, makes that later hour such a one: it is
recorded by the window that holds the original, and taken in by that window and by later ones (docs/adr/0028-copies.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from flowlake.lake.duck import columns_of, lake_exists, retried
from flowlake.lake.ledger import open_ledger
from flowlake.lake.spool import clear_spool
from flowlake.lake.tables import run_statement
from flowlake.lake.windows import Window, format_hour, parse_hour

if TYPE_CHECKING:
    import duckdb

    from flowlake.settings import Settings

_FOUND = "register"
_HOUR = timedelta(hours=1)

REACH = timedelta(days=1)
"""How long after the window that found an overtaken hour other windows take it in. Where nobody repeats that window,
the record stays until the hour itself runs again: hours of months later are no place to mend it.
"""

_AFTER: Mapping[str, str] = {"build_staging": _FOUND, "build_marts": "build_staging", "validate_marts": "build_marts"}
"""Which step an hour must have come through for another one to count: each leans on what the one before has written.

Two runs may walk their steps beside each other. Without this, the gate of one could take away the record that the other
has only just written.
"""


@dataclass(frozen=True)
class OvertakenHour:
    """An arrival hour that holds rows of objects which were overwritten since, how many, and one of them."""

    arrival_hour: str
    objects: int
    example: str


def ensure_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `lake.ops.overtaken_hours` where it is missing; bring one of an older version up to this one."""
    columns = columns_of(connection, "ops.overtaken_hours")
    if "until_hour" in columns:
        return

    def create() -> None:
        if columns:
            connection.execute("alter table lake.ops.overtaken_hours add column if not exists until_hour varchar")
            return
        connection.execute("create schema if not exists lake.ops")
        connection.execute(
            "create table if not exists lake.ops.overtaken_hours ("
            "arrival_hour varchar not null, found_at timestamp not null, objects bigint not null, "
            "example varchar not null, step varchar not null, until_hour varchar)"
        )

    retried(create)


def record(settings: Settings, window: Window, found: Sequence[OvertakenHour]) -> None:
    """Write down hours that were found over a window; one that is recorded already begins anew."""
    until = format_hour(window.end)
    rows = [[hour.arrival_hour, hour.objects, hour.example, _FOUND, until] for hour in found]

    def write(connection: duckdb.DuckDBPyConnection) -> None:
        hours = [hour.arrival_hour for hour in found]
        connection.execute("delete from lake.ops.overtaken_hours where arrival_hour in (select unnest(?))", [hours])
        connection.executemany(
            "insert into lake.ops.overtaken_hours (arrival_hour, found_at, objects, example, step, until_hour) "
            "values (?, now() at time zone 'UTC', ?, ?, ?, ?)",
            rows,
        )

    with open_ledger(settings, read_only=False) as connection:
        ensure_table(connection)
    _transact(settings, write)


def recorded_hours(settings: Settings, window: Window) -> tuple[str, ...]:
    """The recorded hours that concern a window, ascending; none where there is no lake yet.

    They lie before its end, or were recorded by a window that lies in it: or in the window and such hours, for a run
    that was widened records with the window that it works on.
    """
    if not lake_exists(settings):
        return ()
    with open_ledger(settings) as connection:
        if not columns_of(connection, "ops.overtaken_hours"):
            return ()
        end = window.end
        while True:
            rows = connection.execute(
                "select distinct arrival_hour from lake.ops.overtaken_hours "
                "where greatest(coalesce(until_hour, arrival_hour), arrival_hour) >= ? "
                "and (arrival_hour < ? or (until_hour > ? and until_hour <= ?)) order by 1",
                [format_hour(moment) for moment in (window.start - REACH, end, window.start, end)],
            ).fetchall()
            hours = tuple(hour for (hour,) in rows)
            if widened(window, hours).end <= end:
                return hours
            end = widened(window, hours).end


def widened(window: Window, hours: Sequence[str]) -> Window:
    """The hull of a window and of hours before or behind it."""
    starts = [parse_hour(hour) for hour in hours]
    return Window(min([window.start, *starts]), max([window.end, *(start + _HOUR for start in starts)]))


def begin_again(settings: Settings, window: Window) -> None:
    """Say that the window's raw files are about to be written: what later steps made of its hours counts no more."""
    _transact(
        settings,
        lambda connection: connection.execute(
            "update lake.ops.overtaken_hours set step = ? where arrival_hour in (select unnest(?))",
            [_FOUND, list(window.hours)],
        ),
    )


def advance(settings: Settings, window: Window, step: str) -> None:
    """Say that a step has passed over the window; behind the marts' gate the records of its hours are taken away."""
    hours = list(window.hours)
    if step == "validate_marts":
        # The run's own publish clears the hours of its window alone.
        clear_spool(settings, window)
        _transact(settings, lambda connection: _release(settings, connection, hours))
    elif step in _AFTER:
        _transact(
            settings,
            lambda connection: connection.execute(
                "update lake.ops.overtaken_hours set step = ? where step = ? and arrival_hour in (select unnest(?))",
                [step, _AFTER[step], hours],
            ),
        )


def _release(settings: Settings, connection: duckdb.DuckDBPyConnection, hours: list[str]) -> None:
    scope = [_AFTER["validate_marts"], hours]
    where = "where step = ? and arrival_hour in (select unnest(?))"
    rows = connection.execute(f"select arrival_hour from lake.ops.overtaken_hours {where}", scope).fetchall()
    if not rows:
        return
    # Event hours that only the old objects touched were restated with this gate, and need not be ever again.
    released = ", ".join(f"'{format_hour(parse_hour(hour))}'" for (hour,) in rows)
    run_statement(
        settings,
        # The engines have no form of a comparison by two columns in common.
        f"delete from {{intermediate}}.int_hours__touched where arrival_hour in ({released}) "
        "and arrival_hour || ' ' || cast(event_hour as varchar) not in ("
        "select arrival_hour || ' ' || cast(event_hour as varchar) "
        f"from {{intermediate}}.int_coverage__partials where arrival_hour in ({released}) union all "
        "select arrival_hour || ' ' || cast(event_hour as varchar) "
        f"from {{intermediate}}.int_gateway_flows__partials where arrival_hour in ({released}))",
        connection,
    )
    connection.execute(f"delete from lake.ops.overtaken_hours {where}", scope)


def _transact(settings: Settings, work: Callable[[duckdb.DuckDBPyConnection], object]) -> None:
    """Do something in one transaction, again while another run's commit overtakes it."""
    with open_ledger(settings, read_only=False) as connection:

        def attempt() -> None:
            connection.execute("begin")
            work(connection)
            connection.execute("commit")

        retried(attempt)
