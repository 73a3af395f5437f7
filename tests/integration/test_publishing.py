"""Readers only ever see validated states: through a failing run, through a killed one, and while runs go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake.duck import connect
from flowlake.lake.publish import PublishError, published_version
from flowlake.sample import SampleSpec, generate
from flowlake.settings import Severity
from flowlake.steps import GateFailed, run_step
from shared_dbt.start import shared_dbt

EDGES = "select count(*), sum(packets), max(event_hour) from flowlake.fct_edges"
STATE = EDGES.replace(
    "from", ", (select count(*) from flowlake.dim_devices), (select sum(records) from flowlake.fct_coverage) from"
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, make_lake: Callable[..., Any]) -> Any:
    """One published hour; another has arrived. On PostgreSQL readers watch in test_concurrency."""
    folder = tmp_path_factory.mktemp("publishing")
    spec = SampleSpec(seed=5, start=datetime(2026, 11, 20, 12, tzinfo=UTC), hours=2, scale=0.05)
    lake = make_lake(folder, generate(spec, folder / "sample").logs)
    lake.run("2026-11-20T12", "2026-11-20T13")
    return lake


class Reader(threading.Thread):
    """Reads all published tables in one statement, again and again, and keeps every state that it saw."""

    def __init__(self, lake: Any) -> None:
        super().__init__(daemon=True)
        self.lake, self.states, self.errors, self.done = lake, set(), [], threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            try:
                self.states.add(self.lake.rows(STATE)[0])
            except Exception as error:
                self.errors.append(error)
            time.sleep(1.5)  # each look takes a core from the run

    def stop(self) -> set[tuple[object, ...]]:
        self.done.set()
        self.join(timeout=30)
        assert self.errors == []
        return self.states


def test_a_failed_staging_gate_keeps_the_hour_out_and_names_what_is_wrong(lake: Any) -> None:
    before = lake.rows(STATE)
    strict = lake.with_gates(max_malformed_share=0.0, warn_malformed_share=0.0)
    with pytest.raises(GateFailed, match=r"staging gate failed for 2026-11-20T13.*malformed") as failure:
        lake.run("2026-11-20T13", "2026-11-20T14", settings=strict)
    assert "\n" not in str(failure.value)
    assert lake.rows(STATE) == before
    assert lake.rows("select state from ops.windows where arrival_hour = '2026-11-20T13'") == [("held",)]


def test_readers_see_the_old_state_or_the_new_one_through_failing_killed_and_good_runs(lake: Any) -> None:
    before = lake.rows(STATE)[0]
    reader = Reader(lake)
    reader.start()
    try:
        # The marts' gate fails: a row that no record stands for has come into the fact.
        context = lake.context("2026-11-20T13", "2026-11-20T14")
        for step in ("register", "build_staging", "validate_staging", "build_marts"):
            lake.step(step, context)
        with connect(lake.settings, read_only=False) as connection:
            connection.execute(
                "insert into lake.core.fct_edges select * replace ('forged' as edge_id, 'nobody' as src_device_id) "
                "from lake.core.fct_edges where event_hour in (from lake.intermediate.int_hours__restated) limit 1"
            )
        with pytest.raises(GateFailed, match="marts gate failed"):
            lake.step("validate_marts", context)
        with pytest.raises(PublishError, match=r"2026-11-20T13 \(failed"):
            run_step("publish", context)

        # A run is killed while it changes the marts.
        command = [Path(sys.executable).with_name("flowlake"), "--config", str(lake.config), "run", "-v"]
        with shared_dbt():
            process = subprocess.Popen(
                [*command, "--from", "2026-11-20T13", "--to", "2026-11-20T14"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        assert process.stdout is not None
        assert any("START" in line and "core.fct_edges" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(PublishError, match=r"2026-11-20T13 \(building"):
            run_step("publish", context)
        assert lake.rows(STATE)[0] == before

        lake.run("2026-11-20T13", "2026-11-20T14")
    finally:
        states = reader.stop()
    after = lake.rows(STATE)[0]
    assert after != before
    assert states <= {before, after}
    assert before in states


def test_everything_published_shows_one_version_of_the_lake(lake: Any) -> None:
    with connect(lake.settings) as connection:
        version = published_version(connection)
        pins = connection.execute(
            "select distinct regexp_extract(sql, 'VERSION => (\\d+)', 1) from duckdb_views() "
            "where schema_name = 'flowlake' and contains(sql, 'VERSION')"
        ).fetchall()
    assert pins == [(str(version),)]


def test_readers_cannot_write(lake: Any) -> None:
    import duckdb

    with connect(lake.settings) as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("delete from lake.core.fct_edges")


def test_an_hour_in_which_nothing_came_is_held_as_silent_and_passes_where_that_is_no_error(lake: Any) -> None:
    before = lake.rows(EDGES)
    with pytest.raises(GateFailed, match=r"staging gate failed for 2026-11-20T16.*silent"):
        lake.run("2026-11-20T16", "2026-11-20T17")
    # Another hour is published meanwhile; what is held back is not shown.
    lake.run("2026-11-20T13", "2026-11-20T14")
    coverage = "select count(*), count(*) filter (where status = 'silent') from flowlake.fct_coverage"
    of_the_hour = " where arrival_hour = '2026-11-20T16'"
    assert lake.rows(coverage + of_the_hour) == [(0, 0)]
    lake.run("2026-11-20T16", "2026-11-20T17", settings=lake.with_gates(silent_flow_log=Severity.WARN))
    ((logs, silent),) = lake.rows(coverage + of_the_hour)
    assert logs == silent > 0
    assert lake.rows(EDGES) == before
