"""How many bytes a record has, as delivered and in the lake; and what nine questions cost on text and on the tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped] # it ships no types

from bench.bulk import obtain_day_lake
from bench.history import obtain_history_lake
from bench.history_logs import DAYS, START
from bench.inputs import Bench, Logs
from bench.processes import BenchError, folder_bytes
from bench.questions import QUESTIONS, Question
from bench.raw import lines
from bench.results import Findings, Row, Table, Unit
from bench.worst import obtain_worst_lake
from flowlake.lake.duck import connect, literal
from flowlake.settings import LAKE_PATH_VARIABLE, load_settings
from flowlake.terminal import human_bytes

if TYPE_CHECKING:
    import duckdb

QUESTION_DAYS = 14
ESTIMATE_TOLERANCE = 0.25
"""A tenth of the rows is within 2 % of the sums at full size; a scaled run has groups of some hundred rows."""

TABLES = {
    "cleaned lines": ("stg_flow_logs__lines",),
    "edges, partial": ("int_edges__partials",),
    "edges": ("fct_edges",),
    "devices and interfaces": ("dim_devices", "dim_interfaces"),
}
"""Tables of the lake that have a line of their own; those of reports are taken together."""


@dataclass(frozen=True)
class Cost:
    """What an answer cost: seconds, and the bytes that the process read from files (None where nobody counts them)."""

    seconds: float
    bytes: int | None
    answer: list[tuple[Any, ...]]


def section(bench: Bench) -> Findings:
    """Weigh three lakes, then ask both sides of the one with a history."""
    worst = _weights(*obtain_worst_lake(bench))
    day = _weights(*obtain_day_lake(bench))
    logs, lake, _ = obtain_history_lake(bench)
    rows = [
        Row(
            f"{what}: cleaned lines, Parquet",
            weights["cleaned lines"],
            Unit.BYTES_PER_RECORD,
            ratio=weights["cleaned lines"] / weights["as delivered"],
            to="what was delivered",
        )
        for what, weights in (("worst case", worst), ("sample logs", day))
    ]
    rows += [
        Row(
            f"{what}: the whole lake",
            weights["the whole lake"],
            Unit.BYTES_PER_RECORD,
            ratio=weights["the whole lake"] / weights["as delivered"],
            to="what was delivered",
        )
        for what, weights in (("worst case", worst), ("sample logs", day))
    ]
    bench.say(f"nine questions over {QUESTION_DAYS} days")
    costs = [(question, *_ask(bench, question, logs, lake)) for question in QUESTIONS]
    text_seconds, table_seconds = sum(text.seconds for _, text, _ in costs), sum(tables.seconds for *_, tables in costs)
    rows.append(
        Row(
            "nine questions of the tables",
            table_seconds,
            Unit.SECONDS,
            ratio=table_seconds / text_seconds,
            to="the text",
        )
    )
    text_bytes, table_bytes = (
        sum(text.bytes or 0 for _, text, _ in costs),
        sum(tables.bytes or 0 for *_, tables in costs),
    )
    if text_bytes:
        rows.append(Row("bytes read for them", table_bytes, Unit.BYTES, ratio=table_bytes / text_bytes, to="the text"))
    return Findings(
        rows=rows,
        tables=[_weights_table({"worst case": worst, "sample logs": day}), _questions_table(costs)],
        notes=[
            "Worst case: text of version 2, every record another edge. Sample logs: five flow logs of several formats,"
            " one of them Parquet. The lake as a run leaves it, raw layer, catalogue, pages and dbt's files included.",
            "The questions (those of the Opsgenie and of the AWS Kinesis post, by bytes or packets) go over"
            f" {QUESTION_DAYS} days of the history, in which each packet is logged once: sums over text are right."
            " The text is read with DuckDB as the floor reads it. Where the answers differ the benchmark fails; those"
            " over a sample of the rows are estimates, compared within a quarter.",
            "Bytes read: what the process read from files while it answered, catalogue included, whether or not the"
            " system had it in memory (`read_chars` of the process, Linux); DuckDB's own file cache is off. Every"
            " question of the tables is asked on a connection of its own.",
        ],
    )


def _weights(logs: Logs, lake: Path) -> dict[str, float]:
    """Bytes per record by what holds them."""
    with _lake(logs, lake) as connection:
        sizes = dict(
            connection.execute(
                "select table_name, sum(file_size_bytes) from ducklake_table_info('lake') group by 1"
            ).fetchall()
        )
    named = {what: sum(sizes.get(name, 0) for name in names) for what, names in TABLES.items()}
    reports = sum(size for name, size in sizes.items() if name.startswith("rpt_"))
    found = {
        "as delivered": logs.bytes,
        **named,
        "reports": reports,
        "all tables": sum(sizes.values()),
        "the whole lake": folder_bytes(lake),
    }
    return {what: float(size) / logs.records for what, size in found.items()}


def _weights_table(weights: dict[str, dict[str, float]]) -> Table:
    names = tuple(weights)
    rows = tuple((what, *(f"{weights[name][what]:.1f}" for name in names)) for what in weights[names[0]])
    return Table("Bytes per record", ("", *names), rows)


def _ask(bench: Bench, question: Question, logs: Logs, lake: Path) -> tuple[Cost, Cost]:
    import duckdb

    since = START + timedelta(days=DAYS - QUESTION_DAYS)
    until = START + timedelta(days=DAYS)
    files = [path for path in sorted((logs.folder / "logs").rglob("*.gz")) if since <= _named_at(path) < until]
    listed = "[" + ", ".join(literal(str(path)) for path in files) + "]"
    with duckdb.connect() as connection:
        # A file's records all are of the hour in its name, so the files alone choose the days.
        connection.execute(
            f"create temp view records as select * from ({lines(listed)})"
            " where malformed_reason is null and log_status = 'OK'"
        )
        text = _timed(connection, question.on_text)
    with _lake(logs, lake) as connection:
        tables = _timed(connection, question.on_tables.format(since=f"timestamp '{since:%Y-%m-%d %H:%M:%S}'"))
    if not agree(text.answer, tables.answer, ESTIMATE_TOLERANCE if question.is_estimate else 0.0):
        message = f"{question.name}: the text says {text.answer[:3]}, the tables say {tables.answer[:3]}"
        raise BenchError(message)
    return text, tables


def _named_at(path: Path) -> datetime:
    return datetime.strptime(path.name.rsplit("_", 2)[1], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)


def _timed(connection: duckdb.DuckDBPyConnection, query: str) -> Cost:
    connection.execute("set enable_external_file_cache = false")
    before, started = _bytes_read(), time.monotonic()
    answer = connection.execute(query).fetchall()
    seconds, after = time.monotonic() - started, _bytes_read()
    return Cost(seconds, None if before is None or after is None else after - before, answer)


def _bytes_read() -> int | None:
    counters = psutil.Process().io_counters() if hasattr(psutil.Process, "io_counters") else None
    return getattr(counters, "read_chars", None)


def agree(one: Sequence[tuple[Any, ...]], other: Sequence[tuple[Any, ...]], tolerance: float) -> bool:
    """Whether two answers are the same; numbers in the last column may differ by a share of them."""
    return len(one) == len(other) and all(
        left[:-1] == right[:-1] and (left[-1] == right[-1] or abs(left[-1] - right[-1]) <= tolerance * abs(left[-1]))
        for left, right in zip(one, other, strict=True)
    )


def _questions_table(costs: Sequence[tuple[Question, Cost, Cost]]) -> Table:
    def size(cost: Cost) -> str:
        return human_bytes(cost.bytes)

    def share(one: float | None, other: float | None) -> str:
        return f"{one / other:.4f}" if one is not None and other else "-"

    rows = [
        (
            question.name,
            f"{text.seconds:.2f}",
            f"{tables.seconds:.2f}",
            share(tables.seconds, text.seconds),
            size(text),
            size(tables),
            share(tables.bytes, text.bytes),
            "an estimate" if question.is_estimate else "the same",
        )
        for question, text, tables in costs
    ]
    columns = ("question", "text, s", "tables, s", "ratio", "text, read", "tables, read", "ratio", "answer")
    return Table(f"Nine questions over {QUESTION_DAYS} days", columns, tuple(rows))


def _lake(logs: Logs, lake: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return connect(load_settings(logs.config, {LAKE_PATH_VARIABLE: str(lake)}))
