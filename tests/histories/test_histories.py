"""A small, seeded part of `make nightly`, and that the proof itself can fail."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from flowlake import dbt
from histories.history import Arrive, History, Run, clean_run, plan
from histories.killing import Kill
from histories.lakes import DifferentLakesError, assert_restatements_add_up, assert_same_contents, contents
from histories.points import MODELS, POINTS, Stage, begins
from histories.world import make_world
from shared_dbt.start import shared_dbt

SEED = "5"


@pytest.fixture(scope="module", autouse=True)
def _one_dbt() -> Iterator[None]:
    with shared_dbt():
        yield


def test_a_random_history_leaves_what_one_clean_run_leaves(tmp_path: Path) -> None:
    world = make_world(SEED)
    expected = contents(clean_run(world, tmp_path / "lake"))
    # In the same place: the tables name their objects.
    shutil.rmtree(tmp_path / "lake")
    history = History(world, tmp_path / "lake")
    history.go(plan(SEED, world, kill=False))
    history.close(SEED)
    assert_same_contents(expected, contents(history.settings))
    assert_restatements_add_up(history.settings)


def test_runs_that_are_killed_one_after_the_other_show_nothing_and_lose_nothing(tmp_path: Path) -> None:
    """In register, in dbt (which lives on), in the edges, and while the readers' views are moved."""
    Stage(tmp_path).play(
        ("register", Kill(target="flowlake.lake.register:write_objects", after=True), False),
        ("build_staging", Kill(line=begins("stg_flow_logs__lines"), group=False), False),
        ("build_marts", Kill(line=begins("fct_edges")), False),
        ("publish", Kill(target="flowlake.lake.publish:_execute", item=20), False),
    )


def test_a_lake_that_lacks_or_doubles_a_row_is_told_from_a_clean_one() -> None:
    tables = {f"core.t{number}": pa.table({"x": [1, 2, 2]}) for number in range(20)}
    assert_same_contents(tables, dict(tables))
    for rows in ([1, 2], [1, 2, 2, 2], [1, 2, 3]):
        with pytest.raises(DifferentLakesError, match=r"core\.t7 differs"):
            assert_same_contents(tables, {**tables, "core.t7": pa.table({"x": rows})})
    with pytest.raises(DifferentLakesError, match=r"core\.t7"):
        assert_same_contents(tables, {name: table for name, table in tables.items() if name != "core.t7"})


def test_a_plan_puts_every_object_in_its_place_at_last_and_is_the_same_for_its_seed() -> None:
    for number in range(8):
        seed = f"plan {number}"
        world = make_world(seed)
        assert world == make_world(seed)
        events = plan(seed, world, kill=True)
        assert events == plan(seed, world, kill=True)
        assert sum(isinstance(event, Run) and event.kill is not None for event in events) == 1
        placed = {item.key: item for event in events if isinstance(event, Arrive) for item in event.objects}
        assert placed == {item.key: item for item in world.objects}
        hours = {hour for event in events if isinstance(event, Run) for hour in event.window.hours}
        assert hours == set(world.whole.hours)


def test_every_kill_on_purpose_has_a_place() -> None:
    """Whoever renames what a kill waits for learns it here, not in the night."""
    for _, kill, _ in POINTS:
        if kill.target:
            module, _, path = kill.target.partition(":")
            owner = importlib.import_module(module)
            for name in path.split("."):
                owner = getattr(owner, name)
    built = {path.stem for path in (dbt.PROJECT / "models").rglob("*.sql")}
    assert set(MODELS) <= built
