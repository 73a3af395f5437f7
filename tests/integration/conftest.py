"""Real lakes in temporary folders: the real register, dbt, gates and publish over real files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from flowlake.lake.duck import attach, connect
from flowlake.lake.ledger import HourState, StagingState, forget_pending_restatements, mark_hours, mark_staging
from flowlake.lake.overtaken import advance
from flowlake.lake.windows import Window
from flowlake.settings import Settings, load_settings
from flowlake.steps import RunContext, StepReport, run_step, run_window
from shared_dbt.start import shared_dbt

BOOKKEEPING = {
    ("intermediate", "int_hours__restated"),
    ("ops", "windows"),
    ("ops", "restatements"),
    ("ops", "unpublished_hours"),
}
"""Tables that say what runs did; every other one must not depend on which runs led to it."""


@dataclass(frozen=True)
class Lake:
    """A lake and its settings file."""

    config: Path
    settings: Settings

    def context(self, start: str, end: str, **overrides: Any) -> RunContext:
        return RunContext(overrides.pop("settings", self.settings), Window.parse(start, end), "test", **overrides)

    def run(self, start: str, end: str, **overrides: Any) -> list[StepReport]:
        with shared_dbt():
            return run_window(self.context(start, end, **overrides))

    def step(self, name: str, context: RunContext) -> StepReport:
        with shared_dbt():
            return run_step(name, context)

    def build(self, start: str, end: str) -> list[StepReport]:
        """Every step that writes tables, without publishing; the hours count as validated, as if their gates passed.

        While an hour is not validated every other run restates its event hours, whatever else the run would restate.
        """
        context = self.context(start, end)
        reports = [self.step(step, context) for step in ("register", "build_staging")]
        window = reports[-1].window or context.window
        with connect(self.settings, read_only=False) as connection:
            mark_staging(connection, window, StagingState.PASSED, context.run_id)
        reports.append(self.step("build_marts", context))
        with connect(self.settings, read_only=False) as connection:
            mark_hours(connection, window, HourState.VALIDATED, context.run_id)
            forget_pending_restatements(self.settings, connection)
        if reports[-1].overtaken:
            advance(self.settings, window, "validate_marts")
        return reports

    def rows(self, query: str, parameters: list[object] | None = None) -> list[tuple[Any, ...]]:
        with connect(self.settings) as connection:
            return connection.execute(query, parameters).fetchall()

    def with_gates(self, **gates: object) -> Settings:
        return replace(self.settings, gates=replace(self.settings.gates, **gates))


@pytest.fixture(scope="session")
def make_lake(request: pytest.FixtureRequest) -> Iterator[Callable[..., Lake]]:
    """Lakes on either catalogue: `sqlite`, or `postgresql`, where each has a database of its own."""
    databases = itertools.count()

    def make(folder: Path, logs: Path, catalog: str = "sqlite", **extra: object) -> Lake:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "flowlake.yaml"
        lake = {"path": str(folder / "lake")}
        if catalog == "postgresql":
            server = request.getfixturevalue("postgres")
            patch.setenv("PGPASSWORD", server.password)
            lake["catalog"] = server.create_database(f"lake_{next(databases)}")
        content = {"sources": [{"name": "logs", "uri": str(logs)}], "lake": lake, **extra}
        config.write_text(yaml.safe_dump(content))
        return Lake(config, load_settings(config, environ={}))

    with pytest.MonkeyPatch.context() as patch:
        yield make


@pytest.fixture
def assert_same_tables() -> Callable[[Lake, Lake], None]:
    def compare(one: Lake, other: Lake) -> None:
        connection = duckdb.connect()
        connection.load_extension("inet")
        for name, lake in (("one", one), ("other", other)):
            attach(connection, lake.settings, name)
        tables = {
            name: set(
                connection.execute(
                    "select schema_name, table_name from duckdb_tables() where database_name = ?", [name]
                ).fetchall()
            )
            for name in ("one", "other")
        }
        assert tables["one"] == tables["other"]
        assert len(tables["one"]) > 15
        for schema, name in sorted(tables["one"] - BOOKKEEPING):
            table = f"{schema}.{name}"
            difference = connection.execute(
                f"(select 'only in one', * from (from one.{table} except all from other.{table}) limit 3) union all "
                f"(select 'only in other', * from (from other.{table} except all from one.{table}) limit 3)"
            ).fetchall()
            assert difference == [], f"{table} differs"
        connection.close()

    return compare
