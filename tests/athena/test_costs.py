"""What a run's statements cost stands in a ledger, whatever became of them, and does not go beyond its budget."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flowlake.errors import BudgetError
from flowlake.lake.athena import AthenaError, AthenaLake
from flowlake.lake.costs import LEAST_BILLED, TERABYTE, Cost
from flowlake.lake.unfinished import Spent, Work, noted
from flowlake.querying import open_query
from flowlake.settings import Budget, Settings
from local_athena.queries import Database
from local_athena.server import LocalAthena

LEAST = LEAST_BILLED * 5.0 / TERABYTE
"""What the smallest statement costs, in dollars."""

HOUR = ("2026-11-20T12", "2026-11-20T13")
BUILD, VALIDATE = Work("it's a run", "build_marts", *HOUR), Work("it's a run", "validate_marts", *HOUR)

NUMBERS = "unnest(sequence(1, 5000))"
HEAVY = f"select count(*) from {NUMBERS} a(x), {NUMBERS} b(y), {NUMBERS} c(z)"


def ledger(settings: Settings, columns: str) -> list[tuple[str | None, ...]]:
    """Columns of all rows, in the order in which the statements were sent."""
    lake = AthenaLake(settings)
    table = lake.table("ops", "query_costs")
    return lake.query(f"select {columns} from {table} order by submitted_at, execution_id")


def with_budget(settings: Settings, **budget: float) -> Settings:
    assert settings.athena is not None
    return replace(settings, athena=replace(settings.athena, budget=Budget(**budget)))


def test_every_statement_of_a_run_has_a_row(surroundings: LocalAthena, settings: Settings, core: Database) -> None:
    lake = AthenaLake(settings)
    table = lake.table("core", "t")
    with noted(settings, BUILD) as spent:
        lake.run(f'-- /* {{"app": "dbt", "node_id": "model.flowlake.t"}} */\ninsert into {table} values 1, 2, 3')
        with pytest.raises(AthenaError):
            lake.run(f"select no_such_column from {table}")
        lake.run(f"alter table {table.replace(chr(34), '`')} add columns (`y` int)")
        # Not of the run: what a person asks meanwhile, and another lake's statements.
        with open_query(settings, f"select * from {table}") as asked:
            assert len(list(asked.rows)) == 3
        core.do("select 1")
    assert ledger(settings, "run_id, step, arrival_from, arrival_to, node, kind, state, written_rows, day is null") == [
        ("it's a run", "build_marts", *HOUR, "model.flowlake.t", "DML", "SUCCEEDED", "3", "false"),
        ("it's a run", "build_marts", *HOUR, None, "DML", "FAILED", None, "false"),
        ("it's a run", "build_marts", *HOUR, None, "DDL", "SUCCEEDED", None, "false"),
    ]
    (insert, failed, ddl) = ledger(settings, "reason, billed_bytes")
    assert (insert, ddl) == ((None, str(LEAST_BILLED)), (None, "0"))
    assert "no_such_column" in str(failed[0])
    assert spent.cost == spent.run
    assert spent.cost is not None
    assert (spent.cost.statements, round(spent.cost.dollars / LEAST)) == (3, 2)

    with noted(settings, VALIDATE) as later:
        lake.run("select 1")
    assert later.cost is not None
    assert (later.cost.statements, later.run) == (1, spent.cost + later.cost)
    with noted(settings, replace(VALIDATE, run_id="another run")) as other:
        pass
    assert (other.cost, other.run) == (Cost(), Cost())


def test_what_a_killed_run_sent_is_counted_once_when_it_has_ended(
    surroundings: LocalAthena, settings: Settings, core: Database
) -> None:
    lake = AthenaLake(settings)
    killed = noted(settings, BUILD)
    killed.__enter__()  # A process that dies leaves nothing in order.
    lake.run(f"insert into {lake.table('core', 't')} values 1")
    assert settings.athena is not None
    surroundings.inject(statement="2 as late", delay=6)
    late = core.start(
        f"insert into {lake.table('core', 't')} select 2 as late",
        ResultConfiguration={"OutputLocation": settings.athena.results},
    )
    with noted(settings, VALIDATE):
        lake.run("select 1")
    assert core.wait(late).state == "CANCELLED"
    expected = [("build_marts", "SUCCEEDED"), ("build_marts", "CANCELLED"), ("validate_marts", "SUCCEEDED")]
    assert ledger(settings, "step, state") == expected
    del killed


def test_a_run_beyond_its_budget_is_stopped_and_so_is_its_next_step(
    surroundings: LocalAthena, settings: Settings, core: Database, caplog: pytest.LogCaptureFixture
) -> None:
    limited = with_budget(settings, run_dollars=2.5 * LEAST, warn_share=0.5)
    lake = AthenaLake(limited)
    caplog.set_level(logging.WARNING)

    def build() -> None:
        with noted(limited, BUILD):
            lake.run("select 1")
            lake.run("select 2")
            deadline = time.monotonic() + 60
            while "athena.budget.run_dollars allows" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.1)
            with pytest.raises(AthenaError, match="cancelled"):
                lake.run(HEAVY)

    with pytest.raises(BudgetError, match=r"the run it's a run has cost 0\.0001 dollars"):
        build()
    assert "of 0.000119209 that athena.budget.run_dollars allows" in caplog.text
    with pytest.raises(BudgetError), noted(limited, VALIDATE):
        raise AssertionError("the budget is spent: no step begins")
    # The ledger has what was stopped, and another run starts from nothing.
    assert ledger(settings, "state")[-1] == ("CANCELLED",)
    with noted(limited, replace(BUILD, run_id="another run")):
        lake.run("select 1")


def test_one_statement_beyond_its_budget_fails_the_step(
    surroundings: LocalAthena, settings: Settings, core: Database
) -> None:
    limited = with_budget(settings, statement_dollars=LEAST / 2)
    with pytest.raises(BudgetError, match=r"a statement of build_marts \(.+\) has cost"), noted(limited, BUILD):
        AthenaLake(limited).run("select 1")
    with noted(with_budget(settings, statement_dollars=LEAST * 2), BUILD):
        AthenaLake(settings).run("select 1")


def test_what_goes_wrong_is_told_rather_than_that_its_cost_is_not_written(
    surroundings: LocalAthena, settings: Settings, core: Database
) -> None:
    def build() -> None:
        with noted(settings, BUILD):
            AthenaLake(settings).run("select 1")
            surroundings.inject(operation="ListQueryExecutions", error="AccessDeniedException", times=20)
            raise ValueError("the step's own error")

    with pytest.raises(ValueError, match="the step's own"):
        build()
    surroundings.clear_faults()
    with noted(settings, VALIDATE):
        pass
    assert ledger(settings, "step") == [("build_marts",)]


def test_a_step_does_not_fail_because_its_costs_cannot_be_written(
    surroundings: LocalAthena, settings: Settings, core: Database
) -> None:
    with noted(settings, BUILD) as spent:
        AthenaLake(settings).run("select 1")
        surroundings.inject(operation="ListQueryExecutions", error="AccessDeniedException", times=20)
    surroundings.clear_faults()
    assert spent.cost is None
    with noted(settings, VALIDATE) as later:
        pass
    assert later.run is not None
    assert later.run.statements == 1
    assert ledger(settings, "step") == [("build_marts",)]


def test_on_duckdb_nothing_costs_anything(tmp_path: Path) -> None:
    from flowlake.settings import LakeSettings

    with noted(Settings(sources=(), lake=LakeSettings(tmp_path)), BUILD) as spent:
        pass
    assert spent == Spent(None, None)
