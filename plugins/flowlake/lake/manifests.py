"""The files of the raw layer: the ledger of objects, the formats, and the manifests that name what to read.

Each file is written whole under a temporary name and then put in place, so no reader meets half of one, and a killed
run leaves nothing that the next one does not overwrite. One writer of an hour at a time (the run lock) is assumed.
"""

from __future__ import annotations

import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.objects import Kind, ObjectRow, Status, objects_schema
from flowlake.records.formats import Format

if TYPE_CHECKING:
    import pyarrow as pa

    from flowlake.lake.windows import Window
    from flowlake.settings import Settings

MANIFEST = "manifest"


class NotRegistered(FlowlakeError):
    """A step was asked for that needs what register writes."""


def objects_path(settings: Settings, hour: str) -> Path:
    """Where the ledger of an arrival hour lies."""
    return settings.lake.raw / "objects" / f"arrival_hour={hour}" / "objects.parquet"


def text_manifest_path(settings: Settings, format_id: str, hour: str) -> Path:
    """Where the manifest of a format's text objects of an arrival hour lies."""
    return settings.lake.raw / "text_lines" / f"format_id={format_id}" / f"arrival_hour={hour}" / MANIFEST


def parquet_manifest_path(settings: Settings, hour: str) -> Path:
    """Where the manifest of the Parquet objects of an arrival hour lies."""
    return settings.lake.raw / "parquet_records" / f"arrival_hour={hour}" / MANIFEST


def format_path(settings: Settings, format_id: str) -> Path:
    """Where a format's fields lie."""
    return settings.lake.raw / "formats" / f"{format_id}.parquet"


def read_objects(settings: Settings, hour: str) -> list[ObjectRow] | None:
    """The ledger of an arrival hour, None when it was never registered."""
    from pyarrow import parquet

    path = objects_path(settings, hour)
    if not path.is_file():
        return None
    # The file alone: pyarrow would add a column for the folder `arrival_hour=...`.
    with path.open("rb") as file:
        # In this thread: one of Arrow's own could let go of the file while the interpreter shuts down, and abort it.
        rows = parquet.ParquetFile(file).read(use_threads=False).cast(objects_schema()).to_pylist()
    return [ObjectRow(**{**row, "unknown_fields": tuple(row["unknown_fields"] or ())}) for row in rows]


def read_uris(settings: Settings, hour: str) -> dict[str, bool]:
    """The objects that are registered in an arrival hour, and whether each is readable."""
    from pyarrow import parquet

    path = objects_path(settings, hour)
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        table = parquet.ParquetFile(file).read(columns=["uri", "status"], use_threads=False)
    statuses = table.column("status").to_pylist()
    return {
        uri: status == Status.READABLE for uri, status in zip(table.column("uri").to_pylist(), statuses, strict=True)
    }


def require_registered(settings: Settings, window: Window) -> None:
    """Raise NotRegistered when an hour of the window was never registered."""
    for hour in window.hours:
        if not objects_path(settings, hour).is_file():
            raise NotRegistered(f"the hour {hour} was never registered: run the step register first")


def write_objects(settings: Settings, hour: str, rows: Sequence[ObjectRow]) -> None:
    """Write the ledger of an arrival hour; without rows too, so that "ran, nothing came" is known."""
    import pyarrow as pa

    records = [{**asdict(row), "unknown_fields": list(row.unknown_fields)} for row in rows]
    _write_table(objects_path(settings, hour), pa.Table.from_pylist(records, schema=objects_schema()))


def write_manifests(settings: Settings, hours: Iterable[str], rows: Sequence[ObjectRow]) -> None:
    """Replace the manifests of the hours by those of the rows, and remove those that name nothing any more."""
    wanted: dict[Path, list[str]] = defaultdict(list)
    for row in rows:
        if not row.is_readable or row.read_path is None:
            continue
        if row.kind == Kind.PARQUET:
            wanted[parquet_manifest_path(settings, row.arrival_hour)].append(row.read_path)
        elif row.format_id is not None:
            wanted[text_manifest_path(settings, row.format_id, row.arrival_hour)].append(row.read_path)
    for path, read_paths in wanted.items():
        text = "".join(f"{read_path}\n" for read_path in sorted(read_paths))
        # mypy cannot infer a lambda with a default, which binds this turn's text.
        _write(path, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    formats = sorted((settings.lake.raw / "text_lines").glob("format_id=*"))
    for hour in hours:
        folders = [settings.lake.raw / "parquet_records", *formats]
        for path in (folder / f"arrival_hour={hour}" / MANIFEST for folder in folders):
            if path not in wanted and path.parent.is_dir():
                path.unlink(missing_ok=True)
                shutil.rmtree(path.parent)


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
    path = format_path(settings, format_.format_id)
    is_new = not path.is_file()
    if is_new or not parquet.ParquetFile(path).read(use_threads=False).equals(table):
        # A format's file is written by whatever run meets the format, perhaps by two at once.
        _write_table(path, table, mark=uuid.uuid4().hex)
    return is_new


def _write_table(path: Path, table: pa.Table, mark: str = "") -> None:
    from pyarrow import parquet

    _write(path, lambda temporary: parquet.write_table(table, temporary, compression="zstd"), mark)


def _write(path: Path, write: Callable[[Path], Any], mark: str = "") -> None:
    """Have a file written beside its place, under a name that every reader skips, and put it in place.

    `mark` keeps writers apart where several may write one file; else the next one overwrites what a killed one left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{mark}.tmp")
    write(temporary)
    temporary.replace(path)
