"""Runs a layer's checks over a window, keeps the rows that broke them, and says so in one line each.

Validation only reads the lake: it may run beside any reader, and leaves nothing behind but the quality folder.
"""

from __future__ import annotations

import shutil
import string
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowlake.lake.duck import attach, bound_memory, install_extensions, lake_exists, literal
from flowlake.lake.windows import HOUR_FORMAT, Window, format_hour
from flowlake.quality.report import Finding, GateError, GateReport, Layer
from flowlake.quality.suites import (
    REPORT_TOTALS,
    TABLES,
    VOLUME_HISTORY,
    Check,
    ReportTotals,
    marts_checks,
    staging_checks,
)
from flowlake.settings import Settings, Severity

KEPT_ROWS = 1_000
"""Failing rows kept of each check: enough to see what they have in common."""

_SHOWN_TEXT = 240

NUMBERS: Mapping[str, tuple[str, str]] = {
    "s": ("", "s"),
    "have": ("has", "have"),
    "are": ("is", "are"),
    "were": ("was", "were"),
    "do": ("does", "do"),
    "lie": ("lies", "lie"),
    "lack": ("lacks", "lack"),
    "differ": ("differs", "differ"),
}
"""Words of a message that depend on its count: for one, and for more."""


def validate(settings: Settings, window: Window, layer: Layer) -> GateReport:
    """Evaluate every check of a layer over a window; a failed check is in the report, not an exception.

    Writes `quality/data_docs` (the pages), `quality/gx` (their source) and `quality/failures/<layer>/<window>/`, which
    is replaced. Raises GateError when the gate cannot decide: no lake, a missing table, a check that does not run.
    """
    # Great Expectations takes seconds to import: only a running gate pays.
    from flowlake.quality.great import Evaluation

    folder = settings.lake.quality
    kept = folder / "failures" / layer / str(window).replace("/", "_")
    shutil.rmtree(kept, ignore_errors=True)
    with _lake(settings, window, layer) as (url, connection):
        checks = _checks(settings, window, layer, connection)
        run_name = f"{layer}_{kept.name}"
        with closing(Evaluation(url, folder, layer, run_name, datetime.now(UTC))) as evaluation:
            failed = evaluation.evaluate(checks)
            findings = tuple(
                _finding(connection, layer, check, kept / f"{check.name}.parquet", evaluation.page(check))
                for check in failed
            )
            evaluation.publish({finding.check: finding.message for finding in findings})
    failures = tuple(finding for finding in findings if finding.severity is Severity.ERROR)
    warnings = tuple(finding for finding in findings if finding.severity is Severity.WARN)
    return GateReport(
        layer=layer,
        passed=not failures,
        failures=failures,
        warnings=warnings,
        pages=evaluation.index,
        checks=len(checks),
    )


def _checks(settings: Settings, window: Window, layer: Layer, connection: Any) -> tuple[Check, ...]:
    if layer is Layer.STAGING:
        return staging_checks(settings.gates, window)
    restated = connection.execute("select event_hour from int_hours__restated order by 1").fetchall()
    return marts_checks(window, [hour for (hour,) in restated], REPORT_TOTALS)


@contextmanager
def _lake(settings: Settings, window: Window, layer: Layer) -> Iterator[tuple[str, Any]]:
    """A database of this process with a view for each table that the layer's checks read, and its SQLAlchemy URL.

    A named in-memory database is one for every connection of the process, so Great Expectations' own connections see
    the attached lake. Both must come from duckdb-engine: DuckDB shares a database only among equal configurations.
    Views give each table one plain name: duckdb-engine cannot reflect the columns of another catalogue's tables.
    """
    import sqlalchemy  # nothing that imports this module should pay for it

    if not lake_exists(settings):
        message = f"there is no lake at {settings.lake.path}: run the steps register and build_staging first"
        raise GateError(message)
    url = f"duckdb:///:memory:gate_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(url)
    pooled = engine.raw_connection()
    connection: Any = pooled.dbapi_connection
    try:
        install_extensions()
        attach(connection, settings)
        bound_memory(connection, settings)
        for table, schema in _tables(layer).items():
            _add_view(connection, table, schema)
        if layer is Layer.STAGING:
            _add_objects(connection, settings.lake.raw, window)
            _keep_coverage(connection, window)
        yield url, connection
    finally:
        pooled.close()
        engine.dispose()


def _tables(layer: Layer) -> Mapping[str, str]:
    totals: Sequence[ReportTotals] = REPORT_TOTALS if layer is Layer.MARTS else ()
    return {**TABLES[layer], **{total.table: total.schema for total in totals}}


def _add_view(connection: Any, table: str, schema: str) -> None:
    (exists,) = connection.execute(
        "select count(*) from information_schema.tables "
        "where table_catalog = 'lake' and table_schema = ? and table_name = ?",
        [schema, table],
    ).fetchone()
    if not exists:
        message = f"the lake has no table {schema}.{table}: run the step that builds it (build_staging, build_marts)"
        raise GateError(message)
    connection.execute(_sql("create view $table as select * from lake.$schema.$table", table=table, schema=schema))


def _add_objects(connection: Any, raw: Path, window: Window) -> None:
    files = {hour: raw / "objects" / f"arrival_hour={hour}" / "objects.parquet" for hour in window.hours}
    missing = [hour for hour, file in files.items() if not file.exists()]
    if missing:
        message = f"the hour {missing[0]} was never registered: run the step register first"
        raise GateError(message)
    found = ", ".join(literal(str(file)) for file in files.values())
    options = "union_by_name = true, hive_partitioning = true, hive_types = {'arrival_hour': varchar}"
    connection.execute(
        _sql("create view objects as select * from read_parquet([$files], $options)", files=found, options=options)
    )


def _keep_coverage(connection: Any, window: Window) -> None:
    """Compute once what the view of coverage says of the hours that checks look at: it reads all hours to say it."""
    since = format_hour(window.start - VOLUME_HISTORY)
    connection.execute(
        _sql(
            "create table coverage as from int_coverage__expected where arrival_hour >= $since and arrival_hour < $end",
            since=literal(since),
            end=literal(format_hour(window.end)),
        )
    )
    connection.execute("create or replace view int_coverage__expected as from coverage")


def _finding(connection: Any, layer: Layer, check: Check, rows: Path, page: Path) -> Finding:
    columns = [name for name, *_ in connection.execute(_sql("describe $failing", failing=check.failing)).fetchall()]
    bounds = _sql(
        "select count(*)$hours from ($failing) as failing", hours=_hour_bounds(columns), failing=check.failing
    )
    count, *hours = connection.execute(bounds).fetchone()
    first = connection.execute(_sql("from ($failing) as failing limit 1", failing=check.failing)).fetchone()
    rows.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(
        _sql(
            "copy (select * from ($kept) as kept limit $limit) to $file (format parquet)",
            kept=check.keep or check.failing,
            limit=str(KEPT_ROWS),
            file=literal(str(rows)),
        )
    )
    row = {name: _shown(value) for name, value in zip(columns, first or (), strict=bool(first))}
    words = {word: forms[count != 1] for word, forms in NUMBERS.items()}
    said = _Words().vformat(check.says, (), {**words, "count": count, "where": _where(hours), "row": row})
    line = " ".join(said.split()).replace(" ,", ",").replace(" :", ":")
    return Finding(
        check=check.name,
        severity=check.severity,
        message=f"{layer}: {line}; rows: {rows}; see {page}",
        count=count,
        rows=rows,
        page=page,
    )


def _sql(template: str, **parts: str) -> str:
    """SQL from this package's own words; paths stand in it as literals, values of rows never do."""
    return string.Template(template).substitute(parts)


def _hour_bounds(columns: Sequence[str]) -> str:
    for hour in ("arrival_hour", "event_hour"):
        if hour in columns:
            last = f"last_{hour}" if f"last_{hour}" in columns else hour
            return f", min({hour}), max({last})"
    return ""


def _where(bounds: Sequence[object]) -> str:
    hours = [bound.strftime(HOUR_FORMAT) if isinstance(bound, datetime) else str(bound) for bound in bounds if bound]
    if not hours:
        return ""
    return f"in {hours[0]}" if hours[0] == hours[-1] else f"from {hours[0]} to {hours[-1]}"


def _shown(value: object) -> object:
    """A value as a message may show it: text from logs and keys on one line, printable, and not without end."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = "".join(character if character.isprintable() else "?" for character in str(value))
    # Of long keys the end tells more than the middle.
    half = _SHOWN_TEXT // 2
    return text if len(text) <= _SHOWN_TEXT else f"{text[:half]}...{text[-half:]}"


class _Words(string.Formatter):
    """Fills a template with counts and values; a number's format is no obstacle to a missing number."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """The value in its format, or as plain text where the format does not fit it."""
        if isinstance(value, int | float):
            return format(value, format_spec or ("," if isinstance(value, int) else ""))
        return str(value)
