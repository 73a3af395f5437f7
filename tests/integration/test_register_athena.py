"""Registering for Athena: what it reads of the raw layer, and that it is what DuckDB reads of the same objects."""

from __future__ import annotations

import gzip
import io
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.inspection import inspect_window
from flowlake.lake import register as register_module
from flowlake.lake.athena import AthenaLake
from flowlake.lake.files import open_files
from flowlake.lake.glue import GlueError, GlueTables
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import ObjectRow
from flowlake.lake.register import register
from flowlake.lake.spool import SpoolError, clear_spool, ensure_spooled, unchanged
from flowlake.lake.windows import Window
from flowlake.settings import Arrival, AthenaSettings, LakeSettings, Settings, Source, Target
from local_athena.server import LocalAthena
from wrapped_logs import ONE, TWO, comma, firehose, subscription

HOUR = "2026-11-20T12"
WINDOW = Window.parse(HOUR, "2026-11-20T13")
ACCOUNT = "123456789012"
DAY = f"AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/2026/11/20/"
HEADER = b"srcaddr dstaddr\n"
FHCRC = 0x02


@dataclass
class Lake:
    """A lake on Athena, and one on DuckDB, over the same bucket."""

    local: LocalAthena
    settings: Settings
    prefix: str

    @property
    def athena(self) -> AthenaLake:
        return AthenaLake(self.settings)

    @property
    def embedded(self) -> Settings:
        lake = LakeSettings(path=self.settings.lake.path.with_name("embedded"))
        return replace(self.settings, lake=lake, target=Target.DUCKDB, athena=None)

    def put(self, key: str, body: bytes) -> str:
        path = f"{self.prefix}/src/{key}"
        self.local.client("s3").put_object(Bucket=self.local.bucket, Key=path, Body=body)
        return f"s3://{self.local.bucket}/{path}"

    def delete(self, uri: str) -> None:
        self.local.client("s3").delete_object(Bucket=self.local.bucket, Key=uri.split("/", 3)[3])

    def rows(self, settings: Settings | None = None, hour: str = HOUR) -> list[ObjectRow]:
        rows = read_objects(settings or self.settings, hour)
        assert rows is not None
        return rows

    def table(self, name: str) -> str:
        return self.athena.table("raw", name)


def name(flow_log: str, at: str = "20261120T1205", extension: str = "gz") -> str:
    return f"{ACCOUNT}_vpcflowlogs_us-east-1_{flow_log}_{at}Z_0a1b2c3d.log.{extension}"


def make_lake(athena: LocalAthena, folder: Path) -> Lake:
    prefix = f"raw{uuid.uuid4().hex[:8]}"
    root = f"s3://{athena.bucket}/{prefix}"
    settings = Settings(
        sources=(Source(name="prod", uri=f"{root}/src", arrival=Arrival.OBJECT_NAME),),
        lake=LakeSettings(path=folder / "work"),
        target=Target.ATHENA,
        athena=AthenaSettings(location=f"{root}/lake", database=prefix, work_group=athena.work_group),
    )
    return Lake(athena, settings, prefix)


@pytest.fixture(scope="module")
def environment(athena: LocalAthena) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in athena.environment.items():
            patch.setenv(variable, value)
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture
def lake(athena: LocalAthena, environment: None, tmp_path: Path) -> Lake:
    return make_lake(athena, tmp_path)


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def member(body: bytes, flags: int = 0) -> bytes:
    """A gzip member; with FHCRC, one whose header is checked, which DuckDB refuses."""
    packed = gzip.compress(body, mtime=0)
    if not flags:
        return packed
    head = packed[:3] + bytes([flags]) + packed[4:10]
    return head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + packed[10:]


TEXTS = {
    "plain": gzip.compress(HEADER + b"10.0.0.1 10.0.0.2\n\n10.0.0.2 10.0.0.1\n"),
    "delimiters": gzip.compress(HEADER + b"a\x01b\x02c\td|e,f;g\n\\N\n\\n\\\\ \\\nNULL\nnull\n"),
    "ends": gzip.compress(HEADER + b"a b\r\nc d\re f\n\r\n\r\r\n\n  \n g h\x0b\x0c\x1c\x1d\x1e\x85 i\x7f j"),
    "bytes": gzip.compress(
        HEADER + bytes(set(range(256)) - set(b"\r\n")) + b"\ncaf\xc3\xa9 \xe2\x86\xbf \xe2\x90\x9e\n"
    ),
    "ascii": gzip.compress(HEADER + bytes(set(range(128)) - set(b"\r\n")) + b"\n\x00\n"),
    "mark": gzip.compress(b"\xef\xbb\xbf" + HEADER + b"a b\n"),
    "quotes": gzip.compress(HEADER + b'"a b\n\'c d\n# e f\n""\n'),
    "members": b"".join(gzip.compress(HEADER * (index == 0) + b"a b\n" * (index % 7 * 3000)) for index in range(60)),
    "checked": member(HEADER + b"a b\n", FHCRC),
    "zeros": gzip.compress(HEADER + b"a b\n") + bytes(512),
    "long": gzip.compress(HEADER + b"x" * (16 * 1024 * 1024 - 2) + b"\nend"),
    "lone": gzip.compress(HEADER[:-1]),
    "twice": gzip.compress(HEADER + b"a b\n" + HEADER),
    "unpacked": HEADER + b"a b\n",
    "zstd": pa.compress(HEADER + b"a b\n", "zstd", asbytes=True),
    "subscription": subscription(HEADER.decode(), f"{ONE}\n{TWO}", "é").encode(),
    "table": gzip.compress(comma(ONE, TWO.replace("123456789012", "1.23457E+11")).encode()),
    # What is not read, and says so alike.
    "cutdocument": gzip.compress(firehose(ONE, TWO)[:-3].encode()),
    "garbage": gzip.compress(HEADER) + b"x",
    "cut": gzip.compress(HEADER)[:-3],
    "sum": gzip.compress(HEADER)[:-8] + bytes(8),
    "nothing": b"",
    "headless": gzip.compress(b"2 123456789012 eni-1\n"),
}
PREFIXES = ["a b", "a%20b", "a+b", "a=b", "ü", "a'b", 'a"b', "a{b,c}", "a*b", "a?b", "a#b", "a:b", "a\\b", "--", ".."]
PREFIXES += ["_h", ".h", "a;b", "a&b", "a@b", "$a", "[a]", "a ", "\u00a0", "x/./y", "a\x1bb", "~", "year=2026"]


def test_athena_reads_the_lines_that_duckdb_reads(lake: Lake) -> None:
    for flow_log, body in TEXTS.items():
        lake.put(DAY + name(f"fl-{flow_log}"), body)
    lake.put(DAY + name("fl-renamed", extension="txt"), gzip.compress(HEADER + b"a b\n"))
    for index, prefix in enumerate(PREFIXES):
        lake.put(f"{prefix}/{DAY}{name(f'fl-{index}')}", gzip.compress(HEADER + f"prefix {index}\n".encode()))
    report = register(lake.settings, WINDOW)
    expected = register(lake.embedded, WINDOW)
    assert (report.readable, report.lines, report.problems) == (expected.readable, expected.lines, expected.problems)
    rows, others = lake.rows(), lake.rows(lake.embedded)
    assert [replace(row, read_path=None) for row in rows] == [replace(row, read_path=None) for row in others]
    assert list(lake.settings.lake.spool.iterdir()) == []
    lines = lake.athena.query(
        'select "$path", to_hex(sha256(to_utf8(line))), length(line), count(*) '
        f"from {lake.table('text_lines')} where arrival_hour = '{HOUR}' and line <> '' group by 1, 2, 3"
    )
    uris = {row.read_path: row.uri for row in rows if row.is_readable}
    assert {path for path, *_ in lines} == uris.keys()
    assert by_uri(lines, uris) == read_by_duckdb(others)
    copied = {uri.rpartition("_fl-")[2].partition("_")[0] for path, uri in uris.items() if path != uri}
    assert {
        "bytes",
        "mark",
        "ends",
        "checked",
        "zeros",
        "unpacked",
        "zstd",
        "renamed",
        "subscription",
        "table",
    } < copied
    assert copied.isdisjoint({"plain", "delimiters", "ascii", "members", "long", str(PREFIXES.index("year=2026"))})


def read_by_duckdb(rows: list[ObjectRow]) -> list[tuple[str, ...]]:
    uris = {row.read_path: row.uri for row in rows if row.is_readable}
    found = duckdb.execute(
        "select read_path, upper(sha256(line)), length(line), count(*) from read_csv(?, columns = {'line': 'varchar'}, "
        "header = false, auto_detect = false, delim = chr(9246), quote = '', escape = '', comment = '', "
        "strict_mode = false, new_line = '\\n', max_line_size = 16777216, buffer_size = 33554432, "
        "compression = 'gzip', filename = 'read_path', hive_partitioning = false) where line is not null group by all",
        [list(uris)],
    ).fetchall()
    return by_uri(((path, *map(str, rest)) for path, *rest in found), uris)


def by_uri(rows: Any, uris: dict[str | None, str]) -> list[tuple[Any, ...]]:
    return sorted(((uris[path], *rest) for path, *rest in rows), key=repr)


RECORDS = {
    "plain": parquet_bytes(pa.table({"srcaddr": ["10.0.0.1", None], "bytes": [1, None], "srcport": [2, 3]})),
    "narrow": parquet_bytes(pa.table({"bytes": pa.array([7, -1], pa.int32()), "srcaddr": ["x", "y"]})),
    "empty": parquet_bytes(pa.table({"srcaddr": pa.array([], pa.string())})),
    "texts": parquet_bytes(pa.table({"bytes": ["12", "-", None, "007"], "srcaddr": ["a", "b", "c", "d"]})),
    "unsigned": parquet_bytes(pa.table({"bytes": pa.array([2**40, 1], pa.uint64()), "srcaddr": ["a", "b"]})),
    "brotli": parquet_bytes(pa.table({"bytes": [1], "srcaddr": ["é\x00\n"]}), compression="brotli"),
    "lz4": parquet_bytes(pa.table({"bytes": [1], "srcaddr": ["a"]}), compression="lz4"),
    "split": parquet_bytes(
        pa.table({"share": [5.5], "srcaddr": ["a"]}),
        use_dictionary=False,
        column_encoding={"share": "BYTE_STREAM_SPLIT"},
    ),
    "second": parquet_bytes(pa.table({"bytes": [5], "srcaddr": ["a"]}), data_page_version="2.0"),
    "novel": parquet_bytes(pa.table({"srcaddr": ["a"], "novelty": pa.array([1], pa.int32())})),
    "other": parquet_bytes(pa.table({"srcaddr": ["b"], "colour": ["red"]})),
    "kinds": parquet_bytes(
        pa.table(
            {
                "srcaddr": ["c"],
                "dstaddr": ["d"],
                "bytes": [1],
                "at_time": [datetime(2026, 1, 2, 3, 4, 5, 678901)],
                "share": [0.1],
                "pair": [[1, 2]],
            }
        )
    ),
    "hostile": parquet_bytes(pa.table({"srcaddr": ["e"], "arrival_hour": ["2020-01-01T00"]})),
}
COLUMNS = ["srcaddr", "dstaddr", "bytes", "srcport", "novelty", "colour", "at_time", "share", "pair"]


def test_athena_reads_the_records_that_duckdb_reads(lake: Lake) -> None:
    for flow_log, body in RECORDS.items():
        lake.put(DAY + name(f"fl-{flow_log}", extension="parquet"), body)
    lake.put(f"a b/{DAY}{name('fl-spaced', extension='parquet')}", RECORDS["narrow"])
    register(lake.settings, WINDOW)
    register(lake.embedded, WINDOW)
    rows, others = lake.rows(), lake.rows(lake.embedded)
    assert [replace(row, read_path=None) for row in rows] == [replace(row, read_path=None) for row in others]
    uris = {row.read_path: row.uri for row in (*rows, *others)}
    texts = ", ".join(f"cast({column} as varchar)" for column in COLUMNS)
    kept = texts.replace(
        "cast(bytes as varchar)", "coalesce(element_at(flowlake_texts, 'bytes'), cast(bytes as varchar))"
    )
    found = lake.athena.query(
        f"select \"$path\", {kept} from {lake.table('parquet_records')} where arrival_hour = '{HOUR}'"
    )
    expected = duckdb.execute(
        f"select read_path, {texts} from read_parquet(?, "
        "union_by_name = true, filename = 'read_path', hive_partitioning = false)",
        [[row.read_path for row in others]],
    ).fetchall()
    assert by_uri(found, uris) == by_uri(expected, uris)
    in_place = {row.flow_log_id for row in rows if row.read_path == row.uri}
    assert in_place == {f"fl-{key}" for key in ("plain", "narrow", "empty", "second", "other")}
    types = GlueTables(lake.settings).columns("parquet_records")
    assert (types["novelty"], types["colour"], types["share"]) == ("string", "string", "string")
    assert "arrival_hour" not in types
    query = f"select flowlake_fields['arrival_hour'] from {lake.table('parquet_records')} where srcaddr = 'e'"
    assert lake.athena.query(query) == [("2020-01-01T00",)]
    # An object that has a known column by another type is read all the same.
    lake.put(
        DAY + name("fl-later", "20261120T1305", "parquet"), parquet_bytes(pa.table({"srcaddr": [1], "colour": [2]}))
    )
    register(lake.settings, Window.parse("2026-11-20T13", "2026-11-20T14"))
    query = f"select srcaddr, colour from {lake.table('parquet_records')} where colour is not null order by 1"
    assert lake.athena.query(query) == [("1", "2"), ("b", "red")]


def test_the_ledgers_are_tables_with_duckdbs_types(lake: Lake) -> None:
    register(lake.settings, WINDOW)
    lake.put(DAY + name("fl-1"), gzip.compress(b"srcaddr dstaddr quantum-flags new\n"))
    lake.put(f"{DAY}12/notes.txt", b"")
    report = register(lake.settings, WINDOW)
    assert len(report.new_formats) == 1
    (other, text) = lake.rows()
    columns = ", ".join(f"typeof({column})" for column in ("size", "last_modified", "unknown_fields", "arrival_hour"))
    found = lake.athena.query(
        f"select uri, read_path, cast(last_modified as varchar), cast(named_at as varchar), line_count, "
        f"json_format(cast(unknown_fields as json)), {columns} from {lake.table('objects')} order by uri"
    )
    types = ("bigint", "timestamp(3)", "array(varchar)", "varchar")
    moments = [f"{row.last_modified.isoformat(' ')}.000" for row in (text, other)]
    assert found == [
        (other.uri, None, moments[1], None, None, "[]", *types),
        (text.uri, text.uri, moments[0], "2026-11-20 12:05:00.000", "1", '["quantum-flags","new"]', *types),
    ]
    fields = lake.athena.query(
        f"select position, field_name, column_name, header from {lake.table('formats')} "
        f"where format_id = '{text.format_id}' order by position"
    )
    header = "srcaddr dstaddr quantum-flags new"
    assert fields == [
        ("1", "srcaddr", "srcaddr", header),
        ("2", "dstaddr", "dstaddr", header),
        ("3", "quantum-flags", None, header),
        ("4", "new", None, header),
    ]
    windows = lake.athena.table("ops", "windows")
    overtaken = lake.athena.table("ops", "overtaken_hours")
    query = f"select count(*), max(updated_at), max(found_at) from {windows} full join {overtaken} using (arrival_hour)"
    assert lake.athena.query(query) == [("0", None, None)]


def partitions(lake: Lake, table: str) -> dict[tuple[str, ...], dict[str, Any]]:
    glue = lake.local.client("glue")
    found = glue.get_partitions(DatabaseName=lake.athena.settings.schema("raw"), TableName=table)["Partitions"]
    return {tuple(one["Values"]): one["StorageDescriptor"] for one in found}


def test_registering_again_replaces_the_hours_of_the_window_and_no_other(lake: Lake) -> None:
    """More hours than Glue takes partitions of in a call, formats that leave them, and columns that come."""
    days = Window.parse("2026-11-20T00", "2026-11-25T00")
    first = lake.put(DAY + name("fl-1", "20261120T0105"), gzip.compress(b"srcaddr\n1\n"))
    other = lake.put(DAY + name("fl-2", "20261120T0205"), gzip.compress(b"srcaddr\n2\n"))
    lake.put(DAY + name("fl-3", "20261120T0205", "parquet"), parquet_bytes(pa.table({"srcaddr": ["3"]})))
    register(lake.settings, days)
    assert len(partitions(lake, "objects")) == 5 * 24
    (v1,) = {format_id for format_id, _ in partitions(lake, "text_lines")}
    assert set(partitions(lake, "text_lines")) == {(v1, "2026-11-20T01"), (v1, "2026-11-20T02")}
    before = {path: open_files(lake.settings).read(path) for path in open_files(lake.settings).list("raw")}
    register(lake.settings, days)
    assert {path: open_files(lake.settings).read(path) for path in open_files(lake.settings).list("raw")} == before
    # The hour 02 changes: another format, a column more, a Parquet object less.
    lake.put(DAY + name("fl-2", "20261120T0205"), gzip.compress(b"dstaddr\n2\n"))
    lake.put(DAY + name("fl-4", "20261120T0305", "parquet"), parquet_bytes(pa.table({"srcaddr": ["4"], "new": [5]})))
    lake.delete(first)
    lake.delete(other.replace(name("fl-2", "20261120T0205"), name("fl-3", "20261120T0205", "parquet")))
    register(lake.settings, Window.parse("2026-11-20T02", "2026-11-20T04"), accept_missing=True)
    (v2,) = {format_id for format_id, _ in partitions(lake, "text_lines")} - {v1}
    assert set(partitions(lake, "text_lines")) == {(v1, "2026-11-20T01"), (v2, "2026-11-20T02")}
    assert set(partitions(lake, "parquet_records")) == {("2026-11-20T03",)}
    manifests = {path for path in open_files(lake.settings).list("raw") if path.endswith("/manifest")}
    assert manifests == {
        f"raw/text_lines/format_id={v1}/arrival_hour=2026-11-20T01/manifest",
        f"raw/text_lines/format_id={v2}/arrival_hour=2026-11-20T02/manifest",
        "raw/parquet_records/arrival_hour=2026-11-20T03/manifest",
    }
    assert lake.athena.query(f"select srcaddr, new from {lake.table('parquet_records')}") == [("4", "5")]
    lines = f"select line from {lake.table('text_lines')} where format_id = '{v2}' order by 1"
    assert lake.athena.query(lines) == [("2",), ("dstaddr",)]


def test_a_run_that_was_killed_while_it_wrote_is_healed_by_the_next(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(DAY + name("fl-1"), gzip.compress(b"srcaddr\n1\n"))
    register(lake.settings, WINDOW)
    lake.put(DAY + name("fl-1"), gzip.compress(b"dstaddr\n1\n"))
    for target in ("write_manifests", "write_objects"):
        with monkeypatch.context() as patch:
            patch.setattr(register_module, target, killed)
            with pytest.raises(KeyboardInterrupt):
                register(lake.settings, WINDOW)
    assert len(partitions(lake, "text_lines")) == 1
    register(lake.settings, WINDOW)
    query = f"select line from {lake.table('text_lines')} where arrival_hour = '{HOUR}' order by 1"
    assert lake.athena.query(query) == [("1",), ("dstaddr",)]
    assert list(lake.settings.lake.spool.iterdir()) == []


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_several_lakes_first_runs_and_several_hours_at_once_do_not_fail_each_other(lake: Lake) -> None:
    for hour in range(4):
        column = pa.table({"srcaddr": ["x"], f"new_{hour}": [hour]})
        lake.put(DAY + name(f"fl-{hour}", f"20261120T0{hour}05", "parquet"), parquet_bytes(column))
    windows = [Window.parse(f"2026-11-20T0{hour}", f"2026-11-20T0{hour + 1}") for hour in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert [report.readable for report in pool.map(lambda window: register(lake.settings, window), windows)] == [
            1
        ] * 4
    news = ", ".join(f"max(new_{hour})" for hour in range(4))
    assert lake.athena.query(f"select {news} from {lake.table('parquet_records')}") == [("0", "1", "2", "3")]


def test_an_object_that_changes_while_athena_reads_is_noticed(lake: Lake) -> None:
    uri = lake.put(DAY + name("fl-1"), gzip.compress(HEADER))
    body = gzip.compress(HEADER + b"\x80\n")
    odd = lake.put(f"a b/{DAY}{name('fl-2')}", body)
    register(lake.settings, WINDOW)
    with unchanged(lake.settings, WINDOW):
        lake.put(f"a b/{DAY}{name('fl-2')}", gzip.compress(HEADER))  # read from its copy
    with (
        pytest.raises(
            SpoolError, match=f"{name('fl-1')}: it was overwritten after it was registered: run {HOUR} again"
        ),
        unchanged(lake.settings, WINDOW),
    ):
        lake.put(DAY + name("fl-1"), gzip.compress(HEADER * 2))
    lake.delete(uri)
    with pytest.raises(SpoolError, match="it was deleted after it was registered"), unchanged(lake.settings, WINDOW):
        pass
    (copy,) = open_files(lake.settings).list("raw/copies")
    assert ensure_spooled(lake.settings, WINDOW) == 0
    before = open_files(lake.settings).read(copy)
    open_files(lake.settings).delete([copy])
    with pytest.raises(SpoolError, match=r"fl-2.*overwritten"):
        ensure_spooled(lake.settings, WINDOW)
    lake.put(odd.partition("/src/")[2], body)
    assert ensure_spooled(lake.settings, WINDOW) == 1
    assert open_files(lake.settings).read(copy) == before
    assert (clear_spool(lake.settings, WINDOW), list(lake.settings.lake.spool.iterdir())) == (0, [])


def test_a_database_of_another_lake_is_refused(lake: Lake) -> None:
    GlueTables(lake.settings).ensure()
    assert lake.settings.athena is not None
    moved = replace(lake.settings, athena=replace(lake.settings.athena, location="s3://elsewhere/lake"))
    with pytest.raises(GlueError, match="belongs to another lake"):
        GlueTables(moved).ensure()


def test_a_plan_says_what_athena_would_read(lake: Lake) -> None:
    lake.put(DAY + name("fl-1"), TEXTS["plain"])
    found = inspect_window(lake.settings, WINDOW)
    assert (found.plan.objects, found.compared_with) == (1, None)
    assert list(open_files(lake.settings).list("raw")) == []
    register(lake.settings, WINDOW)
    later = Window.parse("2026-11-20T15", "2026-11-20T16")
    assert inspect_window(lake.settings, later).compared_with == HOUR
