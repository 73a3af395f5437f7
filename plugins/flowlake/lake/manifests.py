"""The files of the raw layer: the ledger of objects, the formats, and the manifests that name what to read.

They lie in the lake's folder or, on Athena, below its location (`lake.files`); paths are relative to either. Each file
is written whole, so no reader meets half of one, and a killed run leaves nothing that the next one does not overwrite.
One writer of an hour at a time (the run lock) is assumed.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError
from flowlake.lake.files import open_files
from flowlake.lake.objects import Kind, ObjectRow, Status, objects_schema
from flowlake.records.formats import Format

if TYPE_CHECKING:
    import pyarrow as pa

    from flowlake.lake.files import Files
    from flowlake.lake.windows import Window
    from flowlake.settings import Settings

FORMATS = "raw/formats"
OBJECTS = "raw/objects"
PARQUET_RECORDS = "raw/parquet_records"
TEXT_LINES = "raw/text_lines"
MANIFEST = "manifest"


_LOOKS = 16
"""Files that are looked for at the same time."""


class NotRegistered(FlowlakeError):
    """A step was asked for that needs what register writes."""


def objects_path(hour: str) -> str:
    """Where the ledger of an arrival hour lies."""
    return f"{OBJECTS}/arrival_hour={hour}/objects.parquet"


def text_manifest_path(format_id: str, hour: str) -> str:
    """Where the manifest of a format's text objects of an arrival hour lies."""
    return f"{TEXT_LINES}/format_id={format_id}/arrival_hour={hour}/{MANIFEST}"


def parquet_manifest_path(hour: str) -> str:
    """Where the manifest of the Parquet objects of an arrival hour lies."""
    return f"{PARQUET_RECORDS}/arrival_hour={hour}/{MANIFEST}"


def format_path(format_id: str) -> str:
    """Where a format's fields lie."""
    return f"{FORMATS}/{format_id}.parquet"


def read_objects(settings: Settings, hour: str) -> list[ObjectRow] | None:
    """The ledger of an arrival hour, None when it was never registered."""
    from pyarrow import parquet

    content = open_files(settings).read(objects_path(hour))
    if content is None:
        return None
    # The content alone: pyarrow would add a column for the folder `arrival_hour=...`.
    # In this thread: one of Arrow's own could let go of the buffer while the interpreter shuts down, and abort it.
    table = parquet.ParquetFile(io.BytesIO(content)).read(use_threads=False)
    rows = table.cast(objects_schema()).to_pylist()
    return [ObjectRow(**{**row, "unknown_fields": tuple(row["unknown_fields"] or ())}) for row in rows]


def registered_hours(settings: Settings) -> set[str]:
    """The arrival hours that were ever registered; it costs a listing of them all."""
    return {path.split("/")[-2].removeprefix("arrival_hour=") for path in open_files(settings).list(OBJECTS)}


def read_uris(settings: Settings, hour: str) -> dict[str, bool] | None:
    """The objects that are registered in an arrival hour, and whether each is readable; None for an unknown hour."""
    from pyarrow import parquet

    content = open_files(settings).read(objects_path(hour))
    if content is None:
        return None
    table = parquet.ParquetFile(io.BytesIO(content)).read(columns=["uri", "status"], use_threads=False)
    statuses = table.column("status").to_pylist()
    return {
        uri: status == Status.READABLE for uri, status in zip(table.column("uri").to_pylist(), statuses, strict=True)
    }


def require_registered(settings: Settings, window: Window) -> None:
    """Raise NotRegistered when an hour of the window was never registered."""
    files = open_files(settings)
    with ThreadPoolExecutor(_LOOKS) as pool:
        held = list(pool.map(lambda hour: files.holds(objects_path(hour)), window.hours))
    for hour, is_held in zip(window.hours, held, strict=True):
        if not is_held:
            raise NotRegistered(f"the hour {hour} was never registered: run the step register first")


def write_objects(settings: Settings, hour: str, rows: Sequence[ObjectRow]) -> None:
    """Write the ledger of an arrival hour; without rows too, so that "ran, nothing came" is known."""
    import pyarrow as pa

    records = [{**asdict(row), "unknown_fields": list(row.unknown_fields)} for row in rows]
    content = _parquet(pa.Table.from_pylist(records, schema=objects_schema()))
    open_files(settings).write(objects_path(hour), content, alone=True)


def manifest_paths(rows: Iterable[ObjectRow]) -> dict[str, list[str]]:
    """The manifests of objects, each with the paths that it names, in order."""
    named: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if not row.is_readable or row.read_path is None:
            continue
        if row.kind == Kind.PARQUET:
            named[parquet_manifest_path(row.arrival_hour)].append(row.read_path)
        elif row.format_id is not None:
            named[text_manifest_path(row.format_id, row.arrival_hour)].append(row.read_path)
    return {path: sorted(read_paths) for path, read_paths in named.items()}


def write_manifests(
    settings: Settings, hours: Iterable[str], rows: Sequence[ObjectRow], known: Iterable[str] | None = None
) -> None:
    """Replace the manifests of the hours by those of the rows, and remove those that name nothing any more.

    `known` are the manifests that the hours may have; None: those of every format that the lake knows.
    """
    files = open_files(settings)
    wanted = manifest_paths(rows)
    files.write_all({path: "".join(f"{line}\n" for line in lines).encode() for path, lines in wanted.items()})
    before = _possible_manifests(files, hours) if known is None else known
    files.delete(path for path in before if path not in wanted)


def _possible_manifests(files: Files, hours: Iterable[str]) -> list[str]:
    formats = sorted(path.removeprefix(f"{FORMATS}/").removesuffix(".parquet") for path in files.list(FORMATS))
    return [
        path
        for hour in hours
        for path in (parquet_manifest_path(hour), *(text_manifest_path(format_id, hour) for format_id in formats))
    ]


def write_format(settings: Settings, format_: Format) -> bool:
    """Write a format's fields; whether the lake met the format for the first time.

    A format that is known is compared and written again when it differs: a later version of flowlake knows more fields.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        [
            ("format_id", pa.string()),
            ("position", pa.int32()),
            ("field_name", pa.string()),
            ("column_name", pa.string()),
            ("header", pa.string()),
        ]
    )
    records = [
        {
            "format_id": format_.format_id,
            "position": position,
            "field_name": name,
            "column_name": column,
            "header": format_.header,
        }
        for position, (name, column) in enumerate(zip(format_.fields, format_.columns, strict=True), start=1)
    ]
    table = pa.Table.from_pylist(records, schema=schema)
    files, path = open_files(settings), format_path(format_.format_id)
    before = files.read(path)
    if before is None or not parquet.ParquetFile(io.BytesIO(before)).read(use_threads=False).equals(table):
        # A format's file is written by whatever run meets the format, perhaps by two at once.
        files.write(path, _parquet(table))
    return before is None


def _parquet(table: pa.Table) -> bytes:
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()
