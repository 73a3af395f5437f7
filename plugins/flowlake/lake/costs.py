"""What statements cost on Athena: the ledger `ops.query_costs`, and budgets (docs/adr/0019-query-costs.md).

Everything comes from Athena's own account of its executions, so a statement counts whoever sent it: dbt, a gate, or
flowlake itself, and whether it succeeded or not. One writer holds the lake's lock, so the executions between two looks
at Athena's list that put their results below `<location>/results/` are those of the work that held it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowlake.errors import BudgetError, FlowlakeError
from flowlake.lake.athena import AthenaLake
from flowlake.lake.aws import AwsError
from flowlake.lake.files import S3Files
from flowlake.lake.glue import QUERY_COSTS, GlueTables
from flowlake.lake.objects import shown
from flowlake.lake.unfinished import Work
from flowlake.terminal import counted, human_bytes

if TYPE_CHECKING:
    from flowlake.settings import AthenaSettings, Settings

log = logging.getLogger(__name__)

MEGABYTE, TERABYTE = 1024**2, 1024**4

LEAST_BILLED = 10 * MEGABYTE
"""Athena bills whole megabytes, at least ten for a statement; DDL is free (2026-11: aws.amazon.com/athena/pricing)."""

_READERS = 8
_LOOK_SECONDS = 2.0
_STOPPING_SECONDS = 0.5
"""Between two looks once the budget is spent: who sends statements learns it from each that is stopped."""

_REASON_CHARACTERS = 500

_COMMENT = re.compile(r"\s*(?:--\s*)?/\* (\{[^\n]*?\}) \*/")
"""What dbt puts before each of its statements."""


@dataclass(frozen=True)
class Statement:
    """One row of `ops.query_costs`."""

    run_id: str
    step: str
    arrival_from: str | None
    arrival_to: str | None
    node: str | None
    """The model, seed or test of dbt's that sent it."""
    kind: str
    """DML, DDL or UTILITY."""
    execution_id: str
    submitted_at: datetime
    """Naive UTC."""
    state: str
    """SUCCEEDED, FAILED, CANCELLED; RUNNING or QUEUED where the work ended before it did."""
    reason: str | None
    scanned_bytes: int
    billed_bytes: int
    """What Athena bills for so many scanned bytes. It bills no failed statement, which counts here all the same."""
    queued_ms: int
    total_ms: int
    written_rows: int | None
    """Of a statement that writes."""
    dollars: float
    work_group: str


@dataclass(frozen=True)
class Cost:
    """Statements, summed."""

    statements: int = 0
    scanned_bytes: int = 0
    billed_bytes: int = 0
    dollars: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(Cost)))

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{counted(self.statements, 'statement')}, {human_bytes(self.scanned_bytes)} scanned, "
            f"{human_bytes(self.billed_bytes)} billed, {self.dollars:.4f} dollars"
        )


def total(statements: Iterable[Statement]) -> Cost:
    """What statements cost together."""
    listed = list(statements)
    return Cost(
        len(listed),
        sum(one.scanned_bytes for one in listed),
        sum(one.billed_bytes for one in listed),
        sum(one.dollars for one in listed),
    )


def billed_bytes(kind: str, form: str, scanned: int) -> int:
    """What Athena bills for a statement (its type and subtype) that has scanned so much."""
    if kind != "DML" and not form.endswith("AS_SELECT"):
        return 0
    return max(LEAST_BILLED, -(-scanned // MEGABYTE) * MEGABYTE)


class Account:
    """The statements of one piece of work, from its begin on."""

    def __init__(self, settings: Settings, work: Work, known: Collection[str], file: str) -> None:
        """Take over what `begin` or a note has found out.

        `known`: executions that are others'. `file`: where the rows are going to lie, among the lake's own files:
        `<table>/day=<day>/<digest of the run>/<mark>.parquet`, so that those of a run are found.
        """
        self.work = work
        self.known = frozenset(known)
        self.file = file
        self._settings = settings
        self._lake = AthenaLake(settings)
        self._files = S3Files(self._lake.settings.location)
        self._earlier: Cost | None = None

    @classmethod
    def begin(cls, settings: Settings, work: Work, now: datetime, mark: str) -> Account:
        """An account of what is sent from now on; `mark` is a name that no other work has. Raises AwsError."""
        known = AthenaLake(settings).newest_executions()
        return cls(settings, work, known, f"{_folder(now.date(), work)}/{mark}.parquet")

    def as_note(self) -> dict[str, Any]:
        """What `from_note` needs, as JSON takes it."""
        return {"work": asdict(self.work), "known": sorted(self.known), "file": self.file}

    @classmethod
    def from_note(cls, settings: Settings, note: Mapping[str, Any]) -> Account:
        """The account of work that did not come to its end."""
        return cls(settings, Work(**note["work"]), note["known"], note["file"])

    def statements(self) -> list[Statement]:
        """What was sent so far. Raises AwsError."""
        return [self._row(found, None) for found in self._own()]

    def close(self) -> Cost:
        """Write the rows of what was sent, and return what it has cost. Raises AwsError, GlueError."""
        own = self._own()
        with ThreadPoolExecutor(_READERS) as pool:
            rows = list(pool.map(self._row, own, pool.map(self._written_rows, own)))
        rows.sort(key=lambda row: (row.submitted_at, row.execution_id))
        if rows:
            self._files.write(self.file, _parquet(rows))
            GlueTables(self._settings).add_day(self.file)
        return total(rows)

    def earlier(self) -> Cost:
        """What the run had cost before this work. Raises AwsError."""
        if self._earlier is None:
            today = date.fromisoformat(self.file.removeprefix(f"{QUERY_COSTS}/day=")[:10])
            # Runs over midnight have steps in two folders. What one spent on an earlier day than that is not looked up:
            # who goes on with a run days later means to.
            folders = [_folder(day, self.work) for day in (today - timedelta(days=1), today)]
            paths = [path for folder in folders for path in self._files.list(folder) if path != self.file]
            self._earlier = total(row for path in paths for row in self._read(path))
        return self._earlier

    def stop(self, execution_id: str) -> None:
        """Stop a statement; one that has ended is none to stop. Raises AwsError."""
        self._lake.stop(execution_id)

    def _own(self) -> list[dict[str, Any]]:
        return [found for found in self._lake.executions_after(self.known) if self._is_own(found)]

    def _is_own(self, execution: Mapping[str, Any]) -> bool:
        place = str(execution.get("ResultConfiguration", {}).get("OutputLocation", ""))
        return place.startswith(self._lake.settings.results) and not place.startswith(self._lake.settings.asked_results)

    def _row(self, execution: Mapping[str, Any], written: int | None) -> Statement:
        statistics, status = execution.get("Statistics", {}), execution["Status"]
        kind = str(execution.get("StatementType", "DML"))
        scanned = int(statistics.get("DataScannedInBytes", 0))
        billed = billed_bytes(kind, str(execution.get("SubstatementType", "")), scanned)
        reason = " ".join(str(status.get("StateChangeReason", "")).split())
        return Statement(
            run_id=self.work.run_id,
            step=self.work.step,
            arrival_from=self.work.arrival_from,
            arrival_to=self.work.arrival_to,
            node=_node(execution["Query"]),
            kind=kind,
            execution_id=str(execution["QueryExecutionId"]),
            submitted_at=status["SubmissionDateTime"].astimezone(UTC).replace(tzinfo=None),
            state=str(status["State"]),
            reason=shown(reason)[:_REASON_CHARACTERS] if reason and status["State"] != "SUCCEEDED" else None,
            scanned_bytes=scanned,
            billed_bytes=billed,
            queued_ms=int(statistics.get("QueryQueueTimeInMillis", 0)),
            total_ms=int(statistics.get("TotalExecutionTimeInMillis", 0)),
            written_rows=written,
            dollars=dollars(self._lake.settings, billed),
            work_group=str(execution.get("WorkGroup", "")),
        )

    def _written_rows(self, execution: Mapping[str, Any]) -> int | None:
        kind, form = execution.get("StatementType"), str(execution.get("SubstatementType"))
        is_write = form != "SELECT" if kind == "DML" else form.endswith("AS_SELECT")
        if not is_write or execution["Status"]["State"] != "SUCCEEDED":
            return None
        try:
            return self._lake.update_count(str(execution["QueryExecutionId"]))
        except AwsError as error:
            # Not all that write have a result, and one that is gone is no reason to fail a step that succeeded.
            log.debug("how many rows %s has written is not known: %s", execution["QueryExecutionId"], error)
            return None

    def _read(self, path: str) -> list[Statement]:
        import pyarrow as pa
        from pyarrow import parquet

        content = self._files.read(path)
        rows = parquet.read_table(pa.BufferReader(content), use_threads=False).to_pylist() if content else []
        return [Statement(**row) for row in rows]


def _folder(day: date, work: Work) -> str:
    # Digests, for the ids of Airflow's runs are not for paths.
    return f"{QUERY_COSTS}/day={day}/{hashlib.sha256(work.run_id.encode()).hexdigest()}"


def dollars(settings: AthenaSettings, billed: int) -> float:
    """What billed bytes cost, by the price in the settings."""
    return billed * settings.dollars_per_terabyte / TERABYTE


@contextmanager
def within_budget(account: Account, settings: AthenaSettings) -> Iterator[None]:
    """Look at what is spent while work goes on: warn, then stop what runs and fail.

    Raises:
        BudgetError: more was spent than `athena.budget` allows; what was sent then is stopped.
        AwsError: Athena cannot be reached before the work begins.
    """
    budget = settings.budget
    if budget.run_dollars is None and budget.statement_dollars is None:
        yield
        return
    watch = _Watch(account, settings)
    watch.refuse()
    watch.start()
    try:
        yield
    finally:
        watch.end()
        watch.refuse()


class _Watch(threading.Thread):
    """Looks at the statements of some work every other second."""

    def __init__(self, account: Account, settings: AthenaSettings) -> None:
        super().__init__(name="budget", daemon=True)
        self._account = account
        self._budget = settings.budget
        self._is_over = threading.Event()
        self._warned: set[str] = set()
        self.problem: str | None = None
        self._judge([])

    def refuse(self) -> None:
        """Raise BudgetError when the budget is spent."""
        if self.problem:
            raise BudgetError(self.problem)

    def run(self) -> None:
        """Look until the work is over."""
        while not self._is_over.wait(_STOPPING_SECONDS if self.problem else _LOOK_SECONDS):
            self._look()

    def end(self) -> None:
        """Look for the last time."""
        self._is_over.set()
        self.join()
        self._look()

    def _look(self) -> None:
        try:
            statements = self._account.statements()
            self._judge(statements)
            if self.problem:
                for one in statements:
                    if one.state in ("QUEUED", "RUNNING"):
                        self._account.stop(one.execution_id)
        except FlowlakeError as error:
            # The work itself finds out what is wrong with Athena; the next look counts all the same.
            log.warning("the budget was not looked at: %s", error)

    def _judge(self, statements: Sequence[Statement]) -> None:
        limit = self._budget.run_dollars
        if limit is not None:
            self._weigh(f"the run {shown(self._account.work.run_id)}", self._spent(statements), limit, "run_dollars")
        limit = self._budget.statement_dollars
        if limit is not None:
            for one in statements:
                what = f"a statement of {one.node or one.step} ({one.execution_id})"
                self._weigh(what, one.dollars, limit, "statement_dollars")

    def _spent(self, statements: Sequence[Statement]) -> float:
        return self._account.earlier().dollars + total(statements).dollars

    def _weigh(self, what: str, spent: float, limit: float, setting: str) -> None:
        said = f"{what} has cost {spent:.4f} dollars, of {limit:g} that athena.budget.{setting} allows"
        if spent > limit:
            self.problem = self.problem or f"{said}: it was stopped; raise the budget, or run a smaller window"
        elif spent > limit * self._budget.warn_share and what not in self._warned:
            self._warned.add(what)
            log.warning("%s", said)


def _node(query: str) -> str | None:
    found = _COMMENT.match(query)
    if found is None:
        return None
    try:
        said = json.loads(found[1])
    except ValueError:
        return None
    name = said.get("node_id") if isinstance(said, dict) else None
    return shown(str(name)) if name else None


def _parquet(rows: Sequence[Statement]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    types = {"str": pa.string(), "str | None": pa.string(), "int": pa.int64(), "int | None": pa.int64()}
    types |= {"float": pa.float64(), "datetime": pa.timestamp("us")}
    schema = pa.schema([(item.name, types[str(item.type)]) for item in fields(Statement)])
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
