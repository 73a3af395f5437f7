"""What publish says of the hours that it changes, over tables that a test writes by hand, on a real DuckLake."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from flowlake.lake import publish as publishing
from flowlake.lake import restatements
from flowlake.lake.duck import connect
from flowlake.lake.files import LocalFiles
from flowlake.lake.glue import external_tables
from flowlake.lake.ledger import HourState, ensure_ledger, mark_hours
from flowlake.lake.publish import Published, PublishError, publish
from flowlake.lake.restatements import (
    COLUMNS,
    Restatement,
    Why,
    WrittenHour,
    by_word,
    in_words,
    note_corrected,
    note_restated,
    recently,
    write_on_athena,
    written_on_athena,
)
from flowlake.lake.windows import Window, parse_hour
from flowlake.settings import AthenaSettings, LakeSettings, Settings, Target
from flowlake.status import show_status
from histories.lakes import DifferentLakesError, assert_restatements_add_up

EDGES = (
    "event_hour timestamp, src_device_id varchar, dst_device_id varchar, protocol integer, service_port integer, "
    "src_role varchar, action varchar, flows bigint, packets bigint, bytes bigint, is_counted boolean, seen integer"
)
TABLES = {"fct_edges": ("core", EDGES), "fct_coverage": ("ops", "arrival_hour varchar, flow_log_id varchar")}
ZERO, ONE, LATER = (datetime(2026, 11, 20, hour) for hour in (0, 1, 2))
NOON = "2026-11-20T12"


@dataclass(frozen=True)
class Lake:
    """A lake whose marts are what a test says."""

    settings: Settings
    manifest: Path
    connection: duckdb.DuckDBPyConnection
    """Open for as long as the test: opening one takes longer than all that is done with it."""

    def put(self, hour: datetime, *edges: tuple[str, int], is_counted: bool = True, seen: int = 1) -> None:
        """Replace the edges of an hour: destination and packets."""
        self.connection.execute("delete from lake.core.fct_edges where event_hour = ?", [hour])
        for name, packets in edges:
            self.connection.execute(
                "insert into lake.core.fct_edges values (?, 'a', ?, 6, 443, 'client', 'ACCEPT', 1, ?, ?, ?, ?)",
                [hour, name, packets, packets * 100, is_counted, seen],
            )

    def covered(self, *hours: str) -> None:
        self.connection.executemany("insert into lake.ops.fct_coverage values (?, 'fl-1')", [[hour] for hour in hours])

    def note(self, arrival: str | None, *hours: datetime, run: str = "r1", has_late: bool = False) -> None:
        """What a gate says of a run of the hour 12, or of `arrival`."""
        start = parse_hour(arrival or NOON)
        window = Window(start, start + timedelta(hours=1))
        written = [WrittenHour(hour, arrival, has_late) for hour in hours]
        note_restated(self.settings, self.connection, window, run, written)

    def publish(self) -> Published:
        return publish(self.settings, self.manifest)

    def ledger(self) -> list[tuple[object, ...]]:
        return self.connection.execute(
            "select event_hour, why, run_id, packets_before, packets_change from lake.ops.restatements order by all"
        ).fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """Readers have seen 3 packets in one event hour."""
    nodes = {
        name: {
            **{"resource_type": "model", "name": name, "schema": schema, "depends_on": {"nodes": []}},
            **{"columns": {column.split()[0]: {} for column in columns.split(", ")}},
            "config": {"meta": {"published": "table"}},
        }
        for name, (schema, columns) in TABLES.items()
    }
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"nodes": nodes}))
    settings = Settings(sources=(), lake=LakeSettings(tmp_path / "lake"))
    with connect(settings, read_only=False) as connection:
        lake = Lake(settings, manifest, connection)
        ensure_ledger(connection)
        for name, (schema, columns) in TABLES.items():
            connection.execute(f"create schema if not exists lake.{schema}")
            connection.execute(f"create table lake.{schema}.{name} ({columns})")
        lake.put(ZERO, ("b", 3))
        lake.covered("2026-11-20T00")
        lake.note("2026-11-20T00", ZERO)
        assert lake.publish().restated == (), "an hour that nobody had seen is no restatement"
        yield lake


def test_what_readers_had_seen_and_see_otherwise_now_is_written_down_once(lake: Lake) -> None:
    lake.put(ZERO, ("b", 3), ("c", 4))
    lake.put(ONE, ("b", 5))
    lake.note(NOON, ZERO, ONE, run="it's Ünique")
    published = lake.publish()
    expected = Restatement(
        *("fct_edges", ZERO, Why.LATE, "it's Ünique", NOON, "2026-11-20T13"), *(1, 3, 300), *(1, 4, 400)
    )
    assert published.restated == (expected,)
    assert lake.publish().restated == ()
    [row] = lake.connection.execute("from lake.ops.restatements").to_arrow_table().to_pylist()
    assert lake.connection.execute("select count(*) from lake.ops.unpublished_hours").fetchone() == (0,)
    assert list(row) == list(COLUMNS)
    assert {name: row[name] for name in (item.name for item in fields(Restatement))} == vars(expected)
    assert row["version"] == published.version
    assert recently(lake.settings, row["published_at"].replace(tzinfo=UTC), published.version) == {"late": 1}
    assert not recently(lake.settings, datetime.now(UTC) + timedelta(hours=1), published.version)
    console = Console(file=io.StringIO(), width=200)
    show_status(lake.settings, console)
    assert "restated in the last 7 days: 1 event hour (late 1), see ops.restatements\n" in console.file.getvalue()


@pytest.mark.parametrize(
    ("edges", "changes", "is_restated"),
    [
        ([("b", 3)], {}, False),
        ([("b", 3)], {"seen": 2}, False),  # When and how often it was seen is not compared.
        ([("c", 3)], {}, True),
        ([("b", 3)], {"is_counted": False}, True),
        ([], {}, True),
    ],
)
def test_a_restatement_is_a_difference_of_who_how_much_and_what_counts(
    lake: Lake, edges: list[tuple[str, int]], changes: dict[str, int], is_restated: bool
) -> None:
    lake.put(ZERO, *edges, **changes)  # type: ignore[arg-type]
    lake.note(NOON, ZERO)
    assert bool(lake.publish().restated) is is_restated


def test_rows_that_are_all_gone_are_taken_from_the_sums(lake: Lake) -> None:
    lake.put(ZERO)
    lake.note(NOON, ZERO)
    assert [(one.packets_before, one.packets_change) for one in lake.publish().restated] == [(3, -3)]


def test_what_no_run_has_written_is_not_looked_at(lake: Lake) -> None:
    lake.put(ZERO, ("b", 9))
    lake.note(NOON, ONE)
    assert lake.publish().restated == ()


@pytest.mark.parametrize("fault", ["before", "behind"])
def test_a_publish_that_dies_neither_loses_nor_repeats_it(
    lake: Lake, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(ZERO, ("b", 7))
    lake.note(NOON, ZERO)
    execute = publishing._execute

    def dying(connection: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
        if fault == "before":
            connection.execute("begin")
            for statement in statements:
                connection.execute(statement)
        else:
            execute(connection, statements)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_execute", dying)
        with pytest.raises(KeyboardInterrupt):
            lake.publish()
    assert len(lake.ledger()) == (fault == "behind")
    # Another run comes before somebody publishes again.
    lake.put(ZERO, ("b", 8))
    lake.note("2026-11-20T13", ZERO, run="r2")
    lake.publish()
    assert (
        lake.ledger()
        == {
            "before": [(ZERO, "late", "r2", 3, 5)],
            "behind": [(ZERO, "late", "r1", 3, 4), (ZERO, "late", "r2", 7, 1)],
        }[fault]
    )


def test_hours_that_block_are_not_compared(lake: Lake) -> None:
    lake.put(ZERO, ("b", 7))
    lake.note(NOON, ZERO)
    window = Window.parse(NOON, "2026-11-20T13")
    for state in (HourState.FAILED, HourState.VALIDATED):
        mark_hours(lake.connection, window, state, "r1")
        if state is HourState.FAILED:
            with pytest.raises(PublishError, match="failed"):
                lake.publish()
            assert lake.ledger() == []
    assert len(lake.publish().restated) == 1


class TestWhy:
    """Each from what was noted; where several hold, the strongest."""

    def _why(self, lake: Lake) -> tuple[str, str]:
        lake.put(ZERO, ("b", 99))
        [found] = lake.publish().restated
        return str(found.why), found.run_id

    def test_what_comes_in_the_next_hour_is_delivered_in_time(self, lake: Lake) -> None:
        lake.note("2026-11-20T01", ZERO)
        assert self._why(lake) == ("delivery", "r1")

    def test_an_object_that_is_late_by_its_name_is_late_in_the_next_hour_too(self, lake: Lake) -> None:
        lake.note("2026-11-20T01", ZERO, has_late=True)
        assert self._why(lake) == ("late", "r1")

    def test_what_comes_two_hours_behind_is_late_whatever_its_name_says(self, lake: Lake) -> None:
        lake.note("2026-11-20T02", ZERO)
        assert self._why(lake) == ("late", "r1")

    def test_an_arrival_hour_that_readers_had_seen_is_run_again(self, lake: Lake) -> None:
        lake.note("2026-11-20T00", ZERO, has_late=True)
        assert self._why(lake) == ("replay", "r1")

    def test_where_no_record_came_something_was_learnt(self, lake: Lake) -> None:
        lake.note(None, ZERO)
        assert self._why(lake) == ("learnt", "r1")

    def test_a_correction_is_known_from_the_registration_to_the_gate_that_takes_it_up(self, lake: Lake) -> None:
        note_corrected(lake.settings, ["2026-11-20T00"])
        # Other runs publish before this hour has come to its gate.
        lake.note("2026-11-20T01", ONE, run="other")
        lake.publish()
        lake.note("2026-11-20T00", ZERO, run="corrects")
        assert self._why(lake) == ("correction", "corrects")
        lake.put(ZERO, ("b", 98))
        lake.note("2026-11-20T00", ZERO)
        assert [one.why for one in lake.publish().restated] == [Why.REPLAY]

    def test_of_several_runs_the_last_one_with_the_strongest_reason_has_done_it(self, lake: Lake) -> None:
        lake.note("2026-11-20T01", ZERO, run="in time")
        lake.note("2026-11-20T05", ZERO, run="late")
        lake.note("2026-11-20T06", ZERO, run="later")
        lake.note(None, ZERO, run="learnt")
        assert self._why(lake) == ("late", "later")


def test_a_ledger_that_lacks_or_doubles_a_restatement_does_not_add_up(lake: Lake) -> None:
    for packets in (5, 9, 14):
        lake.put(ZERO, ("b", packets))
        lake.note(NOON, ZERO)
        lake.publish()
    assert_restatements_add_up(lake.settings)
    of_the_second = "lake.ops.restatements where packets_before = 5"
    lake.connection.execute(f"insert into lake.ops.restatements select * replace (0 as version) from {of_the_second}")
    with pytest.raises(DifferentLakesError, match="do not lead to what came after them"):
        assert_restatements_add_up(lake.settings)
    lake.connection.execute(f"delete from {of_the_second}")
    with pytest.raises(DifferentLakesError, match="do not lead to what came after them"):
        assert_restatements_add_up(lake.settings)


def test_a_thousand_hours_apart_are_one_statement_that_athena_takes(lake: Lake) -> None:
    hours = [ZERO + timedelta(hours=2 * index) for index in range(1000)]
    lake.put(hours[-1], ("b", 1))
    lake.note("2026-11-20T00", *hours)
    assert lake.publish().restated == ()
    lake.put(hours[-1], ("b", 2))
    lake.note("2026-11-20T00", *hours)
    assert [one.event_hour for one in lake.publish().restated] == [hours[-1]]


def test_a_lake_whose_readers_see_no_such_fact_yet_is_published(lake: Lake) -> None:
    lake.connection.execute("drop view lake.flowlake.fct_edges")
    lake.put(ZERO, ("b", 7))
    lake.note(NOON, ZERO)
    assert lake.publish().restated == ()


@contextmanager
def on_athena(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Settings]:
    """Settings of a lake on Athena whose own files lie in a folder."""
    with monkeypatch.context() as patch:
        patch.setattr(restatements, "open_files", lambda settings: LocalFiles(folder))
        yield Settings(
            sources=(),
            lake=LakeSettings(folder),
            target=Target.ATHENA,
            athena=AthenaSettings("s3://bucket/lake", "net", "primary"),
        )


def test_on_athena_a_publication_replaces_what_a_killed_one_wrote_under_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = datetime(2026, 11, 20, 14, tzinfo=UTC)
    one = Restatement("fct_edges", ZERO, Why.LATE, "r1", NOON, "2026-11-20T13", 1, 3, 300, 1, 4, 400)
    other = replace(one, event_hour=ONE, why=Why.REPLAY)
    with on_athena(monkeypatch, tmp_path) as settings:
        write_on_athena(settings, [], 998, now)
        assert not list(tmp_path.rglob("*.parquet"))
        write_on_athena(settings, [one], 998, now)
        write_on_athena(settings, [one, other], 999, now)
        write_on_athena(settings, [other], 999, now)
        write_on_athena(settings, [replace(one, event_hour=ONE)], 1000, now)
        assert recently(settings, now, 999) == {"late": 1, "replay": 1}
        assert (written_on_athena(settings, 998), written_on_athena(settings, 999)) == ((one,), (other,))
        write_on_athena(settings, [], 999, now)
        assert recently(settings, now, 999) == {"late": 1}
        # Of publication 1000 and, in the file before, 998.
        assert recently(settings, now, 2000) == {"late": 2}
        assert not recently(settings, now + timedelta(hours=1), 2000)
    [table] = (table for table in external_tables("net") if table.name == "restatements")
    assert sorted(path.name for path in (tmp_path / table.folder).iterdir()) == ["000000.parquet", "000001.parquet"]
    found = duckdb.sql(f"select version, why, event_hour from '{tmp_path / table.folder}/*.parquet' order by all")
    assert found.fetchall() == [(998, "late", ZERO), (1000, "late", ONE)]
    assert dict(table.columns) == {name: type_.replace("varchar", "string") for name, (type_, _) in COLUMNS.items()}


def test_views_that_readers_cannot_read_are_moved_all_the_same(lake: Lake) -> None:
    """Somebody has expired the version that they show: moving them is the cure."""
    lake.put(ZERO, ("b", 9))
    lake.note(NOON, ZERO)
    lake.connection.execute("call ducklake_expire_snapshots('lake', older_than => now())")
    with pytest.raises(duckdb.Error):
        lake.connection.execute("from lake.flowlake.fct_edges")
    assert lake.publish().restated == ()
    assert lake.connection.execute("select packets from lake.flowlake.fct_edges").fetchall() == [(9,)]


def test_words_count_each_hour_once_by_its_strongest_reason() -> None:
    one = Restatement("fct_edges", ZERO, Why.LATE, "r1", NOON, "2026-11-20T13", 1, 3, 300, 1, 4, 400)
    found = by_word([one, replace(one, table_name="fct_gateway_flows", why=Why.REPLAY), replace(one, event_hour=LATER)])
    assert found == {"late": 1, "replay": 1}
    assert in_words(found) == "2 event hours (replay 1, late 1)"
    assert in_words({}) == "0 event hours"
