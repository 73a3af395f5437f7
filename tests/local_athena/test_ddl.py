"""Athena's statements and what they become; most of those here are what dbt-athena sends, word for word."""

from __future__ import annotations

from typing import Any

import pytest

from local_athena.ddl import (
    PARQUET,
    PARQUET_INPUT,
    PARQUET_OUTPUT,
    AddColumns,
    AddPartitions,
    Context,
    CreateTable,
    CreateTableAs,
    CreateView,
    DropPartitions,
    ReplaceColumns,
    SetProperties,
    ShowPartitions,
    Sql,
    Table,
    Vacuum,
    translate,
)
from local_athena.sql import SqlError
from local_athena.type_names import UnsupportedTypeError, hive_type, trino_type

HEADER = '-- /* {"app": "dbt", "node_id": "model.lake.t; drop"} */\n/* it\'s */ '
CONTEXT = Context(schema="here", tables_location="s3://out/tables/1")
T = Table("d", "t")

CTAS = """create table "awsdatacatalog"."d"."t"
    with (
      table_type='iceberg',
      is_external=false,location='s3://b/d/t/1',
      partitioning=ARRAY['truncate(hour, 10)', 'bucket(id, 16)'],
      format='parquet'
      ,vacuum_max_snapshot_age_seconds=60
      ,write_compression='zstd'
    )
    as
      -- a comment of the model
      select 'a;b' as x"""

HIVE_CTAS = """create table "awsdatacatalog"."d"."t"
    with (table_type='hive', is_external=true, external_location='s3://b/t', partitioned_by=ARRAY['p'],
      field_delimiter='|', write_compression='snappy', format='parquet')
    as select 1 as a, 'x' as p"""

STEPS: dict[str, tuple[str, Any]] = {
    "create schema": ("create schema if not exists `d`", Sql('create schema if not exists "d"')),
    "create schema, located": (
        "CREATE DATABASE d COMMENT 'x' LOCATION 's3://b/d'",
        Sql("create schema \"d\" with (location = 's3://b/d')"),
    ),
    "drop schema": ("drop schema if exists `d` cascade", Sql('drop schema if exists "d" cascade')),
    "drop table": ("drop table if exists `d`.`t`", Sql('drop table if exists "d"."t"')),
    "drop table of the query's database": ("drop table t", Sql('drop table "here"."t"')),
    "rename": ("alter table `d`.`t__ha` rename to `d`.`t`", Sql('alter table "d"."t__ha" rename to "d"."t"')),
    "set properties": (
        "alter table `d`.`t` set tblproperties ('classification' = 'parquet')",
        SetProperties(T, {"classification": "parquet"}),
    ),
    "add columns": (
        "alter table `d`.`t`\n add columns (`a` string, b array<int>, c decimal(10, 2) comment 'x')",
        AddColumns(
            T,
            (
                {"Name": "a", "Type": "string"},
                {"Name": "b", "Type": "array<int>"},
                {"Name": "c", "Type": "decimal(10,2)", "Comment": "x"},
            ),
        ),
    ),
    "replace columns": (
        "alter table `d`.`t` replace columns (a bigint)",
        ReplaceColumns(T, ({"Name": "a", "Type": "bigint"},)),
    ),
    "drop column": ("alter table `d`.`t` drop column `a`", Sql('alter table "d"."t" drop column "a"')),
    "rename column": (
        "alter table awsdatacatalog.d.t change column a__tmp a string",
        Sql('alter table "d"."t" rename column "a__tmp" to "a"'),
    ),
    "widen column": (
        "alter table d.t change column a a bigint",
        Sql('alter table "d"."t" alter column "a" set data type bigint'),
    ),
    "add partitions": (
        "alter table d.t add if not exists partition (f='v2', h='2026-01-01T00') location 's3://b/m'\n"
        " partition (f='v2', h='2026-01-01T01')",
        AddPartitions(
            T,
            (
                ({"f": "v2", "h": "2026-01-01T00"}, "s3://b/m"),
                ({"f": "v2", "h": "2026-01-01T01"}, None),
            ),
            may_exist=True,
        ),
    ),
    "drop partitions": (
        "alter table d.t drop if exists partition (n=1), partition (n=2)",
        DropPartitions(T, ({"n": "1"}, {"n": "2"}), may_miss=True),
    ),
    "optimize": (
        "optimize awsdatacatalog.d.t rewrite data using bin_pack",
        Sql('alter table "d"."t" execute optimize'),
    ),
    "optimize some": (
        "OPTIMIZE d.t REWRITE DATA USING BIN_PACK WHERE day = 'x'",
        Sql('alter table "d"."t" execute optimize WHERE day = \'x\''),
    ),
    "vacuum": ("vacuum awsdatacatalog.d.t", Vacuum(T)),
    "vacuum, underscore": ("VACUUM d.`t`", Vacuum(T)),
    "repair": (
        "msck repair table `d`.`t`",
        Sql("call hive.system.sync_partition_metadata('d', 't', 'ADD')"),
    ),
    "show databases": ("show databases", Sql("show schemas from awsdatacatalog")),
    "show tables": ("show tables in d 'x*'", Sql("show tables from \"d\" like 'x%'")),
    "show partitions": ("show partitions d.t", ShowPartitions(T)),
    "show create table": ("show create table `d`.`t`", Sql('show create table "d"."t"')),
    "describe": ("describe d.t", Sql('describe "d"."t"')),
    "create table as": (
        CTAS,
        CreateTableAs(
            Sql(
                'create table awsdatacatalog."d"."t" with (location = \'s3://b/d/t/1\', '
                "partitioning = ARRAY['truncate(hour, 10)', 'bucket(id, 16)'], format = 'parquet', "
                "extra_properties = map(ARRAY['vacuum_max_snapshot_age_seconds'], ARRAY['60'])) "
                "as select 'a;b' as x",
                {"awsdatacatalog.compression_codec": "ZSTD"},
            ),
            "select 'a;b' as x",
            is_iceberg=True,
        ),
    ),
    "create Hive's table as": (
        HIVE_CTAS,
        CreateTableAs(
            Sql(
                "create table hive.\"d\".\"t\" with (external_location = 's3://b/t', partitioned_by = ARRAY['p'], "
                "textfile_field_separator = '|', format = 'parquet') as select 1 as a, 'x' as p",
                {"hive.compression_codec": "SNAPPY"},
            ),
            "select 1 as a, 'x' as p",
            is_iceberg=False,
        ),
    ),
    "create table as, nowhere": (
        "create table if not exists t as select 1 as a",
        CreateTableAs(
            Sql(
                'create table if not exists hive."here"."t" with (external_location = \'s3://out/tables/1\') '
                "as select 1 as a"
            ),
            "select 1 as a",
            is_iceberg=False,
        ),
    ),
    "create Iceberg table": (
        "create table if not exists d.t (id bigint comment 'it''s', at timestamp, tags array<string>) "
        "partitioned by (day(at), bucket(16, id), id) location 's3://b/t' "
        "tblproperties ('table_type'='ICEBERG', 'format'='parquet')",
        Sql(
            'create table if not exists awsdatacatalog."d"."t" ("id" bigint comment \'it\'\'s\', '
            '"at" timestamp(6), "tags" array(varchar)) '
            "with (format = 'parquet', location = 's3://b/t', "
            "partitioning = ARRAY['day(at)', 'bucket(id, 16)', 'id'])"
        ),
    ),
    "seed": (
        "create external table `d`.`t__dbt_tmp` (`a` string, `b` string)\n"
        "    row format serde 'org.apache.hadoop.hive.serde2.OpenCSVSerde'\n"
        "    location 's3://b/t'\n    tblproperties (\n      'skip.header.line.count'='1'\n    )",
        CreateTable(
            "d",
            {
                "Name": "t__dbt_tmp",
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {"EXTERNAL": "TRUE", "skip.header.line.count": "1"},
                "PartitionKeys": [],
                "StorageDescriptor": {
                    "Columns": [{"Name": "a", "Type": "string"}, {"Name": "b", "Type": "string"}],
                    "Location": "s3://b/t",
                    "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
                    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                    "SerdeInfo": {
                        "SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde",
                        "Parameters": {"serialization.format": "1"},
                    },
                },
            },
            may_exist=False,
        ),
    ),
    "external table of lines": (
        "create external table if not exists lines (line string) comment 'raw' partitioned by (h string) "
        "row format delimited fields terminated by '\\001' stored as inputformat 'in' outputformat 'out' "
        "location 's3://b/t'",
        CreateTable(
            "here",
            {
                "Name": "lines",
                "Description": "raw",
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {"EXTERNAL": "TRUE"},
                "PartitionKeys": [{"Name": "h", "Type": "string"}],
                "StorageDescriptor": {
                    "Columns": [{"Name": "line", "Type": "string"}],
                    "Location": "s3://b/t",
                    "InputFormat": "in",
                    "OutputFormat": "out",
                    "SerdeInfo": {
                        "SerializationLibrary": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                        "Parameters": {"serialization.format": "1", "field.delim": "\x01"},
                    },
                },
            },
            may_exist=True,
        ),
    ),
}


@pytest.mark.parametrize(("statement", "step"), STEPS.values(), ids=STEPS)
def test_a_statement_becomes(statement: str, step: Any) -> None:
    assert translate(HEADER + statement, CONTEXT).steps == (step,)


def test_parquet_is_three_classes() -> None:
    plan = translate("create external table t (a int) stored as parquet location 's3://b'", CONTEXT)
    step = plan.steps[0]
    assert isinstance(step, CreateTable)
    storage = step.definition["StorageDescriptor"]
    found = (storage["SerdeInfo"]["SerializationLibrary"], storage["InputFormat"], storage["OutputFormat"])
    assert found == (PARQUET, PARQUET_INPUT, PARQUET_OUTPUT)


@pytest.mark.parametrize(
    "statement",
    [
        'select * from "d"."t" for version as of 5',
        "with a as (select ';' as x) select * from a",
        "insert into d.t (a) (select 1)",
        "merge into d.t using s on false when not matched then insert values (1)",
        "explain select 1",
        'drop view if exists "d"."v"',
    ],
)
def test_queries_and_writes_go_through_as_they_are(statement: str) -> None:
    text = HEADER + statement
    assert translate(text + " ;\n", CONTEXT).steps == (Sql(text + " "),)


def test_a_view_goes_through_and_glue_is_told_its_columns() -> None:
    statement = HEADER + 'create or replace view\n  "awsdatacatalog"."d"."t"\nas\n  -- it is\n  select 1 as a'
    assert translate(statement, CONTEXT).steps == (CreateView(Sql(statement), "select 1 as a", T),)


KINDS = {
    "select 1": ("DML", "SELECT"),
    "insert into t select 1": ("DML", "INSERT"),
    "vacuum t": ("DML", "VACUUM_TABLE"),
    "create or replace view v as select 1 as a": ("DDL", "CREATE_VIEW"),
    "create table t as select 1 as a": ("DDL", "CREATE_TABLE_AS_SELECT"),
    "drop table t": ("DDL", "DROP_TABLE"),
    "alter table t drop column a": ("DDL", "ALTER_TABLE"),
    "explain select 1": ("UTILITY", "EXPLAIN"),
    "show tables": ("UTILITY", "SHOW_TABLES"),
}


@pytest.mark.parametrize(("statement", "kind"), KINDS.items())
def test_a_statement_is_of_a_kind(statement: str, kind: tuple[str, str]) -> None:
    plan = translate(statement, CONTEXT)
    assert (plan.kind, plan.detail) == kind


REFUSED = {
    "two statements": ("select 1; select 2", "Only one sql statement is allowed. Got: select 1; select 2"),
    "nothing": (" -- nothing\n", "Query string is empty"),
    "a transaction": ("start transaction", "Queries of this type are not supported"),
    "its end": ("commit", "Queries of this type are not supported"),
    "settings": ("set session hive.x = 'y'", "Queries of this type are not supported"),
    "a procedure": ("call hive.system.sync_partition_metadata('d', 't', 'ADD')", "Queries of this type"),
    "a materialized view": ("create materialized view v as select 1", "Queries of this type"),
    "Trino's maintenance": ('alter table "d"."t" execute optimize', "line 1:12 cannot recognize input near '\"d\"'"),
    "Trino's maintenance, bare": ("alter table d.t execute optimize", "near 'execute'"),
    "double quotes in Hive's DDL": ('drop table if exists "t"', "near '\"t\"'"),
    "backticks in a query's DDL": ("create table `d`.`t` as select 1", "near '`d`'"),
    "Trino's table": ("create table t (a varchar) with (format = 'ORC')", "near 'with'"),
    "a table of nobody's": ("create table t (a string) location 's3://b'", "CREATE TABLE is for Iceberg tables"),
    "an external table nowhere": ("create external table t (a string)", "an external table needs a LOCATION"),
    "an external Iceberg table": (
        "create external table t (a int) location 's3://b' tblproperties ('table_type'='iceberg')",
        "Iceberg tables are not external",
    ),
    "an Iceberg table nowhere": (
        "create table t with (table_type='iceberg', is_external=false) as select 1 as a",
        "An Iceberg table needs a location",
    ),
    "an Iceberg table as external": (
        "create table t with (table_type='iceberg', location='s3://b') as select 1 as a",
        "is_external must be false",
    ),
    "Trino's property": (
        "create table t with (table_type='iceberg', is_external=false, location='s3://b', sorted_by=ARRAY['a']) "
        "as select 1 as a",
        "Table property 'sorted_by' is not supported for Iceberg tables",
    ),
    "a query's type": ("create external table t (a integer) location 's3://b'", "near 'integer'"),
    "another catalog": ("drop table other.d.t", "there is no catalog of 'other.d.t'"),
    "a view of nothing": ("create view v as -- select 1", "near '<EOF>'"),
    "optimize by halves": ("optimize d.t", "near '<EOF>'"),
}


@pytest.mark.parametrize(("statement", "message"), REFUSED.values(), ids=REFUSED)
def test_what_athena_refuses_is_refused(statement: str, message: str) -> None:
    with pytest.raises(SqlError) as refusal:
        translate(statement, CONTEXT)
    assert message in str(refusal.value)


def test_a_work_group_that_insists_on_its_place_refuses_another_for_hives_tables() -> None:
    insisting = Context(is_location_enforced=True)
    with pytest.raises(SqlError, match="enforces a centralized output location"):
        translate(HIVE_CTAS, insisting)
    assert translate(CTAS, insisting) == translate(CTAS, CONTEXT)


@pytest.mark.parametrize(
    ("hive", "trino"),
    [
        ("string", "varchar"),
        ("bigint", "bigint"),
        ("varchar(9)", "varchar(9)"),
        ("timestamp", "timestamp(6)"),
        ("decimal(10,2)", "decimal(10,2)"),
        ("map<string,array<int>>", "map(varchar, array(integer))"),
        ("struct<a:int,b:struct<c:binary>>", "row(a integer, b row(c varbinary))"),
    ],
)
def test_a_type_of_hives_is_one_of_trinos_and_back(hive: str, trino: str) -> None:
    assert (trino_type(hive), hive_type(trino)) == (trino, hive)


def test_any_precision_is_hives_timestamp() -> None:
    assert hive_type("array(timestamp(3))") == "array<timestamp>"


@pytest.mark.parametrize(
    "trino", ["timestamp(3) with time zone", "json", "unknown", "ipaddress", "array(uuid)", "row(time(3))"]
)
def test_a_type_that_hive_lacks_is_refused(trino: str) -> None:
    with pytest.raises(UnsupportedTypeError):
        hive_type(trino)
