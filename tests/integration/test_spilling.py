"""An hour that does not fit into DuckDB's memory is run by spilling to disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowlake.sample.worst_case import generate_worst_case
from flowlake.steps import STEPS, run_window

RECORDS = 400_000


def test_an_hour_larger_than_the_memory_is_run_by_spilling(
    tmp_path: Path, make_lake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = generate_worst_case(RECORDS, tmp_path / "sample", objects=4)
    lake = make_lake(tmp_path, sample.logs)
    steps = [step.name for step in STEPS]
    context = lake.context(sample.arrival_from, sample.arrival_to)
    run_window(context, only=steps[:3])
    # Below what the groups and joins of the marts take; staging alone buffers more than this to write its columns.
    monkeypatch.setenv("FLOWLAKE_MEMORY_LIMIT", "100MB")
    done, spilled = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            if any(path.is_file() for path in (lake.settings.lake.dbt / "spill").rglob("*")):
                spilled.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        run_window(context, only=steps[3:])
    finally:
        done.set()
        watcher.join()
    assert spilled.is_set(), "nothing was spilled: the test needs a tighter limit"
    assert lake.rows("select count(*) from flowlake.fct_edges") == [(RECORDS,)]
