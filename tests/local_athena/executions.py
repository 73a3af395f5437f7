"""Query executions: a statement from QUEUED to its end, its result in memory and in S3, and what it cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlsplit

from local_athena.catalog import Catalog, CatalogError
from local_athena.ddl import CreateTableAs, CreateView, Plan, Sql, Step, quote
from local_athena.faults import Faults
from local_athena.results import column_info, csv, parse_csv, plain, text_of
from local_athena.senders import Senders
from local_athena.trino import Engine, Outcome, TrinoError
from local_athena.type_names import UnsupportedTypeError, check_iceberg_type, hive_type

T = TypeVar("T")

NODE_SECONDS = 60.0
"""How long Trino may take to find that it is a worker too; it answers before, and knows it seconds later."""

PARSE_SECONDS = 5.0
"""How long a call waits for the parser: Athena refuses what cannot be parsed before it has an id."""

ENGINE_VERSION = {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"}

OVER_CUTOFF = "Query cancelled! : Bytes scanned limit was exceeded"

SYSTEM, USER, OTHER = 1, 2, 3
ERROR_TYPES = {
    "SYNTAX_ERROR": 1006,
    "TABLE_NOT_FOUND": 1110,
    "SCHEMA_NOT_FOUND": 1300,
    "NOT_SUPPORTED": 1200,
    "INVALID_TABLE_PROPERTY": 1103,
    "INVALID_FUNCTION_ARGUMENT": 1106,
    "INVALID_CAST_ARGUMENT": 1001,
    "DIVISION_BY_ZERO": 1001,
    "EXCEEDED_TIME_LIMIT": 206,
}
"""Athena's ErrorType for errors of Trino's; those of Iceberg are 233, on which dbt-athena repeats a commit."""

ICEBERG_ERROR, USER_ERROR, INTERNAL_ERROR, EXHAUSTED = 233, 1000, 100, 0


class State(StrEnum):
    """Athena's states."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


class Cancelled(Exception):
    """A statement was stopped, by its user or by its work group's limit; the message says by which."""


@dataclass(frozen=True)
class Request:
    """What was asked for, after the work group had its say."""

    statement: str
    plan: Plan
    work_group: str
    output: str
    """Where results go: an S3 location that ends in a slash."""
    database: str | None = None
    catalog: str | None = None
    parameters: tuple[str, ...] = ()
    cutoff_bytes: int | None = None
    role: str = ""
    """Whose permissions it has; empty for an administrator's."""


@dataclass(eq=False)
class Execution:
    """A statement's way."""

    id: str
    request: Request
    submitted: float = field(default_factory=time.time)
    completed: float | None = None
    state: State = State.QUEUED
    reason: str | None = None
    error: tuple[int, int] | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    update_count: int = 0
    scanned_bytes: int = 0
    queued_millis: int = 0
    planning_millis: int = 0
    parsed: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    syntax_error: str | None = None

    @property
    def is_query(self) -> bool:
        return self.request.plan.detail == "SELECT"

    @property
    def is_over_cutoff(self) -> bool:
        """Whether it has scanned more than its work group allows."""
        return self.request.cutoff_bytes is not None and self.scanned_bytes > self.request.cutoff_bytes

    @property
    def location(self) -> str:
        """Athena names a query's file `.csv`, that of DDL and utilities `.txt`; writes have a bare name."""
        if self.is_query:
            return f"{self.request.output}{self.id}.csv"
        if self.request.plan.kind == "DML" or self.request.plan.detail == "CREATE_TABLE_AS_SELECT":
            return f"{self.request.output}{self.id}"
        return f"{self.request.output}{self.id}.txt"

    def describe(self) -> dict[str, Any]:
        """Athena's QueryExecution."""
        request = self.request
        now = self.completed or time.time()
        total = int((now - self.submitted) * 1000)
        status: dict[str, Any] = {"State": self.state, "SubmissionDateTime": self.submitted}
        if self.completed is not None:
            status["CompletionDateTime"] = self.completed
        if self.reason is not None:
            status["StateChangeReason"] = self.reason
        if self.error is not None:
            category, kind = self.error
            retryable = kind == ICEBERG_ERROR and "COMMIT" in (self.reason or "")
            status["AthenaError"] = {
                "ErrorCategory": category,
                "ErrorType": kind,
                "Retryable": retryable,
                "ErrorMessage": self.reason,
            }
        context = {"Database": request.database, "Catalog": request.catalog}
        described = {
            "QueryExecutionId": self.id,
            "Query": request.statement,
            "StatementType": request.plan.kind,
            "SubstatementType": request.plan.detail,
            "ResultConfiguration": {"OutputLocation": self.location},
            "QueryExecutionContext": {name: value for name, value in context.items() if value is not None},
            "Status": status,
            "Statistics": {
                "EngineExecutionTimeInMillis": max(0, total - self.queued_millis),
                "DataScannedInBytes": self.scanned_bytes,
                "TotalExecutionTimeInMillis": total,
                "QueryQueueTimeInMillis": self.queued_millis,
                "QueryPlanningTimeInMillis": self.planning_millis,
                "ServiceProcessingTimeInMillis": 0,
                "ResultReuseInformation": {"ReusedPreviousResult": False},
            },
            "WorkGroup": request.work_group,
            "EngineVersion": ENGINE_VERSION,
        }
        if request.parameters:
            described["ExecutionParameters"] = list(request.parameters)
        return described


class Shelf:
    """The rows of queries, as long as there is room; what is pushed out is read from its file in S3, as Athena does."""

    def __init__(self, s3: Any, room: int = 500_000) -> None:
        self.s3 = s3
        self.room = room
        self.used = 0
        self.lock = threading.Lock()
        self.kept: dict[str, list[list[str | None]]] = {}

    def put(self, execution: Execution, rows: list[list[str | None]]) -> None:
        """Keep an execution's rows; `room` is counted in values."""
        with self.lock:
            self.used += _values(rows) - _values(self.kept.pop(execution.id, []))
            self.kept[execution.id] = rows
            while self.used > self.room and len(self.kept) > 1:
                self.used -= _values(self.kept.pop(next(iter(self.kept))))

    def rows(self, execution: Execution) -> list[list[str | None]]:
        """An execution's rows."""
        with self.lock:
            found = self.kept.get(execution.id)
        if found is None:
            bucket, key = split_location(execution.location)
            found = parse_csv(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())[1:]
            self.put(execution, found)
        return found


def _values(rows: list[list[str | None]]) -> int:
    return len(rows) * len(rows[0]) if rows else 0


class Runner:
    """Runs executions, each in a thread that asks Trino for its pages."""

    def __init__(self, engine: Engine, glue: Any, s3: Any, faults: Faults, senders: Senders) -> None:
        self.engine = engine
        self.senders = senders
        self.glue = glue
        self.s3 = s3
        self.faults = faults
        self.shelf = Shelf(s3)
        self.views = threading.Lock()

    def start(self, execution_id: str, request: Request) -> Execution:
        """Begin; comes back when the statement is parsed, and has `syntax_error` set if it cannot be."""
        execution = Execution(execution_id, request)
        threading.Thread(target=self._run, args=(execution,), daemon=True).start()
        execution.parsed.wait(PARSE_SECONDS)
        return execution

    def _run(self, execution: Execution) -> None:
        try:
            if delay := self.faults.delay(execution.request.statement):
                execution.parsed.set()
                if execution.stop.wait(delay):
                    raise Cancelled("Query cancelled by user")
            if failure := self.faults.statement(execution.request.statement):
                name, _, message = failure.partition(": ")
                raise TrinoError(name, "EXTERNAL", message)
            with self.senders.under_way(execution.id, execution.request.role):
                for step in execution.request.plan.steps:
                    self._carry_out(step, execution)
                self._write_result(execution)
            self._end(execution, State.SUCCEEDED)
        except Cancelled as cancelled:
            self._end(execution, State.CANCELLED, str(cancelled))
        except TrinoError as error:
            if error.name == "SYNTAX_ERROR":
                execution.syntax_error = str(error).partition(": ")[2]
            self._end(execution, State.FAILED, str(error), error_type(error))
        except CatalogError as error:
            self._end(execution, State.FAILED, str(error), (USER, 1003))
        except Exception as error:
            # Whatever it is, the one who polls must not wait for ever.
            reason = f"GENERIC_INTERNAL_ERROR: {type(error).__name__}: {error}"
            self._end(execution, State.FAILED, reason, (SYSTEM, INTERNAL_ERROR))
        finally:
            execution.parsed.set()

    def _end(
        self, execution: Execution, state: State, reason: str | None = None, error: tuple[int, int] | None = None
    ) -> None:
        if state is not State.SUCCEEDED:
            execution.rows.clear()
        execution.completed, execution.reason, execution.error = time.time(), reason, error
        execution.state = state  # last: whoever sees it sees the rest

    def _carry_out(self, step: Step, execution: Execution) -> None:
        match step:
            case Sql():
                self._keep(self._query(step, execution), execution)
            case CreateTableAs(sql, query, is_iceberg):
                self._columns(query, execution, is_iceberg=is_iceberg)
                self._keep(self._query(sql, execution), execution)
            case CreateView(sql, query, table):
                columns = self._columns(query, execution)
                # Who replaces it between the two steps would leave the columns of one and the query of another.
                with self.views:
                    self._keep(self._query(sql, execution), execution)
                    self._catalog(execution).describe_view(table, columns)
            case _:
                execution.parsed.set()
                execution.state = State.RUNNING
                execution.rows.extend(map(list, self._catalog(execution).carry_out(step)))

    def _catalog(self, execution: Execution) -> Catalog:
        return Catalog(self.glue, lambda text: self._query(Sql(text), execution).rows)

    def _query(self, sql: Sql, execution: Execution) -> Outcome:
        return self._on_a_node(lambda: self._try(sql, execution), execution)

    def _on_a_node(self, work: Callable[[], T], execution: Execution) -> T:
        """What Trino does once it has a worker; until then nothing of it is begun."""
        deadline = time.monotonic() + NODE_SECONDS
        while True:
            try:
                return work()
            except TrinoError as error:
                if error.name != "NO_NODES_AVAILABLE" or time.monotonic() > deadline:
                    raise
            if execution.stop.wait(0.2):
                raise Cancelled("Query cancelled by user")

    def _try(self, sql: Sql, execution: Execution) -> Outcome:
        request = execution.request
        text = sql.text
        if request.parameters:
            text = f"execute immediate {quote(text)} using {', '.join(request.parameters)}"
        statement = self.engine.start(text, request.database, sql.session)
        outcome, before = statement.outcome, execution.scanned_bytes
        while statement.advance():
            if statement.is_parsed:
                execution.parsed.set()
            if outcome.state != "QUEUED":
                execution.state = State.RUNNING
            execution.scanned_bytes = before + outcome.scanned_bytes
            if execution.stop.is_set():
                if statement.cancel() or execution.is_query:
                    raise Cancelled("Query cancelled by user")
                break  # it was committed before it could be stopped: to say CANCELLED would be wrong
            if execution.is_over_cutoff:
                statement.cancel()
                raise Cancelled(OVER_CUTOFF)
        execution.scanned_bytes = before + outcome.scanned_bytes
        execution.queued_millis += outcome.queued_millis
        execution.planning_millis += outcome.planning_millis
        if execution.is_over_cutoff:  # what a write has committed by then stays, as little as Athena takes it back
            raise Cancelled(OVER_CUTOFF)
        return outcome

    def _columns(self, query: str, execution: Execution, *, is_iceberg: bool = False) -> list[dict[str, str]]:
        """The columns that a table or view of a query would have in Glue; Athena makes none with types Hive lacks."""
        columns = []
        types = self._on_a_node(lambda: self.engine.output_types(query, execution.request.database), execution)
        for name, type_name in types.items():
            try:
                columns.append({"Name": name, "Type": hive_type(type_name)})
                if is_iceberg:
                    check_iceberg_type(type_name)
            except UnsupportedTypeError as error:
                raise TrinoError("NOT_SUPPORTED", "USER_ERROR", str(error)) from error
        return columns

    def _keep(self, outcome: Outcome, execution: Execution) -> None:
        signatures = [column.signature for column in outcome.columns]
        execution.columns = [column_info(column) for column in outcome.columns]
        execution.update_count = outcome.update_count or 0
        if outcome.update_count is None:
            execution.rows += [
                [text_of(value, signature) for value, signature in zip(row, signatures, strict=True)]
                for row in outcome.rows
            ]

    def _write_result(self, execution: Execution) -> None:
        """The result's file, there before the state says so."""
        bucket, key = split_location(execution.location)
        names = [column["Name"] for column in execution.columns]
        if execution.is_query:
            self.s3.put_object(Bucket=bucket, Key=key, Body=csv(names, execution.rows))
            self.shelf.put(execution, execution.rows)
            execution.rows = []
        elif execution.location.endswith(".txt"):
            self.s3.put_object(Bucket=bucket, Key=key, Body=plain(execution.rows))


def error_type(error: TrinoError) -> tuple[int, int]:
    """Athena's ErrorCategory and ErrorType."""
    if error.name.startswith("ICEBERG_"):
        return (USER if error.kind == "USER_ERROR" else SYSTEM), ICEBERG_ERROR
    if error.kind == "USER_ERROR":
        return USER, ERROR_TYPES.get(error.name, USER_ERROR)
    if error.kind == "INSUFFICIENT_RESOURCES":
        return SYSTEM, EXHAUSTED
    return (OTHER if error.kind == "EXTERNAL" else SYSTEM), ERROR_TYPES.get(error.name, INTERNAL_ERROR)


def split_location(location: str) -> tuple[str, str]:
    """Bucket and key of an S3 location."""
    parts = urlsplit(location)
    return parts.netloc, parts.path.lstrip("/")


def pages(count: int, token: str | None, size: int) -> tuple[slice, str | None]:
    """Which of `count` things a page holds, and the token of the next one."""
    start = int(token or 0)
    end = start + size
    return slice(start, end), str(end) if end < count else None


def values(cells: Sequence[str | None]) -> dict[str, Any]:
    """A row of GetQueryResults."""
    return {"Data": [{} if cell is None else {"VarCharValue": cell} for cell in cells]}
