"""The raw layer and the ledgers in the Glue Data Catalog: external tables over the files that flowlake writes itself.

Every call may be repeated, and several runs may make them at the same time: what another one has made is fine, a table
is changed under Glue's optimistic lock, and columns are only ever added, at the end, so that the partitions made before
stay valid.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from flowlake.errors import FlowlakeError
from flowlake.lake.athena import AthenaLake
from flowlake.lake.aws import athena_settings, aws_errors, client, error_code, pages
from flowlake.lake.manifests import FORMATS, MANIFEST, OBJECTS, PARQUET_RECORDS, TEXT_LINES, objects_path
from flowlake.lake.objects import ObjectRow, objects_schema, shown
from flowlake.lake.restatements import COLUMNS, folder
from flowlake.records.fields import FIELDS, FieldType

if TYPE_CHECKING:
    from flowlake.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS = 6

QUERY_COSTS = "ops/query_costs"
"""Among the lake's own files; see flowlake.lake.costs."""

_HIVE = "org.apache.hadoop.hive"
_PARQUET_INPUT = f"{_HIVE}.ql.io.parquet.MapredParquetInputFormat"
_PARQUET_OUTPUT = f"{_HIVE}.ql.io.parquet.MapredParquetOutputFormat"
_PARQUET_SERDE = f"{_HIVE}.ql.io.parquet.serde.ParquetHiveSerDe"
_SYMLINK_INPUT = f"{_HIVE}.ql.io.SymlinkTextInputFormat"
_TEXT_OUTPUT = f"{_HIVE}.ql.io.HiveIgnoreKeyTextOutputFormat"
_TEXT_SERDE = f"{_HIVE}.serde2.lazy.LazySimpleSerDe"

_WHOLE_LINES = {
    # A line is one field: it ends at the byte 0xff, which no UTF-8 holds. Hive and Trino take the low byte of the
    # character; neither does the character itself occur, since what is read is ASCII or latin-1 written as UTF-8.
    "field.delim": "\u21ff",
    # Else a line `\N` would be a null.
    "serialization.null.format": "\u241e",
}

_PASSING = frozenset(
    {"ConcurrentModificationException", "InternalServiceException", "OperationTimeoutException", "ThrottlingException"}
)
"""What another try cures; the SDK repeats calls that were throttled, not what a batch says of one partition."""

_COLUMN = re.compile(r"[a-z0-9_]{1,255}")
KEPT_TEXTS = "flowlake_texts"
"""In a plain copy of a Parquet object: what its fields of numbers hold that no number can stand for, field -> text."""

KEPT_FIELDS = "flowlake_fields"
"""Likewise: what its fields hold that cannot be columns of the table, name in lower case -> text."""

_NOT_COLUMNS = frozenset({"arrival_hour", "read_path", KEPT_TEXTS, KEPT_FIELDS})
"""What a partition's key, the reading models and copies have for themselves."""


@dataclass(frozen=True)
class _Change:
    """A change of many partitions: Glue's call, the names of its parts, and how many it takes at a time.

    `fine` is the code that says that another run, or an earlier try, has done it already.
    """

    operation: str
    argument: str
    values: str
    size: int
    fine: str = ""


_CREATE = _Change("batch_create_partition", "PartitionInputList", "Values", 100, "AlreadyExistsException")
_UPDATE = _Change("batch_update_partition", "Entries", "PartitionValueList", 100)
_DELETE = _Change("batch_delete_partition", "PartitionsToDelete", "Values", 25, "EntityNotFoundException")


class GlueError(FlowlakeError):
    """A table in Glue that is not what flowlake needs, or a change of it that Glue refuses."""


@dataclass(frozen=True)
class ExternalTable:
    """A table over a folder of the lake. `columns` are (name, Hive type); `keys` are those of its partitions."""

    schema: str
    name: str
    folder: str
    description: str
    columns: tuple[tuple[str, str], ...]
    keys: tuple[str, ...] = ()
    input_format: str = _PARQUET_INPUT
    output_format: str = _PARQUET_OUTPUT
    serde: str = _PARQUET_SERDE
    serde_parameters: Mapping[str, str] = field(default_factory=dict)

    def storage(self, location: str, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """How Glue is told where rows lie and how they are read, of the table or of one of its partitions."""
        return {
            "Columns": [{"Name": column["Name"], "Type": column["Type"]} for column in columns],
            "Location": location,
            "InputFormat": self.input_format,
            "OutputFormat": self.output_format,
            "Compressed": False,
            "NumberOfBuckets": -1,
            "SerdeInfo": {
                "SerializationLibrary": self.serde,
                "Parameters": {"serialization.format": "1", **self.serde_parameters},
            },
            "StoredAsSubDirectories": False,
        }


def _hive_type(name: str) -> str:
    text = str(objects_schema().field(name).type)
    return {"int64": "bigint", "timestamp[us]": "timestamp", "string": "string"}.get(text, "array<string>")


def record_columns() -> dict[str, str]:
    """The columns of `raw.parquet_records` that flow logs can have, as far as is known: integers are the widest ones.

    Objects of one field differ in the width of their integers, and a reader widens them. The last two are those of
    plain copies, null in objects that are read where they lie.
    """
    known = {field_.column: "string" if field_.type is FieldType.STRING else "bigint" for field_ in FIELDS}
    return known | dict.fromkeys((KEPT_TEXTS, KEPT_FIELDS), "map<string,string>")


def may_be_column(name: str) -> bool:
    """Whether an unknown column of an object can be one of `raw.parquet_records`."""
    return _COLUMN.fullmatch(name.lower()) is not None and name.lower() not in _NOT_COLUMNS


def external_tables(database: str = "flowlake") -> tuple[ExternalTable, ...]:
    """The tables over flowlake's own files; `database` is `athena.database`."""
    return (
        ExternalTable(
            "raw",
            "objects",
            OBJECTS,
            "One row per object of an arrival hour, readable or not.",
            tuple((item.name, _hive_type(item.name)) for item in fields(ObjectRow) if item.name != "arrival_hour"),
            ("arrival_hour",),
        ),
        ExternalTable(
            "raw",
            "formats",
            FORMATS,
            "One row per field of a text format that any flow log has shown.",
            (
                ("format_id", "string"),
                ("position", "int"),
                ("field_name", "string"),
                ("column_name", "string"),
                ("header", "string"),
            ),
        ),
        ExternalTable(
            "raw",
            "text_lines",
            TEXT_LINES,
            "One row per line of a readable text object, headers and empty lines included.",
            (("line", "string"),),
            ("format_id", "arrival_hour"),
            _SYMLINK_INPUT,
            _TEXT_OUTPUT,
            _TEXT_SERDE,
            _WHOLE_LINES,
        ),
        ExternalTable(
            "raw",
            "parquet_records",
            PARQUET_RECORDS,
            "One row per record of a readable Parquet object.",
            tuple(record_columns().items()),
            ("arrival_hour",),
            _SYMLINK_INPUT,
            _TEXT_OUTPUT,
        ),
        ExternalTable(
            "ops",
            "windows",
            "ops/windows",
            "One row per arrival hour that was ever run, with its state.",
            (
                ("arrival_hour", "string"),
                ("state", "string"),
                ("run_id", "string"),
                ("updated_at", "timestamp"),
                ("detail", "string"),
                ("staging", "string"),
                ("staging_run_id", "string"),
            ),
        ),
        ExternalTable(
            "ops",
            "overtaken_hours",
            "ops/overtaken_hours",
            "One row per arrival hour whose tables may still hold an object that was overwritten since.",
            (
                ("arrival_hour", "string"),
                ("found_at", "timestamp"),
                ("objects", "bigint"),
                ("example", "string"),
                ("step", "string"),
                ("until_hour", "string"),
            ),
        ),
        ExternalTable(
            "ops",
            "query_costs",
            QUERY_COSTS,
            "One row per statement that a run, or maintenance, sent to Athena, with what it cost.",
            (
                ("run_id", "string"),
                ("step", "string"),
                ("arrival_from", "string"),
                ("arrival_to", "string"),
                ("node", "string"),
                ("kind", "string"),
                ("execution_id", "string"),
                ("submitted_at", "timestamp"),
                ("state", "string"),
                ("reason", "string"),
                ("scanned_bytes", "bigint"),
                ("billed_bytes", "bigint"),
                ("queued_ms", "bigint"),
                ("total_ms", "bigint"),
                ("written_rows", "bigint"),
                ("dollars", "double"),
                ("work_group", "string"),
            ),
            ("day",),
        ),
        ExternalTable(
            "ops",
            "restatements",
            folder(database),
            "One row per published table and event hour whose rows changed after readers had seen them.",
            tuple((name, {"varchar": "string"}.get(type_, type_)) for name, (type_, _) in COLUMNS.items()),
        ),
    )


class GlueTables:
    """The external tables of one lake."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is asked of Glue yet. Raises AwsError when there is no region."""
        self._settings = settings
        self._athena = athena_settings(settings)
        self._glue = client("glue")
        self._tables = {table.name: table for table in external_tables(self._athena.database)}

    def ensure(self) -> None:
        """Make the Glue databases `raw` and `ops` and these tables, or bring older ones up to this version.

        Raises AwsError when Glue cannot be reached or refuses, and GlueError when a table is somebody else's.
        """
        AthenaLake(self._settings).ensure_databases(["raw", "ops"])
        for table in self._tables.values():
            self._evolve(table, dict(table.columns))

    def columns(self, name: str) -> dict[str, str]:
        """The columns of a table as Glue has them, name -> type, without its partitions' keys."""
        table = self._tables[name]
        found = self._found(table)
        return {} if found is None else {str(one["Name"]): str(one["Type"]) for one in _columns(found)}

    def add_columns(self, name: str, columns: Mapping[str, str]) -> None:
        """Add those of the columns that a table lacks. Raises GlueError where it has one of them by another type."""
        found = self._evolve(self._tables[name], columns)
        types = {str(one["Name"]): str(one["Type"]) for one in _columns(found)}
        for column, type_ in columns.items():
            if types[column] != type_:
                raise GlueError(
                    f"another run has made the column {shown(column)} of {name} a {types[column]}, not a {type_}, "
                    "meanwhile: register again"
                )

    def add_partitions(self, hours: Sequence[str], manifests: Iterable[str]) -> list[str]:
        """Make sure of the partitions of hours: those of their ledgers, and those of manifests.

        Returns the manifests of the partitions that these hours have beyond them.
        """
        paths = [*(objects_path(hour) for hour in hours), *manifests]
        wanted = {(table.name, values) for table, values in map(self._partition, paths)}
        stale = []
        for table in self._tables.values():
            if "arrival_hour" not in table.keys:
                continue
            found = self._evolve(table, {})
            there = {tuple(one["Values"]): one["StorageDescriptor"] for one in self._partitions(table, hours)}
            inputs = {
                values: self._partition_input(table, values, _columns(found))
                for name, values in sorted(wanted)
                if name == table.name
            }
            new = [one for values, one in inputs.items() if values not in there]
            self._batches(table, _CREATE, new)
            changed = [
                {"PartitionValueList": list(values), "PartitionInput": one}
                for values, one in inputs.items()
                if values in there and not _same(there[values], one["StorageDescriptor"])
            ]
            self._batches(table, _UPDATE, changed)
            stale += [f"{self._folder(table, values)}/{MANIFEST}" for values in there if values not in inputs]
        return sorted(stale)

    def add_day(self, path: str) -> None:
        """Make sure of the partition of a file of `ops.query_costs`, which says what a day's statements cost."""
        table = self._tables["query_costs"]
        day = path.removeprefix(f"{table.folder}/").split("/")[0].partition("=")[2]
        found = self._evolve(table, dict(table.columns))
        self._batches(table, _CREATE, [self._partition_input(table, (day,), _columns(found))])

    def remove_partitions(self, manifests: Iterable[str]) -> None:
        """Remove the partitions whose manifests are gone; one that is not there is none to remove."""
        by_table: dict[str, list[dict[str, Any]]] = {}
        for table, values in map(self._partition, manifests):
            by_table.setdefault(table.name, []).append({"Values": list(values)})
        for name, gone in by_table.items():
            self._batches(self._tables[name], _DELETE, gone)

    # --- tables ---

    def _database(self, table: ExternalTable) -> str:
        return self._athena.schema(table.schema)

    def _location(self, folder: str) -> str:
        return f"{self._athena.location}/{folder}"

    def _found(self, table: ExternalTable) -> dict[str, Any] | None:
        with aws_errors(f"ask Glue for {self._database(table)}.{table.name}"):
            try:
                answer = self._glue.get_table(DatabaseName=self._database(table), Name=table.name)
            except self._glue.exceptions.EntityNotFoundException:
                return None
            return dict(answer["Table"])

    def _evolve(self, table: ExternalTable, columns: Mapping[str, str]) -> dict[str, Any]:
        """Make the table, or add what it lacks; what Glue has of it then."""

        def attempt() -> dict[str, Any]:
            found = self._found(table)
            before = [] if found is None else _columns(found)
            known = {one["Name"] for one in before}
            added = [{"Name": name, "Type": type_} for name, type_ in columns.items() if name not in known]
            storage = table.storage(self._location(table.folder), [*before, *added])
            if found is not None:
                self._require_own(table, found)
                if _same(found["StorageDescriptor"], storage):
                    return found
            described = {
                "Name": table.name,
                "Description": table.description,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {
                    "EXTERNAL": "TRUE",
                    **({"classification": "parquet"} if table.input_format == _PARQUET_INPUT else {}),
                },
                "PartitionKeys": [{"Name": key, "Type": "string"} for key in table.keys],
                "StorageDescriptor": storage,
            }
            request = {"DatabaseName": self._database(table), "TableInput": described}
            if found is None:
                self._glue.create_table(**request)
            else:
                version = {"VersionId": found["VersionId"]} if "VersionId" in found else {}
                self._glue.update_table(**request, **version, SkipArchive=True)
            return {"StorageDescriptor": storage}

        return self._retried(f"make the table {self._database(table)}.{table.name} in Glue", attempt)

    def _require_own(self, table: ExternalTable, found: Mapping[str, Any]) -> None:
        location = str(found.get("StorageDescriptor", {}).get("Location", "")).rstrip("/")
        wanted = self._location(table.folder)
        keys = tuple(key["Name"] for key in found.get("PartitionKeys", []))
        if (location, keys) != (wanted, table.keys):
            raise GlueError(
                f"Glue's table {self._database(table)}.{table.name} lies at {shown(location) or 'no place'}, not at "
                f"{wanted}: it belongs to another lake: set athena.database to a name of its own"
            )

    # --- partitions ---

    def _partition(self, path: str) -> tuple[ExternalTable, tuple[str, ...]]:
        """The table and the key values of a file's folder."""
        for table in self._tables.values():
            if table.keys and path.startswith(f"{table.folder}/"):
                segments = path.removeprefix(f"{table.folder}/").split("/")[:-1]
                return table, tuple(segment.partition("=")[2] for segment in segments)
        raise ValueError(path)

    def _folder(self, table: ExternalTable, values: Sequence[str]) -> str:
        segments = (f"{key}={value}" for key, value in zip(table.keys, values, strict=True))
        return "/".join((table.folder, *segments))

    def _partition_input(
        self, table: ExternalTable, values: Sequence[str], columns: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        location = self._location(self._folder(table, values))
        return {"Values": list(values), "StorageDescriptor": table.storage(location, columns)}

    def _partitions(self, table: ExternalTable, hours: Sequence[str]) -> Iterator[dict[str, Any]]:
        with aws_errors(f"ask Glue for the partitions of {self._database(table)}.{table.name}"):
            yield from pages(
                self._glue,
                "get_partitions",
                "Partitions",
                DatabaseName=self._database(table),
                TableName=table.name,
                Expression=f"arrival_hour >= '{min(hours)}' and arrival_hour <= '{max(hours)}'",
            )

    def _batches(self, table: ExternalTable, change: _Change, items: Sequence[dict[str, Any]]) -> None:
        """Change partitions, some at a time, and again those of which Glue says that it failed in passing."""
        what = f"change partitions of {self._database(table)}.{table.name}"
        for start in range(0, len(items), change.size):
            batch = list(items[start : start + change.size])
            for attempt in range(_ATTEMPTS):
                with aws_errors(what):
                    answer = getattr(self._glue, change.operation)(
                        DatabaseName=self._database(table), TableName=table.name, **{change.argument: batch}
                    )
                failed = {
                    tuple(error.get("PartitionValues") or error.get("PartitionValueList") or ()): error["ErrorDetail"]
                    for error in answer.get("Errors", [])
                    if error["ErrorDetail"]["ErrorCode"] != change.fine
                }
                if not failed:
                    break
                lasting = [one for one in failed.values() if one["ErrorCode"] not in _PASSING]
                if lasting or attempt + 1 == _ATTEMPTS:
                    one = (lasting or list(failed.values()))[0]
                    raise GlueError(f"cannot {what}: {one['ErrorCode']}: {shown(one.get('ErrorMessage', ''))}")
                batch = [one for one in batch if tuple(one[change.values]) in failed]
                time.sleep(0.1 * 2**attempt)

    def _retried(self, what: str, work: Callable[[], T]) -> T:
        """Do something again that another run was faster with; it looks again at what there is."""
        from botocore.exceptions import ClientError

        for attempt in range(_ATTEMPTS):
            with aws_errors(what):
                try:
                    return work()
                except ClientError as error:
                    overtaken = error_code(error) in ("AlreadyExistsException", "ConcurrentModificationException")
                    if not overtaken or attempt + 1 == _ATTEMPTS:
                        raise
            time.sleep(0.1 * 2**attempt)
        raise AssertionError(what)


def _columns(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(table["StorageDescriptor"]["Columns"])


def _same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether what Glue has of a table or partition says the same; Glue adds fields of its own."""
    serde = found.get("SerdeInfo", {})
    return (
        [(one["Name"], one["Type"]) for one in found.get("Columns", [])]
        == [(one["Name"], one["Type"]) for one in wanted["Columns"]]
        and all(found.get(key) == wanted[key] for key in ("Location", "InputFormat", "OutputFormat"))
        and serde.get("SerializationLibrary") == wanted["SerdeInfo"]["SerializationLibrary"]
        and serde.get("Parameters", {}) == wanted["SerdeInfo"]["Parameters"]
    )
