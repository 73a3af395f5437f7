"""Text objects of more formats than a statement of Athena holds, of formats that settings name, and of no layout."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.records.fields import FIELDS, FieldType
from flowlake.records.formats import parse_header
from local_athena.server import LocalAthena
from parity.compare import Table, assert_same
from parity.engines import AthenaReader, read_duckdb
from parity.lakes import Lake, make_lake

ACCOUNT = "123456789012"
START = 1795176000
WINDOW = Window.parse("2026-11-20T12", "2026-11-20T13")
ARRIVED = int(datetime(2026, 11, 20, 12, 10, tzinfo=UTC).timestamp())
LINES = "staging.stg_flow_logs__lines"
BUCKET = "parity-formats"

FORMATS = 60
"""Each of all fields, in an order of its own: some nine thousand bytes of SQL."""

DRIFT_HEADER = "version interface-id srcaddr dstaddr srcport bytes start end log-status"
NUMBERS = ("x", "443.0", "1e3", "9e17", "+7", "1_0", "0x1", "1.5", "-1", "٣", "9" * 25, "007", "\t7", "NaN", "true", "")
"""What engines cast to a number each in its own way."""

ODD_LINES = (
    "2 eni-1 10.0.0.1 10.0.0.2 443 1",
    f"2 eni-1 10.0.0.1 10.0.0.2 443 1 {START} {START} OK more",
    "2  eni-1 10.0.0.1 10.0.0.2 443 1 5 OK",
    f"2 eni-1 10.0.0.1 10.0.0.2 70000 1 {START} {START} OK",
    f"2 eni-1 10.0.0.1 10.0.0.2 443 1 {START} {START - 1} OK",
    f"2 eni-1 - - - - {START} {START} NODATA",
    DRIFT_HEADER,
    "   ",
)
"""Lines that are no records, or are some by a hair."""

FIELD_COLUMNS = [field.column for field in FIELDS if field.name not in ("start", "end")]

MARK = "\ufeff"
"""A byte order mark, once it is UTF-8."""

DECLARED = "interface-id srcaddr dstaddr bytes start end action log-status novelty"


def values(port: int) -> Mapping[str, str]:
    """A text for every field, by its name."""
    numbers = {FieldType.INT32, FieldType.INT64}
    texts = {field.name: "7" if field.type in numbers else f"x-{field.name}" for field in FIELDS}
    texts |= dict.fromkeys(("start", "end"), str(START)) | {
        "srcport": str(port),
        "action": "ACCEPT",
        "log-status": "OK",
    }
    return (
        texts | dict.fromkeys(("srcaddr", "pkt-srcaddr"), "10.0.0.1") | dict.fromkeys(("dstaddr", "pkt-dstaddr"), "::1")
    )


def documented(root: str, flow_log: str) -> str:
    name = f"{ACCOUNT}_vpcflowlogs_us-east-1_{flow_log}_20261120T1205Z_0a1b2c3d.log.gz"
    return f"{root}/AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/2026/11/20/{name}"


def objects() -> Iterator[tuple[str, list[str]]]:
    """Keys, and the lines of their objects."""
    order = random.Random(20261120)  # noqa: S311 - a seed, not a secret
    names = [field.name for field in FIELDS]
    for port in range(FORMATS):
        order.shuffle(names)
        texts = values(port)
        lines = [" ".join(names), " ".join(texts[name] for name in names), " ".join("-" for _ in names)]
        yield documented("logs", f"fl-{port:017x}"), lines
    good = f"2 eni-1 10.0.0.1 10.0.0.2 443 1 {START} {START} OK".split(" ")
    drifted = [
        " ".join([*good[:position], text, *good[position + 1 :]]) for position in (0, 4, 5, 6, 7) for text in NUMBERS
    ]
    yield documented("logs", "fl-drift"), [DRIFT_HEADER, *drifted, *ODD_LINES]
    yield documented("logs", "fl-blank"), [f"{DRIFT_HEADER} ", " ".join(good)]
    record = f"eni-2 10.0.0.1 10.0.0.2 9 {START} {START} ACCEPT OK new"
    yield documented("declared", "fl-declared"), [f"{MARK}{record}", record, "x y", MARK]
    name = documented("", "fl-moved").rpartition("/")[2]
    yield f"anywhere/of/my own/{name}", [DRIFT_HEADER, " ".join(good)]


@pytest.fixture(scope="module")
def tables(athena: LocalAthena, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    """What each engine staged of the same objects."""
    folder, name = tmp_path_factory.mktemp("formats"), "parity_formats"
    athena.client("s3").create_bucket(Bucket=BUCKET)
    for key, lines in objects():
        content = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
        athena.put_arrived(BUCKET, key, content, ARRIVED)
    sink = io.BytesIO()
    unknown = {f"field_of_2027_{number:048}": ["x"] for number in range(50)}
    known = {field.column: ["-"] for field in FIELDS if field.type is FieldType.STRING}
    parquet.write_table(pa.table({**known, **unknown, "srcaddr": ["10.0.0.1"]}), sink)
    athena.put_arrived(BUCKET, f"{documented('logs', 'fl-p')[:-2]}parquet", sink.getvalue(), ARRIVED)
    sources = [
        {"name": "logs", "uri": f"s3://{BUCKET}/logs"},
        {"name": "declared", "uri": f"s3://{BUCKET}/declared", "format": DECLARED},
        {"name": "anywhere", "uri": f"s3://{BUCKET}/anywhere", "layout": "any"},
    ]
    settings = {"location": f"s3://{athena.bucket}/{name}", "database": name, "work_group": athena.work_group}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in athena.environment.items():
            patch.setenv(variable, value)
        embedded = staged(folder / "duckdb", {"sources": sources})
        other = staged(folder / "athena", {"sources": sources, "target": "athena", "athena": settings})
        with connect(embedded.settings) as connection:
            one = read_duckdb(connection, f"lake.{LINES}")
        assert other.settings.athena is not None
        schema, _, table = LINES.partition(".")
        reader = AthenaReader(athena.client("athena"), athena.work_group)
        database = other.settings.athena.schema(schema)
        assert not [left for left in reader.names(database) if "__part_" in left]
        (compiled,) = other.settings.lake.path.rglob("compiled/**/stg_flow_logs__lines.sql")
        assert compiled.read_text().count("/* kept */") > 1
        return {"duckdb": one, "athena": reader.read(database, table)}


def staged(folder: Path, settings: Mapping[str, object]) -> Lake:
    lake = make_lake(folder, "", {}, settings)
    lake.run(WINDOW, "register", "build_staging")
    return lake


def test_both_engines_stage_the_same_of_them(tables: dict[str, Table]) -> None:
    assert len(tables["duckdb"].rows) == sum(len(lines) for _, lines in objects()) + 1
    assert_same(LINES, tables["duckdb"], tables["athena"])


@pytest.mark.parametrize("engine", ["duckdb", "athena"])
def test_every_record_is_read_by_its_own_format(tables: dict[str, Table], engine: str) -> None:
    names = list(tables[engine].kinds)
    rows = [dict(zip(names, row, strict=True)) for row in tables[engine].rows]
    records = [row for row in rows if row["line_kind"] == "record"]
    shuffled = {str(row["flow_log_id"]): row for row in records if row["format_id"] in shuffled_formats()}
    assert len(shuffled) == FORMATS
    for port in range(FORMATS):
        row = shuffled[f"fl-{port:017x}"]
        assert (row["srcport"], row["srcaddr"], row["dstaddr"], row["az_id"]) == (port, "10.0.0.1", "::1", "x-az-id")
    declared = [row for row in records if row["flow_log_id"] == "fl-declared"]
    assert [(row["interface_id"], row["bytes"], row["extra_fields"]) for row in declared] == [
        ("eni-2", 9, (("novelty", "new"),))
    ] * 2
    assert sorted(str(row["line_kind"]) for row in rows if row["flow_log_id"] == "fl-blank") == ["header", "record"]
    (other,) = [row for row in records if row["format_id"] == "parquet"]
    assert other["srcaddr"] == "10.0.0.1"
    assert isinstance(other["extra_fields"], tuple)
    assert len(other["extra_fields"]) == 50
    assert [row["bytes"] for row in records if row["flow_log_id"] == "fl-moved"] == [1]


@pytest.mark.parametrize("engine", ["duckdb", "athena"])
def test_of_a_line_that_is_no_record_no_field_is_read(tables: dict[str, Table], engine: str) -> None:
    names = list(tables[engine].kinds)
    rows = [dict(zip(names, row, strict=True)) for row in tables[engine].rows]
    malformed = [row for row in rows if str(row["malformed_reason"]).startswith(("field_count", "bad_field: start"))]
    assert len(malformed) >= len(NUMBERS)
    for row in malformed:
        read = [column for column in ("start_at", "end_at", *FIELD_COLUMNS) if row[column] is not None]
        assert read == [], row["raw_line"]


def shuffled_formats() -> set[str]:
    """The ids of the formats of all fields."""
    found = [parse_header(lines[0].encode()) for key, lines in objects() if key.startswith("logs/")][:FORMATS]
    return {format_.format_id for format_ in found if format_ is not None}
