"""`flowlake status`: what people read now, and which hours stand between them and what was run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flowlake.lake.duck import columns_of, connect
from flowlake.lake.ledger import HourState, open_ledger
from flowlake.lake.objects import shown
from flowlake.lake.publish import published_version
from flowlake.lake.restatements import Why, in_words, recently
from flowlake.lake.tables import read_rows
from flowlake.settings import Target
from flowlake.terminal import counted, make_table, print_table

if TYPE_CHECKING:
    import duckdb

    from flowlake.settings import Settings

_SHOWN = 20

_NEWS = timedelta(days=7)
"""For how long a restatement is news."""


def show_status(settings: Settings, console: Console) -> None:
    """Print the published version, the newest hours, and the hours that are not validated.

    Raises LakeError when there is no lake.
    """
    console.print(Text(f"lake {settings.athena.location if settings.athena else settings.lake.path}"))
    version = _version(settings)
    if version is None:
        console.print("nothing is published yet")
    else:
        edges = "{flowlake}.fct_edges"
        ((newest, hours),) = read_rows(
            settings, f"select max(event_hour), count(distinct event_hour) from {edges}", asked=True
        )
        # DuckDB gives a timestamp, Athena its text.
        when = str(newest)[:13].replace(" ", "T") if newest else "none"
        console.print(f"published: version {version}, {counted(int(hours), 'event hour')}, newest {when}")
        _show_restated(settings, console, version)
    with open_ledger(settings) as connection:
        rows = _hours(connection)
    validated = [hour for hour, state, *_ in rows if state == HourState.VALIDATED]
    if validated:
        console.print(f"validated: {counted(len(validated), 'arrival hour')}, {min(validated)} to {max(validated)}")
    others = [row for row in rows if row[1] != HourState.VALIDATED]
    if others:
        print_table(
            console,
            make_table(
                ["arrival hour", "state", "since", "run", "what the gate found"],
                [
                    (hour, state, f"{at:%Y-%m-%dT%H:%MZ}", run, shown((detail or "").split("; rows: ")[0]))
                    for hour, state, run, at, detail in others[-_SHOWN:]
                ],
            ),
        )
        if len(others) > _SHOWN:
            console.print(f"the newest {_SHOWN} of {len(others)} hours that are not validated")
    elif rows:
        console.print("no hour is held, failed or under way")


def _show_restated(settings: Settings, console: Console, version: int) -> None:
    """Say which hours changed after their time; what the next hour always brings is no news."""
    found = recently(settings, datetime.now(UTC) - _NEWS, version)
    found.pop(Why.DELIVERY, None)
    if found:
        console.print(f"restated in the last {_NEWS.days} days: {in_words(found)}, see ops.restatements")


def _version(settings: Settings) -> int | None:
    if settings.target is Target.ATHENA:
        from flowlake.lake.athena_views import published_number

        return published_number(settings)
    with connect(settings) as connection:
        return published_version(connection)


def _hours(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str, object, str | None]]:
    if not columns_of(connection, "ops.windows"):
        return []
    return connection.execute(
        "select arrival_hour, state, run_id, updated_at, detail from lake.ops.windows order by arrival_hour"
    ).fetchall()
