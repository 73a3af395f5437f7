"""Runs a layer's checks over a window, keeps the rows that broke them, and says so in one line each.

Validation only reads the lake: it may run beside any reader, and leaves nothing behind but the quality folder.
"""

from __future__ import annotations

import shutil
import string
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowlake.lake.windows import HOUR_FORMAT, Window
from flowlake.quality.engines import Engine, Rows, open_engine
from flowlake.quality.report import Finding, GateReport, Layer
from flowlake.quality.suites import REPORT_TOTALS, Check, marts_checks, staging_checks
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
    with open_engine(settings, window, layer) as engine:
        checks = _checks(settings, window, layer, engine)
        run_name = f"{layer}_{kept.name}"
        with closing(Evaluation(engine, folder, layer, run_name, datetime.now(UTC))) as evaluation:
            failed = evaluation.evaluate(checks)

            def find(check: Check) -> Finding:
                return _finding(engine, layer, check, kept / f"{check.name}.parquet", evaluation.page(check))

            with ThreadPoolExecutor(engine.threads) as pool:
                findings = tuple(pool.map(find, failed))
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


def _checks(settings: Settings, window: Window, layer: Layer, engine: Engine) -> tuple[Check, ...]:
    if layer is Layer.STAGING:
        checks = staging_checks(settings.gates, window)
    else:
        hours = engine.query(f"select event_hour from {engine.names['int_hours__restated']} order by 1").rows
        checks = marts_checks(window, [hour for (hour,) in hours], REPORT_TOTALS)
    return tuple(check.on(engine.names) for check in checks)


def _finding(engine: Engine, layer: Layer, check: Check, rows: Path, page: Path) -> Finding:
    rows.parent.mkdir(parents=True, exist_ok=True)
    found = engine.keep(check.keep or check.failing, KEPT_ROWS, rows)
    if check.keep:
        found = engine.query(f"{check.failing}\nlimit 1")
    bounds = _hour_columns(found.columns)
    if found.is_complete:
        count, hours = len(found.rows), _bounds_of(found, bounds)
    else:
        extremes = ", ".join(f"{extreme}({hour})" for extreme, hour in zip(("min", "max"), bounds, strict=False))
        ((count, *hours),) = engine.query(
            f"select count(*){', ' * bool(extremes)}{extremes} from ({check.failing}) as failing"
        ).rows
    row = {name: _shown(value) for each in found.rows[:1] for name, value in zip(found.columns, each, strict=True)}
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


def _hour_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of the first and the last hour of a row, where it has any."""
    for hour in ("arrival_hour", "event_hour"):
        if hour in columns:
            return (hour, f"last_{hour}" if f"last_{hour}" in columns else hour)
    return ()


def _bounds_of(found: Rows, columns: Sequence[str]) -> list[Any]:
    values = [[row[found.columns.index(name)] for row in found.rows] for name in columns]
    known = [[value for value in each if value is not None] for each in values]
    return [extreme(each, default=None) for extreme, each in zip((min, max), known, strict=False)]


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
