"""What a Parquet object's footer says, and whether the rows that it announces can be read."""

from __future__ import annotations

import glob
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowlake.lake.contracts import parquet_format
from flowlake.lake.duck import literal, quoted
from flowlake.lake.objects import ObjectProblem, Reason, one_line
from flowlake.records.fields import FIELDS_BY_COLUMN
from flowlake.records.formats import LONGEST_NAME

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow as pa

FOOTER_STEP = 64 * 1024
"""How much of an object's end is read for its footer at first, in bytes."""

LONGEST_RECORD = 16 * 1024
"""Bytes. Records of flow logs have some hundred; an engine holds a hundred thousand records at a time."""

_BATCH = 64
"""Records that Arrow holds at once: a few bytes of an object may be a long text in each."""

_STEP = 1024 * 1024

# DuckDB's; of any other type a value may be long.
_FIXED_TYPES = frozenset(
    {"BOOLEAN", "FLOAT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}
    | {f"{sign}{kind}" for sign in ("", "U") for kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")}
)

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
    """Read a file, footer and rows. Raises ObjectProblem when it is no Parquet, not a flow log's, or damaged.

    OSError passes. A damaged page would stop the engine, and with it every other object of the hour; so would a footer
    that Arrow takes and DuckDB does not, and one that announces other rows than there are its gate.
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
    # Arrow first: damaged pages of differences (DELTA_…) end the process of a DuckDB that reads them.
    rows_of_arrow = _rows_by_arrow(path)
    rows_of_duckdb, longest = _read_by_duckdb(path)
    if longest > LONGEST_RECORD:
        raise _too_long(f"the longest texts of its columns have {longest:,} bytes together")
    for counted in (rows_of_arrow, rows_of_duckdb):
        if counted != facts.rows:
            detail = f"its footer announces {facts.rows:,} rows, and {counted:,} can be read"
            raise ObjectProblem(Reason.BROKEN_PARQUET, detail)
    return facts


def _read_by_duckdb(path: Path) -> tuple[int, int]:
    """How many rows DuckDB reads, of all columns, and how long the longest texts of each are together, in bytes.

    In bounded memory. OSError passes.
    """
    import duckdb

    source = f"read_parquet({literal(glob.escape(str(path)))}, hive_partitioning = false)"
    try:
        connection = _connection()
        columns = connection.execute(f"describe select * from {source}").fetchall()
        # Of what has a fixed width any sum that needs every value: none is to be left out.
        looks = [
            f"bit_xor(hash({quoted(name)}))"
            if type_ in _FIXED_TYPES
            else f"max(strlen(cast({quoted(name)} as varchar)))"
            for name, type_, *_ in columns
        ]
        found = connection.execute(f"select count(*), {', '.join(looks)} from {source}").fetchone() or (0,)
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException):
            # The same type for a file that is gone, a disk that fails, and pages that are cut off.
            with path.open("rb") as file:
                while file.read(_STEP):
                    pass
        raise ObjectProblem(Reason.BROKEN_PARQUET, one_line(str(error).split("\n")[0])[:200]) from None
    longest = sum(look or 0 for look, column in zip(found[1:], columns, strict=True) if column[1] not in _FIXED_TYPES)
    return found[0], longest


def _rows_by_arrow(path: Path) -> int:
    """How many rows Arrow reads; it sees checksums, which DuckDB does not."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = 0
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            for records in file.iter_batches(batch_size=_BATCH, use_threads=False):
                if records.nbytes > 2 * LONGEST_RECORD * records.num_rows:
                    raise _too_long(f"{records.num_rows:,} of its records have {records.nbytes:,} bytes")
                records.validate(full=True)  # DuckDB refuses text that is not UTF-8
                rows += records.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ObjectProblem(Reason.BROKEN_PARQUET, one_line(error)[:200]) from None
    return rows


def _too_long(what: str) -> ObjectProblem:
    return ObjectProblem(Reason.LINE_TOO_LONG, f"{what}: up to {LONGEST_RECORD:,} a record are read")


_of_thread = threading.local()


def _connection() -> duckdb.DuckDBPyConnection:
    """One for each thread, so that none has less memory because of the others."""
    import duckdb

    if not hasattr(_of_thread, "connection"):
        # Nothing is remembered of a file: the next one may have its name.
        _of_thread.connection = duckdb.connect(
            config={"threads": 1, "memory_limit": "512MB", "enable_external_file_cache": False}
        )
    return _of_thread.connection  # type: ignore[no-any-return] # what a thread has of its own has no types


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
        raise ObjectProblem(Reason.BROKEN_PARQUET, one_line(error)[:200]) from None
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
