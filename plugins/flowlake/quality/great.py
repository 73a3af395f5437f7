"""The one place that knows Great Expectations: checks become its expectations, verdicts become Data Docs.

Importing it costs seconds, so only a running gate does (`runner.validate`). What had to be worked around in 1.24 is
here, each with its reason.
"""

from __future__ import annotations

import fcntl
import html
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import great_expectations as gx  # this module is itself imported only by a running gate
import great_expectations.expectations as gxe
import sqlalchemy
from great_expectations.compatibility import pydantic
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.core.id_dict import IDDict
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.abstract_data_context import (
    AbstractDataContext,
)
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.datasource.fluent.sql_datasource import SQLDatasource, TableAsset
from great_expectations.execution_engine import sqlalchemy_execution_engine
from great_expectations.execution_engine.execution_engine import MetricComputationConfiguration
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.core.unexpected_rows_expectation import (
    UnexpectedRowsExpectation,
)
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metrics.metric_provider import (
    MetricProvider,
    metric_value,
)
from great_expectations.expectations.row_conditions import (
    Column,
    ComparisonCondition,
    Operator,
    RowConditionType,
)
from sqlalchemy.engine import Inspector

from flowlake.quality.engines import Engine
from flowlake.quality.report import GateError, Layer
from flowlake.quality.suites import NO_ROWS, Check, Condition
from flowlake.settings import Severity

KEPT_RUNS = 200
"""Gates whose results and pages are kept: four days of hourly runs; the index reads each of them."""

STATEMENT_CHARACTERS = 200_000
"""Of the queries that one statement counts: Athena takes 262,144 bytes, with what stands around them."""

SITE = "flowlake"

TIME_COLUMN = "event_hour"
"""The one column of times that conditions are about."""

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARN: "warning"}

_OPERATORS: dict[str, Callable[[Column, Any], RowConditionType]] = {
    "=": lambda column, value: column == value,
    "<": lambda column, value: column < value,
    ">=": lambda column, value: column >= value,
    "in": lambda column, values: column.is_in(values),
    "not in": lambda column, values: column.is_not_in(values),
}


class _Dialect(str):
    """A dialect's name in the shape in which Great Expectations keeps its own (an enum member with a value)."""

    __slots__ = ()

    @property
    def value(self) -> str:
        return str(self)


def keep_duckdb_connections() -> None:
    """Have Great Expectations keep one connection to DuckDB, as it does for SQLite.

    Otherwise it closes each connection before it fetches, which kills DuckDB's cursors (great_expectations#11579; drop
    this when that is closed).
    """
    dialects = sqlalchemy_execution_engine._PERSISTED_CONNECTION_DIALECTS
    if not any(dialect.value == "duckdb" for dialect in dialects):
        engine = cast("Any", sqlalchemy_execution_engine)
        engine._PERSISTED_CONNECTION_DIALECTS = (*dialects, _Dialect("duckdb"))


_count_of: ContextVar[Callable[[str], int]] = ContextVar("count_of")
"""How the running gate counts rows: Great Expectations makes its metrics itself, and hands them nothing of ours."""


_threads: ContextVar[int] = ContextVar("threads", default=1)
"""How many of Great Expectations' own statements the running gate's engine takes at a time."""


class FailingRows(MetricProvider):
    """How many rows a query has, by the gate's own engine, which may have counted them ahead."""

    metric_name = "flowlake.failing_rows"
    value_keys = ("unexpected_rows_query",)

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _count(cls, metric_value_kwargs: dict[str, str], **_: object) -> int:  # noqa: N805  # the decorator's form
        return _count_of.get()(metric_value_kwargs["unexpected_rows_query"])


class _Statements(SqlAlchemyExecutionEngine):
    """Great Expectations' statements, with conditions on times as such.

    Its conditions hold text and numbers only, and Athena compares no time with text: there the hours that a condition
    lists become times again, in the place where it becomes SQL.
    """

    def get_inspector(self) -> Inspector:
        """Great Expectations' own, which finds no primary keys: a lake has none, and a look takes DuckDB 0.1 s."""
        inspector: Any = super().get_inspector()
        inspector.get_pk_constraint = lambda *_, **__: {}
        return cast("Inspector", inspector)

    def resolve_metric_bundle(self, metric_fn_bundle: Iterable[MetricComputationConfiguration]) -> dict[Any, Any]:
        """As Great Expectations does, a statement for each row condition; side by side where the engine likes that."""
        if _threads.get() == 1:
            return super().resolve_metric_bundle(metric_fn_bundle)
        of_condition: dict[Any, list[MetricComputationConfiguration]] = {}
        for metric in metric_fn_bundle:
            of_condition.setdefault(IDDict(metric.compute_domain_kwargs or {}).to_id(), []).append(metric)
        resolved: dict[Any, Any] = {}
        with ThreadPoolExecutor(_threads.get()) as pool:
            for each in pool.map(super().resolve_metric_bundle, of_condition.values()):
                resolved.update(each)
        return resolved

    def _comparison_condition_to_filter_clause(self, condition: ComparisonCondition) -> Any:
        if condition.column.name != TIME_COLUMN:
            return super()._comparison_condition_to_filter_clause(condition)
        if condition.operator != Operator.IN:
            message = f"a condition on {TIME_COLUMN} lists hours, it does not say {condition.operator}"
            raise NotImplementedError(message)
        hours = [datetime.fromisoformat(str(hour)) for hour in condition.parameter]
        return sqlalchemy.column(TIME_COLUMN, sqlalchemy.DateTime()).in_(hours)


class LakeSource(SQLDatasource):
    """The lake as a data source: Great Expectations has none of its own for either dialect."""

    type: Literal["flowlake"] = "flowlake"  # type: ignore[assignment]  # each kind of source has its own word
    execution_engine_override = _Statements


class _KnownTable(TableAsset):
    """A table that is there: the gate has looked, and Great Expectations' look is one more statement a table."""

    def test_connection(self) -> None:
        """Nothing to try."""


class ExpectNoRows(UnexpectedRowsExpectation):
    """That a query returns nothing.

    Great Expectations' own runs the query twice, once to count and once to fetch, even where only the verdict is
    asked for, and prints to the terminal about queries without `{batch}`: ours name their tables and windows.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = (FailingRows.metric_name,)

    @pydantic.validator("unexpected_rows_query", allow_reuse=True)
    def _validate_query(cls, query: str) -> str:  # noqa: N805  # pydantic's signature
        return query

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: object = None,
    ) -> dict[str, Any]:
        count = metrics[FailingRows.metric_name]
        return {"success": count == 0, "result": {"observed_value": count}}


def _shares(queries: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    """The queries in about as many parts, none of them longer than a statement of Athena's may be."""
    share: list[str] = []
    for query in queries:
        is_full = len(share) >= -(-len(queries) // count) or sum(map(len, share)) + len(query) > STATEMENT_CHARACTERS
        if share and is_full:
            yield share
            share = []
        share.append(query)
    if share:
        yield share


@dataclass(frozen=True)
class _TableRun:
    """One table's checks, and what came of them."""

    suite: str
    batch: Any
    checks: tuple[Check, ...]
    results: ExpectationSuiteValidationResult


class Evaluation:
    """The checks of one layer, evaluated on an engine, and their Data Docs.

    Great Expectations is asked for the verdict alone; what a failure looks like says its message (`publish`).
    """

    def __init__(self, engine: Engine, folder: Path, layer: Layer, run_name: str, run_at: datetime) -> None:
        """Prepare a context in `folder` (the lake's quality folder); raises nothing, reads nothing."""
        keep_duckdb_connections()
        self._engine = engine
        self._counts: dict[str, int] = {}
        self._folder = folder
        self._layer = layer
        self._run_id = RunIdentifier(run_name=run_name, run_time=run_at)
        self._context = _context(folder)
        sources = cast("Any", self._context.data_sources)
        self._source = sources.add_flowlake("lake", connection_string=engine.url)
        self._runs: list[_TableRun] = []

    def evaluate(self, checks: Sequence[Check]) -> tuple[Check, ...]:
        """The checks that do not hold. Raises GateError when one of them cannot be evaluated."""
        failed: list[Check] = []
        with self._counting([check.failing for check in checks if check.expectation == NO_ROWS]):
            for table in dict.fromkeys(check.table for check in checks):
                of_table = tuple(check for check in checks if check.table == table)
                run = self._evaluate_table(table, of_table)
                self._runs.append(run)
                names = {_name(result) for result in run.results.results if not result.success}
                failed.extend(check for check in of_table if check.name in names)
        return tuple(failed)

    @contextmanager
    def _counting(self, queries: Sequence[str] = ()) -> Iterator[None]:
        """Have `FailingRows` count on the engine: ahead and side by side where that is faster, and each query once."""
        ahead: dict[str, Future[Mapping[str, int]]] = {}

        def count_of(query: str) -> int:
            if query not in self._counts:
                self._counts.update(ahead[query].result() if query in ahead else self._count([query]))
            return self._counts[query]

        pool = ThreadPoolExecutor(self._engine.threads)
        tokens = _count_of.set(count_of), _threads.set(self._engine.threads)
        try:
            if self._engine.threads > 1:
                for together in _shares(queries, self._engine.threads):
                    ahead.update(dict.fromkeys(together, pool.submit(self._count, together)))
            yield
        finally:
            _count_of.reset(tokens[0])
            _threads.reset(tokens[1])
            pool.shutdown(cancel_futures=True)

    def _count(self, queries: Sequence[str]) -> Mapping[str, int]:
        """How many rows each query has, by one statement: Athena bills ten megabytes for the smallest."""
        counts = [
            f"select {number} as number, count(*) as failing_rows from ({query}) as failing"
            for number, query in enumerate(queries)
        ]
        try:
            rows = self._engine.query("\nunion all\n".join(counts)).rows
        except GateError:
            if len(queries) == 1:
                raise
            # Which of them it was says its check.
            return {query: count for one in queries for query, count in self._count([one]).items()}
        return {queries[int(number)]: int(count) for number, count in rows}

    def page(self, check: Check) -> Path:
        """Where the page that shows a check will stand."""
        run = next(run for run in self._runs if check in run.checks)
        parts: tuple[str, ...] = cast("Any", _validation_id(run, self._run_id)).to_tuple()
        return (self._folder / "data_docs" / "validations").joinpath(*parts).with_name(f"{parts[-1]}.html")

    @property
    def index(self) -> Path:
        """The first page of the Data Docs."""
        return self._folder / "data_docs" / "index.html"

    def publish(self, messages: Mapping[str, str]) -> None:
        """Store the results and write their pages; `messages` has the line to show for each check that failed."""
        for run in self._runs:
            _explain(run.results, messages)
        identified = [(_validation_id(run, self._run_id), run.results) for run in self._runs]
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "pages.lock").open("a") as file:
            # Gates of other hours may be at it too, and the index is made of what all of them stored.
            fcntl.flock(file, fcntl.LOCK_EX)
            for identifier, results in identified:
                self._context.validation_results_store.store_validation_results(
                    suite_validation_result=results,
                    suite_validation_result_identifier=identifier,
                    expectation_suite_identifier=identifier.expectation_suite_identifier,
                )
            _forget_old_runs(self._folder / "gx" / "validations")
            self._context.build_data_docs(
                site_names=[SITE], resource_identifiers=[identifier for identifier, _ in identified]
            )

    def close(self) -> None:
        """Let go of the lake: an open connection keeps its catalogue attached in this process."""
        # Two of them: one that looks tables up, one that computes.
        self._source.get_execution_engine().close()
        self._source.get_engine().dispose()

    def _evaluate_table(self, table: str, checks: tuple[Check, ...]) -> _TableRun:
        database = self._engine.databases.get(table)
        with warnings.catch_warnings():
            # "Pass the schema in your datasource's connection": the tables are in several, and a connection has one.
            warnings.simplefilter("ignore", DeprecationWarning)
            place: dict[str, Any] = {"schema_name": database} if database else {}
            known = _KnownTable(name=table, **place)
        asset = self._source._add_asset(known)
        batch = asset.add_batch_definition_whole_table("rows").get_batch()
        suite = f"{self._layer}.{table}"
        results = _validate(batch, suite, checks)
        results.meta["run_id"] = self._run_id
        results.meta["validation_time"] = self._run_id.run_time
        return _TableRun(suite=suite, batch=batch, checks=checks, results=results)


def _explain(results: ExpectationSuiteValidationResult, messages: Mapping[str, str]) -> None:
    # Great Expectations' own details would be three to five statements more for each failure; the rows are kept.
    for result in results.results:
        if _name(result) in messages:
            # Data Docs put values into their tables as they are, markup included.
            result.result = {"observed_value": html.escape(messages[_name(result)])}


def _validate(batch: Any, suite: str, checks: Sequence[Check]) -> ExpectationSuiteValidationResult:
    expectations = gx.ExpectationSuite(suite, expectations=[_expectation(check) for check in checks])
    with warnings.catch_warnings():
        # duckdb-engine does not read index definitions, and says so on every look at a table.
        warnings.simplefilter("ignore")
        results: ExpectationSuiteValidationResult = batch.validate(expectations, result_format="BOOLEAN_ONLY")
    for result in results.results:
        _raise_if_broken(suite, result)
    return results


def _raise_if_broken(suite: str, result: ExpectationValidationResult) -> None:
    information = result.exception_info or {}
    # Either one such record, or one for each metric that could not be computed.
    records = [information] if "raised_exception" in information else list(information.values())
    for record in records:
        if isinstance(record, dict) and record.get("raised_exception"):
            lines = str(record.get("exception_message") or "").strip().splitlines()
            message = f"{suite}: {_name(result)} could not be evaluated: {lines[0] if lines else 'no reason given'}"
            raise GateError(message)


def _expectation(check: Check) -> Expectation:
    common: dict[str, Any] = {
        "description": check.claim,
        "severity": _SEVERITIES[check.severity],
        "meta": {"check": check.name},
    }
    if check.expectation == NO_ROWS:
        return ExpectNoRows(unexpected_rows_query=check.failing, **common)
    expectation = getattr(gxe, check.expectation)
    conditions = _row_condition(check.conditions)
    return cast("Expectation", expectation(**check.arguments, row_condition=conditions, **common))


def _row_condition(conditions: Sequence[Condition]) -> RowConditionType:
    if not conditions:
        return None
    parts = [
        _OPERATORS[condition.operator](Column(condition.column), _plain(condition.value)) for condition in conditions
    ]
    return reduce(cast("Any", and_), parts)


def _plain(value: str | tuple[str, ...] | tuple[datetime, ...]) -> str | list[str]:
    return [str(each) for each in value] if isinstance(value, tuple) else value


def _name(result: ExpectationValidationResult) -> str:
    configuration = result.expectation_config
    return str((configuration.meta or {})["check"]) if configuration else ""


def _validation_id(run: _TableRun, run_id: RunIdentifier) -> ValidationResultIdentifier:
    return ValidationResultIdentifier(
        batch_identifier=run.batch.id,
        expectation_suite_identifier=ExpectationSuiteIdentifier(run.suite),
        run_id=run_id,
    )


def _context(folder: Path) -> AbstractDataContext:
    # Results stay on disk so that the index shows earlier runs; suites do not: they are Python.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    stores = InMemoryStoreBackendDefaults()
    stores.stores[stores.validation_results_store_name] = {
        "class_name": "ValidationResultsStore",
        "store_backend": _files(folder / "gx" / "validations"),
    }
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": _files(folder / "data_docs"),
        "site_section_builders": {"expectations": "None", "profiling": "None"},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=stores,
            data_docs_sites={SITE: site},
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )


def _files(folder: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}


def _forget_old_runs(folder: Path) -> None:
    # <suite>/<table>/<run name>/<run time>: the name of the last folder sorts by time. The index drops their pages.
    runs = sorted((path for path in folder.glob("*/*/*/*") if path.is_dir()), key=lambda path: path.name)
    times = sorted({path.name for path in runs})
    forgotten = set(times[:-KEPT_RUNS])
    for path in runs:
        if path.name in forgotten:
            shutil.rmtree(path, ignore_errors=True)
