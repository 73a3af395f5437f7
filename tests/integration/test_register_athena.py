"""Registering for Athena: what it reads of the raw layer, and that it is what DuckDB reads of the same objects."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake.athena import AthenaLake
from flowlake.lake.files import open_files
from flowlake.lake.glue import GlueError, GlueTables, ensure_raw_tables
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import ObjectRow
from flowlake.lake.register import RegisterReport, register
from flowlake.lake.spool import SpoolError, clear_spool, ensure_spooled, unchanged
from flowlake.lake.windows import Window
from flowlake.settings import Arrival, AthenaSettings, LakeSettings, Settings, Source, Target
from local_athena.server import LocalAthena

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
    import zlib

    packed = gzip.compress(body, mtime=0)
    if not flags:
        return packed
    head = packed[:3] + bytes([flags]) + packed[4:10]
    return head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + packed[10:]


TEXTS = {
    "plain": gzip.compress(HEADER + b"10.0.0.1 10.0.0.2\n\n10.0.0.2 10.0.0.1\n"),
    "delimiters": gzip.compress(HEADER + b"a\x01b\x02c\td|e,f;g\n\\N\n\\n\\\\ \\\nNULL\nnull\n"),
    "ends": gzip.compress(HEADER + b"a b\r\nc d\re f\n\r\n\r\r\n\n  \n g h\x0b\x0c\x1c\x1d\x1e\x85 i\x7f j"),
    "bytes": gzip.compress(HEADER + bytes(set(range(256)) - set(b"\r\n")) + b"\ncaf\xc3\xa9 \xe2\x86\xbf \xe2\x90\x9e\n"),
    "ascii": gzip.compress(HEADER + bytes(set(range(128)) - set(b"\r\n")) + b"\n\x00\n"),
    "mark": gzip.compress(b"\xef\xbb\xbf" + HEADER + b"a b\n"),
    "quotes": gzip.compress(HEADER + b"\"a b\n'c d\n# e f\n\"\"\n"),
    "members": b"".join(gzip.compress(HEADER * (index == 0) + b"a b\n" * (index % 7 * 3000)) for index in range(60)),
    "checked": member(HEADER + b"a b\n", FHCRC),
    "zeros": gzip.compress(HEADER + b"a b\n") + bytes(512),
    "long": gzip.compress(HEADER + b"x" * (16 * 1024 * 1024 - 2) + b"\nend"),
    "lone": gzip.compress(HEADER[:-1]),
    "twice": gzip.compress(HEADER + b"a b\n" + HEADER),
    # What is not read, and says so alike.
    "garbage": gzip.compress(HEADER) + b"x",
    "cut": gzip.compress(HEADER)[:-3],
    "sum": gzip.compress(HEADER)[:-8] + bytes(8),
    "unpacked": HEADER,
    "nothing": b"",
    "headless": gzip.compress(b"2 123456789012 eni-1\n"),
}
PREFIXES = ["a b", "a%20b", "a+b", "a=b", "ü", "a'b", 'a"b', "a{b,c}", "a*b", "a?b", "a#b", "a:b", "a\\b", "--", ".."]
PREFIXES += ["_h", ".h", "a;b", "a&b", "a@b", "$a", "[a]", "a ", "\u00a0", "x/./y", "a\x1bb", "~", "year=2026"]


def test_athena_reads_the_lines_that_duckdb_reads(lake: Lake) -> None:
    for flow_log, body in TEXTS.items():
        lake.put(DAY + name(f"fl-{flow_log}"), body)
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
    found = sorted((uris[path], *rest) for path, *rest in lines)
    assert found == read_by_duckdb(others)
    copied = {uri.rpartition("_fl-")[2].partition("_")[0] for path, uri in uris.items() if path != uri}
    assert {"bytes", "mark", "ends", "checked", "zeros"} < copied
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
    return sorted((uris[path], *map(str, rest)) for path, *rest in found)


RECORDS = {
    "plain": parquet_bytes(pa.table({"srcaddr": ["10.0.0.1", None], "bytes": [1, None], "srcport": [2, 3]})),
    "narrow": parquet_bytes(pa.table({"bytes": pa.array([7, -1], pa.int32()), "srcaddr": ["x", "y"]})),
    "empty": parquet_bytes(pa.table({"srcaddr": pa.array([], pa.string())})),
    "texts": parquet_bytes(pa.table({"bytes": ["12", "-", None, "007"], "srcaddr": ["a", "b", "c", "d"]})),
    "unsigned": parquet_bytes(pa.table({"bytes": pa.array([2**40, 1], pa.uint64()), "srcaddr": ["a", "b"]})),
    "brotli": parquet_bytes(pa.table({"bytes": [1], "srcaddr": ["é\x00\n"]}), compression="brotli"),
    "lz4": parquet_bytes(pa.table({"bytes": [1], "srcaddr": ["a"]}), compression="lz4"),
    "split": parquet_bytes(
        pa.table({"share": [5.5], "srcaddr": ["a"]}), use_dictionary=False, column_encoding={"share": "BYTE_STREAM_SPLIT"}
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
    found = lake.athena.query(
        f"select \"$path\", {texts} from {lake.table('parquet_records')} where arrival_hour = '{HOUR}'"
    )
    expected = duckdb.execute(
        f"select read_path, {texts.replace('cast(bytes', 'cast(try_cast(bytes as bigint)')} from read_parquet(?, "
        "union_by_name = true, filename = 'read_path', hive_partitioning = false)",
        [[row.read_path for row in others]],
    ).fetchall()
    assert sorted((uris[path], *rest) for path, *rest in found) == sorted((uris[path], *rest) for path, *rest in expected)
    in_place = {row.flow_log_id for row in rows if row.read_path == row.uri}
    assert in_place == {f"fl-{key}" for key in ("plain", "narrow", "empty", "second", "novel", "other", "hostile")}
    types = GlueTables(lake.settings).columns("parquet_records")
    assert (types["novelty"], types["colour"], types["share"]) == ("bigint", "string", "string")
    assert "arrival_hour" not in types
    # An object that has a known column by another type is read all the same.
    lake.put(DAY + name("fl-later", "20261120T1305", "parquet"), parquet_bytes(pa.table({"srcaddr": [1], "colour": [2]})))
    register(lake.settings, Window.parse("2026-11-20T13", "2026-11-20T14"))
    query = f"select srcaddr, colour from {lake.table('parquet_records')} where colour is not null order by 1"
    assert lake.athena.query(query) == [("1", "2"), ("b", "red")]
