from __future__ import annotations

import gzip
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake import register as register_module
from flowlake.lake import storage
from flowlake.lake.duck import connect
from flowlake.lake.files import LocalFiles
from flowlake.lake.gzips import TextFacts, inspect_text
from flowlake.lake.manifests import read_objects, write_objects
from flowlake.lake.objects import Kind, ListedObject, ObjectProblem, ObjectRow, Reason, objects_schema
from flowlake.lake.register import RegisterError, UnusualText, plan, register
from flowlake.lake.restatements import ensure_tables
from flowlake.lake.spool import AthenaSpool, Spool, SpoolError, clear_spool, ensure_spooled
from flowlake.lake.storage import LocalStore, SourceError
from flowlake.lake.windows import Window
from flowlake.records.fields import V2_DEFAULT_HEADER
from flowlake.settings import Arrival, LakeSettings, Layouts, Settings, Source
from wrapped_logs import CONTROL, ONE, TWO, comma, console, firehose, subscription

HOUR = "2026-11-20T12"
WINDOW = Window.parse(HOUR, "2026-11-20T13")
ACCOUNT = "123456789012"
REGION = "us-east-1"
DAY = f"AWSLogs/{ACCOUNT}/vpcflowlogs/{REGION}/2026/11/20/"
HIVE_DAY = f"AWSLogs/aws-account-id={ACCOUNT}/aws-service=vpcflowlogs/aws-region={REGION}/year=2026/month=11/day=20/"
TEXT = b"srcaddr dstaddr\n10.0.0.1 10.0.0.2\n\n10.0.0.2 10.0.0.1\n"


def name(flow_log: str = "fl-1", at: str = "20261120T1205", extension: str = "gz") -> str:
    return f"{ACCOUNT}_vpcflowlogs_{REGION}_{flow_log}_{at}Z_0a1b2c3d.log.{extension}"


class Logs:
    """A source's folder, and a lake beside it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "logs"
        self.root.mkdir()
        source = Source(name="logs", uri=str(self.root))
        self.settings = Settings(sources=(source,), lake=LakeSettings(path=folder / "lake"))

    def put(self, key: str, data: bytes | None = None, *, packed: bool = True, arrived: str = f"{HOUR}:10") -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        body = TEXT if data is None else data
        path.write_bytes(gzip.compress(body, mtime=0) if packed else body)
        moment = datetime.fromisoformat(arrived).replace(tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
        return path

    def rows(self, hour: str = HOUR) -> dict[str, ObjectRow]:
        rows = read_objects(self.settings, hour)
        assert rows is not None
        return {row.uri.removeprefix(f"{self.root}/"): row for row in rows}

    def with_source(self, **changes: Any) -> Settings:
        return replace(self.settings, sources=(replace(self.settings.sources[0], **changes),))

    def manifests(self) -> dict[str, list[str]]:
        raw = self.settings.lake.raw
        return {
            path.parent.relative_to(raw).as_posix(): path.read_text().splitlines() for path in raw.rglob("manifest")
        }


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def parquet_bytes(**columns: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, "zstd", asbytes=True)
    return packed


def test_an_object_becomes_a_row_a_manifest_and_a_format(logs: Logs) -> None:
    path = logs.put(DAY + name())
    report = register(logs.settings, WINDOW)
    row = logs.rows()[DAY + name()]
    format_id = row.format_id
    assert format_id is not None
    assert asdict(row) == {
        "uri": str(path),
        "source": "logs",
        "size": path.stat().st_size,
        "etag": storage.file_etag(path.stat()),
        "last_modified": datetime(2026, 11, 20, 12, 10),
        "account_id": ACCOUNT,
        "region": REGION,
        "flow_log_id": "fl-1",
        "layout": "plain",
        "kind": "text",
        "format_id": format_id,
        "arrival_hour": HOUR,
        "named_at": datetime(2026, 11, 20, 12, 5),
        "read_path": str(path),
        "status": "readable",
        "reason": None,
        "detail": None,
        "line_count": 4,
        "empty_line_count": 1,
        "line_bytes": 49,
        "unpacked_bytes": len(TEXT),
        "unknown_fields": (),
    }
    assert logs.manifests() == {f"text_lines/format_id={format_id}/arrival_hour={HOUR}": [str(path)]}
    fields = duckdb.execute(
        "select position, field_name, column_name, header from read_parquet(?) order by position",
        [str(logs.settings.lake.raw / "formats" / f"{format_id}.parquet")],
    ).fetchall()
    assert fields == [(1, "srcaddr", "srcaddr", "srcaddr dstaddr"), (2, "dstaddr", "dstaddr", "srcaddr dstaddr")]
    assert (report.objects, report.readable, report.unreadable, report.lines) == (1, 1, 0, 4)
    assert (report.bytes, report.unpacked_bytes, report.new_formats) == (path.stat().st_size, len(TEXT), (format_id,))
    assert report.problems == ()


@pytest.mark.parametrize("prefix", ["", "network/prod/"])
@pytest.mark.parametrize(
    ("folder", "layout"),
    [
        (DAY, "plain"),
        (f"{DAY}12/", "hourly"),
        (HIVE_DAY, "hive"),
        (f"{HIVE_DAY}hour=12/", "hive_hourly"),
        (HIVE_DAY.replace("aws-service", "service"), "hive"),
        (DAY.replace("AWSLogs/", "AWSLogs/o-a1b2c3d4e5/"), "plain"),
        (HIVE_DAY.replace("AWSLogs/", "AWSLogs/o-a1b2c3d4e5/"), "hive"),
    ],
)
def test_every_layout_is_discovered(logs: Logs, prefix: str, folder: str, layout: str) -> None:
    logs.put(prefix + folder + name())
    register(logs.settings, WINDOW)
    assert [row.layout for row in logs.rows().values()] == [layout]


def test_many_accounts_regions_and_flow_logs_are_discovered(logs: Logs) -> None:
    keys = []
    for account in ("111111111111", "222222222222"):
        for region in ("eu-central-1", "us-gov-west-1"):
            for flow_log in ("fl-1", "fl-2"):
                key = (DAY + name(flow_log)).replace(ACCOUNT, account).replace(REGION, region)
                keys.append(key)
                logs.put(key)
    assert register(logs.settings, WINDOW).readable == 8
    assert sorted(logs.rows()) == sorted(keys)


@pytest.mark.parametrize("depth", range(1, DAY.count("/") + 1))
def test_the_uri_may_lead_into_the_tree(logs: Logs, depth: int) -> None:
    logs.put(DAY + name())
    logs.put(DAY.replace(ACCOUNT, "999999999999") + name().replace(ACCOUNT, "999999999999"))
    uri = logs.root / "/".join(DAY.split("/")[:depth])
    register(logs.with_source(uri=str(uri)), WINDOW)
    assert len(logs.rows()) == (2 if depth == 1 else 1)
    other_day = Window.parse("2026-11-22T12", "2026-11-22T13")
    assert register(logs.with_source(uri=str(uri)), other_day).objects == 0


def test_an_object_belongs_to_the_hour_in_which_it_arrived(logs: Logs) -> None:
    for minute, arrived in enumerate(("11:59:59.999999", "12:00:00", "12:59:59.999999", "13:00:00")):
        logs.put(DAY + name(at=f"20261120T110{minute}"), arrived=f"2026-11-20T{arrived}")
    assert register(logs.settings, WINDOW).objects == 2
    assert [len(paths) for paths in logs.manifests().values()] == [2]
    register(logs.settings, Window.parse("2026-11-20T11", "2026-11-20T14"))
    assert [len(logs.rows(f"2026-11-20T{hour}")) for hour in (11, 12, 13)] == [1, 2, 1]


def test_a_late_object_of_the_day_before_is_found_and_an_older_one_is_not_looked_for(logs: Logs) -> None:
    logs.put(DAY.replace("11/20", "11/19") + name(at="20261119T2300"))
    logs.put(DAY.replace("11/20", "11/18") + name(at="20261118T2300"))
    assert register(logs.settings, WINDOW).objects == 1
    assert register(logs.with_source(lookback_days=2), WINDOW).objects == 2


def test_an_object_that_arrives_before_its_own_day_is_found_by_the_hour_of_its_arrival(logs: Logs) -> None:
    """It counts in its hour, whatever window that is part of: clocks differ, and copies keep their folders."""
    logs.put(DAY.replace("11/20", "11/21") + name(at="20261121T0000"), arrived="2026-11-20T23:01")
    assert register(logs.settings, Window.parse("2026-11-20T23", "2026-11-21T00")).objects == 1
    assert register(logs.settings, Window.parse("2026-11-20T22", "2026-11-21T01")).objects == 1


@pytest.mark.parametrize("arrival", list(Arrival))
def test_an_object_that_says_it_came_long_before_its_own_day_counts_from_an_hour_before_it(
    logs: Logs, arrival: Arrival
) -> None:
    logs.put(DAY.replace("11/20", "11/21") + name(at="20261120T2030"), arrived="2026-11-20T20:30")
    settings = logs.with_source(arrival=arrival)
    assert register(settings, Window.parse("2026-11-20T20", "2026-11-20T23")).objects == 0
    assert register(settings, Window.parse("2026-11-20T23", "2026-11-21T00")).objects == 1
    assert register(settings, Window.parse("2026-11-20T20", "2026-11-21T02")).objects == 1
    assert len(logs.rows("2026-11-20T23")) == 1


def test_a_copied_history_takes_its_hours_from_the_names(logs: Logs) -> None:
    logs.put(DAY + name(at="20261120T1259"), arrived="2027-05-05T05:05")
    logs.put(DAY + name(at="20261120T1300"), arrived="2027-05-05T05:05")
    logs.put(f"{DAY}12/notes.txt", arrived="2027-05-05T05:05")
    register(logs.with_source(arrival=Arrival.OBJECT_NAME), WINDOW)
    assert sorted(logs.rows()) == [f"{DAY}12/notes.txt", DAY + name(at="20261120T1259")]


BROKEN = {
    "empty": (b"", False, None),
    "not_gzip": (TEXT + b"\0", False, "it starts with the bytes 73 72 63"),
    "truncated": (gzip.compress(TEXT)[:-3], False, "cut off after"),
    "bad_checksum": (gzip.compress(TEXT)[:-8] + bytes(8), False, "packed byte"),
    "trailing_garbage": (gzip.compress(TEXT) + b"x", False, "1 bytes after"),
    "no_header": (b"2 123456789012 eni-1 - - - - - - - 1 2 - NODATA\n", True, "it starts with: 2 1234"),
    "line_too_long": (b"srcaddr\n" + b"x" * 17_000_000, True, "more than 16777214 bytes"),
}


def test_what_cannot_be_read_is_recorded_with_its_reason_and_stops_nothing(logs: Logs) -> None:
    for reason, (data, packed, _) in BROKEN.items():
        logs.put(DAY + name(f"fl-{reason.replace('_', '')}"), data, packed=packed)
    logs.put(DAY + name("fl-gzofnothing"), b"")
    logs.put(DAY + name("fl-blanks"), b"\n \n")
    logs.put(DAY + name("fl-brokenparquet", extension="parquet"), b"PAR1 nothing PAR1", packed=False)
    logs.put(f"{DAY}notes.txt", b"hello", packed=False)
    logs.put(f"{DAY}{name()}.tmp")
    logs.put(f"{DAY}12/deeper/{name()}")
    good = logs.put(DAY + name("fl-good"))
    report = register(logs.settings, WINDOW)
    rows = logs.rows()
    found = {key: (row.status, row.reason) for key, row in rows.items()}
    expected = {DAY + name(f"fl-{reason.replace('_', '')}"): ("unreadable", reason) for reason in BROKEN} | {
        DAY + name("fl-gzofnothing"): ("unreadable", "empty"),
        DAY + name("fl-blanks"): ("unreadable", "no_header"),
        DAY + name("fl-brokenparquet", extension="parquet"): ("unreadable", "broken_parquet"),
        f"{DAY}notes.txt": ("unreadable", "not_a_flow_log"),
        f"{DAY}{name()}.tmp": ("unreadable", "not_a_flow_log"),
        f"{DAY}12/deeper/{name()}": ("unreadable", "not_a_flow_log"),
        DAY + name("fl-good"): ("readable", None),
    }
    assert found == expected
    for reason, (_, _, detail) in BROKEN.items():
        row = rows[DAY + name(f"fl-{reason.replace('_', '')}")]
        assert detail is None or detail in str(row.detail)
        assert (row.line_count, row.line_bytes, row.read_path, row.format_id) == (None, None, None, None)
        assert row.flow_log_id is not None
    assert (report.readable, report.unreadable) == (1, 13)
    assert [line for lines in logs.manifests().values() for line in lines] == [str(good)]
    assert any(problem.startswith("2 objects not read: empty, ") for problem in report.problems)


@pytest.mark.parametrize("hostile", ["\n", "\x1b[31m", "\x7f", "\u2028", "\u202e"])
def test_a_name_with_control_characters_is_recorded_and_never_read(logs: Logs, hostile: str) -> None:
    logs.put(f"x{hostile}y/{DAY}{name()}")
    report = register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert (row.status, row.reason) == ("unreadable", "unsafe_name")
    assert hostile in row.uri
    assert logs.manifests() == {}
    assert all(hostile not in problem and problem.isprintable() for problem in report.problems)


def test_a_name_that_is_not_text_is_recorded(logs: Logs) -> None:
    logs.put(DAY + os.fsdecode(b"\xff.log.gz"))
    register(logs.settings, WINDOW)
    ((key, row),) = logs.rows().items()
    assert (row.reason, key) == ("unsafe_name", f"/{logs.root}/{DAY}\\udcff.log.gz")


def test_names_that_would_be_written_alike_are_told_apart(logs: Logs) -> None:
    names = [b"\xff.log", b"\\udcff.log", b"\xff\xfe.log", b"\xff\\udcfe.log"]
    for one in names:
        logs.put(DAY + os.fsdecode(one))
    assert register(logs.settings, WINDOW).objects == len(names)
    assert sorted(row.reason or "" for row in logs.rows().values()) == ["not_a_flow_log", *["unsafe_name"] * 3]


def test_what_is_neither_file_nor_folder_is_recorded_and_stops_nothing(logs: Logs) -> None:
    logs.put(DAY + name())
    day = logs.root / DAY
    (day / "itself").symlink_to("itself")
    (day / "below a file").symlink_to(f"{name()}/x")
    (day / "no possible name").symlink_to("x" * 300)
    moment = datetime(2026, 11, 20, 12, 30, tzinfo=UTC).timestamp()
    for path in day.iterdir():
        os.utime(path, (moment, moment), follow_symlinks=False)
    report = register(logs.settings, WINDOW)
    assert (report.objects, report.readable) == (4, 1)


@pytest.mark.parametrize("odd", ["a'b", 'a"b', "a;b", "a{b,c}", "a b", "a\\b", "ü", "--", "%2e%2e"])
def test_odd_names_are_data(logs: Logs, odd: str) -> None:
    path = logs.put(f"{odd}/{DAY}{name()}")
    register(logs.settings, WINDOW)
    assert [line for lines in logs.manifests().values() for line in lines] == [str(path)]
    assert read_lines(logs, next(iter(logs.manifests()))) == 3


def read_lines(logs: Logs, manifest: str) -> int:
    paths = logs.manifests()[manifest]
    (count,) = duckdb.execute(
        "select count(line) from read_csv(?, columns = {'line': 'varchar'}, header = false, auto_detect = false, "
        "delim = chr(9246), quote = '', escape = '', strict_mode = false, compression = 'gzip')",
        [paths],
    ).fetchone() or (0,)
    return int(count)


@pytest.mark.parametrize("odd", ["a*b", "a?b", "a[b]c"])
def test_a_path_that_duckdb_takes_for_a_pattern_is_read_through_a_link(logs: Logs, odd: str) -> None:
    path = logs.put(f"{odd}/{DAY}{name()}")
    logs.put(f"axb/{DAY}{name('fl-2')}", b"srcaddr dstport\n")
    register(logs.settings, WINDOW)
    row = logs.rows()[f"{odd}/{DAY}{name()}"]
    link = Path(str(row.read_path))
    assert link.parent == logs.settings.lake.spool
    assert link.readlink() == path
    assert read_lines(logs, f"text_lines/format_id={row.format_id}/arrival_hour={HOUR}") == 3
    assert clear_spool(logs.settings, WINDOW) == 1
    assert not link.is_symlink()
    assert path.exists()
    assert ensure_spooled(logs.settings, WINDOW) == 1
    assert link.readlink() == path


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        (V2_DEFAULT_HEADER, None),
        (V2_DEFAULT_HEADER + " ", None),
        (V2_DEFAULT_HEADER.replace("srcaddr dstaddr", "dstaddr srcaddr"), "mixed_formats"),
        (V2_DEFAULT_HEADER.replace("srcaddr dstaddr", "dstaddr srcaddr").replace("-", "_"), "mixed_formats"),
        (V2_DEFAULT_HEADER.replace("packets bytes", "bytes packets"), "mixed_formats"),
        ("srcaddr dstaddr", "mixed_formats"),
        ("interface-id dstaddr pkt-dstaddr", "mixed_formats"),
        ("version end start", "mixed_formats"),
        ("x srcaddr y z", None),
    ],
)
def test_an_object_that_was_joined_of_several_formats_is_not_read(logs: Logs, later: str, reason: str | None) -> None:
    """Its records would pass for those of the first header, with source and destination exchanged."""
    record = b"2 123456789012 eni-0a 10.0.0.1 10.0.0.2 50000 443 6 10 1000 1795176000 1795176060 ACCEPT OK\n"
    lines = [V2_DEFAULT_HEADER.encode() + b"\n", *[record] * 40_000, later.encode() + b"\n", record]
    logs.put(DAY + name(), b"".join(lines))
    register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert row.reason == reason
    if reason:
        assert row.detail == f"a line in it announces {later.replace('_', '-')}"


def test_a_spool_that_cannot_be_written_is_no_fault_of_the_object(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or an hour would be shown without the objects that need a copy."""
    logs.put(DAY + name(), TEXT + b"caf\xc3\x80 10.0.0.1\n")

    def copy(*_: object) -> Path:
        raise PermissionError(13, "Permission denied", "/elsewhere/spool")

    monkeypatch.setattr(Spool, "copy", copy)
    with pytest.raises(RegisterError, match="cannot read or write /elsewhere/spool: Permission denied"):
        register(logs.settings, WINDOW)


def test_text_that_duckdb_would_refuse_is_read_from_a_copy(logs: Logs) -> None:
    path = logs.put(DAY + name(), TEXT + b"caf\xc3\x80 10.0.0.1\n")
    before = path.read_bytes()
    report = register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    copy = Path(str(row.read_path))
    assert copy.parent == logs.settings.lake.spool
    assert (row.status, row.line_count, row.line_bytes) == ("readable", 5, 63)
    assert read_lines(logs, next(iter(logs.manifests()))) == 4
    assert path.read_bytes() == before
    assert report.problems[0].startswith("1 object read from a plain copy: 2 bytes beyond ASCII")
    assert clear_spool(logs.settings, WINDOW) == 1
    assert ensure_spooled(logs.settings, WINDOW) == 1
    assert copy.is_file()


@pytest.mark.parametrize("ending", ["gz", "zst", "txt"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [(TEXT, "it is plain text, unpacked on the way"), (zstd(TEXT), "it is packed with zstd")],
)
def test_unpacked_and_newly_packed_text_is_read_from_a_copy(logs: Logs, ending: str, data: bytes, reason: str) -> None:
    path = logs.put(DAY + name(extension=ending), data, packed=False)
    report = register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert (row.status, row.detail) == ("readable", f"read from a plain copy: {reason}")
    assert (row.size, row.unpacked_bytes) == (len(data), len(TEXT))
    assert (row.line_count, row.empty_line_count, row.line_bytes) == (4, 1, 49)
    assert read_lines(logs, next(iter(logs.manifests()))) == 3
    assert report.problems == (f"1 object read from a plain copy: {reason} (for example {path})",)
    assert clear_spool(logs.settings, WINDOW) == 1
    assert ensure_spooled(logs.settings, WINDOW) == 1
    assert read_lines(logs, next(iter(logs.manifests()))) == 3


@pytest.mark.parametrize(("ending", "in_place"), [(".log.gz", True), (".log", False), (".log.zst", False)])
def test_athena_finds_gzip_under_a_name_that_says_so(tmp_path: Path, ending: str, in_place: bool) -> None:
    path = tmp_path / "fetched.log.gz"
    path.write_bytes(gzip.compress(TEXT))
    key = DAY + name().replace(".log.gz", ending)
    item = ListedObject("logs", key, f"s3://bucket/{key}", 9, "etag", datetime.now(UTC), HOUR, None)
    spool = AthenaSpool(tmp_path / "spool", LocalFiles(tmp_path / "lake"), {})
    found = spool.readable(item, Kind.TEXT, path, needs_copy=False)
    if in_place:
        assert found == item.uri
    else:
        assert found.endswith(".log.gz")
        assert gzip.decompress(Path(found).read_bytes()) == TEXT


def test_each_way_of_reading_has_a_line_with_its_objects(logs: Logs) -> None:
    for flow_log, data in {"fl-1": TEXT, "fl-2": TEXT, "fl-3": TEXT + "é".encode(), "fl-4": zstd(TEXT)}.items():
        logs.put(DAY + name(flow_log), data, packed=False)
    problems = register(logs.settings, WINDOW).problems
    assert [problem.partition(" (for example")[0] for problem in problems] == [
        "1 object read from a plain copy: it is packed with zstd",
        "2 objects read from a plain copy: it is plain text, unpacked on the way",
        "1 object read from a plain copy: it is plain text, unpacked on the way; 2 bytes beyond ASCII are read as one "
        "character each (latin-1)",
    ]


def test_any_layout_is_taken_where_a_source_says_so(logs: Logs) -> None:
    settings = logs.with_source(layout=Layouts.ANY)
    taken = [DAY + name(), f"history/{name('fl-2')}", f"history/12/x/{name('fl-3', extension='txt')}", name("fl-4")]
    for key in taken:
        logs.put(key)
    logs.put(f"history/{name('fl-5')}.part")
    logs.put("history/readme.txt")
    logs.put(f"history/{name('fl-6', at='20261117T1205')}")
    report = register(settings, WINDOW)
    assert {key: row.reason for key, row in logs.rows().items()} == {
        **dict.fromkeys(taken),
        f"history/{name('fl-5')}.part": "not_a_flow_log",
    }
    assert [logs.rows()[key].layout for key in taken] == ["plain", "any", "any", "any"]
    assert report.problems[0].startswith("1 object not read: not_a_flow_log")
    assert plan(logs.settings, WINDOW).objects == 1


def test_history_of_any_layout_may_arrive_by_its_names(logs: Logs) -> None:
    logs.put(f"history/{name()}", arrived="2027-03-01T09:00")
    register(logs.with_source(layout=Layouts.ANY, arrival=Arrival.OBJECT_NAME), WINDOW)
    assert [row.status for row in logs.rows().values()] == ["readable"]


def test_an_object_of_any_layout_that_moves_counts_where_it_lies(logs: Logs) -> None:
    settings = logs.with_source(layout=Layouts.ANY)
    first = logs.put(f"history/{name()}")
    register(settings, WINDOW)
    first.unlink()
    logs.put(f"archive/{name()}", arrived="2026-11-20T13:10")
    assert register(settings, LATER).overtaken == (HOUR,)
    assert (logs.rows(), list(logs.rows("2026-11-20T13"))) == ({}, [f"archive/{name()}"])


def test_a_source_that_changes_its_layout_loses_nothing(logs: Logs) -> None:
    """What is delivered in both while it changes counts once."""
    logs.put(DAY + name("fl-1"))
    logs.put(DAY + name("fl-2", at="20261120T1255"))
    logs.put(f"{HIVE_DAY}hour=12/{name('fl-2', at='20261120T1255')}", arrived="2026-11-20T13:10")
    logs.put(f"{HIVE_DAY}hour=13/{name('fl-1', at='20261120T1305')}", arrived="2026-11-20T13:10")
    for window in (WINDOW, LATER):
        register(logs.settings, window)
    rows = [*logs.rows().values(), *logs.rows("2026-11-20T13").values()]
    assert sorted(f"{row.layout} {row.reason}" for row in rows) == [
        "hive_hourly None",
        "hive_hourly copy",
        "plain None",
        "plain None",
    ]


def test_of_one_delivery_under_several_endings_the_first_that_arrived_counts(logs: Logs) -> None:
    first = logs.put(DAY + name(), arrived="2026-11-20T11:10")
    logs.put(DAY + name(extension="zst"), zstd(TEXT), packed=False, arrived=f"{HOUR}:10")
    logs.put(DAY + name(extension="parquet"), parquet_bytes(srcaddr=["10.0.0.1"]), packed=False, arrived=f"{HOUR}:20")
    logs.put(DAY + name("fl-2"), b"", packed=False)
    logs.put(DAY + name("fl-2", extension="txt"), TEXT, packed=False, arrived=f"{HOUR}:20")
    register(logs.settings, WINDOW)
    found = {(row.flow_log_id, key.rpartition(".")[2]): row for key, row in logs.rows().items()}
    assert {key: row.reason for key, row in found.items()} == {
        ("fl-1", "zst"): "duplicate",
        ("fl-1", "parquet"): "duplicate",
        ("fl-2", "gz"): "empty",
        ("fl-2", "txt"): None,
    }
    assert found["fl-1", "zst"].detail == f"{first} arrived before it"
    register(logs.settings, Window.parse("2026-11-20T11", HOUR))
    assert [row.reason for row in logs.rows("2026-11-20T11").values()] == [None]


RECORD = b"2 123456789012 eni-0a1b2c3d4e5f60718 10.0.0.1 10.0.0.2 5 443 6 10 1000 1795176000 1795176060 ACCEPT OK\n"


def test_a_default_format_is_inferred_and_that_is_said(logs: Logs) -> None:
    path = logs.put(DAY + name(), b"\n" + RECORD * 3)
    logs.put(DAY + name("fl-2"), RECORD * 2000)
    report = register(logs.settings, WINDOW)
    row = logs.rows()[DAY + name()]
    assert (row.status, row.format_id, row.read_path) == ("readable", "v2-default", str(path))
    assert row.detail == "without a header: inferred, v2-default, 3 of 3 lines"
    assert (row.line_count, row.empty_line_count) == (4, 1)
    whole = 65_536 // len(RECORD)
    assert logs.rows()[DAY + name("fl-2")].detail == f"without a header: inferred, v2-default, {whole} of {whole} lines"
    assert report.problems == (f"2 objects {row.detail} (for example {path})",)
    assert read_lines(logs, next(iter(logs.manifests()))) == 2003


def test_an_export_of_cloudwatch_logs_is_read_without_its_times(logs: Logs) -> None:
    path = logs.put(DAY + name(), b"".join(b"2026-11-20T12:0%d:00.000Z " % number + RECORD for number in range(3)))
    report = register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert (row.status, row.format_id, row.line_count) == ("readable", "v2-default", 3)
    assert (row.unpacked_bytes, row.size) == (3 * len(RECORD), path.stat().st_size)
    assert row.detail == (
        "read from a plain copy: the time that CloudWatch Logs put before each line is left out of it, and of its "
        "bytes; without a header: inferred, v2-default, 3 of 3 lines"
    )
    assert gzip.decompress(Path(str(row.read_path)).read_bytes()) == RECORD * 3
    assert report.problems == (f"1 object {row.detail} (for example {path})",)
    (flow_log,) = plan(logs.settings, WINDOW).flow_logs
    (unusual,) = flow_log.unusual
    assert (unusual.wrapping, unusual.how) == ("an export of CloudWatch Logs", "inferred, v2-default, 3 of 3 lines")


SURE = "; without a header: inferred, v2-default, 2 of 2 lines"


@pytest.mark.parametrize(
    ("text", "extension", "detail"),
    [
        (subscription(ONE, TWO), "json", f"it is JSON of a subscription: 2 messages in 1 document{SURE}"),
        (firehose(ONE, TWO), "json", f"it is JSON of Firehose: 2 messages in 2 documents{SURE}"),
        (console(ONE, TWO), "csv", f"it is CSV of CloudWatch's console: 2 messages{SURE}"),
        (comma(ONE, TWO), "csv", "it is CSV: 2 rows under a header"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_wrapped_records_are_read_from_a_copy_of_plain_lines(
    logs: Logs, text: str, extension: str, detail: str, packed: bool
) -> None:
    lines = 2 if detail.endswith(SURE) else 3
    key = DAY + name(extension=f"{extension}.gz" if packed else extension)
    path = logs.put(key, text.encode(), packed=packed)
    report = register(logs.settings, WINDOW)
    row = logs.rows()[key]
    assert (row.status, row.format_id, row.line_count, row.empty_line_count) == ("readable", "v2-default", lines, 0)
    unpacked = "" if packed else "it is plain text, unpacked on the way; "
    assert row.detail == f"read from a plain copy: {unpacked}{detail}"
    assert report.problems == (f"1 object {row.detail} (for example {path})",)
    copy = gzip.decompress(Path(str(row.read_path)).read_bytes()).decode()
    assert copy.splitlines() == [V2_DEFAULT_HEADER, ONE, TWO][-lines:]
    assert (row.line_bytes, row.unpacked_bytes, row.size) == (len(copy) - lines, len(copy), path.stat().st_size)
    assert clear_spool(logs.settings, WINDOW) == ensure_spooled(logs.settings, WINDOW) == 1
    assert gzip.decompress(Path(str(row.read_path)).read_bytes()).decode() == copy
    (found,) = plan(logs.settings, WINDOW).flow_logs[0].unusual
    assert found.lines == tuple(copy.splitlines())
    assert f"it is {found.wrapping}: " in detail
    assert found.how == (SURE.partition(": ")[2] if lines == 2 else "named in its header")


def test_objects_that_were_wrapped_alike_have_one_line_whatever_they_hold(logs: Logs) -> None:
    logs.put(DAY + name("fl-1"), subscription(ONE).encode())
    logs.put(DAY + name("fl-2"), (subscription(ONE, TWO) + subscription(TWO)).encode())
    logs.put(DAY + name("fl-3"), comma("x").encode())
    logs.put(DAY + name("fl-4"), comma(ONE, "x y", TWO, "x y z").encode())
    alike = register(logs.settings, WINDOW).problems
    assert [problem.partition(":")[0] for problem in alike] == ["2 objects read from a plain copy"] * 2
    assert "(the first is row 2: 1 cell instead of 14) (for example " in alike[0]
    assert "it is JSON of a subscription: 1 message in 1 document; " in alike[1]


def test_firehose_may_deliver_plain_lines_which_need_no_copy(logs: Logs) -> None:
    path = logs.put(DAY + name(), f"{ONE}\n{TWO}\n".encode())
    register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert (row.read_path, row.detail) == (str(path), SURE.removeprefix("; "))


def test_what_is_wrapped_in_something_broken_is_recorded_with_its_reason(logs: Logs) -> None:
    logs.put(DAY + name("fl-cut"), subscription(ONE, TWO)[:-5].encode())
    logs.put(DAY + name("fl-foreign"), b'{"detail": {"eventName": "RunInstances"}}')
    logs.put(DAY + name("fl-control"), CONTROL.encode())
    logs.put(DAY + name("fl-custom"), subscription("eni-1 10.0.0.1", "eni-1 10.0.0.2").encode())
    register(logs.settings, WINDOW)
    rows = {str(row.flow_log_id): row for row in logs.rows().values()}
    details = {flow_log: (row.reason, str(row.detail)) for flow_log, row in rows.items()}
    assert details.pop("fl-cut")[0] == "broken_wrapping"
    assert details.pop("fl-custom")[1].startswith("it starts with: eni-1 10.0.0.1 (0 of 2 lines are records")
    assert details == {
        "fl-foreign": ("broken_wrapping", "document 1 is neither of a subscription nor of Firehose"),
        "fl-control": ("empty", "it is JSON of a subscription: 0 messages in 1 document, 1 of them CONTROL_MESSAGE"),
    }
    planned = {flow_log.flow_log_id: flow_log for flow_log in plan(logs.settings, WINDOW).flow_logs}
    for flow_log, reason in {"fl-cut": "broken_wrapping", "fl-control": "empty", "fl-custom": "no_header"}.items():
        assert planned[flow_log].problems[0].startswith(f"1 object not read: {reason}, ")
    (unread,) = planned["fl-custom"].unusual
    assert (unread.wrapping, unread.lines[0], unread.format) == ("JSON of a subscription", "eni-1 10.0.0.1", None)
    declared = logs.with_source(format="interface-id srcaddr")
    register(declared, WINDOW)
    (row,) = (row for row in logs.rows().values() if row.flow_log_id == "fl-custom")
    assert (row.status, row.line_count) == ("readable", 2)


def test_a_plan_sees_the_start_of_a_long_subscription(logs: Logs) -> None:
    """One that neither what is packed nor what is unpacked of the first 64 KiB holds whole."""
    logs.put(DAY + name("fl-1"), subscription(*[ONE] * 8_000).encode())
    logs.put(DAY + name("fl-2", extension="json"), subscription(*[ONE] * 8_000).encode(), packed=False)
    for flow_log in plan(logs.settings, WINDOW).flow_logs:
        (found,) = flow_log.unusual
        assert (found.wrapping, found.lines) == ("JSON of a subscription", (ONE, ONE, ONE))
        assert found.how.startswith("inferred, v2-default, ")
        assert flow_log.problems == ()


@pytest.mark.parametrize("other", [b"2 123456789012 eni-1 - - - - - - - 1 2 - NODATA\n", RECORD[:-4] + b"\n", b"x\n"])
def test_nothing_is_inferred_where_one_line_differs(logs: Logs, other: bytes) -> None:
    logs.put(DAY + name(), RECORD * 2 + other)
    report = register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert (row.status, row.reason) == ("unreadable", "no_header")
    assert str(row.detail).startswith("it starts with: 2 123456789012 eni-0a")
    assert "(2 of 3 lines are records of v2-default, line 3 has " in str(row.detail)
    assert str(row.detail).endswith("; set sources[].format)")
    assert "if it has none, set sources[].format" in report.problems[0]


def test_a_format_that_is_declared_is_for_objects_without_a_header(logs: Logs) -> None:
    settings = logs.with_source(format="srcaddr dstaddr packets")
    logs.put(DAY + name("fl-header"))
    logs.put(DAY + name("fl-none"), b"x\n10.0.0.1 10.0.0.2 5\n")
    logs.put(DAY + name("fl-other"), b'{"message": "x"}\n')
    report = register(settings, WINDOW)
    rows = {row.flow_log_id: row for row in logs.rows().values()}
    declared = rows["fl-none"]
    assert (declared.status, declared.detail, declared.line_count) == ("readable", None, 2)
    assert declared.format_id in report.new_formats
    assert rows["fl-header"].format_id not in (None, declared.format_id)
    assert rows["fl-other"].reason == "no_header"
    assert "none of its first lines has the 3 fields of sources[].format" in str(rows["fl-other"].detail)


def test_a_declared_format_stands_above_what_would_be_inferred(logs: Logs) -> None:
    logs.put(DAY + name(), RECORD)
    swapped = V2_DEFAULT_HEADER.replace("srcaddr dstaddr", "dstaddr srcaddr")
    register(logs.with_source(format=swapped), WINDOW)
    (row,) = logs.rows().values()
    assert row.format_id not in (None, "v2-default")


@pytest.mark.parametrize(("odd", "packed", "is_link"), [("a*b", True, True), ("ab", False, False)])
def test_an_inferred_format_changes_nothing_of_how_an_object_is_spooled(
    logs: Logs, odd: str, packed: bool, is_link: bool
) -> None:
    logs.put(f"{odd}/{DAY}{name()}", RECORD, packed=packed)
    register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert Path(str(row.read_path)).is_symlink() is is_link
    before = gzip.decompress(Path(str(row.read_path)).read_bytes())
    assert clear_spool(logs.settings, WINDOW) == 1
    assert ensure_spooled(logs.settings, WINDOW) == 1
    assert Path(str(row.read_path)).is_symlink() is is_link
    assert gzip.decompress(Path(str(row.read_path)).read_bytes()) == before


def test_a_plan_shows_the_first_lines_of_objects_without_a_header(logs: Logs) -> None:
    inferred = logs.put(DAY + name("fl-1"), RECORD * 5)
    unknown = logs.put(DAY + name("fl-2", at="20261120T1210"), b"x\x1b[31m" + b"y" * 300 + b"\n")
    logs.put(DAY + name("fl-2"), RECORD)
    logs.put(DAY + name("fl-3"))
    one, two, three = plan(logs.settings, WINDOW).flow_logs
    line = RECORD.decode().rstrip()
    how = "inferred, v2-default, 5 of 5 lines"
    assert one.unusual == (UnusualText(1, str(inferred), None, (line, line, line), "v2-default", how),)
    (unread,) = two.unusual
    assert (unread.objects, unread.uri, unread.format) == (2, str(unknown), None)
    assert unread.lines == ("x\\x1b[31m" + "y" * 191,)
    assert "line 1 has 1 fields instead of 14; set sources[].format" in unread.how
    assert three.unusual == ()
    (declared, *_) = plan(logs.with_source(format="v2-default"), WINDOW).flow_logs
    assert [found.how for found in declared.unusual] == ["declared, v2-default, by sources[].format"]


def test_an_object_that_was_unpacked_and_removed_belongs_to_the_hour_of_its_new_form(logs: Logs) -> None:
    """Or its records would count in both hours."""
    packed = logs.put(DAY + name(), arrived="2026-11-20T11:10")
    first = Window.parse("2026-11-20T11", HOUR)
    register(logs.settings, first)
    unpacked = logs.put(DAY + name(extension="txt"), TEXT, packed=False, arrived=f"{HOUR}:10")
    register(logs.settings, WINDOW)
    assert [row.reason for row in logs.rows().values()] == ["duplicate"]
    packed.unlink()
    report = register(logs.settings, WINDOW)
    assert (report.overtaken, str(report.window)) == (("2026-11-20T11",), "2026-11-20T11/2026-11-20T13")
    assert logs.rows("2026-11-20T11") == {}
    assert {key: row.status for key, row in logs.rows().items()} == {DAY + unpacked.name: "readable"}
    # Nothing is gone: the first hour alone can be run again.
    assert register(logs.settings, first).missing == 0


def test_what_changed_since_it_was_registered_cannot_be_spooled_again(logs: Logs) -> None:
    logs.put(f"a*/{DAY}{name()}")
    register(logs.settings, WINDOW)
    clear_spool(logs.settings, WINDOW)
    logs.put(f"a*/{DAY}{name()}", TEXT * 2)
    with pytest.raises(SpoolError, match=f"overwritten after it was registered: run {HOUR} again"):
        ensure_spooled(logs.settings, WINDOW)


def test_parquet_objects_are_known_by_their_footer_and_read_to_their_end(logs: Logs) -> None:
    columns = {"version": [2, 2], "srcaddr": ["10.0.0.1", "-"], "next_big_thing": [1, 2]}
    full = logs.put(DAY + name(extension="parquet"), parquet_bytes(**columns), packed=False)
    none = logs.put(
        DAY + name("fl-2", extension="parquet"), parquet_bytes(srcaddr=pa.array([], pa.string())), packed=False
    )
    logs.put(DAY + name("fl-3", extension="parquet"), parquet_bytes(colour=["red"]), packed=False)
    whole = parquet_bytes(srcaddr=["10.0.0.1"] * 100)
    logs.put(DAY + name("fl-4", extension="parquet"), whole[: len(whole) // 2], packed=False)
    logs.put(DAY + name("fl-5", extension="parquet"), b"PAR1" + b"\xff" * 100 + b"\x64\0\0\0PAR1", packed=False)
    logs.put(DAY + name("fl-6", extension="parquet"), b"PAR1" + b"\xff\xff\xff\x7fPAR1", packed=False)
    torn = bytearray(parquet_bytes(srcaddr=[f"10.0.{index}.1" for index in range(200)]))
    torn[100:200] = b"\xff" * 100
    logs.put(DAY + name("fl-7", extension="parquet"), bytes(torn), packed=False)
    report = register(logs.settings, WINDOW)
    rows = {row.flow_log_id: row for row in logs.rows().values()}
    assert (rows["fl-1"].line_count, rows["fl-1"].line_bytes, rows["fl-1"].unknown_fields) == (
        2,
        None,
        ("next_big_thing",),
    )
    assert (rows["fl-2"].status, rows["fl-2"].line_count) == ("readable", 0)
    assert [rows[f"fl-{index}"].reason for index in (3, 4, 5, 6, 7)] == [
        "not_a_flow_log",
        "broken_parquet",
        "broken_parquet",
        "broken_parquet",
        "broken_parquet",
    ]
    assert logs.manifests() == {f"parquet_records/arrival_hour={HOUR}": sorted([str(full), str(none)])}
    assert report.unknown_fields == ("next_big_thing",)
    assert "unknown fields, kept aside: next_big_thing (1 object)" in report.problems


def test_unknown_fields_of_text_are_reported(logs: Logs) -> None:
    logs.put(DAY + name(), b"srcaddr dstaddr quantum-flags\n")
    report = register(logs.settings, WINDOW)
    (row,) = logs.rows().values()
    assert row.unknown_fields == ("quantum-flags",)
    assert report.unknown_fields == ("quantum-flags",)


def test_unknown_fields_are_told_once_and_whenever_their_first_object_is_run_again(logs: Logs) -> None:
    told = "unknown fields, kept aside: quantum-flags (1 object)"
    hours = [Window.parse(f"2026-11-20T{hour}", f"2026-11-20T{hour + 1}") for hour in (11, 12, 13)]
    for hour in (11, 12, 13):
        text = f"srcaddr dstaddr start quantum-flags\n10.0.0.1 10.0.0.2 {hour} -\n"
        logs.put(DAY + name(at=f"20261120T{hour}05"), text.encode(), arrived=f"2026-11-20T{hour}:10")
    logs.put(DAY + name("fl-2", at="20261120T1305"), b"srcaddr quantum-flags\n", arrived="2026-11-20T13:10")

    problems = [register(logs.settings, window).problems for window in (*hours, *hours)]

    assert [told in found for found in problems] == [True, False, True, True, False, True]


def test_an_hour_in_which_nothing_came_has_an_empty_ledger_of_the_same_schema(logs: Logs) -> None:
    logs.put(DAY + name())
    register(logs.settings, Window.parse("2026-11-20T11", "2026-11-20T13"))
    folder = logs.settings.lake.raw / "objects"
    schemas = []
    for hour in ("2026-11-20T11", HOUR):
        with (folder / f"arrival_hour={hour}" / "objects.parquet").open("rb") as file:
            schemas.append(parquet.read_schema(file).remove_metadata())
    assert schemas == [objects_schema(), objects_schema()]
    assert logs.rows("2026-11-20T11") == {}
    described = duckdb.execute(
        "select column_name, column_type from (describe select * from read_parquet(?))",
        [str(folder / "arrival_hour=2026-11-20T11" / "objects.parquet")],
    ).fetchall()
    assert [column for column, _ in described] == list(ObjectRow.__dataclass_fields__)
    types = dict(described)
    assert (types["size"], types["last_modified"], types["named_at"], types["unknown_fields"]) == (
        "BIGINT",
        "TIMESTAMP",
        "TIMESTAMP",
        "VARCHAR[]",
    )


def test_formats_can_be_read_before_the_first_object_came(logs: Logs) -> None:
    logs.root.joinpath("AWSLogs").mkdir()
    report = register(logs.settings, WINDOW)
    (formats,) = duckdb.execute(
        "select list(distinct format_id order by format_id) from read_parquet(?)",
        [str(logs.settings.lake.raw / "formats" / "*.parquet")],
    ).fetchone() or ([],)
    assert formats == ["tgw-default", "v2-default"]
    assert (report.new_formats, report.problems) == ((), ())


def test_a_source_without_logs_yet_is_said(logs: Logs) -> None:
    report = register(logs.settings, WINDOW)
    assert report.problems == (f"sources[0].uri (logs): there is no folder AWSLogs in {logs.root} yet",)


def test_registering_again_changes_nothing(logs: Logs) -> None:
    logs.put(DAY + name())
    logs.put(DAY + name("fl-2"), b"dstaddr srcaddr\n")
    logs.put(f"{DAY}notes.txt")
    register(logs.settings, WINDOW)
    before = files(logs.settings.lake.path)
    assert register(logs.settings, WINDOW).new_formats == ()
    assert files(logs.settings.lake.path) == before


def test_registering_replaces_the_hours_of_the_window_and_no_other(logs: Logs) -> None:
    logs.put(DAY + name(at="20261120T1105"), b"srcaddr dstport\n", arrived="2026-11-20T11:10")
    broken = logs.put(DAY + name(), b"srcaddr\n")
    register(logs.settings, Window.parse("2026-11-20T11", "2026-11-20T13"))
    earlier = files(logs.settings.lake.raw / "objects" / "arrival_hour=2026-11-20T11")
    manifests = logs.manifests()
    assert len(manifests) == 2
    logs.put(DAY + name(), b"dstaddr\n")
    assert broken.exists()
    register(logs.settings, WINDOW)
    changed = logs.manifests()
    assert len(changed) == 2
    assert len(set(changed) & set(manifests)) == 1
    assert files(logs.settings.lake.raw / "objects" / "arrival_hour=2026-11-20T11") == earlier


def test_objects_that_are_gone_stop_the_run_before_anything_changes(logs: Logs) -> None:
    gone = logs.put(DAY + name())
    logs.put(DAY + name("fl-2"))
    register(logs.settings, WINDOW)
    before = files(logs.settings.lake.path)
    gone.unlink()
    logs.put(DAY + name("fl-3"))
    with pytest.raises(RegisterError, match=f"1 object registered earlier is gone, for example {gone}: restore"):
        register(logs.settings, WINDOW)
    assert files(logs.settings.lake.path) == before
    report = register(logs.settings, WINDOW, accept_missing=True)
    assert report.missing == 1
    assert sorted(row.flow_log_id or "" for row in logs.rows().values()) == ["fl-2", "fl-3"]
    assert register(logs.settings, WINDOW).missing == 0


def test_only_objects_that_were_read_and_are_no_more_as_they_were_make_an_hour_a_corrected_one(logs: Logs) -> None:
    removed = logs.put(DAY + name())
    broken = logs.put(DAY + name("fl-2"), b"")
    register(logs.settings, WINDOW)
    with connect(logs.settings, read_only=False) as connection:
        ensure_tables(logs.settings, connection)

    def corrected() -> list[tuple[Any, ...]]:
        with connect(logs.settings, read_only=False) as connection:
            rows = connection.execute(
                "select arrival_hour, event_hour, is_correction from lake.ops.unpublished_hours"
            ).fetchall()
            connection.execute("delete from lake.ops.unpublished_hours")
            return rows

    logs.put(DAY + name("fl-3"))
    broken.unlink()
    register(logs.settings, WINDOW)
    assert corrected() == [], "what is new, or never was read, corrects nothing"
    logs.put(DAY + name("fl-3"), TEXT * 2)
    register(logs.settings, WINDOW)
    assert corrected() == [(HOUR, None, True)]
    removed.unlink()
    register(logs.settings, WINDOW, accept_missing=True)
    assert corrected() == [(HOUR, None, True)]
    logs.put(DAY + name("fl-3"), arrived="2026-11-20T13:10")
    register(logs.settings, LATER)
    assert corrected() == [(HOUR, None, True)]


def test_an_object_that_arrived_again_in_another_hour_is_not_gone(logs: Logs) -> None:
    logs.put(DAY + name())
    register(logs.settings, WINDOW)
    logs.put(DAY + name(), arrived="2026-11-20T15:00")
    register(logs.settings, WINDOW)
    assert logs.rows() == {}


def test_an_unreadable_object_may_be_removed(logs: Logs) -> None:
    path = logs.put(f"{DAY}notes.txt")
    register(logs.settings, WINDOW)
    path.unlink()
    register(logs.settings, WINDOW)
    assert logs.rows() == {}


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen between listing and reading."""

    def arrange(event: Callable[[], object]) -> None:
        find = register_module._find

        def find_then(*arguments: Any) -> Any:
            found = find(*arguments)
            event()
            return found

        monkeypatch.setattr(register_module, "_find", find_then)

    return arrange


def test_an_object_that_vanishes_between_listing_and_reading_is_recorded(
    logs: Logs, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    path = logs.put(DAY + name())
    meanwhile(path.unlink)
    register(logs.settings, WINDOW)
    assert [row.reason for row in logs.rows().values()] == ["vanished"]


def test_an_object_that_changes_between_listing_and_reading_is_recorded(
    logs: Logs, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    logs.put(DAY + name())
    meanwhile(lambda: logs.put(DAY + name(), TEXT * 2))
    register(logs.settings, WINDOW)
    assert [row.reason for row in logs.rows().values()] == ["changed"]


def test_an_object_that_is_written_while_it_is_read_is_recorded(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    path = logs.put(DAY + name())

    def slow(opened: Path) -> TextFacts:
        facts = inspect_text(opened)
        path.write_bytes(gzip.compress(TEXT * 2))
        return facts

    monkeypatch.setattr(register_module, "inspect_text", slow)
    register(logs.settings, WINDOW)
    assert [(row.status, row.reason) for row in logs.rows().values()] == [("unreadable", "changed")]
    assert logs.manifests() == {}


def test_a_registered_object_that_vanishes_while_it_is_read_is_guarded_too(
    logs: Logs, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    path = logs.put(DAY + name())
    register(logs.settings, WINDOW)
    before = files(logs.settings.lake.path)
    meanwhile(path.unlink)
    with pytest.raises(RegisterError, match="is gone"):
        register(logs.settings, WINDOW)
    assert files(logs.settings.lake.path) == before


@pytest.mark.parametrize("writer", ["write_format", "write_manifests", "write_objects"])
def test_a_rerun_heals_a_run_that_was_killed_while_it_wrote(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    window = Window.parse("2026-11-20T11", "2026-11-20T13")
    logs.put(DAY + name(), b"srcaddr\n")
    register(logs.settings, window)
    logs.put(DAY + name(), b"dstaddr\n")
    logs.put(DAY + name("fl-2"), arrived="2026-11-20T11:30")
    clean = replace(logs.settings, lake=LakeSettings(path=tmp_path / "clean"))
    register(clean, window)

    def dying(*arguments: Any) -> None:
        original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        original = getattr(register_module, writer)
        patch.setattr(register_module, writer, dying)
        with pytest.raises(KeyboardInterrupt):
            register(logs.settings, window)
    (logs.settings.lake.raw / "objects" / f"arrival_hour={HOUR}" / ".objects.parquet.tmp").write_bytes(b"half")
    register(logs.settings, window)
    healed, expected = files(logs.settings.lake.raw), files(clean.lake.raw)
    assert set(healed) - set(expected) <= {path for path in healed if path.startswith("formats/")}
    # A flow log's contract remembers the format of an object that was overwritten.
    lasting = {path for path in expected if not path.startswith("contracts/")}
    assert {path: healed[path] for path in lasting} == {path: expected[path] for path in lasting}


def test_links_are_followed_only_inside_the_source(logs: Logs, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / name("fl-9")
    outside.parent.mkdir()
    outside.write_bytes(gzip.compress(TEXT))
    inside = logs.put(f"elsewhere/{name('fl-2')}")
    day = logs.root / DAY
    day.mkdir(parents=True)
    (day / name("fl-2")).symlink_to(inside)
    (day / name("fl-9")).symlink_to(outside)
    (day / name("fl-8")).symlink_to(tmp_path / "nowhere")
    (day / "loop").symlink_to(day)
    (logs.root / "AWSLogs" / "999999999999").symlink_to(outside.parent)
    hours = [f"2026-11-20T{hour:02}" for hour in range(24)]
    now = datetime(2026, 11, 20, 12, 30, tzinfo=UTC).timestamp()
    for link in day.iterdir():
        os.utime(link, (now, now), follow_symlinks=False)
    os.utime(outside, (now, now))
    register(logs.settings, Window.parse(hours[0], "2026-11-21T00"))
    reasons = {row.flow_log_id or key: row.reason for hour in hours for key, row in logs.rows(hour).items()}
    assert reasons == {"fl-2": None, "fl-9": "outside_source", "fl-8": "outside_source"}


def test_a_pipe_is_not_waited_for(logs: Logs) -> None:
    folder = logs.root / DAY
    folder.mkdir(parents=True)
    os.mkfifo(folder / name())
    moment = datetime(2026, 11, 20, 12, 30, tzinfo=UTC).timestamp()
    os.utime(folder / name(), (moment, moment))
    started = time.monotonic()
    register(logs.settings, WINDOW)
    assert [row.reason for row in logs.rows().values()] == ["not_a_flow_log"]
    assert time.monotonic() - started < 5


def test_listing_reads_only_the_days_of_the_window(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of an hour does not grow with history: neither other days, nor other services, are opened."""
    for month in range(1, 12):
        for day in range(1, 29):
            folder = DAY.replace("11/20", f"{month:02}/{day:02}")
            logs.put(folder + name(at=f"2026{month:02}{day:02}T1205"))
    logs.put(DAY.replace("vpcflowlogs/", "CloudTrail/") + "trail.json.gz")
    scanned: list[str] = []
    scan = LocalStore._scan

    def watched(self: LocalStore, prefix: str) -> list[os.DirEntry[str]]:
        scanned.append(prefix.removeprefix(f"{logs.root}/".lstrip("/")))
        return scan(self, prefix)

    monkeypatch.setattr(LocalStore, "_scan", watched)
    register(logs.settings, WINDOW)
    below = [prefix for prefix in scanned if prefix.count("/") > 4]
    assert sorted(below) == [DAY.replace("11/20", "11/19"), DAY]
    assert len(scanned) <= 6


def test_a_source_with_too_many_folders_before_awslogs_is_refused(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PREFIX_BUDGET", 10)
    for index in range(20):
        (logs.root / f"uploads-{index}").mkdir()
    with pytest.raises(SourceError, match=r"sources\[0\]\.uri .*too many folders.* give the folder that holds AWSLogs"):
        register(logs.settings, WINDOW)


def test_a_missing_folder_names_its_key(logs: Logs) -> None:
    settings = logs.with_source(uri=str(logs.root / "nowhere"))
    with pytest.raises(SourceError, match=r"^sources\[0\]\.uri \(logs\): the folder .*nowhere does not exist: create"):
        register(settings, WINDOW)
    (logs.root / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="is not a folder"):
        register(logs.with_source(uri=str(logs.root / "file")), WINDOW)
    assert not settings.lake.path.exists()


def test_sources_that_overlap_are_refused(logs: Logs) -> None:
    logs.put(DAY + name())
    first = logs.settings.sources[0]
    second = replace(first, name="again", uri=f"{first.uri}/AWSLogs")
    with pytest.raises(SourceError, match=r"sources\[1\]\.uri \(again\) and sources\[0\]\.uri \(logs\) both hold"):
        register(replace(logs.settings, sources=(first, second)), WINDOW)


def test_an_unwritable_lake_is_one_line(logs: Logs) -> None:
    logs.put(DAY + name())
    logs.settings.lake.path.write_bytes(b"a file where the lake should be")
    with pytest.raises(RegisterError, match="cannot read or write"):
        register(logs.settings, WINDOW)


def test_what_was_done_is_logged(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    logs.put(DAY + name())
    logs.put(DAY + name("fl-2"), b"", packed=False)
    seen: list[tuple[int, int]] = []
    with caplog.at_level(logging.INFO, logger="flowlake"):
        register(logs.settings, WINDOW, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert "2 objects (1 unreadable), 4 lines" in caplog.text
    assert "1 object not read: empty" in caplog.text


@pytest.fixture
def untouched(logs: Logs) -> Iterator[Logs]:
    yield logs
    assert not logs.settings.lake.path.exists()


def test_a_plan_says_what_a_window_would_read_and_writes_nothing(untouched: Logs) -> None:
    logs = untouched
    sizes = [logs.put(DAY + name(at=f"20261120T12{minute:02}")).stat().st_size for minute in (5, 10)]
    logs.put(f"{DAY}12/{name('fl-2')}", TEXT + b"\0", packed=False)
    logs.put(DAY + name("fl-3", extension="parquet"), parquet_bytes(srcaddr=["a"], novelty=["b"]), packed=False)
    logs.put(f"{DAY}notes.txt")
    found = plan(logs.settings, WINDOW)
    by_id = {item.flow_log_id: item for item in found.flow_logs}
    assert list(by_id) == ["fl-1", "fl-2", "fl-3"]
    one = by_id["fl-1"]
    assert (one.source, one.account_id, one.region, one.layouts) == ("logs", ACCOUNT, REGION, ("plain",))
    assert (one.objects, one.bytes, one.headers_read, len(one.formats)) == (2, sum(sizes), 2, 1)
    assert (one.first_named_at.minute, one.last_named_at.minute) == (5, 10)
    assert by_id["fl-2"].problems[0].startswith("1 object not read: not_gzip")
    assert (by_id["fl-3"].formats, by_id["fl-3"].unknown_fields) == (("parquet",), ("novelty",))
    assert found.objects == 5
    assert found.problems[0].startswith("1 object not read: not_a_flow_log")


def test_a_plan_of_many_objects_reads_some_headers_of_each_flow_log(
    untouched: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_module, "HEADERS_IN_FULL", 5)
    for minute in range(10):
        untouched.put(DAY + name(at=f"20261120T12{minute:02}"))
    (flow_log,) = plan(untouched.settings, WINDOW).flow_logs
    assert (flow_log.objects, flow_log.headers_read) == (10, 4)


EARLIER = Window.parse("2026-11-20T11", HOUR)
LATER = Window.parse("2026-11-20T13", "2026-11-20T14")


def recorded(settings: Settings) -> list[tuple[Any, ...]]:
    with connect(settings) as connection:
        return connection.execute(
            "select arrival_hour, objects, example, step from lake.ops.overtaken_hours order by 1"
        ).fetchall()


def test_an_overwritten_object_leaves_the_hour_in_which_it_was_registered(logs: Logs, tmp_path: Path) -> None:
    logs.put(DAY + name(at="20261120T1110"), arrived="2026-11-20T11:20")
    moved = logs.put(DAY + name("fl-2", at="20261120T1110"), arrived="2026-11-20T11:20")
    register(logs.settings, EARLIER)
    logs.put(DAY + name("fl-2", at="20261120T1110"), TEXT * 2, arrived="2026-11-20T13:20")
    report = register(logs.settings, LATER)
    assert (report.window, report.overtaken) == (Window(EARLIER.start, LATER.end), ("2026-11-20T11",))
    assert report.problems == (
        f"1 object of 2026-11-20T11 overwritten since, for example {moved}: the hour is run again with {report.window}",
    )
    assert recorded(logs.settings) == [("2026-11-20T11", 1, str(moved), "register")]
    clean = replace(logs.settings, lake=LakeSettings(path=tmp_path / "clean"))
    assert register(clean, report.window).overtaken == ()
    assert files(logs.settings.lake.raw) == files(clean.lake.raw)
    assert register(logs.settings, LATER).overtaken == (), "what was put right is not found again"


def test_an_object_that_is_overwritten_again_leaves_every_hour_that_held_it(logs: Logs) -> None:
    for hour, window in (("11", EARLIER), ("12", WINDOW)):
        logs.put(DAY + name(at="20261120T1110"), arrived=f"2026-11-20T{hour}:20")
        # As if the second registration had not looked back.
        logs.put(DAY + name("fl-2", at=f"20261120T{hour}10"), arrived=f"2026-11-20T{hour}:20")
        write_objects(logs.settings, f"2026-11-20T{hour}", inspected(logs, window))
    logs.put(DAY + name(at="20261120T1110"), arrived="2026-11-20T13:20")
    report = register(logs.settings, LATER)
    assert report.overtaken == ("2026-11-20T11", "2026-11-20T12")
    assert [len(logs.rows(f"2026-11-20T{hour}")) for hour in (11, 12, 13)] == [1, 1, 1]


def inspected(logs: Logs, window: Window) -> list[ObjectRow]:
    """What a registration of a window in an empty lake finds."""
    settings = replace(logs.settings, lake=LakeSettings(path=logs.root.with_name(f"lake-{window.start:%H}")))
    register(settings, window)
    return [row for hour in window.hours for row in read_objects(settings, hour) or ()]


def test_an_hour_from_which_an_object_has_moved_on_is_recorded_when_it_runs_again(logs: Logs) -> None:
    logs.put(DAY + name())
    register(logs.settings, WINDOW)
    moved = logs.put(DAY + name(), arrived="2026-11-20T15:00")
    report = register(logs.settings, WINDOW)
    assert (report.window, report.overtaken, report.missing) == (WINDOW, (HOUR,), 0)
    assert recorded(logs.settings) == [(HOUR, 1, str(moved), "register")]
    assert logs.rows() == {}


def test_what_was_overwritten_is_recorded_before_the_raw_layer_changes(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.put(DAY + name())
    register(logs.settings, WINDOW)
    before = files(logs.settings.lake.raw)
    logs.put(DAY + name(), arrived="2026-11-20T13:10")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(register_module, "write_contents", killed)
    with pytest.raises(KeyboardInterrupt):
        register(logs.settings, LATER)
    assert files(logs.settings.lake.raw) == before
    assert [hour for hour, *_ in recorded(logs.settings)] == [HOUR]


def test_arrival_by_name_keeps_its_hour_and_reads_what_stands_there_now(logs: Logs) -> None:
    settings = logs.with_source(arrival=Arrival.OBJECT_NAME)
    logs.put(DAY + name())
    register(settings, WINDOW)
    logs.put(DAY + name(), TEXT * 2, arrived="2026-11-21T09:00")
    assert register(settings, LATER).overtaken == ()
    assert not logs.settings.lake.sqlite_catalog.exists()
    assert register(settings, WINDOW).overtaken == ()
    assert [row.unpacked_bytes for row in logs.rows().values()] == [len(TEXT * 2)]


def test_objects_that_can_be_seen_only_after_their_hour_was_run_are_named(logs: Logs) -> None:
    """A replica keeps the time of its original, and so does what `rsync -a` brings."""
    logs.put(DAY + name())
    register(logs.settings, WINDOW)
    late = logs.put(DAY + name("fl-2"), TEXT * 2, arrived=f"{HOUR}:59")
    # Of an hour that was never run, and of one of two days before.
    logs.put(DAY + name("fl-3"), TEXT * 3, arrived="2026-11-20T11:20")
    logs.put(DAY + name("fl-4"), TEXT * 4, arrived="2026-11-18T12:20")
    said = (
        f"1 object of hours before could not be seen when these were registered, for example {late}: flowlake backfill "
        f"--from {HOUR} --to 2026-11-20T13 reads them"
    )
    for _ in range(2):
        report = register(logs.settings, LATER)
        assert (report.window, report.overtaken) == (LATER, ())
        assert report.problems == (said,)
    register(logs.settings, WINDOW)
    assert register(logs.settings, LATER).problems == ()


def test_what_comes_late_of_a_source_that_goes_by_names_is_named(logs: Logs) -> None:
    settings = logs.with_source(arrival=Arrival.OBJECT_NAME)
    logs.put(DAY + name())
    register(settings, WINDOW)
    logs.put(DAY + name("fl-2"), TEXT * 2, arrived="2026-11-20T15:30")
    (problem,) = register(settings, LATER).problems
    assert problem.startswith("1 object of hours before could not be seen")


@pytest.mark.parametrize("reason", [Reason.ACCESS_DENIED, Reason.SEALED, Reason.ARCHIVED])
def test_an_object_that_may_not_be_read_any_more_keeps_its_rows_until_somebody_lets_them_go(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    """Or a replay of last year would empty it, once a lifecycle rule has put its objects into the archive."""
    path = logs.put(DAY + name())
    logs.put(DAY + name("fl-2"), TEXT * 2)
    register(logs.settings, WINDOW)
    before = files(logs.settings.lake.raw)
    inspect = register_module.inspect_text

    def deny(found: Path) -> TextFacts:
        if found == path:
            raise ObjectProblem(reason)
        return inspect(found)

    monkeypatch.setattr(register_module, "inspect_text", deny)
    with pytest.raises(
        RegisterError, match=f"1 object registered earlier may not be read any more, for example {path}"
    ):
        register(logs.settings, WINDOW)
    assert files(logs.settings.lake.raw) == before
    assert register(logs.settings, WINDOW, accept_missing=True).missing == 1
    assert logs.rows()[DAY + name()].reason == reason


def test_looking_for_overwritten_objects_reads_few_hours(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(register_module, "read_uris", lambda _, hour: read.append(hour) or {})
    logs.put(DAY + name(at="20261120T1155"))
    register(logs.settings, WINDOW)
    assert read == ["2026-11-20T10", "2026-11-20T11", HOUR]
    read.clear()
    # A name from long ago does not make the search longer than what is listed.
    logs.put(DAY + name(at="20010101T0000"))
    logs.put(DAY + name(at="00010101T0000"))
    register(logs.settings, WINDOW)
    assert read[0] == "2026-11-19T00"
