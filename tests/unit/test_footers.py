"""Parquet that is damaged, lies, or needs more memory than there is: recorded, before an engine meets it."""

from __future__ import annotations

import io
import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake.footers import LONGEST_RECORD, inspect_parquet
from flowlake.lake.objects import ObjectProblem
from flowlake.lake.plain_parquet import copy_reason
from flowlake.records.fields import VPC_FIELDS, FieldType

ROWS = 40


def content() -> bytes:
    """A small object of many columns."""
    chance = random.Random(1)  # noqa: S311 - a seed, not a secret
    columns = {}
    for field in VPC_FIELDS[:29]:
        if field.type is FieldType.STRING:
            columns[field.column] = pa.array([f"10.0.0.{chance.randrange(9)}" for _ in range(ROWS)])
        else:
            columns[field.column] = pa.array([chance.randrange(60_000) for _ in range(ROWS)], pa.int32())
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, compression="gzip")
    return sink.getvalue()


def test_what_is_called_readable_is_read_by_the_engine_as_it_was_announced(tmp_path: Path) -> None:
    """One bit of it is wrong: the object is refused, or staging reads as many rows as its footer says."""
    whole, path = content(), tmp_path / "one.log.parquet"
    chance = random.Random(20261123)  # noqa: S311 - a seed, not a secret
    engine = duckdb.connect(config={"threads": 1, "enable_external_file_cache": False})
    refused = 0
    for _ in range(1500):
        flipped = bytearray(whole)
        flipped[chance.randrange(4, len(whole) - 8)] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            rows, is_copied = inspect_parquet(path).rows, copy_reason(path) is not None
        except ObjectProblem:
            refused += 1
            continue
        if not is_copied:
            read = engine.execute("select * from read_parquet(?, filename = 'read_path')", [str(path)]).fetchall()
            assert len(read) == rows
    assert 0 < refused < 1500


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
        with pytest.raises(ObjectProblem, match=r"^line_too_long: the longest texts of its columns have [0-9,]+ bytes"):
            inspect_parquet(path)
    else:
        assert inspect_parquet(path).rows == 65_536
    assert pa.default_memory_pool().max_memory() - before < 256 * 1024 * 1024


def test_a_page_that_needs_more_memory_than_there_is_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "one.log.parquet"
    table = pa.table({"vpc_id": ["x" * 8_000_000] * 70})
    parquet.write_table(table, path, compression="gzip", use_dictionary=False, data_page_size=2**31 - 1)
    with pytest.raises(ObjectProblem, match=r"^broken_parquet: Out of Memory Error"):
        inspect_parquet(path)
