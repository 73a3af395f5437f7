"""Which Parquet objects an engine reads as they are, and a plain copy of those that it does not.

What AWS delivers is plain; what others convert need not be. Athena reads a column by the type that its table has in
Glue, knows fewer encodings, and takes an unsigned integer for a signed one. DuckDB takes nearly everything that Parquet
allows, but reads the objects of a window together: a column that is a list in one of them and a number in another fails
all of them, and one that is a double makes '443' of the others '443.0'.

A copy for Athena holds in two maps, KEPT_TEXTS and KEPT_FIELDS, what the columns of its table cannot.
"""

from __future__ import annotations

import glob
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.duck import literal, quoted
from flowlake.lake.glue import KEPT_FIELDS, KEPT_TEXTS, may_be_column
from flowlake.lake.objects import ObjectProblem, Reason, one_line, shown
from flowlake.records.fields import FIELDS_BY_COLUMN

if TYPE_CHECKING:
    from pathlib import Path

_CODECS = frozenset({"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD"})
_ENCODINGS = frozenset(
    {
        "PLAIN",
        "RLE",
        "BIT_PACKED",
        "PLAIN_DICTIONARY",
        "RLE_DICTIONARY",
        "DELTA_BINARY_PACKED",
        "DELTA_LENGTH_BYTE_ARRAY",
        "DELTA_BYTE_ARRAY",
    }
)
"""What Trino 476 reads. It refuses BYTE_STREAM_SPLIT, and the codecs BROTLI and LZ4_RAW."""

_INTEGERS = frozenset({"NONE", "INT_8", "INT_16", "INT_32", "INT_64"})

_TAKEN = frozenset({"", "read_path"})
"""No name for SQL, and a column that staging adds: an unknown field so named is left out, and named in raw.objects."""

_MOST_COLUMNS = 300
"""Of the table in Glue, the known ones included: each is SQL in the statement that reads it, for good."""

_ROWS_TOGETHER = 20_480
"""Of a plain copy: what is written at once must fit into memory, also where every record is long."""

_WHOLE_NUMBER = "0|-?[1-9][0-9]{0,17}"
"""Texts that a bigint gives back as they were."""


class PlainCopyError(FlowlakeError):
    """A plain copy that this machine has no room for."""


class RecordColumns:
    """The columns of `raw.parquet_records` and their types; those that objects bring along are noted. For threads."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """`columns` are those that the table has, name -> type."""
        self._columns = dict(columns)
        self._lock = threading.Lock()

    def types(self, found: Mapping[str, str | None]) -> dict[str, str]:
        """The type in the table of each column of an object that can be read, by its name there.

        A column that nobody knows is text, whatever the first object says: the next one may hold what is no number.
        Once there are many, further ones are none of the table's.
        """
        with self._lock:
            possible = [name for name in found if may_be_column(name)]
            for name in possible:
                if len(self._columns) < _MOST_COLUMNS:
                    self._columns.setdefault(name.lower(), "string")
            return {name: self._columns[name.lower()] for name in possible if name.lower() in self._columns}

    def all(self) -> dict[str, str]:
        """The columns so far."""
        with self._lock:
            return dict(self._columns)


def copy_reason(path: Path) -> str | None:
    """Why DuckDB is not to read a file beside others; None when all of its columns are whole numbers and text."""
    odd = [
        name for name, type_ in column_types(path).items() if type_ is None or name != name.lower() or name in _TAKEN
    ]
    return f"columns made plain: {shown(', '.join(odd))[:200]}" if odd else None


def write_united_parquet(path: Path, target: Path) -> None:
    """Write a file's records as DuckDB reads them beside others: numbers as they are, all other columns as text.

    Raises as `write_plain_parquet`.
    """
    found = column_types(path)
    if len({name.lower() for name in found}) < len(found):
        raise ObjectProblem(Reason.BROKEN_PARQUET, "two of its columns differ in upper and lower case alone")
    types = {name: type_ or "string" for name, type_ in found.items() if name.lower() not in _TAKEN}
    write_plain_parquet(path, target, types, found)


def column_types(path: Path) -> dict[str, str | None]:
    """The type of each column of a file as Athena reads it: `bigint`, `string`, or None for any other."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        metadata = file.metadata
        odd = {
            chunk.path_in_schema
            for group in map(metadata.row_group, range(metadata.num_row_groups))
            for chunk in map(group.column, range(group.num_columns))
            if chunk.compression not in _CODECS or not _ENCODINGS.issuperset(chunk.encodings)
        }
        types: dict[str, str | None] = dict.fromkeys(file.schema_arrow.names)
        for column in map(metadata.schema.column, range(len(metadata.schema))):
            # The parts of a nested column have paths of their own.
            if column.path in types and column.path not in odd:
                types[column.path] = _type(column)
    return types


def _type(column: Any) -> str | None:
    if column.max_repetition_level or column.max_definition_level > 1:
        return None
    kind = column.logical_type.type
    if column.physical_type == "BYTE_ARRAY" and kind == "STRING":
        return "string"
    is_integer = column.physical_type in ("INT32", "INT64") and kind in ("NONE", "INT")
    return "bigint" if is_integer and column.converted_type in _INTEGERS else None


def is_plain(types: Mapping[str, str], found: Mapping[str, str | None]) -> bool:
    """Whether Athena reads all of an object where it lies: its columns are of the table's names and types.

    Upper case is no matter, beyond ASCII excepted: there every reader folds it in its own way.
    """
    return types.keys() == found.keys() and all(found[name] == types[name] and name.isascii() for name in found)


def write_plain_parquet(path: Path, target: Path, types: Mapping[str, str], found: Mapping[str, str | None]) -> None:
    """Write an object's records with columns of the types that the table has, whole or not at all.

    Whatever those cannot hold stands in the maps KEPT_TEXTS (of known fields) and KEPT_FIELDS, by names in lower case.

    DuckDB writes it, so that every value has the text that it has there. Raises ObjectProblem when DuckDB, too, cannot
    read the object, and PlainCopyError when it runs out of room.
    """
    import duckdb

    temporary = target.with_name(f".{target.name}.tmp")
    # DuckDB takes brackets and stars for a pattern, which may match the object beside.
    source = literal(glob.escape(str(path)))
    texts: dict[str, str] = {}
    fields = {name: _text(name) for name in found if name not in types and name.lower() not in _TAKEN}
    for name, type_ in types.items():
        if type_ == "bigint" and found[name] != type_:
            no_number = f"case when not {_is_number(name)} then {_text(name)} end"
            (texts if name.lower() in FIELDS_BY_COLUMN else fields)[name] = no_number
    columns = ", ".join(
        [
            *(f"{_cast(name, type_, found[name])} as {quoted(name.lower())}" for name, type_ in types.items()),
            *(f"{_map(kept)} as {name}" for name, kept in ((KEPT_TEXTS, texts), (KEPT_FIELDS, fields)) if kept),
        ]
    )
    with duckdb.connect(config={"threads": 1, "memory_limit": "1GB"}) as connection:
        try:
            connection.execute(
                f"copy (select {columns} from read_parquet({source}, hive_partitioning = false)) "
                f"to {literal(str(temporary))} (format parquet, compression zstd, row_group_size {_ROWS_TOGETHER})"
            )
        except duckdb.IOException as error:
            raise PlainCopyError(f"cannot write a plain copy of {path.name}: {one_line(error)}") from error
        except duckdb.Error as error:
            raise ObjectProblem(Reason.BROKEN_PARQUET, one_line(error)[:200]) from None
    temporary.replace(target)


def _cast(name: str, type_: str, found: str | None) -> str:
    if type_ == "string":
        return _text(name)
    if found == type_:
        return f"cast({quoted(name)} as bigint)"
    return f"case when {_is_number(name)} then try_cast({_text(name)} as bigint) end"


def _text(name: str) -> str:
    return f"cast({quoted(name)} as varchar)"


def _is_number(name: str) -> str:
    return f"regexp_full_match({_text(name)}, '{_WHOLE_NUMBER}')"


def _map(texts: Mapping[str, str]) -> str:
    """SQL of a map of those of the texts that are not null, by their names in lower case."""
    entries = ", ".join(f"{{'key': {literal(name.lower())}, 'value': {text}}}" for name, text in texts.items())
    return f"map_from_entries(list_filter([{entries}], lambda entry: entry.value is not null))"
