"""Any windows, in any order, repeated, leave the same rows in every table as one clean run over all of them.

On PostgreSQL, and the clean run on SQLite; tests/histories has the same on SQLite alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import Reason
from flowlake.sample import SampleReport, SampleSpec, generate


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleReport:
    spec = SampleSpec(seed=11, start=datetime(2026, 11, 20, 12, tzinfo=UTC), hours=2, scale=0.05, random_logging=True)
    report = generate(spec, tmp_path_factory.mktemp("sample"))
    # Some objects come once more, an hour later, below another prefix.
    for path in sorted(path for path in report.logs.rglob("*") if path.is_file())[::7]:
        copy = report.logs / "archive" / path.relative_to(report.logs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (path.stat().st_mtime + 3600,) * 2)
    return report


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory, sample: SampleReport, make_lake: Callable[..., Any]) -> Any:
    lake = make_lake(tmp_path_factory.mktemp("at-once"), sample.logs)
    lake.build(sample.arrival_from, sample.arrival_to)
    rows = [row for hour in ("12", "13", "14") for row in read_objects(lake.settings, f"2026-11-20T{hour}") or ()]
    assert sum(row.reason == Reason.COPY for row in rows) > 5
    return lake


def test_hours_in_any_order_with_repeats_leave_what_one_window_leaves(
    *,
    tmp_path: Path,
    sample: SampleReport,
    at_once: Any,
    make_lake: Callable[..., Any],
    assert_same_tables: Callable[..., None],
) -> None:
    windows = [(f"2026-11-20T{hour}", f"2026-11-20T{hour + 1}") for hour in (12, 13, 14)]
    assert (windows[0][0], windows[-1][1]) == (sample.arrival_from, sample.arrival_to)
    order = [*windows, ("2026-11-20T12", "2026-11-20T14")]
    random.Random(4).shuffle(order)  # noqa: S311 - a seed, not a secret
    assert order[0][0] != "2026-11-20T12", "a later hour is to be run before the first"
    by_hours = make_lake(tmp_path / "by-hours", sample.logs, "postgresql")
    for start, end in order:
        by_hours.build(start, end)

    assert_same_tables(at_once, by_hours)
