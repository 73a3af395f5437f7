"""What a statement of Athena means for Trino and Glue.

Athena has two languages: queries and writes are Trino's, and go through as they are; DDL is Hive's, and Trino knows
little of it. Hive's DDL becomes Trino's where Trino has the same, and a change of the Glue catalog where it has not.
What Athena refuses is refused here, above all what Trino would take. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local_athena.sql import Kind, Reader, SqlError, Token, single_statement
from local_athena.trino import HIVE_CATALOG, ICEBERG_CATALOG
from local_athena.type_names import trino_type

QUERY_WORDS = ("select", "with", "values", "(")
WRITES = {"insert": "INSERT", "delete": "DELETE", "update": "UPDATE", "merge": "MERGE"}

KEPT_PROPERTIES = (
    "vacuum_max_snapshot_age_seconds",
    "vacuum_min_snapshots_to_keep",
    "vacuum_max_metadata_files_to_keep",
    "optimize_rewrite_min_data_file_size_bytes",
    "optimize_rewrite_max_data_file_size_bytes",
    "optimize_rewrite_data_file_threshold",
    "optimize_rewrite_delete_file_threshold",
    "write_target_data_file_size_bytes",
)
"""Athena's own properties of Iceberg tables: kept in the table's metadata, where VACUUM looks for them."""

ICEBERG_PROPERTIES = ("location", "partitioning", "format")
HIVE_PROPERTIES = ("external_location", "partitioned_by", "format", "bucketed_by", "bucket_count")
"""Properties of CREATE TABLE AS that have the same name and meaning in Trino; others are Athena's, or an error."""

TEXT_INPUT = "org.apache.hadoop.mapred.TextInputFormat"
TEXT_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
LAZY_SIMPLE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
PARQUET_INPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
PARQUET_OUTPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
PARQUET = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


@dataclass(frozen=True)
class Table:
    """A table's name, in Glue's lower case."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        return f'"{self.schema}"."{self.name}"'


@dataclass(frozen=True)
class Sql:
    """A statement for Trino, with settings of its session."""

    text: str
    session: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CreateTableAs:
    """A statement for Trino whose columns are looked at before: Athena takes fewer types than Trino."""

    sql: Sql
    query: str
    is_iceberg: bool


@dataclass(frozen=True)
class CreateView:
    """A statement for Trino, and the query whose columns Glue is told after it: Athena tells it, Trino does not."""

    sql: Sql
    query: str
    table: Table


@dataclass(frozen=True)
class CreateTable:
    """A table that only Glue knows of: its files are there already, or will be written by others."""

    schema: str
    definition: Mapping[str, Any]
    may_exist: bool


@dataclass(frozen=True)
class SetProperties:
    """Properties of a table of either kind, which only Glue can tell apart."""

    table: Table
    properties: Mapping[str, str]


@dataclass(frozen=True)
class AddColumns:
    """Columns behind those that a table of either kind has."""

    table: Table
    columns: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class ReplaceColumns:
    """All columns of a table that is not Iceberg's."""

    table: Table
    columns: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class AddPartitions:
    """Partitions by their keys, each with its location or below the table's."""

    table: Table
    partitions: tuple[tuple[Mapping[str, str], str | None], ...]
    may_exist: bool


@dataclass(frozen=True)
class DropPartitions:
    """Partitions by their keys; files stay."""

    table: Table
    partitions: tuple[Mapping[str, str], ...]
    may_miss: bool


@dataclass(frozen=True)
class ShowPartitions:
    """The partitions of a table that is not Iceberg's, as `key=value/key=value`."""

    table: Table


@dataclass(frozen=True)
class Vacuum:
    """Expire snapshots and remove what nothing points to, by the ages that the table itself names."""

    table: Table


Step = (
    Sql
    | CreateTableAs
    | CreateView
    | CreateTable
    | SetProperties
    | AddColumns
    | ReplaceColumns
    | AddPartitions
    | DropPartitions
    | ShowPartitions
    | Vacuum
)


@dataclass(frozen=True)
class Plan:
    """What to do for a statement; `kind` and `detail` are Athena's StatementType and SubstatementType."""

    kind: str
    detail: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Context:
    """What a statement's meaning depends on besides its text."""

    schema: str = "default"
    tables_location: str = "s3://output/tables"
    """Where a Hive table goes that names no place: below the query's output."""
    is_location_enforced: bool = False
    """Whether the work group insists on its own output location; Athena then refuses any other for Hive tables."""


def translate(statement: str, context: Context) -> Plan:
    """What Athena does with a statement; SqlError if it refuses to start it."""
    text, tokens = single_statement(statement)
    first = tokens[0].text.lower()
    if first in QUERY_WORDS:
        return Plan("DML", "SELECT", (Sql(text),))
    if first in WRITES:
        return Plan("DML", WRITES[first], (Sql(text),))
    if first == "explain":
        return Plan("UTILITY", "EXPLAIN", (Sql(text),))
    reader = Reader(text, tokens)
    for words, read in STATEMENTS.items():
        if reader.accept(*words.split()):
            return read(reader, context)
    raise unsupported()


def unsupported() -> SqlError:
    return SqlError("Queries of this type are not supported")


# Databases


def create_schema(reader: Reader, context: Context) -> Plan:
    exists = "if not exists " if reader.accept("if", "not", "exists") else ""
    name = identifier(reader)
    location = ""
    while not reader.at_end:
        if reader.accept("location"):
            location = f" with (location = {quote(string(reader))})"
        elif reader.accept("comment"):
            string(reader)
        else:
            reader.expect("with", "dbproperties")
            properties(reader)
    return Plan("DDL", "CREATE_DATABASE", (Sql(f'create schema {exists}"{name}"{location}'),))


def drop_schema(reader: Reader, context: Context) -> Plan:
    exists = "if exists " if reader.accept("if", "exists") else ""
    name = identifier(reader)
    cascade = " cascade" if reader.accept("cascade") else ""
    reader.accept("restrict")
    reader.expect_end()
    return Plan("DDL", "DROP_DATABASE", (Sql(f'drop schema {exists}"{name}"{cascade}'),))


# Views: Trino's language in Athena too


def create_view(reader: Reader, context: Context) -> Plan:
    table = named(dotted(reader, Kind.QUOTED), context)
    reader.expect("as")
    return Plan("DDL", "CREATE_VIEW", (CreateView(Sql(reader.sql), query(reader), table),))


def drop_view(reader: Reader, context: Context) -> Plan:
    return Plan("DDL", "DROP_VIEW", (Sql(reader.sql),))


# Tables


def create_table(reader: Reader, context: Context) -> Plan:
    """CREATE TABLE AS is Trino's language, with properties of Athena's own; the rest is Hive's, for Iceberg only."""
    probe = Reader(reader.sql, reader.tokens[reader.position : -1])
    probe.accept("if", "not", "exists")
    dotted(probe, Kind.BACKTICKED, Kind.QUOTED)
    if probe.current.is_symbol("("):
        return create_declared_table(reader, context, is_external=False)
    return create_table_as(reader, context)


def create_table_as(reader: Reader, context: Context) -> Plan:
    exists = "if not exists " if reader.accept("if", "not", "exists") else ""
    table = named(dotted(reader, Kind.QUOTED), context)
    given = trino_properties(reader) if reader.accept("with") else {}
    reader.expect("as")
    source = query(reader)
    is_iceberg = unquoted(given.pop("table_type", "'hive'")).lower() == "iceberg"
    is_external = given.pop("is_external", "true").lower()
    if is_iceberg:
        if is_external != "false":
            raise SqlError("Iceberg tables are not external: is_external must be false")
        catalog = ICEBERG_CATALOG
        settings, session = iceberg_properties(given)
        if "location" not in settings:
            raise SqlError("An Iceberg table needs a location")
    else:
        catalog = HIVE_CATALOG
        settings, session = hive_properties(given)
        if "external_location" in settings and context.is_location_enforced:
            raise SqlError(
                "The Create Table As Select query failed because it was submitted with an 'external_location' property "
                "to an Athena Workgroup that enforces a centralized output location for all queries. Please remove the "
                "'external_location' property and resubmit the query."
            )
        settings.setdefault("external_location", quote(context.tables_location))
    listed = ", ".join(f"{name} = {value}" for name, value in settings.items())
    sql = Sql(f"create table {exists}{catalog}.{table.sql} with ({listed}) as {source}", session)
    return Plan("DDL", "CREATE_TABLE_AS_SELECT", (CreateTableAs(sql, source, is_iceberg),))


def iceberg_properties(given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Trino's properties, and the settings of the session that stand for the rest."""
    settings: dict[str, str] = {}
    session: dict[str, str] = {}
    kept: dict[str, str] = {}
    for name, value in given.items():
        if name in ICEBERG_PROPERTIES:
            settings[name] = value
        elif name == "write_compression":
            session[f"{ICEBERG_CATALOG}.compression_codec"] = unquoted(value).upper()
        elif name in KEPT_PROPERTIES:
            kept[name] = unquoted(value)
        else:
            raise SqlError(f"Table property '{name}' is not supported for Iceberg tables")
    if kept:
        settings["extra_properties"] = extra_properties(kept)
    return settings, session


def hive_properties(given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """As `iceberg_properties`, for the other tables."""
    settings: dict[str, str] = {}
    session: dict[str, str] = {}
    for name, value in given.items():
        if name in HIVE_PROPERTIES:
            settings[name] = value
        elif name == "field_delimiter":
            settings["textfile_field_separator"] = value
        elif name in ("write_compression", "parquet_compression", "orc_compression"):
            session[f"{HIVE_CATALOG}.compression_codec"] = unquoted(value).upper()
        else:
            raise SqlError(f"Table property '{name}' is not supported")
    return settings, session


def create_external_table(reader: Reader, context: Context) -> Plan:
    return create_declared_table(reader, context, is_external=True)


def create_declared_table(reader: Reader, context: Context, *, is_external: bool) -> Plan:
    may_exist = reader.accept("if", "not", "exists")
    table = hive_table(reader, context)
    columns = column_list(reader)
    clauses = table_clauses(reader)
    parameters = {name.lower(): value for name, value in clauses.parameters.items()}
    if parameters.get("table_type", "").lower() == "iceberg":
        if is_external:
            raise SqlError("Iceberg tables are not external: use CREATE TABLE")
        step: Step = create_iceberg_table(table, columns, clauses, may_exist)
    elif not is_external:
        raise SqlError("CREATE TABLE is for Iceberg tables (TBLPROPERTIES 'table_type'='ICEBERG'); else use EXTERNAL")
    else:
        step = CreateTable(table.schema, glue_definition(table, columns, clauses), may_exist)
    return Plan("DDL", "CREATE_TABLE", (step,))


@dataclass
class Clauses:
    """What follows the columns of a table in Hive's DDL."""

    location: str | None = None
    comment: str | None = None
    partitions: list[dict[str, str]] = field(default_factory=list)
    transforms: list[str] = field(default_factory=list)
    serde: str | None = None
    serde_parameters: dict[str, str] = field(default_factory=dict)
    input_format: str = TEXT_INPUT
    output_format: str = TEXT_OUTPUT
    parameters: dict[str, str] = field(default_factory=dict)


def table_clauses(reader: Reader) -> Clauses:
    clauses = Clauses()
    while not reader.at_end:
        if reader.accept("comment"):
            clauses.comment = string(reader)
        elif reader.accept("location"):
            clauses.location = string(reader)
        elif reader.accept("tblproperties"):
            clauses.parameters = properties(reader)
        elif reader.accept("partitioned", "by"):
            partition_list(reader, clauses)
        elif reader.accept("row", "format", "serde"):
            clauses.serde = string(reader)
        elif reader.accept("with", "serdeproperties"):
            clauses.serde_parameters = properties(reader)
        elif reader.accept("row", "format", "delimited"):
            delimited_fields(reader, clauses)
        elif reader.accept("stored", "as", "inputformat"):
            clauses.input_format = string(reader)
            reader.expect("outputformat")
            clauses.output_format = string(reader)
        elif reader.accept("stored", "as", "parquet"):
            clauses.serde, clauses.input_format, clauses.output_format = PARQUET, PARQUET_INPUT, PARQUET_OUTPUT
        else:
            reader.expect("stored", "as", "textfile")
    return clauses


def delimited_fields(reader: Reader, clauses: Clauses) -> None:
    names = {"fields": "field.delim", "escaped": "escape.delim", "lines": "line.delim"}
    while (name := names.get(reader.current.text.lower())) is not None:
        if not reader.accept("escaped", "by"):
            reader.next()
            reader.expect("terminated", "by")
        clauses.serde_parameters[name] = string(reader)


def glue_definition(table: Table, columns: list[dict[str, str]], clauses: Clauses) -> dict[str, Any]:
    """Glue's TableInput."""
    if clauses.location is None:
        raise SqlError("FAILED: an external table needs a LOCATION")
    definition = {
        "Name": table.name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"EXTERNAL": "TRUE"} | clauses.parameters,
        "PartitionKeys": clauses.partitions,
        "StorageDescriptor": {
            "Columns": columns,
            "Location": clauses.location,
            "InputFormat": clauses.input_format,
            "OutputFormat": clauses.output_format,
            "SerdeInfo": {
                "SerializationLibrary": clauses.serde or LAZY_SIMPLE,
                "Parameters": {"serialization.format": "1"} | clauses.serde_parameters,
            },
        },
    }
    return definition if clauses.comment is None else definition | {"Description": clauses.comment}


def create_iceberg_table(table: Table, columns: list[dict[str, str]], clauses: Clauses, may_exist: bool) -> Sql:
    if clauses.location is None:
        raise SqlError("An Iceberg table needs a LOCATION")
    given = {
        name.lower(): quote(value) for name, value in clauses.parameters.items() if name.lower() != "table_type"
    } | {"location": quote(clauses.location)}
    if clauses.transforms:
        given["partitioning"] = f"ARRAY[{', '.join(map(quote, clauses.transforms))}]"
    settings, session = iceberg_properties(given)
    exists = "if not exists " if may_exist else ""
    declared = ", ".join(map(trino_column, columns))
    listed = ", ".join(f"{name} = {value}" for name, value in settings.items())
    return Sql(f"create table {exists}{ICEBERG_CATALOG}.{table.sql} ({declared}) with ({listed})", session)


def trino_column(column: Mapping[str, str]) -> str:
    """A column of Glue's as Trino declares it."""
    comment = f" comment {quote(column['Comment'])}" if "Comment" in column else ""
    return f'"{column["Name"]}" {trino_type(column["Type"])}{comment}'


def drop_table(reader: Reader, context: Context) -> Plan:
    exists = "if exists " if reader.accept("if", "exists") else ""
    table = hive_table(reader, context)
    reader.accept("purge")
    reader.expect_end()
    return Plan("DDL", "DROP_TABLE", (Sql(f"drop table {exists}{table.sql}"),))


def alter_table(reader: Reader, context: Context) -> Plan:
    table = hive_table(reader, context)
    for words, read in ALTERATIONS.items():
        if reader.accept(*words.split()):
            steps = read(reader, table, context)
            reader.expect_end()
            return Plan("DDL", "ALTER_TABLE", steps)
    raise reader.error()


def rename_table(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    target = hive_table(reader, Context(schema=table.schema))
    return (Sql(f"alter table {table.sql} rename to {target.sql}"),)


def set_properties(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    return (SetProperties(table, properties(reader)),)


def add_columns(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    return (AddColumns(table, tuple(column_list(reader))),)


def replace_columns(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    return (ReplaceColumns(table, tuple(column_list(reader))),)


def drop_column(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    return (Sql(f'alter table {table.sql} drop column "{identifier(reader)}"'),)


def change_column(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    reader.accept("column")
    old, new, new_type = identifier(reader), identifier(reader), trino_type(type_name(reader))
    retype = Sql(f'alter table {table.sql} alter column "{old}" set data type {new_type}')
    rename = Sql(f'alter table {table.sql} rename column "{old}" to "{new}"')
    return (retype,) if old == new else (rename,)


def add_partitions(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    may_exist = reader.accept("if", "not", "exists")
    partitions = []
    while reader.accept("partition"):
        keys = partition_keys(reader)
        partitions.append((keys, string(reader) if reader.accept("location") else None))
    return (AddPartitions(table, tuple(partitions), may_exist),)


def drop_partitions(reader: Reader, table: Table, context: Context) -> tuple[Step, ...]:
    may_miss = reader.accept("if", "exists")
    partitions = []
    while reader.accept("partition"):
        partitions.append(partition_keys(reader))
        reader.accept(",")
    return (DropPartitions(table, tuple(partitions), may_miss),)


# Maintenance


def optimize(reader: Reader, context: Context) -> Plan:
    table = hive_table(reader, context)
    reader.expect("rewrite", "data", "using", "bin_pack")
    condition = "" if reader.at_end else " " + reader.rest()
    if condition:
        reader.expect("where")
    return Plan("DML", "OPTIMIZE", (Sql(f"alter table {table.sql} execute optimize{condition}"),))


def vacuum(reader: Reader, context: Context) -> Plan:
    table = hive_table(reader, context)
    reader.expect_end()
    return Plan("DML", "VACUUM_TABLE", (Vacuum(table),))


def repair(reader: Reader, context: Context) -> Plan:
    table = hive_table(reader, context)
    reader.expect_end()
    call = f"call {HIVE_CATALOG}.system.sync_partition_metadata({quote(table.schema)}, {quote(table.name)}, 'ADD')"
    return Plan("DDL", "MSCK_REPAIR_TABLE", (Sql(call),))


# Looking


def show_databases(reader: Reader, context: Context) -> Plan:
    reader.expect_end()
    return Plan("UTILITY", "SHOW_DATABASES", (Sql(f"show schemas from {ICEBERG_CATALOG}"),))


def show_tables(reader: Reader, context: Context) -> Plan:
    schema = identifier(reader) if reader.accept("in") or reader.accept("from") else context.schema
    pattern = f" like {quote(string(reader).replace('*', '%'))}" if reader.current.kind is Kind.STRING else ""
    reader.expect_end()
    return Plan("UTILITY", "SHOW_TABLES", (Sql(f'show tables from "{schema}"{pattern}'),))


def show_partitions(reader: Reader, context: Context) -> Plan:
    table = hive_table(reader, context)
    reader.expect_end()
    return Plan("UTILITY", "SHOW_PARTITIONS", (ShowPartitions(table),))


def show_create(detail: str, form: str) -> Callable[[Reader, Context], Plan]:
    def read(reader: Reader, context: Context) -> Plan:
        table = hive_table(reader, context)
        reader.expect_end()
        return Plan("UTILITY", detail, (Sql(f"{form} {table.sql}"),))

    return read


STATEMENTS: Mapping[str, Callable[[Reader, Context], Plan]] = {
    "create database": create_schema,
    "create schema": create_schema,
    "create external table": create_external_table,
    "create table": create_table,
    "create view": create_view,
    "create or replace view": create_view,
    "drop database": drop_schema,
    "drop schema": drop_schema,
    "drop table": drop_table,
    "drop view": drop_view,
    "alter table": alter_table,
    "optimize": optimize,
    "vacuum": vacuum,
    "msck repair table": repair,
    "show databases": show_databases,
    "show schemas": show_databases,
    "show tables": show_tables,
    "show partitions": show_partitions,
    "show create table": show_create("SHOW_CREATE_TABLE", "show create table"),
    "show create view": show_create("SHOW_CREATE_VIEW", "show create view"),
    "describe": show_create("DESCRIBE_TABLE", "describe"),
}
"""Statements by how they begin. Athena knows a few more (UNLOAD, PREPARE); this one says that it does not."""

ALTERATIONS: Mapping[str, Callable[[Reader, Table, Context], tuple[Step, ...]]] = {
    "rename to": rename_table,
    "set tblproperties": set_properties,
    "add columns": add_columns,
    "replace columns": replace_columns,
    "drop column": drop_column,
    "change": change_column,
    "add": add_partitions,
    "drop": drop_partitions,
}


# Pieces of statements


def identifier(reader: Reader, *quotes: Kind) -> str:
    """A name, bare or in these quotes: backticks in Hive's DDL, where double quotes make a string."""
    if reader.current.kind not in (Kind.WORD, Kind.NUMBER, *(quotes or [Kind.BACKTICKED])):
        raise reader.error()
    return reader.next().value.lower()


def dotted(reader: Reader, *quotes: Kind) -> list[str]:
    """A name of one to three parts."""
    parts = [identifier(reader, *quotes)]
    while reader.accept("."):
        parts.append(identifier(reader, *quotes))
    return parts


def named(parts: list[str], context: Context) -> Table:
    """The table that a name means; Glue is the only catalog here."""
    if len(parts) > 3 or (len(parts) == 3 and parts[0] != ICEBERG_CATALOG):
        raise SqlError(f"CATALOG_NOT_FOUND: there is no catalog of '{'.'.join(parts)}'")
    return Table(parts[-2] if len(parts) > 1 else context.schema, parts[-1])


def hive_table(reader: Reader, context: Context) -> Table:
    return named(dotted(reader), context)


def query(reader: Reader) -> str:
    """The rest of a statement; comments alone are no query."""
    if reader.at_end:
        raise reader.error()
    return reader.rest()


def string(reader: Reader) -> str:
    """A literal of Hive's DDL, in single or double quotes, with C's escapes."""
    if reader.current.kind not in (Kind.STRING, Kind.QUOTED):
        raise reader.error()
    value = reader.next().value
    return value.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in value else value


def properties(reader: Reader) -> dict[str, str]:
    """`('name' = 'value', ...)` of Hive's DDL."""
    found: dict[str, str] = {}
    reader.expect("(")
    while not reader.accept(")"):
        name = string(reader)
        reader.expect("=")
        found[name] = string(reader)
        reader.accept(",")
    return found


def trino_properties(reader: Reader) -> dict[str, str]:
    """`(name = expression, ...)` of CREATE TABLE AS; the expressions as they were written."""
    found: dict[str, str] = {}
    reader.expect("(")
    while not reader.accept(")"):
        name = identifier(reader)
        reader.expect("=")
        found[name] = expression(reader)
        reader.accept(",")
    return found


def expression(reader: Reader) -> str:
    """The text up to the comma or bracket that ends it."""
    start, end, depth = reader.current.start, reader.current.start, 0
    while depth or not (reader.current.is_symbol(",") or reader.current.is_symbol(")")):
        token = reader.next()
        end = token.end
        depth += _nesting(token)
    return reader.sql[start:end]


def _nesting(token: Token) -> int:
    if token.kind is not Kind.SYMBOL:
        return 0
    return (token.text in "([<") - (token.text in ")]>")


def column_list(reader: Reader) -> list[dict[str, str]]:
    """`(name type [comment 'text'], ...)`, as Glue has columns."""
    columns = []
    reader.expect("(")
    while not reader.accept(")"):
        column = {"Name": identifier(reader), "Type": type_name(reader)}
        if reader.accept("comment"):
            column["Comment"] = string(reader)
        columns.append(column)
        reader.accept(",")
    return columns


def type_name(reader: Reader) -> str:
    """A type of Hive's: a word, and what stands in brackets after it. `integer` is of queries only, in Athena too."""
    if reader.current.is_word("integer"):
        raise reader.error()
    text = reader.next().text.lower()
    depth = 0
    while depth or reader.current.is_symbol("(") or reader.current.is_symbol("<"):
        token = reader.next()
        text += token.value.lower()
        depth += _nesting(token)
    return text


def partition_list(reader: Reader, clauses: Clauses) -> None:
    """Columns with types for Hive's tables; for Iceberg's, columns of the table or functions of them."""
    reader.expect("(")
    while not reader.accept(")"):
        name = identifier(reader)
        if reader.accept("("):
            arguments = [reader.next().value.lower()]
            while reader.accept(","):
                arguments.append(reader.next().value.lower())
            reader.expect(")")
            # bucket(16, id) and truncate(10, hour) in Hive's DDL; Trino names the column first.
            clauses.transforms.append(f"{name}({', '.join(reversed(arguments))})")
        elif reader.current.is_symbol(",") or reader.current.is_symbol(")"):
            clauses.transforms.append(name)
        else:
            clauses.partitions.append({"Name": name, "Type": type_name(reader)})
        reader.accept(",")


def partition_keys(reader: Reader) -> dict[str, str]:
    """`(name = 'value', ...)`."""
    keys: dict[str, str] = {}
    reader.expect("(")
    while not reader.accept(")"):
        name = identifier(reader)
        reader.expect("=")
        keys[name] = reader.next().value
        reader.accept(",")
    return keys


def quote(value: str) -> str:
    """A literal of Trino's."""
    return "'" + value.replace("'", "''") + "'"


def unquoted(expression: str) -> str:
    """The text of a literal, or an expression as it is."""
    if expression.startswith("'"):
        return expression[1:-1].replace("''", "'")
    return expression


def extra_properties(kept: Mapping[str, str]) -> str:
    """Athena's own properties as a map of Trino's; one of them has a name of Iceberg's, by which Trino goes, too."""
    values = dict(kept)
    if fewest := kept.get("vacuum_min_snapshots_to_keep"):
        values["history.expire.min-snapshots-to-keep"] = fewest
    names, texts = ", ".join(map(quote, values)), ", ".join(map(quote, values.values()))
    return f"map(ARRAY[{names}], ARRAY[{texts}])"
