"""Views of tables that have no row yet, or a column since their last one; and what became of a publish that died."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake.athena import AthenaLake
from flowlake.lake.athena_views import RECORD, publish, published_snapshots
from flowlake.lake.files import open_files
from flowlake.lake.ledger import ensure_ledger, open_ledger
from flowlake.lake.maintain import maintain
from flowlake.settings import Settings
from local_athena.queries import Database


@pytest.fixture
def manifest(tmp_path: Path, settings: Settings, core: Database) -> Path:
    """What dbt would say of the table `t`, in a lake that was run."""
    with open_ledger(settings, read_only=False) as connection:
        ensure_ledger(connection)
    return write_manifest(tmp_path / "manifest.json", core, "x")


def write_manifest(path: Path, core: Database, *columns: str) -> Path:
    node = {
        **{"resource_type": "model", "name": "t", "schema": core.name, "depends_on": {"nodes": []}},
        **{"columns": {column: {} for column in columns}, "config": {"meta": {"published": "table"}}},
    }
    path.write_text(json.dumps({"nodes": {"t": node}}))
    return path


def read(settings: Settings) -> list[tuple[str | None, ...]]:
    lake = AthenaLake(settings)
    return sorted(lake.query(f"select * from {lake.table('flowlake', 't')}"), key=str)


def record(settings: Settings) -> dict[str, Any]:
    return dict(json.loads(open_files(settings).read(RECORD) or b"{}"))


def test_a_column_that_came_after_the_last_row_is_null(settings: Settings, core: Database, manifest: Path) -> None:
    core.do("insert into t select 1")
    publish(settings, manifest)
    core.do(f"alter table `{core.name}`.`t` add columns (`y` string, `z` timestamp)")
    write_manifest(manifest, core, "x", "y", "z")
    publish(settings, manifest)
    assert read(settings) == [("1", None, None)]
    core.do("insert into t select 2, 'two', timestamp '2026-11-20 12:00:00'")
    assert read(settings) == [("1", None, None)], "what is not published is not shown"
    publish(settings, manifest)
    assert [row[:2] for row in read(settings)] == [("1", None), ("2", "two")]


def test_a_table_that_never_had_a_row_shows_none(
    settings: Settings, core: Database, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a service may leave it that makes no snapshot for an empty table; the local one makes one."""
    found = AthenaLake.metadata

    def without_snapshots(lake: AthenaLake, table: Any) -> Any:
        return {**(found(lake, table) or {}), "current-snapshot-id": -1, "snapshots": []}

    with monkeypatch.context() as patch:
        patch.setattr(AthenaLake, "metadata", without_snapshots)
        publish(settings, manifest)
    assert read(settings) == []
    assert (record(settings)["snapshots"], published_snapshots(settings)) == ({}, {})
    core.do("insert into t select 1")
    assert read(settings) == [], "what is not published is not shown"
    maintain(settings)
    publish(settings, manifest)
    assert read(settings) == [("1",)]


def test_maintenance_writes_down_which_snapshots_it_moved_views_to(
    settings: Settings, core: Database, manifest: Path
) -> None:
    core.do("insert into t select 1")
    core.do("insert into t select 2")
    publish(settings, manifest)
    before = record(settings)["snapshots"]
    maintain(settings, now=datetime.now(UTC) + timedelta(days=9))
    assert record(settings)["snapshots"] == published_snapshots(settings) != before
    assert read(settings) == [("1",), ("2",)]


def test_a_publish_that_died_is_not_brought_to_a_snapshot_that_is_gone(
    settings: Settings, core: Database, manifest: Path
) -> None:
    core.do("insert into t select 1")
    publish(settings, manifest)
    died = {**record(settings), "is_whole": False, "snapshots": {"t": 1}}
    open_files(settings).write(RECORD, json.dumps(died).encode())
    publish(settings, manifest)
    assert read(settings) == [("1",)]
    assert record(settings)["is_whole"]
