"""Through hours in any order, late and overwritten objects, a backfill, kills, failed gates, a replay and maintenance,
a lake on Athena comes to the rows of one clean run, and its readers see nothing on the way but what was published.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from athena.points import LATE_SECONDS, PASSING, POINTS, SEED
from athena.stage import Stage, assert_same_tables
from flowlake import dbt
from flowlake.lake.athena import AthenaLake
from flowlake.lake.athena_views import published_snapshots
from flowlake.lake.maintain import maintain
from flowlake.lake.publish import PublishError
from flowlake.lake.windows import Window
from flowlake.settings import Settings
from flowlake.steps import GateFailed, StepReport, run_step
from histories.killing import Kill
from histories.world import make_world
from local_athena.server import LocalAthena
from parity.compare import Table
from shared_dbt.start import shared_dbt


@pytest.fixture
def stage(surroundings: LocalAthena, tmp_path: Path) -> Iterator[Stage]:
    with shared_dbt():
        yield Stage(surroundings, tmp_path, make_world(SEED), "invariant")
    surroundings.clear_faults()


@pytest.mark.timeout(2400)
def test_kills_late_objects_and_any_order_leave_what_one_clean_run_leaves_and_show_nothing_else(stage: Stage) -> None:
    world = stage.world
    second, third = world.window(2, 3), world.window(3, 4)
    late = world.objects[0]
    assert {item.hour - world.hours[0] for item in world.objects if item.earlier} == {3}
    whole = next(
        item for item in world.objects if item.hour == world.hours[2] and item != late and item.key.endswith(".gz")
    )
    halved = replace(whole, content=whole.content[:-12])

    # An hour before some of its objects come, with one that will be overwritten, and one that is broken.
    stage.put(item.earlier or item for item in world.objects if item not in (late, whole))
    stage.put([halved])
    for fault in PASSING:
        stage.local.inject(**fault)
    first, end = str(second).split("/")
    assert "1 window run" in stage.type("backfill", "--from", first, "--to", end)
    before = stage.shown()
    stage.put(halved if item == whole else item for item in world.objects)
    with stage.watched():
        kill_before_and_behind_the_first_gate(stage, third)
        assert stage.shown() == before
        fail_the_gate(stage, third)
        assert stage.shown() == before
        maintain_while_the_gate_has_failed(stage)
        assert stage.shown() == before

        stage.kill(third, Kill(target="flowlake.lake.athena_views:_move", count=3), "publish")
        ended = run_step("publish", stage.context(third))
        assert stage.shown() != before
        assert_restatements(stage, ended)

        stage.put([whole])
        assert "came free: 1 object" in stage.type("quarantine", "replay", "--reason", "truncated")
        found = stage.tables()
        assert_same_tables(stage.clean(world.window(2, 4)), found)

    maintain_what_is_published(stage, found)


def assert_restatements(stage: Stage, ended: StepReport) -> None:
    """What readers had seen of the hour before is told once, by the publish that ended what the killed one began."""
    lake = AthenaLake(stage.settings)
    rows = lake.query(
        "select table_name, date_format(event_hour, '%Y-%m-%d %H:%i'), why, cast(packets_change as varchar) "
        f"from {lake.table('ops', 'restatements')}"
    )
    told = [(one.table_name, f"{one.event_hour:%Y-%m-%d %H:%M}", one.why, one.packets_change) for one in ended.restated]
    assert sorted(rows) == sorted((*named, str(change)) for *named, change in told)
    assert {why for _, _, why, _ in rows} & {"correction", "late", "replay"}


def kill_before_and_behind_the_first_gate(stage: Stage, window: Window) -> None:
    """Two runs over an hour die, the second further on, leaving a statement that would come late; more in the night."""
    stage.kill(window, Kill(target="flowlake.lake.register:write_objects"), "register")
    # What a stopped statement may leave: files where a step of a model is to be kept.
    step = f"fct_edges__observed_{digits(stage.world.window(2, 4))}"
    stage.write(f"data/{stage.athena.schema('core')}/{step}/data/left.parquet", b"left")
    edges = stage.target("core", "fct_edges")
    stage.slow(rf"insert into \S*{edges}", LATE_SECONDS)
    stage.kill(window, Kill(statement=rf"insert into \S*{edges}"), "build_marts")
    with pytest.raises(PublishError, match=r"\(building"):
        run_step("publish", stage.context(window))


def fail_the_gate(stage: Stage, window: Window) -> None:
    """The marts are built again, and a row among them is forged before their gate looks."""
    context = stage.context(window)
    run_step("build_marts", context)
    forged = {"edge_id": "'forged'", "src_device_id": "'nobody'"}
    columns = ", ".join(forged.get(column, f'"{column}"') for column in stage.columns("core", "fct_edges"))
    lake = AthenaLake(stage.settings)
    edges, restated = lake.table("core", "fct_edges"), lake.table("intermediate", "int_hours__restated")
    lake.run(
        f"insert into {edges} select {columns} from {edges} "
        f"where event_hour in (select event_hour from {restated}) limit 1"
    )
    with pytest.raises(GateFailed, match="marts gate failed"):
        run_step("validate_marts", context)
    with pytest.raises(PublishError, match=r"\(failed"):
        run_step("publish", context)


def maintain_while_the_gate_has_failed(stage: Stage) -> None:
    """What people read is an old snapshot now, older than any that is kept: it stays."""
    pins = published_snapshots(stage.settings)
    maintain(keeping_nothing(stage), now=datetime.now(UTC) + timedelta(days=9))
    assert published_snapshots(stage.settings) == pins


def maintain_what_is_published(stage: Stage, before: Mapping[str, Table]) -> None:
    """The rows stay, the views move to the rewritten files, and old snapshots and results go."""
    shown, files = stage.shown(), stage.files("data/")
    results = stage.files("results/")
    for _ in range(2):  # The second lets go what people read until the first one moved the views.
        maintain(keeping_nothing(stage), now=datetime.now(UTC) + timedelta(days=9))
    assert stage.shown() == shown
    assert_same_tables(before, stage.tables())
    assert stage.snapshots("core", "fct_edges") == 1
    assert len(stage.files("data/")) < len(files)
    # Maintenance's own statements leave theirs for the next one.
    assert results
    assert set(results).isdisjoint(stage.files("results/"))


def digits(window: Window) -> str:
    """A window as it stands in the name of a kept step."""
    return re.sub(r"[^0-9]+", "_", re.sub(r"[-T]", "", str(window)))


def keeping_nothing(stage: Stage) -> Settings:
    maintenance = replace(stage.settings.maintenance, keep_snapshots_days=0)
    return replace(stage.settings, maintenance=maintenance)


def test_every_kill_on_purpose_has_a_place() -> None:
    """Whoever renames what a kill waits for learns it here, not in the night."""
    models = {path.stem for path in (dbt.PROJECT / "models").rglob("*.sql")}
    for _, kill in (point for point in POINTS if isinstance(point, tuple)):
        if kill.target:
            module, _, path = kill.target.partition(":")
            owner = importlib.import_module(module)
            for name in path.split("."):
                owner = getattr(owner, name)
        else:
            assert re.search(r'"(\w+)"$', kill.statement)[1] in models  # type: ignore[index] # or it fails
