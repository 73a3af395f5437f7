"""`flowlake status`: what people read now, and which hours stand between them and what was run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flowlake.lake.duck import connect
from flowlake.lake.ledger import HourState
from flowlake.lake.objects import shown
from flowlake.lake.publish import published_version
from flowlake.terminal import counted, make_table, print_table

if TYPE_CHECKING:
    import duckdb

    from flowlake.settings import Settings

_SHOWN = 20


def show_status(settings: Settings, console: Console) -> None:
    """Print the published version, the newest hours, and the hours that are not validated.

    Raises LakeError when there is no lake.
    """
    with connect(settings) as connection:
        version = published_version(connection)
        console.print(Text(f"lake {settings.lake.path}"))
        if version is None:
            console.print("nothing is published yet")
        else:
            row = connection.execute("select max(event_hour), count(distinct event_hour) from fct_edges").fetchone()
            newest, hours = row or (None, 0)
            when = f"{newest:%Y-%m-%dT%H}" if newest else "none"
            console.print(f"published: version {version}, {counted(hours, 'event hour')}, newest {when}")
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


def _hours(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str, object, str | None]]:
    found = connection.execute(
        "select count(*) from duckdb_tables() where database_name = 'lake' and schema_name = 'ops' "
        "and table_name = 'windows'"
    ).fetchone()
    if not found or not found[0]:
        return []
    return connection.execute(
        "select arrival_hour, state, run_id, updated_at, detail from lake.ops.windows order by arrival_hour"
    ).fetchall()
