"""Changes of the Glue catalog that Athena's DDL makes and Trino has no words for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from local_athena.ddl import (
    AddColumns,
    AddPartitions,
    CreateTable,
    DropPartitions,
    ReplaceColumns,
    SetProperties,
    ShowPartitions,
    Step,
    Table,
    Vacuum,
    extra_properties,
    quote,
    trino_column,
)

INPUT_KEYS = (
    "Name",
    "Description",
    "Owner",
    "Retention",
    "StorageDescriptor",
    "PartitionKeys",
    "ViewOriginalText",
    "ViewExpandedText",
    "TableType",
    "Parameters",
    "TargetTable",
)
"""What of a table Glue takes back in an update."""

DEFAULT_MAX_SNAPSHOT_AGE_SECONDS = 432_000


class CatalogError(Exception):
    """Why Glue did not do it, in the words of Athena's DDL."""


class Catalog:
    """Glue, by a boto3 client; its methods answer with the rows that a statement shows, mostly none."""

    def __init__(self, glue: Any, run: Callable[[str], Sequence[Sequence[Any]]]) -> None:
        self.glue = glue
        self.run = run

    def carry_out(self, step: Step) -> list[list[str]]:
        """Do what a step of a plan says; rows are of the statements that show something."""
        match step:
            case CreateTable():
                self.create_table(step)
            case SetProperties(table, properties) if self.is_iceberg(table):
                kept = self.iceberg_properties(table) | dict(properties)
                self.run(f"alter table {table.sql} set properties extra_properties = {extra_properties(kept)}")
            case SetProperties(table, properties):
                definition = self.definition(table)
                self.update(table, definition | {"Parameters": definition.get("Parameters", {}) | dict(properties)})
            case AddColumns(table, columns) if self.is_iceberg(table):
                for column in columns:
                    self.run(f"alter table {table.sql} add column {trino_column(column)}")
            case AddColumns(table, columns):
                self.set_columns(table, [*self.definition(table)["StorageDescriptor"]["Columns"], *columns])
            case ReplaceColumns(table, columns):
                self.set_columns(table, list(columns))
            case AddPartitions():
                self.add_partitions(step)
            case DropPartitions():
                self.drop_partitions(step)
            case ShowPartitions(table):
                return [[name] for name in self.partition_names(table)]
            case Vacuum(table):
                self.vacuum(table)
            case _:
                raise TypeError(f"no step of the catalog: {step}")
        return []

    def definition(self, table: Table) -> dict[str, Any]:
        """A table as Glue takes it in an update."""
        with described(table):
            found = self.glue.get_table(DatabaseName=table.schema, Name=table.name)["Table"]
        return {key: found[key] for key in INPUT_KEYS if key in found}

    def is_iceberg(self, table: Table) -> bool:
        parameters: Mapping[str, str] = self.definition(table).get("Parameters", {})
        return parameters.get("table_type", "").lower() == "iceberg"

    def update(self, table: Table, definition: Mapping[str, Any]) -> None:
        self.glue.update_table(DatabaseName=table.schema, TableInput=definition)

    def create_table(self, step: CreateTable) -> None:
        try:
            with described(Table(step.schema, step.definition["Name"])):
                self.glue.create_table(DatabaseName=step.schema, TableInput=step.definition)
        except self.glue.exceptions.AlreadyExistsException:
            if not step.may_exist:
                raise CatalogError(
                    f"FAILED: Execution Error. AlreadyExistsException: Table {step.definition['Name']} already exists."
                ) from None

    def describe_view(self, table: Table, columns: list[dict[str, str]]) -> None:
        """Tell Glue the columns of a view: clients that ask Glue, dbt-athena among them, find them there in Athena."""
        found = self.glue.get_table(DatabaseName=table.schema, Name=table.name)["Table"]
        definition = {key: found[key] for key in INPUT_KEYS if key in found}
        storage = definition.get("StorageDescriptor", {}) | {"Columns": columns}
        # A client of Glue may have changed it meanwhile: these must not bring back the view before that.
        with contextlib.suppress(self.glue.exceptions.ConcurrentModificationException):
            self.glue.update_table(
                DatabaseName=table.schema,
                TableInput=definition | {"StorageDescriptor": storage},
                VersionId=found["VersionId"],
            )

    def set_columns(self, table: Table, columns: list[Any]) -> None:
        definition = self.definition(table)
        if self.is_iceberg(table):
            raise CatalogError("FAILED: ALTER TABLE REPLACE COLUMNS is not supported for Iceberg tables")
        storage = definition["StorageDescriptor"] | {"Columns": columns}
        self.update(table, definition | {"StorageDescriptor": storage})

    def add_partitions(self, step: AddPartitions) -> None:
        definition = self.definition(step.table)
        inputs = []
        for keys, location in step.partitions:
            below = "/".join(f"{name}={value}" for name, value in keys.items())
            place = location or f"{definition['StorageDescriptor']['Location'].rstrip('/')}/{below}"
            values = partition_values(definition, keys)
            inputs.append(
                {"Values": values, "StorageDescriptor": definition["StorageDescriptor"] | {"Location": place}}
            )
        answer = self.glue.batch_create_partition(
            DatabaseName=step.table.schema, TableName=step.table.name, PartitionInputList=inputs
        )
        codes = {error["ErrorDetail"]["ErrorCode"] for error in answer.get("Errors", [])}
        if codes - ({"AlreadyExistsException"} if step.may_exist else set()):
            raise CatalogError(f"FAILED: Execution Error. {', '.join(sorted(codes))}")

    def drop_partitions(self, step: DropPartitions) -> None:
        definition = self.definition(step.table)
        values = [{"Values": partition_values(definition, keys)} for keys in step.partitions]
        answer = self.glue.batch_delete_partition(
            DatabaseName=step.table.schema, TableName=step.table.name, PartitionsToDelete=values
        )
        if answer.get("Errors") and not step.may_miss:
            raise CatalogError("FAILED: SemanticException Partition not found")

    def partition_names(self, table: Table) -> list[str]:
        names = [key["Name"] for key in self.definition(table).get("PartitionKeys", [])]
        pages = self.glue.get_paginator("get_partitions").paginate(DatabaseName=table.schema, TableName=table.name)
        return [
            "/".join(f"{name}={value}" for name, value in zip(names, partition["Values"], strict=True))
            for page in pages
            for partition in page["Partitions"]
        ]

    def iceberg_properties(self, table: Table) -> dict[str, str]:
        """Athena's own properties of an Iceberg table, from its metadata."""
        rows = self.run(f'select key, value from "{table.schema}"."{table.name}$properties"')
        return {key: value for key, value in rows if key.startswith(("vacuum_", "optimize_"))}

    def vacuum(self, table: Table) -> None:
        if not self.is_iceberg(table):
            raise CatalogError("NOT_SUPPORTED: VACUUM is supported for Iceberg tables only")
        given = self.iceberg_properties(table)
        age = int(given.get("vacuum_max_snapshot_age_seconds", DEFAULT_MAX_SNAPSHOT_AGE_SECONDS))
        older = f"retention_threshold => {quote(f'{age}s')}"
        self.run(f"alter table {table.sql} execute expire_snapshots({older})")
        self.run(f"alter table {table.sql} execute remove_orphan_files({older})")


def partition_values(definition: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    """A partition's values in the order of the table's keys."""
    names = [key["Name"] for key in definition.get("PartitionKeys", [])]
    if set(names) != set(keys):
        raise CatalogError(f"FAILED: SemanticException partition spec {dict(keys)} is not of {names}")
    return [keys[name] for name in names]


@contextlib.contextmanager
def described(table: Table) -> Iterator[None]:
    """Say which table or database is missing."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "EntityNotFoundException":
            raise CatalogError(f"FAILED: SemanticException Table not found {table.schema}.{table.name}") from error
        raise
