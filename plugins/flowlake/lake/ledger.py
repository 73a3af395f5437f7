"""`ops.windows`: which arrival hours were run, and how far they came.

The state of an hour decides whether anything may be published: an hour whose marts were begun and not validated would
otherwise reach the readers with the next hour's success.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from flowlake.lake.windows import Window


class HourState(StrEnum):
    """How far an arrival hour came."""

    STAGING = "staging"
    """Staging is being written; what people read does not depend on it yet."""
    HELD = "held"
    """The staging gate failed: its records are not in the marts. Other hours are published without it."""
    BUILDING = "building"
    """The marts are being changed: nothing is published before this hour is validated."""
    FAILED = "failed"
    """The marts' gate failed: nothing is published before this hour passes."""
    VALIDATED = "validated"


BLOCKING = (HourState.BUILDING, HourState.FAILED)


def ensure_ledger(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `lake.ops.windows` where it is missing."""
    connection.execute("create schema if not exists lake.ops")
    connection.execute(
        "create table if not exists lake.ops.windows ("
        "arrival_hour varchar not null, state varchar not null, run_id varchar not null, "
        "updated_at timestamp not null, detail varchar)"
    )


def mark_hours(
    connection: duckdb.DuckDBPyConnection, window: Window, state: HourState, run_id: str, detail: str | None = None
) -> None:
    """Write the state of every hour of the window, in one transaction.

    An hour whose marts were begun stays blocking until it is validated: a later attempt that has only come as far as
    staging does not hide it.
    """
    hours = list(window.hours)
    connection.execute("begin")
    if state in (HourState.STAGING, HourState.HELD):
        blocked = connection.execute(
            "select arrival_hour from lake.ops.windows where arrival_hour in (select unnest(?)) and state in (?, ?)",
            [hours, *BLOCKING],
        ).fetchall()
        hours = sorted(set(hours) - {hour for (hour,) in blocked})
    connection.execute("delete from lake.ops.windows where arrival_hour in (select unnest(?))", [hours])
    connection.execute(
        "insert into lake.ops.windows select unnest(?), ?, ?, now() at time zone 'UTC', ?",
        [hours, state.value, run_id, detail],
    )
    connection.execute("commit")


def blocking_hours(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """(arrival hour, state, run id) of the hours that stand between the lake and its readers, in order."""
    return connection.execute(
        "select arrival_hour, state, run_id from lake.ops.windows where state in (?, ?) order by arrival_hour",
        list(BLOCKING),
    ).fetchall()


def forget_pending_restatements(connection: duckdb.DuckDBPyConnection) -> None:
    """Take away the marks that made hours of earlier records be restated, once nothing that was begun is unvalidated.

    Hours are restated when something that was learnt about an interface or a flow log changes what its earlier records
    mean. The marks are kept in the tables until a gate has seen the result, so that killed and failed runs leave them
    for the next one.
    """
    if blocking_hours(connection):
        return
    for table in ("int_addresses__merged", "int_interfaces__merged", "int_flow_logs__merged"):
        connection.execute(f"update lake.intermediate.{table} set needs_restating = false where needs_restating")
