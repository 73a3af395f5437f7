"""Parquet that is damaged, lies, or needs more memory than there is: recorded, before an engine meets it."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake import footers
from flowlake.lake.footers import LONGEST_RECORD, inspect_parquet
from flowlake.lake.objects import ObjectProblem
from flowlake.lake.plain_parquet import write_united_parquet
from flowlake.records.fields import VPC_FIELDS, FieldType

ROWS = 40


def content() -> pa.Table:
    """A few records of many columns."""
    chance = random.Random(1)  # noqa: S311 - a seed, not a secret
    columns = {}
    for field in VPC_FIELDS[:29]:
        if field.type is FieldType.STRING:
            columns[field.column] = pa.array([f"10.0.0.{chance.randrange(9)}" for _ in range(ROWS)])
        else:
            columns[field.column] = pa.array([chance.randrange(60_000) for _ in range(ROWS)], pa.int32())
    return pa.table(columns)


FUZZ = """
import random, sys
from pathlib import Path
import duckdb
from flowlake.lake.footers import inspect_parquet
from flowlake.lake.objects import ObjectProblem
from flowlake.lake.plain_parquet import copy_reason

path, seed, tries = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
whole, chance = path.read_bytes(), random.Random(seed)
engine = duckdb.connect(config={"threads": 1, "enable_external_file_cache": False})
refused = 0
for _ in range(tries):
    wrong = bytearray(whole)
    place = chance.randrange(4, len(whole) - 8)
    wrong[place] = chance.choice((wrong[place] ^ 1 << chance.randrange(8), 0, 255))
    path.write_bytes(wrong)
    try:
        rows, is_copied = inspect_parquet(path).rows, copy_reason(path) is not None
    except ObjectProblem:
        refused += 1
        continue
    if not is_copied:
        read = engine.execute("select * from read_parquet(?, filename = 'read_path')", [str(path)]).fetchall()
        assert len(read) == rows, (len(read), rows)
print(refused)
"""


@pytest.mark.parametrize(
    "encoding",
    ["dictionary", "PLAIN", "DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY", "DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY"],
)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_what_is_called_readable_is_read_by_the_engine_as_it_was_announced(
    tmp_path: Path, encoding: str, compression: str
) -> None:
    """One byte is wrong: the object is refused, or staging reads as many rows as its footer says. No process dies."""
    path = tmp_path / "one.log.parquet"
    table = content()
    if encoding == "dictionary":
        parquet.write_table(table, path, compression=compression)
    else:
        first, *second = encoding.split(", ")
        encodings = {
            name: second[0] if second and pa.types.is_string(type_) else first
            for name, type_ in zip(table.schema.names, table.schema.types, strict=True)
        }
        parquet.write_table(table, path, compression=compression, use_dictionary=False, column_encoding=encodings)
    found = subprocess.run(
        [sys.executable, "-c", FUZZ, path, encoding, "500"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert 0 < int(found.stdout) < 500


def test_a_footer_that_announces_other_rows_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "one.log.parquet"
    parquet.write_table(pa.table({"bytes": list(range(ROWS)), "srcaddr": ["10.0.0.1"] * ROWS}), path)
    announced = path.read_bytes()
    # thrift: field 3 of FileMetaData, an i64 in zigzag, and the list of row groups behind it
    assert announced.count(bytes([0x16, 2 * ROWS, 0x19])) == 1
    path.write_bytes(announced.replace(bytes([0x16, 2 * ROWS, 0x19]), bytes([0x16, 2 * ROWS + 2, 0x19])))
    with pytest.raises(ObjectProblem, match=r"^broken_parquet: its footer announces 41 rows, and 40 can be read$"):
        inspect_parquet(path)


@pytest.mark.parametrize("length", [1_000, LONGEST_RECORD, LONGEST_RECORD + 1, 4_000_000])
def test_a_text_of_any_length_is_looked_at_in_little_memory(tmp_path: Path, length: int) -> None:
    """65,536 times the same one: a few hundred kilobytes that would be gigabytes."""
    path = tmp_path / "one.log.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 65_536, pa.int32()), pa.array(["x" * length]))
    table = pa.table({"vpc_id": texts, "bytes": list(range(65_536))})
    parquet.write_table(table, path, compression="gzip", store_schema=False)
    before = pa.default_memory_pool().max_memory()
    if length > LONGEST_RECORD:
        with pytest.raises(ObjectProblem, match=r"^line_too_long: "):
            inspect_parquet(path)
    else:
        assert inspect_parquet(path).rows == 65_536
    assert pa.default_memory_pool().max_memory() - before < 1024**3


def test_of_a_page_of_long_texts_no_more_than_the_first_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "one.log.parquet"
    table = pa.table({"vpc_id": ["x" * 8_000_000] * 70})
    parquet.write_table(table, path, compression="gzip", use_dictionary=False, data_page_size=2**31 - 1)
    with pytest.raises(ObjectProblem, match=r"^line_too_long: 64 of its records have 512,000,256 bytes"):
        inspect_parquet(path)


def test_long_texts_are_copied_in_bounded_memory(tmp_path: Path) -> None:
    """A quarter of a megabyte that holds four hundred."""
    path = tmp_path / "one.log.parquet"
    texts = [f"{number:08}{'x' * 15_000}" for number in range(500)]
    schema = pa.schema([("vpc_id", pa.string()), ("bytes", pa.float64())])
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=False, write_statistics=False) as file:
        for _ in range(60):
            file.write_table(pa.table({"vpc_id": texts, "bytes": [1.5] * 500}, schema))
    assert inspect_parquet(path).rows == 30_000
    write_united_parquet(path, tmp_path / "copy")
    assert parquet.read_metadata(tmp_path / "copy").num_rows == 30_000


def test_a_file_that_is_gone_is_not_called_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.log.parquet"
    parquet.write_table(content(), path)
    counted = footers._rows_by_arrow

    def removed(found: Path) -> int:
        rows = counted(found)
        found.unlink()
        return rows

    monkeypatch.setattr(footers, "_rows_by_arrow", removed)
    with pytest.raises(FileNotFoundError):
        inspect_parquet(path)
