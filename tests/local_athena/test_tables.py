"""What tables do: writes that Athena allows, limits that Trino alone would not keep, and writers at the same time."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_athena.queries import Answer, Database

MANY = "select cast(i as varchar) as p, i from unnest(sequence(1, {count})) u(i)"
SYMLINKS = "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat"
TEXT_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"


def put(database: Database, key: str, body: bytes) -> str:
    path = f"{database.name}/{key}"
    database.local.client("s3").put_object(Bucket=database.local.bucket, Key=path, Body=body)
    return f"s3://{database.local.bucket}/{path}"


def snapshots(database: Database, table: str) -> list[str]:
    found = database.do(f'select snapshot_id from "{table}$snapshots" order by committed_at').rows
    return [str(row[0]) for row in found]


def test_rows_are_created_inserted_merged_updated_and_deleted(database: Database) -> None:
    assert database.create_table("t", "select 'a' as k, 1 as n union all select 'b', 2", "k").update_count == 2
    assert database.do("insert into t values ('c', 3), ('d', 4)").update_count == 2
    merged = database.do(
        "merge into t using (values ('a', 10), ('b', null), ('e', 50)) s(k, n) on t.k = s.k "
        "when matched and s.n is null then delete when matched then update set n = s.n "
        "when not matched then insert (k, n) values (s.k, s.n)"
    )
    assert (merged.execution["SubstatementType"], merged.update_count, merged.rows) == ("MERGE", 3, [])
    assert database.do("update t set n = n + 1 where k = 'c'").update_count == 1
    assert database.do("delete from t where k = 'd'").update_count == 1
    assert database.rows("select k, n from t") == [("a", "10"), ("c", "4"), ("e", "50")]
    table = database.local.client("glue").get_table(DatabaseName=database.name, Name="t")["Table"]
    assert table["Parameters"]["table_type"].lower() == "iceberg"


@pytest.mark.parametrize("transform", ["p", "truncate(p, 3)", "bucket(i, 200)"])
def test_a_write_has_a_hundred_partitions_at_most(database: Database, transform: str) -> None:
    count = {"bucket(i, 200)": 400}.get(transform, 101)
    refused = database.run(database.creation("t", MANY.format(count=count), transform))
    assert refused.state == "FAILED"
    assert refused.reason.startswith("ICEBERG_TOO_MANY_OPEN_PARTITIONS: Exceeded limit of 100 open writers")
    assert refused.error["ErrorType"] == 233
    assert database.rows("show tables") == []


def test_a_hundred_partitions_are_allowed_in_each_kind_of_write(database: Database) -> None:
    hundred, more = MANY.format(count=100), f"{MANY.format(count=100)} union all select 'x', 0"
    merge = (
        "merge into t using ({rows}) s on t.p = s.p || '{suffix}' "
        "when not matched then insert (p, i) values (s.p || '{suffix}', s.i)"
    )
    assert database.create_table("t", hundred, "p").update_count == 100
    assert database.do(f"insert into t select p || 'i', i from ({hundred})").update_count == 100
    assert database.do(merge.format(rows=hundred, suffix="m")).update_count == 100
    for statement in (
        f"insert into t select p || 'j', i from ({more})",
        merge.format(rows=more, suffix="n"),
    ):
        refused = database.run(statement)
        assert refused.reason.startswith("ICEBERG_TOO_MANY_OPEN_PARTITIONS")
    assert database.rows("select count(*) from t") == [("300",)]


def test_hives_tables_have_the_same_limit(database: Database) -> None:
    create = (
        "create table h with (table_type='HIVE', external_location='{location}', format='PARQUET', "
        "partitioned_by=ARRAY['p']) as select i, p from ({rows})"
    )
    refused = database.run(create.format(location=database.location("h1"), rows=MANY.format(count=101)))
    assert refused.reason.startswith("HIVE_TOO_MANY_OPEN_PARTITIONS")
    written = database.do(create.format(location=database.location("h2"), rows=MANY.format(count=100)))
    assert written.update_count == 100
    assert len(database.do("show partitions h").rows) == 100


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("timestamp '2026-01-01 00:00:00'", "Timestamp precision (0) not supported for Iceberg."),
        ("cast('2026-01-01' as timestamp)", "Timestamp precision (3) not supported for Iceberg."),
        ("now()", "Unsupported Hive type: timestamp(3) with time zone"),
        ("cast(now() as timestamp(6) with time zone)", "Unsupported Hive type: timestamp(6) with time zone"),
        ("null", "Unsupported Hive type: unknown"),
        ("cast('::1' as ipaddress)", "Unsupported Hive type: ipaddress"),
        ("cast(1 as smallint)", "Type not supported for Iceberg: smallint"),
    ],
)
def test_types_that_athena_has_no_iceberg_tables_of_are_refused(
    database: Database, expression: str, message: str
) -> None:
    answer = database.run(database.creation("t", f"select {expression} as a"))
    assert answer.state == "FAILED"
    assert answer.reason.startswith(f"NOT_SUPPORTED: {message}")
    database.create_table("t", "select cast(now() as timestamp(6)) as a")


def test_a_table_is_made_by_a_statement_as_long_as_athena_takes(database: Database) -> None:
    literal = "'" + "{} " * 80_000 + "'"
    assert database.create_table("t", f"select length({literal}) as a").execution["StatementType"] == "DDL"
    assert database.rows("select a from t") == [("240000",)]


def test_a_view_stays_with_the_version_it_names(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    first = snapshots(database, "t")[0]
    name = f'"awsdatacatalog"."{database.name}"."v"'
    database.do(f'create or replace view {name} as select a from "{database.name}"."t" for version as of {first}')
    database.do("insert into t values 2")
    assert database.rows("select a from v") == [("1",)]
    assert database.rows("select a from t") == [("1",), ("2",)]
    second = snapshots(database, "t")[-1]
    database.do(f'create or replace view {name} as select a from "{database.name}"."t" for version as of {second}')
    assert database.rows("select a from v") == [("1",), ("2",)]
    glue = database.local.client("glue")
    view = glue.get_table(DatabaseName=database.name, Name="v")["Table"]
    assert (view["TableType"], view["StorageDescriptor"]["Columns"]) == ("VIRTUAL_VIEW", [{"Name": "a", "Type": "int"}])
    refused = database.run("create view w as select now() as a")
    assert refused.reason == "NOT_SUPPORTED: Unsupported Hive type: timestamp(3) with time zone"
    database.do("drop view v")
    assert database.rows("show tables") == [("t",)]


def test_a_moment_names_a_version_too(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    moment = database.do('select cast(max(committed_at) as varchar) from "t$snapshots"').rows[0][0]
    time.sleep(0.01)
    database.do("insert into t values 2")
    assert database.rows(f"select a from t for timestamp as of timestamp '{moment}'") == [("1",)]


def test_vacuum_expires_by_the_tables_own_properties(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    for value in (2, 3):
        database.do(f"insert into t values {value}")
    database.do("vacuum t")
    assert len(snapshots(database, "t")) == 3  # none is five days old
    database.do(
        "alter table t set tblproperties ('vacuum_max_snapshot_age_seconds'='0', 'vacuum_min_snapshots_to_keep'='2')"
    )
    database.do("vacuum t")
    assert len(snapshots(database, "t")) == 2
    database.do("alter table t set tblproperties ('vacuum_min_snapshots_to_keep'='1')")
    database.do("vacuum t")
    assert len(snapshots(database, "t")) == 1
    assert database.rows("select a from t") == [("1",), ("2",), ("3",)]


def test_vacuum_removes_files_that_no_table_knows(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    database.do("alter table t set tblproperties ('vacuum_max_snapshot_age_seconds'='1')")
    put(database, "t/data/orphan.parquet", b"")
    time.sleep(1.1)
    database.do("vacuum t")
    stored = database.local.client("s3").list_objects_v2(
        Bucket=database.local.bucket, Prefix=f"{database.name}/t/data/"
    )
    keys = [one["Key"] for one in stored["Contents"]]
    assert len(keys) == 1
    assert not any("orphan" in key for key in keys)
    assert database.rows("select a from t") == [("1",)]


def test_optimize_makes_one_file_of_many(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    for value in (2, 3):
        database.do(f"insert into t values {value}")
    files = 'select count(*) from "t$files"'
    assert database.rows(files) == [("3",)]
    database.do(f"optimize awsdatacatalog.{database.name}.t rewrite data using bin_pack")
    assert database.rows(files) == [("1",)]


def test_dropping_an_iceberg_table_deletes_its_files_and_an_external_one_keeps_them(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    put(database, "e/lines", b"x\n")
    database.do(f"create external table e (line string) location '{database.location('e')}'")
    database.do(f"drop table `{database.name}`.`t`")
    database.do("drop table if exists e")
    stored = database.local.client("s3").list_objects_v2(Bucket=database.local.bucket, Prefix=f"{database.name}/")
    assert [one["Key"] for one in stored["Contents"]] == [f"{database.name}/e/lines"]
    assert database.rows("show tables") == []


def test_lines_of_listed_objects_are_read_by_partition(database: Database) -> None:
    objects = [put(database, f"raw/{name}", f"line of {name}\n".encode() * 10) for name in ("a", "b", "c")]
    for hour, listed in {"2026-01-01T00": objects[:2], "2026-01-01T01": objects[2:]}.items():
        put(database, f"manifests/{hour}/manifest", "\n".join(listed).encode())
    database.do(
        f"create external table lines (line string) partitioned by (hour string) "
        f"row format delimited fields terminated by '\\001' stored as inputformat '{SYMLINKS}' "
        f"outputformat '{TEXT_OUTPUT}' location '{database.location('manifests')}'"
    )
    for hour in ("2026-01-01T00", "2026-01-01T01"):
        where = f"location '{database.location(f'manifests/{hour}')}'"
        database.do(f"alter table lines add if not exists partition (hour = '{hour}') {where}")
        database.do(f"alter table lines add if not exists partition (hour = '{hour}') {where}")
    first = database.do("select \"$path\", count(*) from lines where hour = '2026-01-01T00' group by 1")
    assert sorted(first.rows) == [(objects[0], "10"), (objects[1], "10")]
    assert first.scanned_bytes < database.do("select * from lines").scanned_bytes
    assert database.do("show partitions lines").rows == [("hour=2026-01-01T00",), ("hour=2026-01-01T01",)]
    database.do("alter table lines drop partition (hour = '2026-01-01T00')")
    assert database.rows("select distinct hour from lines") == [("2026-01-01T01",)]
    refused = database.run("alter table lines drop partition (hour = '2026-01-01T00')")
    assert refused.reason == "FAILED: SemanticException Partition not found"


def test_partitions_are_found_in_the_places_they_are_named_for(database: Database) -> None:
    for hour in ("a", "b"):
        put(database, f"e/hour={hour}/lines", b"x\n")
    database.do(
        f"create external table e (line string) partitioned by (hour string) location '{database.location('e')}'"
    )
    assert database.rows("select * from e") == []
    database.do("msck repair table e")
    assert database.rows("select * from e") == [("x", "a"), ("x", "b")]


def test_partitions_are_pruned_by_numbers_and_texts_with_a_length(database: Database) -> None:
    database.do(
        f"create external table e (line string) partitioned by (n int, v varchar(9), d decimal(5,2)) "
        f"location '{database.location('e')}'"
    )
    for number in (1, 2):
        place = put(database, f"e{number}/lines", b"x\n" * number).rpartition("/")[0]
        keys = f"n = {number}, v = 'v{number}', d = '{number}.50'"
        database.do(f"alter table e add partition ({keys}) location '{place}'")
    assert database.rows("select n, v, d from e where n > 1 and v >= 'v1' and d < 3") == [("2", "v2", "2.50")] * 2


def test_columns_change_as_hives_ddl_says(database: Database) -> None:
    database.create_table("t", "select 1 as a, 'x' as b")
    database.do("alter table t add columns (c array<int>, d timestamp)")
    database.do("alter table t change column a a bigint")
    database.do("alter table t change column b e string")
    database.do("alter table t drop column c")
    answer = database.do("select * from t")
    assert answer.types == {"a": "bigint", "e": "varchar", "d": "timestamp"}
    assert answer.rows == [("1", "x", None)]
    put(database, "h/lines", b"1,2\n")
    database.do(
        "create external table h (a string) row format delimited fields terminated by ',' "
        f"location '{database.location('h')}'"
    )
    database.do("alter table h add columns (b string)")
    assert database.rows("select a, b from h") == [("1", "2")]
    database.do("alter table h replace columns (x int, y int)")
    assert database.rows("select y from h") == [("2",)]
    database.do("alter table h set tblproperties ('classification'='csv')")
    table = database.local.client("glue").get_table(DatabaseName=database.name, Name="h")["Table"]
    assert table["Parameters"]["classification"] == "csv"


def test_writers_at_the_same_time_lose_no_row(database: Database) -> None:
    database.create_table("t", "select 0 as writer, 0 as turn")
    answers: list[tuple[int, int, Answer]] = []

    def write(writer: int) -> None:
        for turn in range(1, 4):
            answers.append((writer, turn, database.run(f"insert into t values ({writer}, {turn})")))

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    succeeded = sorted((str(writer), str(turn)) for writer, turn, answer in answers if answer.state == "SUCCEEDED")
    for _, _, answer in answers:
        assert answer.state == "SUCCEEDED" or answer.error["ErrorType"] == 233, answer.reason
    assert database.rows("select writer, turn from t where writer > 0") == succeeded
    assert len(succeeded) >= 6


def test_of_two_that_make_the_same_table_one_fails(database: Database) -> None:
    glue: Any = database.local.client("glue")
    failures: list[str] = []

    def create() -> None:
        try:
            glue.create_table(DatabaseName=database.name, TableInput={"Name": "g"})
        except ClientError as error:
            failures.append(error.response["Error"]["Code"])

    creators = [threading.Thread(target=create) for _ in range(8)]
    for creator in creators:
        creator.start()
    for creator in creators:
        creator.join()
    assert failures == ["AlreadyExistsException"] * 7


def test_a_view_that_is_replaced_by_many_is_that_of_one_of_them(database: Database) -> None:
    def replace(number: int) -> None:
        for _ in range(2):
            database.run(f"create or replace view v as select {number} as n{number}")

    writers = [threading.Thread(target=replace, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (column,) = database.do("select * from v").types
    table = database.local.client("glue").get_table(DatabaseName=database.name, Name="v")["Table"]
    assert [one["Name"] for one in table["StorageDescriptor"]["Columns"]] == [column]


def test_an_object_arrives_when_a_test_says_so(database: Database) -> None:
    local = database.local
    local.put_arrived(local.bucket, f"{database.name}/late.log", b"late", 1_700_000_000)
    s3: Any = local.client("s3")
    (listed,) = s3.list_objects_v2(Bucket=local.bucket, Prefix=f"{database.name}/")["Contents"]
    moments = {listed["LastModified"], s3.head_object(Bucket=local.bucket, Key=listed["Key"])["LastModified"]}
    assert moments == {datetime.fromtimestamp(1_700_000_000, UTC)}


def test_a_write_that_is_cancelled_has_written_all_or_nothing(database: Database) -> None:
    database.create_table("t", "select 0 as n")
    for pause in (0.0, 0.2, 0.4, 0.8):
        execution = database.start("insert into t select i from unnest(sequence(1, 10000)) u(i)")
        time.sleep(pause)
        database.client.stop_query_execution(QueryExecutionId=execution)
        # Trino says that it has stopped a write that is in the middle of its commit, as Athena may: both are possible.
        possible = {"10000"} if database.wait(execution).state == "SUCCEEDED" else {"0", "10000"}
        ((count,),) = database.do("select count(*) from t where n > 0").rows
        assert count in possible, pause
        database.do("delete from t where n > 0")


def test_glue_refuses_an_update_of_a_version_that_is_not_the_newest(database: Database) -> None:
    glue: Any = database.local.client("glue")
    definition: dict[str, Any] = {"Name": "g", "Parameters": {"n": "0"}}
    glue.create_table(DatabaseName=database.name, TableInput=definition)
    version = glue.get_table(DatabaseName=database.name, Name="g")["Table"]["VersionId"]
    update = {"DatabaseName": database.name, "TableInput": definition | {"Parameters": {"n": "1"}}}
    glue.update_table(**update, VersionId=version)
    with pytest.raises(ClientError) as error:
        glue.update_table(**update, VersionId=version)
    assert error.value.response["Error"]["Code"] == "ConcurrentModificationException"
    assert len(glue.get_table_versions(DatabaseName=database.name, TableName="g")["TableVersions"]) == 2
    glue.update_table(**update, SkipArchive=True)
    assert len(glue.get_table_versions(DatabaseName=database.name, TableName="g")["TableVersions"]) == 2


def test_segments_share_the_partitions_of_a_table(database: Database) -> None:
    glue: Any = database.local.client("glue")
    keys = {"Name": "g", "PartitionKeys": [{"Name": "p", "Type": "string"}]}
    glue.create_table(DatabaseName=database.name, TableInput=keys)
    inputs = [{"Values": [str(number)]} for number in range(7)]
    glue.batch_create_partition(DatabaseName=database.name, TableName="g", PartitionInputList=inputs)
    found = [
        partition["Values"][0]
        for number in range(3)
        for partition in glue.get_partitions(
            DatabaseName=database.name, TableName="g", Segment={"SegmentNumber": number, "TotalSegments": 3}
        )["Partitions"]
    ]
    assert sorted(found) == [str(number) for number in range(7)]
