"""Two runs at the same time, as processes and as Airflow's tasks: on SQLite one after the other, on PostgreSQL side by
side; afterwards the tables are those of one clean run, and readers saw validated states only."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from flowlake.lake.duck import connect
from flowlake.lake.ledger import LedgerError, StagingState, ensure_ledger, mark_staging, require_passed
from flowlake.lake.windows import Window
from flowlake.orchestration.operators import StepOperator
from flowlake.sample import SampleReport, SampleSpec, generate
from flowlake.steps import STEPS, run_step
from shared_dbt.start import shared_dbt

FIRST, SECOND = ("2026-11-20T12", "2026-11-20T13"), ("2026-11-20T13", "2026-11-20T15")
GATES = {"silent_flow_log": "warn", "max_malformed_share": 1.0}

# Prints when each step began, and when the last one ended.
RUN = """
import json, logging, sys, time
from pathlib import Path
from flowlake.lake.windows import Window
from flowlake.settings import load_settings
from flowlake.steps import RunContext, run_window
logging.basicConfig(level=logging.WARNING)
began = {}
context = RunContext(load_settings(Path(sys.argv[1])), Window.parse(*sys.argv[2:4]), sys.argv[4])
run_window(context, lambda step, report: began.setdefault(step.name, time.time()))
print(json.dumps({**began, "end": time.time()}))
"""


@pytest.fixture(autouse=True)
def _one_dbt() -> Iterator[None]:
    """Spare each run the start of dbt."""
    with shared_dbt():
        yield


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleReport:
    spec = SampleSpec(seed=11, start=datetime(2026, 11, 20, 12, tzinfo=UTC), hours=2, scale=0.05)
    return generate(spec, tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, sample: SampleReport, make_lake: Callable[..., Any]) -> Any:
    """What one clean run over everything leaves."""
    lake = make_lake(tmp_path_factory.mktemp("clean"), sample.logs, gates=GATES)
    lake.run(FIRST[0], SECOND[1])
    return lake


@pytest.mark.parametrize("catalog", ["sqlite", "postgresql"])
def test_two_runs_at_once_leave_what_one_clean_run_leaves(
    *,
    tmp_path: Path,
    sample: SampleReport,
    clean: Any,
    make_lake: Callable[..., Any],
    assert_same_tables: Callable[..., None],
    catalog: str,
) -> None:
    lake = make_lake(tmp_path, sample.logs, catalog, gates=GATES)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(lake.config), *window, f"run-{window[0]}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for window in (FIRST, SECOND)
    ]
    seen: set[tuple[Any, ...]] = set()
    try:
        while any(run.poll() is None for run in runs):
            seen.add(published(lake))
            time.sleep(1.5)  # each look takes a core from the runs
    finally:
        for run in runs:
            run.kill()
    outputs = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    one, other = (json.loads(out.splitlines()[-1]) for out, _ in outputs)

    assert_same_tables(clean, lake)
    assert published(lake) == published(clean)
    # Nothing; the window that was first to be published; both.
    assert len(seen | {published(lake)}) <= 3
    first, second = sorted((one, other), key=lambda run: float(run["publish"]))
    assert first["publish"] <= second["validate_marts"], "the marts are one run's at a time"
    if catalog == "postgresql":
        assert max(one["register"], other["register"]) < min(one["build_marts"], other["build_marts"])
    else:
        assert first["publish"] <= second["register"]
        assert [error for _, error in outputs if "waiting for flowlake run 2026-11-20T1" in error]


def published(lake: Any) -> tuple[Any, ...]:
    """What readers see: rows, packets, devices and coverage in one statement; None where there is nothing yet."""
    from flowlake.lake.duck import LakeError

    try:
        return lake.rows(
            "select count(*), sum(packets), (select count(*) from flowlake.dim_devices), "
            "(select sum(records) from flowlake.fct_coverage) from flowlake.fct_edges"
        )[0]
    except LakeError:
        return (None,)
    except Exception as error:
        if "does not exist" in str(error):
            return (None,)
        raise


def test_two_dag_runs_at_once_publish_when_the_last_of_them_is_validated(
    *,
    tmp_path: Path,
    sample: SampleReport,
    clean: Any,
    make_lake: Callable[..., Any],
    assert_same_tables: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = make_lake(tmp_path, sample.logs, "postgresql", gates=GATES)
    monkeypatch.setenv("FLOWLAKE_CONFIG", str(lake.config))
    tasks = {step.name: StepOperator(task_id=step.name, step=step.name) for step in STEPS}

    def execute(step: str, window: tuple[str, str]) -> dict[str, Any]:
        bounds = Window.parse(*window)
        context: Any = {
            "data_interval_start": bounds.start,
            "data_interval_end": bounds.end,
            "dag_run": SimpleNamespace(run_after=bounds.end),
            "run_id": f"scheduled__{window[1]}",
            "params": {},
            "outlet_events": OutletEventAccessors(),
        }
        return tasks[step].execute(context)

    for step in ("register", "build_staging", "validate_staging", "build_marts"):
        execute(step, FIRST)
        execute(step, SECOND)
    execute("validate_marts", FIRST)
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(execute("publish", FIRST)), daemon=True)
    waiting.start()
    waiting.join(timeout=3)
    assert waiting.is_alive(), "readers would see what the second run has not validated"
    assert published(lake) == (None,)
    execute("validate_marts", SECOND)
    waiting.join(timeout=120)
    execute("publish", SECOND)
    assert [answer["step"] for answer in answers] == ["publish"]
    assert_same_tables(clean, lake)
    assert published(lake) == published(clean)


def test_marts_are_only_built_of_staging_that_its_gate_has_passed(
    tmp_path: Path, sample: SampleReport, make_lake: Callable[..., Any]
) -> None:
    lake = make_lake(tmp_path, sample.logs)
    context = lake.context(*SECOND)
    with connect(lake.settings, read_only=False) as connection:
        ensure_ledger(connection)
        with pytest.raises(LedgerError, match=r"the staging of 2026-11-20T13 .and 1 more. has not passed its gate"):
            require_passed(connection, context.window)
        mark_staging(connection, context.window, StagingState.PASSED, "one")
        require_passed(connection, context.window)
        # Another run of the same hours comes in between, up to a step of its own.
        mark_staging(connection, context.window, StagingState.BUILDING, "two")
    with pytest.raises(LedgerError, match=r"was rebuilt by the run two and .*validate_staging of 2026-11"):
        run_step("build_marts", context)
    with connect(lake.settings, read_only=False) as connection:
        mark_staging(connection, context.window, StagingState.HELD, "two", "why")
        with pytest.raises(LedgerError, match="did not pass its gate in the run two"):
            require_passed(connection, context.window)
    assert lake.rows("select distinct state, staging, run_id, detail from ops.windows") == [
        ("held", "held", "two", "why")
    ]


def test_a_lake_of_an_older_version_is_brought_up(tmp_path: Path, make_lake: Callable[..., Any]) -> None:
    lake = make_lake(tmp_path, tmp_path)
    window = Window.parse("2026-11-20T12", "2026-11-20T14")
    with connect(lake.settings, read_only=False) as connection:
        connection.execute("create schema lake.ops")
        connection.execute("create schema lake.intermediate")
        connection.execute(
            "create table lake.ops.windows as select unnest(['2026-11-20T12', '2026-11-20T13']) as arrival_hour, "
            "unnest(['validated', 'held']) as state, 'old' as run_id, timestamp '2026-11-20' as updated_at, "
            "null::varchar as detail"
        )
        connection.execute(
            "create table lake.intermediate.int_coverage__delivered as select 'fl-1' as flow_log_id, "
            "unnest(['on_time', 'silent']) as status, unnest([2, 0]) as objects"
        )
        ensure_ledger(connection)
        ensure_ledger(connection)
        with pytest.raises(LedgerError, match="the staging of 2026-11-20T13 has not passed"):
            require_passed(connection, window)
        require_passed(connection, Window.parse("2026-11-20T12", "2026-11-20T13"))
        delivered = connection.execute("from lake.intermediate.int_coverage__delivered").fetchall()
    assert delivered == [("fl-1", 2)]
