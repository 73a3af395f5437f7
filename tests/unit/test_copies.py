"""Objects that hold what others hold: counted once, whichever hour is run first, and whatever is killed between."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake import register as register_module
from flowlake.lake.gzips import TextFacts
from flowlake.lake.ledger import open_ledger
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import ObjectProblem, Reason
from flowlake.lake.overtaken import OvertakenHour, ensure_table, record, recorded_hours, widened
from flowlake.lake.register import RegisterError, RegisterReport, plan, register
from flowlake.lake.windows import Window
from flowlake.records.fields import V2_DEFAULT_HEADER
from flowlake.settings import LakeSettings, Settings, Source

ACCOUNT, REGION = "123456789012", "us-east-1"
DAY = f"AWSLogs/{ACCOUNT}/vpcflowlogs/{REGION}/2026/11/20/"
HIVE_DAY = f"AWSLogs/aws-account-id={ACCOUNT}/aws-service=vpcflowlogs/aws-region={REGION}/year=2026/month=11/day=20/"
RECORD = "2 123456789012 eni-0a1b2c3d4e5f60718 10.0.0.1 10.0.0.2 5 443 6 10 1000 1795176000 1795176060 ACCEPT OK"
TEXT = f"{V2_DEFAULT_HEADER}\n{RECORD}\n".encode()
TIMELESS = b"srcaddr dstaddr\n10.0.0.1 10.0.0.2\n"
HOURS = ("2026-11-20T12", "2026-11-20T13", "2026-11-20T14")


def name(flow_log: str = "fl-1", at: str = "1205", mark: str = "0a1b2c3d", ending: str = "log.gz") -> str:
    return f"{ACCOUNT}_vpcflowlogs_{REGION}_{flow_log}_20261120T{at}Z_{mark}.{ending}"


def window(first: int, last: int | None = None) -> Window:
    return Window.parse(HOURS[first], f"2026-11-20T{12 + (first if last is None else last) + 1}")


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, "zstd", asbytes=True)
    return packed


class Logs:
    """Two sources, `one` and `two`, and lakes beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for source in ("one", "two"):
            (folder / source / "AWSLogs").mkdir(parents=True)

    def settings(self, lake: str = "lake") -> Settings:
        sources = tuple(Source(name=source, uri=str(self.folder / source)) for source in ("one", "two"))
        return Settings(sources=sources, lake=LakeSettings(path=self.folder / lake))

    def put(self, key: str, hour: int = 0, data: bytes = TEXT, *, minute: int = 10, packed: bool = True) -> Path:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
        moment = datetime.fromisoformat(f"{HOURS[hour]}:{minute}").replace(tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
        return path

    def found(self, lake: str = "lake") -> dict[str, str | None]:
        """Why each registered object is not read, by its key."""
        rows = [row for hour in HOURS for row in read_objects(self.settings(lake), hour) or ()]
        return {row.uri.removeprefix(f"{self.folder}/"): row.reason for row in rows}

    def clean(self) -> dict[str, str | None]:
        register(self.settings("clean"), window(0, 2))
        return self.found("clean")


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


FIRST = f"one/{DAY}{name()}"


COPIES: dict[str, tuple[bytes, bool]] = {
    f"one/archive/{DAY}{name()}": (TEXT, True),
    f"one/{HIVE_DAY}{name()}": (TEXT, True),
    f"one/{DAY}{name(mark='ffffffff')}": (TEXT, True),
    f"two/{DAY}{name()}": (TEXT, True),
    f"one/zstd/{DAY}{name(ending='log.zst')}": (zstd(TEXT), False),
    f"one/text/{DAY}{name(ending='txt')}": (TEXT, False),
}
"""Another prefix, layout, name, source, packing, and none: how each is stored."""


@pytest.mark.parametrize("hour", [0, 1], ids=["same hour", "later hour"])
def test_copies_are_recorded_and_not_read(logs: Logs, hour: int) -> None:
    original = logs.put(FIRST)
    for key, (data, packed) in COPIES.items():
        logs.put(key, hour, data, minute=20, packed=packed)
    report = register(logs.settings(), window(0, 2))
    assert logs.found() == {FIRST: None} | dict.fromkeys(COPIES, "copy")
    before = dict(itertools.pairwise([str(original), *sorted(f"{logs.folder}/{key}" for key in COPIES)]))
    told = {row.uri: row.detail for row in read_objects(logs.settings(), HOURS[hour]) or () if row.detail}
    assert told == {copy: f"it holds what {one} holds" for one, copy in before.items()}
    for row in read_objects(logs.settings(), HOURS[hour]) or ():
        if row.uri != str(original):
            assert row.status == "unreadable"
            assert (row.read_path, row.format_id, row.line_count, row.unpacked_bytes) == (None, None, None, None)
    assert (report.readable, report.unreadable, report.lines) == (1, 6, 2)
    assert report.problems == (
        "6 objects not read: copy, another object of its flow log that holds the same arrived before it "
        f"(for example {logs.folder}/{min(COPIES)})",
    )
    assert [path.read_text() for path in logs.settings().lake.raw.rglob("manifest")] == [f"{original}\n"]
    assert not [path for path in logs.settings().lake.spool.rglob("*") if path.is_file()]


def test_what_may_be_equal_by_chance_is_no_copy(logs: Logs) -> None:
    """Only a header, with empty lines or not; records that say no time, or not whose; a text of two flow logs."""
    header = f"{V2_DEFAULT_HEADER}\n".encode()
    nobodys = b"start end action packets bytes\n1795176000 1795176060 ACCEPT 1 40\n"
    texts = [header, header + b"\n\n", TIMELESS, nobodys, header.rstrip()]
    for number, text in enumerate(texts, 1):
        logs.put(f"one/{DAY}{name(f'fl-{number}')}", data=text)
        logs.put(f"one/{DAY}{name(f'fl-{number}', mark='ffffffff')}", data=text, minute=20)
    logs.put(f"one/{DAY}{name('fl-8')}")
    logs.put(f"one/{DAY}{name('fl-9')}")
    register(logs.settings(), window(0))
    assert len(logs.found()) == 12
    assert set(logs.found().values()) == {None}


def test_without_times_the_same_name_is_the_same_delivery(logs: Logs) -> None:
    logs.put(FIRST, data=TIMELESS)
    logs.put(f"one/archive/{DAY}{name()}", data=TIMELESS, minute=20)
    register(logs.settings(), window(0))
    assert list(logs.found().values()) == [None, "copy"]


def test_copies_of_parquet_are_told_by_their_bytes(logs: Logs) -> None:
    cells = {"interface_id": ["eni-1"], "srcaddr": ["10.0.0.1"], "start": [1795176000]}
    rows, others, none = ({column: cell * count for column, cell in cells.items()} for count in (1, 2, 0))
    for number, columns in enumerate((rows, rows, others, none, none)):
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table(columns), sink)
        key = f"one/{DAY}{name(mark=f'{number:08d}', ending='log.parquet')}"
        logs.put(key, data=bytes(sink.getvalue()), minute=10 + number, packed=False)
    register(logs.settings(), window(0))
    assert list(logs.found().values()) == [None, "copy", None, None, None]


def put_copies(logs: Logs) -> None:
    logs.put(FIRST, 0)
    logs.put(f"one/archive/{DAY}{name()}", 1)
    logs.put(f"two/{DAY}{name()}", 2)
    logs.put(f"two/{DAY}{name('fl-2')}", 2)


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_hours_in_any_order_leave_what_one_window_leaves(logs: Logs, order: tuple[int, ...]) -> None:
    put_copies(logs)
    reports = [register(logs.settings(), window(hour)) for hour in order]
    clean = logs.clean()
    assert logs.found() == clean
    assert sorted(map(str, clean.values())) == ["None", "None", "copy", "copy"]
    assert clean[FIRST] is None
    # A later hour is taken in when its objects stop counting; the last to be run has nothing to mend but that.
    assert any(report.overtaken for report in reports) is (order[0] != 0)


def test_a_later_hour_that_counts_a_copy_is_run_again_and_that_is_written_down(logs: Logs) -> None:
    put_copies(logs)
    register(logs.settings(), window(2))
    taken: list[str] = []
    report = register(logs.settings(), window(0), widen=lambda hull: taken.append(str(hull)))
    # Both hours are written down: whoever shows the later one without the copy has to show what counts in its place.
    assert report.overtaken == (HOURS[0], HOURS[2])
    assert (str(report.window), taken) == (str(window(0, 2)), [str(window(0, 2))])
    assert report.problems[0] == (
        f"1 object of {HOURS[2]} counted otherwise since a copy is known, for example "
        f"{logs.folder}/two/{DAY}{name()}: the hour is run again with {window(0, 2)}"
    )

    def works_on(asked: Window) -> str:
        return str(widened(asked, recorded_hours(logs.settings(), asked)))

    # Every further step of this run, and whoever comes after it, takes both in; an hour between not the later one.
    assert works_on(window(0)) == str(window(0, 2))
    assert works_on(window(1)) == str(window(0, 1))
    assert works_on(window(2)) == str(window(0, 2))
    assert works_on(Window.parse("2026-11-21T12", "2026-11-21T13")) == "2026-11-20T12/2026-11-21T13"
    assert works_on(Window.parse("2026-11-21T15", "2026-11-21T16")) == "2026-11-21T15/2026-11-21T16"


def test_an_hour_that_counted_a_copy_is_written_down_also_when_it_runs_with_that_of_the_first(logs: Logs) -> None:
    put_copies(logs)
    assert register(logs.settings(), window(1)).overtaken == ()
    report = register(logs.settings(), window(0, 2))
    # Its tables hold what it brought: they are brought up to date only where it is known to be overtaken.
    assert (report.overtaken, str(report.window)) == ((HOURS[0], HOURS[1]), str(window(0, 2)))
    assert register(logs.settings(), window(0, 2)).overtaken == ()


def test_the_copy_counts_when_the_first_was_removed(logs: Logs) -> None:
    first = logs.put(FIRST)
    second = f"one/archive/{DAY}{name()}"
    logs.put(second, 1)
    for hour in range(2):
        register(logs.settings(), window(hour))
    assert logs.found() == {FIRST: None, second: "copy"}
    first.unlink()
    # Either hour finds it out, and nothing is missing.
    report = register(logs.settings(), window(1))
    assert (report.overtaken, str(report.window), report.missing) == ((HOURS[0],), str(window(0, 1)), 0)
    assert logs.found() == logs.clean() == {second: None}


def test_the_hour_of_the_removed_one_takes_in_that_of_its_copy(logs: Logs) -> None:
    first = logs.put(FIRST)
    second = f"one/archive/{DAY}{name()}"
    logs.put(second, 1)
    for hour in range(2):
        register(logs.settings(), window(hour))
    first.unlink()
    report = register(logs.settings(), window(0))
    assert (report.overtaken, str(report.window), report.missing) == ((HOURS[1],), str(window(0, 1)), 0)
    assert logs.found() == {second: None}
    (logs.folder / second).unlink()
    with pytest.raises(RegisterError, match="1 object registered earlier is gone"):
        register(logs.settings(), window(1))


def test_an_object_that_is_moved_to_another_prefix_counts_there(logs: Logs) -> None:
    first = logs.put(FIRST)
    register(logs.settings(), window(0))
    first.unlink()
    moved = f"two/{DAY}{name()}"
    logs.put(moved, 1)
    report = register(logs.settings(), window(1))
    assert (report.overtaken, report.missing) == ((HOURS[0],), 0)
    assert logs.found() == logs.clean() == {moved: None}


def test_a_kill_as_a_moved_object_is_taken_over_is_mended(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone is still known to lie elsewhere while the ledger names it."""
    first = logs.put(FIRST)
    register(logs.settings(), window(0))
    first.unlink()
    moved = f"two/{DAY}{name()}"
    logs.put(moved, 1)

    def die(*_: Any, **__: Any) -> None:
        raise SystemExit

    for dies_in in ("record", "write_manifests", "write_objects"):
        with monkeypatch.context() as patch:
            patch.setattr(register_module, dies_in, die)
            with pytest.raises(SystemExit):
                register(logs.settings(), window(1))
    assert register(logs.settings(), window(1)).missing == 0
    assert logs.found() == logs.clean() == {moved: None}


def test_a_widened_run_that_finds_another_hour_is_found_by_its_next_step(logs: Logs) -> None:
    register(logs.settings(), window(0))
    settings = logs.settings()
    with open_ledger(settings, read_only=False) as connection:
        ensure_table(connection)
    record(settings, window(0), [OvertakenHour(HOURS[1], 1, "a")])
    record(settings, window(0, 1), [OvertakenHour(HOURS[2], 1, "b")])
    assert recorded_hours(settings, window(0)) == HOURS[1:]


def test_one_forbidden_object_beside_copies_stops_nothing(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.put(FIRST)
    logs.put(f"two/{DAY}{name()}", minute=20)
    logs.put(f"two/{DAY}{name('fl-2')}")
    inspect = register_module.inspect_text

    def guarded(path: Path) -> TextFacts:
        if "fl-2" in path.name:
            raise ObjectProblem(Reason.ACCESS_DENIED)
        return inspect(path)

    monkeypatch.setattr(register_module, "inspect_text", guarded)
    register(logs.settings(), window(0))
    assert sorted(map(str, logs.found().values())) == ["None", "access_denied", "copy"]


def test_a_copy_of_a_broken_object_counts(logs: Logs) -> None:
    logs.put(FIRST, data=gzip.compress(TEXT)[:-4], packed=False)
    second = f"one/archive/{DAY}{name()}"
    logs.put(second, minute=20)
    register(logs.settings(), window(0))
    assert logs.found() == {FIRST: "truncated", second: None}


@pytest.mark.parametrize("dies_in", ["record", "write_objects"])
def test_a_registration_that_is_killed_leaves_nothing_that_the_next_one_does_not_mend(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    put_copies(logs)
    register(logs.settings(), window(2))

    def die(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(register_module, dies_in, die)
        with pytest.raises(SystemExit):
            register(logs.settings(), window(0))
    register(logs.settings(), window(1))
    # An hour that was never registered whole takes nothing from others.
    assert logs.found()[f"one/archive/{DAY}{name()}"] is None
    register(logs.settings(), window(0))
    assert logs.found() == logs.clean()


def test_two_registrations_at_once_find_each_other(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL hours are registered side by side: neither has written when the other one looks."""
    put_copies(logs)
    write = register_module._write

    def beside(*arguments: Any) -> tuple[str, ...]:
        monkeypatch.setattr(register_module, "_write", write)
        register(logs.settings(), window(2))
        return write(*arguments)

    monkeypatch.setattr(register_module, "_write", beside)
    settings = logs.settings()
    shared = replace(settings, lake=replace(settings.lake, catalog="postgresql://nobody@nowhere/none"))
    monkeypatch.setattr(register_module, "record", lambda *_: None)
    report: RegisterReport = register(shared, window(0))
    assert (report.overtaken, str(report.window)) == ((HOURS[0], HOURS[2]), str(window(0, 2)))
    assert logs.found() == logs.clean()


def test_only_hours_in_which_a_copy_can_lie_are_looked_into(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of an hour does not grow with history."""
    logs.put(FIRST)
    read: list[str] = []
    real: Callable[..., Any] = register_module.read_contents
    monkeypatch.setattr(register_module, "read_contents", lambda *a: read.append(a[1]) or real(*a))
    monkeypatch.setattr(register_module, "datetime", _At)
    register(logs.settings(), window(0))
    assert (min(read), max(read), len(set(read))) == ("2026-11-18T12", "2026-11-20T15", 48 + 1 + 3)


class _At(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2026, 11, 20, 16, 30, tzinfo=tz)


def test_a_plan_names_what_lies_there_under_one_name(logs: Logs) -> None:
    put_copies(logs)
    (problem,) = plan(logs.settings(), window(0, 2)).problems
    assert problem == (
        "2 objects have the name of an object in another folder, and count once if they hold the same "
        f"(for example {logs.folder}/one/archive/{DAY}{name()})"
    )
