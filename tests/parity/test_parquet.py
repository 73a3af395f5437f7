"""Parquet objects that no flow log of AWS's is: either engine reads of them what the other one does."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.records.fields import FIELDS, FieldType
from histories.world import LogObject
from local_athena.server import LocalAthena
from parity.compare import Table, assert_same
from parity.engines import AthenaReader, read_duckdb
from parity.lakes import Lake, make_lake
from parity.world import make_bucket

ACCOUNT = "123456789012"
START = 1795176000
WINDOW = Window.parse("2026-11-20T12", "2026-11-20T13")
LINES = "staging.stg_flow_logs__lines"

ODD_NAMES = (
    *("two words", "a.b", "größe", "ÄRGER", "İ", "\u212aelvin", "it's", 'say "x"', "{{ 1 }}", "--", "back\\slash"),
    *("Capital", "UPPER CASE", "$path", "1", "null", "true", "tab\tline\n", "🛰", "Arrival_Hour", "flowlake_fields"),
    *("flowlake_texts", " ", "map"),
)
"""Fields that nobody knows. Some are words to Glue, to SQL, to a template, or to flowlake itself."""

OTHERS = [field.column for field in FIELDS if field.type is FieldType.STRING][-30:]
"""Fields enough for an object of odd names to be a flow log's."""

DRIFTED = (
    "x",
    "443",
    "007",
    "-",
    None,
    "",
    "-1",
    "9" * 25,
    "443.0",
    "1e3",
    " 7",
    "+7",
    "1_0",
    "0x1",
    "1.5",
    "٣",
    "é'\"\\",
    "0",
    "-0",
)
"""What a column of text may have for a number."""


def made(rows: int, **columns: Sequence[object] | pa.Array) -> dict[str, Sequence[object] | pa.Array]:
    """Columns of records, each with a port of its own, beside some."""
    return {
        "interface_id": ["eni-1"] * rows,
        "srcaddr": ["10.0.0.1"] * rows,
        "dstaddr": ["10.0.0.2"] * rows,
        "dstport": list(range(rows)),
        "start": [START] * rows,
        "log_status": ["OK"] * rows,
    } | columns


OBJECTS: Mapping[str, Mapping[str, Sequence[object] | pa.Array]] = {
    "fl-plain": made(2, bytes=[1, None], novelty=["a", None]),
    "fl-texts": made(len(DRIFTED), bytes=DRIFTED),
    # Each value of it is malformed by another field: its text is kept whole.
    "fl-malformed": made(len(DRIFTED), bytes=DRIFTED, srcaddr=["nonsense"] * len(DRIFTED)),
    "fl-upper": made(len(DRIFTED), Bytes=DRIFTED, PACKETS=DRIFTED),
    "fl-moment": made(1, start=pa.array([START], pa.timestamp("s"))),
    "fl-wide": made(2, bytes=pa.array([2**64 - 1, 1], pa.uint64())),
    "fl-fractions": made(3, bytes=[443.0, None, 0.5], start=[float(START)] * 3, packets=[True, False, None]),
    "fl-signed": made(2, bytes=[-1, 10**18]),
    "fl-list": made(2, packets=[[1], None], Odd=[{"a": 1}, None]),
    "fl-odd": made(3, **{name: ["-"] * 3 for name in OTHERS}, **{name: [name, None, ""] for name in ODD_NAMES}),
    "fl-odder": made(2, **{name: [1, None] for name in ODD_NAMES[:3]}, novelty=[2, 3], Colour=["red", None]),
    # A column of staging, and no name at all: neither is read.
    "fl-taken": made(1, **{"read_path": ["x"], "": ["y"]}),
}


def delivered(flow_log: str, columns: Mapping[str, Sequence[object] | pa.Array]) -> LogObject:
    sink = io.BytesIO()
    parquet.write_table(pa.table(dict(columns)), sink)
    name = f"{ACCOUNT}_vpcflowlogs_us-east-1_{flow_log}_20261120T1205Z_0a1b2c3d.log.parquet"
    arrived = int(datetime(2026, 11, 20, 12, 10, tzinfo=UTC).timestamp())
    return LogObject(f"AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/2026/11/20/{name}", sink.getvalue(), arrived)


@pytest.fixture(scope="module")
def lines(athena: LocalAthena, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    """What each engine staged."""
    folder, name = tmp_path_factory.mktemp("parquet"), "parity_parquet"
    bucket = make_bucket(athena, "parity-parquet")
    bucket.put(delivered(flow_log, columns) for flow_log, columns in OBJECTS.items())
    settings = {"location": f"s3://{athena.bucket}/{name}", "database": name, "work_group": athena.work_group}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in athena.environment.items():
            patch.setenv(variable, value)
        embedded = staged(folder / "duckdb", bucket.uri, {})
        other = staged(folder / "athena", bucket.uri, {"target": "athena", "athena": settings})
        with connect(embedded.settings) as connection:
            one = read_duckdb(connection, f"lake.{LINES}")
        assert other.settings.athena is not None
        schema, _, table = LINES.partition(".")
        reader = AthenaReader(athena.client("athena"), athena.work_group)
        return {"duckdb": one, "athena": reader.read(other.settings.athena.schema(schema), table)}


def staged(folder: Path, uri: str, target: Mapping[str, object]) -> Lake:
    lake = make_lake(folder, uri, target, {})
    lake.run(WINDOW, "register", "build_staging")
    return lake


def test_both_engines_stage_the_same_of_it(lines: dict[str, Table]) -> None:
    assert len(lines["duckdb"].rows) == sum(len(columns["start"]) for columns in OBJECTS.values())
    assert_same(LINES, lines["duckdb"], lines["athena"])


@pytest.mark.parametrize("engine", ["duckdb", "athena"])
def test_a_text_in_a_field_of_numbers_is_in_the_text_of_its_malformed_record(
    lines: dict[str, Table], engine: str
) -> None:
    names = list(lines[engine].kinds)
    found = [dict(zip(names, row, strict=True)) for row in lines[engine].rows]
    texts = {str(row["raw_line"]) for row in found if row["flow_log_id"] == "fl-malformed"}
    for text in filter(None, DRIFTED):
        assert any(f" bytes={text} " in f"{line} " for line in texts), text


@pytest.mark.parametrize("engine", ["duckdb", "athena"])
def test_a_field_of_any_name_is_kept_aside(lines: dict[str, Table], engine: str) -> None:
    names = list(lines[engine].kinds)
    found = [dict(zip(names, row, strict=True)) for row in lines[engine].rows]
    kept = [row["extra_fields"] for row in found if row["flow_log_id"] == "fl-odd"]
    whole = tuple(sorted((name.lower(), name) for name in ODD_NAMES))
    assert sorted(kept, key=str) == sorted([whole, None, tuple((name, "") for name, _ in whole)], key=str)
