"""`ops.windows`: which arrival hours were run, and how far they came.

The state of an hour decides whether anything may be published: an hour whose marts were begun and not validated would
otherwise reach the readers with the next hour's success. Beside it stands the state of its staging: marts are only
built of what the staging gate has passed, also where two runs of one hour take turns.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError
from flowlake.lake.aws import athena_settings
from flowlake.lake.duck import columns_of, connect, retried
from flowlake.lake.files import S3Files
from flowlake.lake.tables import run_statement
from flowlake.settings import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from flowlake.lake.windows import Window
    from flowlake.settings import Settings


class LedgerError(FlowlakeError):
    """A step was asked for that the state of its hours does not allow."""


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


class StagingState(StrEnum):
    """What is known of the rows of an arrival hour in staging."""

    BUILDING = "building"
    """They are being written, or were not looked at since."""
    HELD = "held"
    """The staging gate refused them."""
    PASSED = "passed"


BLOCKING = (HourState.BUILDING, HourState.FAILED)


KEPT_IN_FILES = ("unpublished_hours", "overtaken_hours", "windows")
"""The tables of the schema `ops` that are files of their own where the lake is on Athena.

In the order in which they are written: what a run notes is there before its hours count as validated.
"""


def ledger_path(table: str) -> str:
    """Where a ledger lies among the lake's own files (`flowlake.lake.files`), where the lake is on Athena."""
    return f"ops/{table}/{table}.parquet"


@contextmanager
def open_ledger(settings: Settings, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection on which `lake.ops` has the ledgers: to the lake itself, or, on Athena, to copies of their files.

    A statement of Athena takes a second and writes some rows as a table's commit; a ledger's file is replaced as a
    whole by one call, when the context ends without an error. Writers hold the run lock.

    Raises:
        LakeError, AwsError: there is no lake yet (read_only), or it cannot be reached.
    """
    if settings.target is not Target.ATHENA:
        with connect(settings, read_only=read_only) as connection:
            yield connection
        return
    import duckdb

    files = S3Files(athena_settings(settings).location)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("attach ':memory:' as lake")
        connection.execute("create schema lake.ops")
        before = {table: files.read_version(ledger_path(table)) for table in KEPT_IN_FILES}
        for table, (content, _) in before.items():
            if content is not None:
                _load(connection, table, content)
        yield connection
        if not read_only:
            _save(connection, files, before)


def _load(connection: duckdb.DuckDBPyConnection, table: str, content: bytes) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = parquet.read_table(pa.BufferReader(content), use_threads=False)
    connection.register("loaded", rows)
    connection.execute(f"create table lake.ops.{table} as select * from loaded")
    connection.unregister("loaded")


def _save(
    connection: duckdb.DuckDBPyConnection, files: S3Files, before: dict[str, tuple[bytes | None, str | None]]
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for table in KEPT_IN_FILES:
        if columns_of(connection, f"ops.{table}"):
            rows = connection.execute(f"select * from lake.ops.{table} order by all").to_arrow_table()
            sink = pa.BufferOutputStream()
            parquet.write_table(rows, sink, compression="zstd")
            content = sink.getvalue().to_pybytes()
            known, version = before[table]
            if content != known:
                files.write_over(ledger_path(table), content, version)


def ensure_ledger(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `lake.ops.windows` where it is missing; bring a lake of an older version up to this one."""
    retried(lambda: _ensure_ledger(connection))


def _ensure_ledger(connection: duckdb.DuckDBPyConnection) -> None:
    columns = columns_of(connection, "ops.windows")
    if not columns:
        connection.execute("create schema if not exists lake.ops")
        connection.execute(
            "create table if not exists lake.ops.windows ("
            "arrival_hour varchar not null, state varchar not null, run_id varchar not null, "
            "updated_at timestamp not null, detail varchar, staging varchar, staging_run_id varchar)"
        )
    elif "staging" not in columns:
        connection.execute("begin")
        connection.execute("alter table lake.ops.windows add column staging varchar")
        connection.execute("alter table lake.ops.windows add column staging_run_id varchar")
        connection.execute(
            "update lake.ops.windows set staging = 'passed', staging_run_id = run_id where state = 'validated'"
        )
        # It used to hold the silent hours as well, which are a view now.
        if columns_of(connection, "intermediate.int_coverage__delivered"):
            connection.execute("delete from lake.intermediate.int_coverage__delivered where objects = 0")
            connection.execute("alter table lake.intermediate.int_coverage__delivered drop column status")
        connection.execute("commit")


@dataclass(frozen=True)
class _Hour:
    """What `ops.windows` says of an arrival hour, in the order of its columns."""

    arrival_hour: str
    state: str
    run_id: str
    updated_at: datetime
    detail: str | None
    staging: str | None
    staging_run_id: str | None


def mark_staging(
    connection: duckdb.DuckDBPyConnection, window: Window, staging: StagingState, run_id: str, detail: str | None = None
) -> None:
    """Write the state of staging of every hour of the window, in one transaction.

    An hour whose marts were begun stays blocking until it is validated: a later attempt that has only come as far as
    staging does not hide it.
    """
    state = HourState.HELD if staging is StagingState.HELD else HourState.STAGING
    # A gate that passes again says nothing new of an hour whose marts are validated.
    kept = (*BLOCKING, HourState.VALIDATED) if staging is StagingState.PASSED else BLOCKING

    def mark(hour: str, old: _Hour | None) -> _Hour:
        if old is not None and old.state in kept:
            return replace(old, staging=staging.value, staging_run_id=run_id)
        return _Hour(hour, state.value, run_id, _now(), detail, staging.value, run_id)

    _mark(connection, window, mark)


def mark_hours(
    connection: duckdb.DuckDBPyConnection, window: Window, state: HourState, run_id: str, detail: str | None = None
) -> None:
    """Write how far the marts came of every hour of the window (building, failed, validated), in one transaction."""

    def mark(hour: str, old: _Hour | None) -> _Hour:
        staging, staging_run_id = (old.staging, old.staging_run_id) if old else (None, None)
        return _Hour(hour, state.value, run_id, _now(), detail, staging, staging_run_id)

    _mark(connection, window, mark)


def _mark(connection: duckdb.DuckDBPyConnection, window: Window, mark: Callable[[str, _Hour | None], _Hour]) -> None:
    hours = list(window.hours)
    names = ", ".join(field.name for field in fields(_Hour))

    def work() -> None:
        connection.execute("begin")
        old = connection.execute(
            f"select {names} from lake.ops.windows where arrival_hour in (select unnest(?))",
            [hours],
        ).fetchall()
        known = {row[0]: _Hour(*row) for row in old}
        rows = [astuple(mark(hour, known.get(hour))) for hour in hours]
        connection.execute("delete from lake.ops.windows where arrival_hour in (select unnest(?))", [hours])
        connection.execute(
            f"insert into lake.ops.windows ({names}) select unnest(?::varchar[]), unnest(?::varchar[]), "
            "unnest(?::varchar[]), unnest(?::timestamp[]), unnest(?::varchar[]), unnest(?::varchar[]), "
            "unnest(?::varchar[])",
            [list(column) for column in zip(*rows, strict=True)],
        )
        connection.execute("commit")

    retried(work)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def require_passed(connection: duckdb.DuckDBPyConnection, window: Window) -> None:
    """Refuse to go on with staging that its gate has not passed.

    Raises:
        LedgerError: it was never validated, or another run has rebuilt it since.
    """
    rows = connection.execute(
        "select hours.arrival_hour, windows.staging, windows.staging_run_id "
        "from (select unnest(?) as arrival_hour) as hours left join lake.ops.windows as windows using (arrival_hour) "
        "where windows.staging is distinct from ? order by 1",
        [list(window.hours), StagingState.PASSED.value],
    ).fetchall()
    if not rows:
        return
    hour, staging, run = rows[0]
    was = {
        StagingState.BUILDING.value: f"was rebuilt by the run {run} and has not passed its gate since",
        StagingState.HELD.value: f"did not pass its gate in the run {run}",
    }.get(staging, "has not passed its gate")
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    raise LedgerError(
        f"the staging of {hour}{more} {was}: let that run end, or run the step validate_staging of {window}; then again"
    )


def begun_hours(connection: duckdb.DuckDBPyConnection, run_id: str, window: Window) -> tuple[str, ...]:
    """The arrival hours outside a window that a run has staged and that are not validated, ascending."""
    if not columns_of(connection, "ops.windows"):
        return ()
    rows = connection.execute(
        "select arrival_hour from lake.ops.windows "
        "where staging_run_id = ? and state in (?, ?) and not (arrival_hour >= ? and arrival_hour <= ?) order by 1",
        [run_id, HourState.STAGING.value, HourState.BUILDING.value, window.hours[0], window.hours[-1]],
    ).fetchall()
    return tuple(hour for (hour,) in rows)


def hour_states(connection: duckdb.DuckDBPyConnection, window: Window) -> dict[str, str]:
    """How far each hour of a window came that was ever run, by hour."""
    if not columns_of(connection, "ops.windows"):
        return {}
    rows = connection.execute(
        "select arrival_hour, state from lake.ops.windows where arrival_hour in (select unnest(?))",
        [list(window.hours)],
    ).fetchall()
    return dict(rows)


def blocking_hours(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """(arrival hour, state, run id) of the hours that stand between the lake and its readers, in order."""
    return connection.execute(
        "select arrival_hour, state, run_id from lake.ops.windows where state in (?, ?) order by arrival_hour",
        list(BLOCKING),
    ).fetchall()


def forget_pending_restatements(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Take away the marks that made hours of earlier records be restated, once nothing that was begun is unvalidated.

    Hours are restated when something that was learnt about an interface or a flow log changes what its earlier records
    mean. The marks are kept in the tables until a gate has seen the result, so that killed and failed runs leave them
    for the next one.
    """
    if blocking_hours(connection):
        return
    for table in ("int_addresses__merged", "int_interfaces__merged", "int_flow_logs__merged"):
        update = f"update {{intermediate}}.{table} set needs_restating = false where needs_restating"
        run_statement(settings, update, connection)
