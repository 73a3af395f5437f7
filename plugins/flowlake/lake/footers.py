"""What a Parquet object's footer says, and whether the rows that it announces can be read."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from flowlake.lake.contracts import parquet_format
from flowlake.lake.objects import ObjectProblem, Reason, shown
from flowlake.records.fields import FIELDS_BY_COLUMN
from flowlake.records.formats import LONGEST_NAME

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow as pa

FOOTER_STEP = 64 * 1024
"""How much of an object's end is read for its footer at first, in bytes."""

_TAIL = 8  # the footer's length (4 bytes, little endian) and the magic PAR1


@dataclass(frozen=True)
class ParquetFacts:
    """What a footer says; `unknown_fields` are columns that nobody knows yet.

    `types` says of each column what it holds: whole numbers of any width are one type, and so are texts.
    """

    rows: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    unpacked_bytes: int

    @property
    def format(self) -> str:
        """The columns and what they hold, as a flow log's contract has them."""
        return parquet_format(zip(self.columns, self.types, strict=True))

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """The columns that nobody knows yet, in the order of the file."""
        return tuple(name for name in self.columns if name not in FIELDS_BY_COLUMN)


def inspect_parquet(path: Path) -> ParquetFacts:
    """Read a file once, footer and rows. Raises ObjectProblem when it is no Parquet, not a flow log's, or damaged.

    OSError passes. A damaged page would stop the engine, and with it every other object of the hour; so would a footer
    that Arrow takes and DuckDB does not.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise ObjectProblem(Reason.BROKEN_PARQUET, "it does not start with PAR1")
        file.seek(max(size - _TAIL, 0))
        length = footer_length(file.read())
        if length > size:
            detail = f"its footer claims {length} bytes of {size}"
            raise ObjectProblem(Reason.BROKEN_PARQUET, detail)
        file.seek(size - length)
        facts = parse_footer(file.read())
    _read_rows(path)
    _ask_duckdb(path)
    return facts


def _read_rows(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(use_threads=False):
                batch.validate(full=True)  # DuckDB refuses text that is not UTF-8
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ObjectProblem(Reason.BROKEN_PARQUET, shown(" ".join(str(error).split()))[:200]) from None


def _ask_duckdb(path: Path) -> None:
    import duckdb

    with _connection().cursor() as cursor:
        try:
            cursor.execute("select count(*) from parquet_schema(?)", [glob.escape(str(path))])
        except duckdb.Error as error:
            problem = shown(" ".join(str(error).split("\n")[0].split()))[:200]
            raise ObjectProblem(Reason.BROKEN_PARQUET, problem) from None


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    import duckdb

    # Nothing is remembered of a file: the next one may have its name.
    return duckdb.connect(config={"threads": 1, "memory_limit": "256MB", "enable_external_file_cache": False})


def footer_length(tail: bytes) -> int:
    """How long the footer is, its last 8 bytes included, from the end of the object."""
    if len(tail) < _TAIL or tail[-4:] != b"PAR1":
        raise ObjectProblem(Reason.BROKEN_PARQUET, "it does not end with PAR1")
    return int.from_bytes(tail[-_TAIL:-4], "little") + _TAIL


def parse_footer(footer: bytes) -> ParquetFacts:
    """What a footer says, from the bytes at the end of the object."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(pa.BufferReader(footer))
        schema = metadata.schema.to_arrow_schema()
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ObjectProblem(Reason.BROKEN_PARQUET, shown(" ".join(str(error).split()))[:200]) from None
    columns = tuple(schema.names)
    if 2 * sum(name in FIELDS_BY_COLUMN for name in columns) < max(len(columns), 1):
        raise ObjectProblem(Reason.NOT_A_FLOW_LOG, "fewer than half of its columns are fields of flow logs")
    if any(len(name) > LONGEST_NAME for name in columns):
        raise ObjectProblem(Reason.NOT_A_FLOW_LOG, f"a column's name is longer than {LONGEST_NAME} characters")
    if any("\0" in name for name in columns):
        raise ObjectProblem(Reason.BROKEN_PARQUET, "a column's name holds a NUL")
    if len({name.lower() for name in columns}) != len(columns):
        raise ObjectProblem(Reason.BROKEN_PARQUET, "two of its columns have the same name")
    return ParquetFacts(
        rows=metadata.num_rows,
        columns=columns,
        types=tuple(_type_name(type_) for type_ in schema.types),
        unpacked_bytes=sum(group.total_byte_size for group in groups),
    )


def _type_name(type_: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_integer(type_):
        return "integer"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_binary(type_):
        return "text"
    if pa.types.is_dictionary(type_):
        return _type_name(type_.value_type)
    # Only its first word: what follows is its width, its unit or its parts.
    return re.split("[^a-z0-9_]", str(type_), maxsplit=1)[0]
