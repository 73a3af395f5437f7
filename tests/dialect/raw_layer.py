"""A raw layer that DuckDB reads, put where Athena reads it: the same objects, ledgers, formats and manifests."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowlake.lake.glue import may_be_column
from flowlake.records.fields import FIELDS_BY_COLUMN, FieldType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

HIVE = "org.apache.hadoop.hive"
SYMLINKS = f"{HIVE}.ql.io.SymlinkTextInputFormat"
TEXT_OUTPUT = f"{HIVE}.ql.io.HiveIgnoreKeyTextOutputFormat"
PARQUET_INPUT = f"{HIVE}.ql.io.parquet.MapredParquetInputFormat"
PARQUET_OUTPUT = f"{HIVE}.ql.io.parquet.MapredParquetOutputFormat"
LAZY_SIMPLE = f"{HIVE}.serde2.lazy.LazySimpleSerDe"
PARQUET = f"{HIVE}.ql.io.parquet.serde.ParquetHiveSerDe"
WHOLE_LINES = {"field.delim": "\n", "serialization.null.format": "\n"}
"""No line holds the end of one: nothing separates fields, and no text means null."""

TYPES = {"string": "string", "int64": "bigint", "int32": "int", "timestamp[us]": "timestamp"}


class AthenaRawLayer:
    """Glue's tables of the raw layer below a place of S3; `put` fills them from a DuckDB lake's raw folder."""

    def __init__(self, s3: Any, glue: Any, location: str, database: str) -> None:
        self.s3 = s3
        self.glue = glue
        self.location = location
        self.bucket, self.prefix = location.removeprefix("s3://").split("/", 1)
        self.database = database

    def upload(self, name: str, body: bytes) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=body)
        return f"{self.location}/{name}"

    def copy(self, path: Path) -> str:
        """An object, under a name of its own that keeps its suffix, by which engines know how it is packed."""
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return self.upload(f"raw/copies/{digest}{''.join(path.suffixes[-2:])}", path.read_bytes())

    def put(self, raw: Path) -> None:
        """All hours that are registered."""
        import pyarrow as pa
        from pyarrow import parquet

        formats = sorted((raw / "formats").glob("*.parquet"))
        for path in formats:
            self.upload(f"raw/formats/{path.name}", path.read_bytes())
        columns = {"format_id": "string", "position": "int", "field_name": "string", "column_name": "string"}
        self.table("formats", columns | {"header": "string"})
        texts: dict[tuple[str, ...], list[str]] = defaultdict(list)
        records: dict[tuple[str, ...], list[str]] = defaultdict(list)
        hours = []
        unknown: set[str] = set()
        for path in sorted((raw / "objects").glob("*/objects.parquet")):
            table = parquet.ParquetFile(path).read()
            rows = table.to_pylist()
            for row in rows:
                if row["status"] != "readable":
                    continue
                read_path = Path(row["read_path"])
                row["read_path"] = self.copy(read_path)
                if row["kind"] == "parquet":
                    records[(row["arrival_hour"],)].append(row["read_path"])
                    unknown.update(row["unknown_fields"])
                else:
                    texts[(row["format_id"], row["arrival_hour"])].append(row["read_path"])
            buffer = io.BytesIO()
            parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), buffer)
            hour = path.parent.name.removeprefix("arrival_hour=")
            self.upload(f"raw/objects/{path.parent.name}/objects.parquet", buffer.getvalue())
            hours.append((hour,))
            schema = table.schema
        self.table("objects", hive_columns(schema), ["arrival_hour"])
        self.partitions("objects", hours)
        self.table("text_lines", {"line": "string"}, ["format_id", "arrival_hour"], SYMLINKS, LAZY_SIMPLE)
        self.partitions("text_lines", texts, texts)
        known = {
            name: "string" if field.type is FieldType.STRING else "bigint" for name, field in FIELDS_BY_COLUMN.items()
        }
        known |= {name.lower(): "string" for name in sorted(unknown) if may_be_column(name)}
        self.table("parquet_records", known, ["arrival_hour"], SYMLINKS, PARQUET)
        self.partitions("parquet_records", records, records)

    def table(
        self,
        name: str,
        columns: Mapping[str, str],
        keys: Iterable[str] = (),
        input_format: str = PARQUET_INPUT,
        serde: str = PARQUET,
        *,
        folder: str | None = None,
    ) -> None:
        keys = list(keys)
        definition = {
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"EXTERNAL": "TRUE"},
            "PartitionKeys": [{"Name": key, "Type": "string"} for key in keys],
            "StorageDescriptor": {
                "Columns": [{"Name": column, "Type": kind} for column, kind in columns.items() if column not in keys],
                "Location": f"{self.location}/{folder or f'raw/{name}'}",
                "InputFormat": input_format,
                "OutputFormat": TEXT_OUTPUT if input_format == SYMLINKS else PARQUET_OUTPUT,
                "SerdeInfo": {
                    "SerializationLibrary": serde,
                    "Parameters": WHOLE_LINES if serde == LAZY_SIMPLE else {},
                },
            },
        }
        self.glue.create_table(DatabaseName=self.database, TableInput=definition)

    def partitions(
        self,
        name: str,
        values: Iterable[tuple[str, ...]],
        manifests: Mapping[tuple[str, ...], list[str]] | None = None,
    ) -> None:
        table = self.glue.get_table(DatabaseName=self.database, Name=name)["Table"]
        keys = [key["Name"] for key in table["PartitionKeys"]]
        inputs = []
        for value in values:
            folder = "/".join(f"{key}={part}" for key, part in zip(keys, value, strict=True))
            if manifests is not None:
                self.upload(
                    f"raw/{name}/{folder}/manifest", "".join(f"{p}\n" for p in sorted(manifests[value])).encode()
                )
            place = {"Location": f"{self.location}/raw/{name}/{folder}"}
            inputs.append({"Values": list(value), "StorageDescriptor": table["StorageDescriptor"] | place})
        for start in range(0, len(inputs), 100):
            batch = inputs[start : start + 100]
            if batch:
                self.glue.batch_create_partition(DatabaseName=self.database, TableName=name, PartitionInputList=batch)


def hive_columns(schema: pa.Schema) -> dict[str, str]:
    return {field.name: TYPES.get(str(field.type), "array<string>") for field in schema}
