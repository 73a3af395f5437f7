"""The API as boto3 sees it: states, results, costs, limits and errors."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_athena.queries import Database

SLOW = (
    "select count(*) from unnest(sequence(1, 5000)) a(x), unnest(sequence(1, 5000)) b(y), unnest(sequence(1, 200)) c(z)"
)


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_a_query_succeeds_with_rows_types_and_costs(database: Database) -> None:
    answer = database.do(
        "select 1 as a, 'x' as b, cast(null as varchar) as c, cast('1.50' as decimal(10, 2)) as d, real '1.5' as e, "
        "timestamp '2026-01-01 00:00:00.123456' as f, array[1, 2] as g, x'6869' as h"
    )
    assert answer.rows == [("1", "x", None, "1.50", "1.5", "2026-01-01 00:00:00.123456", "[1, 2]", "68 69")]
    types = ["integer", "varchar", "varchar", "decimal", "float", "timestamp", "array", "varbinary"]
    assert list(answer.types.values()) == types
    execution = answer.execution
    assert (execution["StatementType"], execution["SubstatementType"]) == ("DML", "SELECT")
    assert execution["EngineVersion"]["EffectiveEngineVersion"] == "Athena engine version 3"
    assert execution["Status"]["CompletionDateTime"] >= execution["Status"]["SubmissionDateTime"]
    assert answer.scanned_bytes == 0


def test_the_bytes_scanned_are_those_of_the_columns_that_were_read(database: Database) -> None:
    database.create_table(
        "t", "select cast(uuid() as varchar) as wide, 1 as narrow from unnest(sequence(1, 10000)) u(i)"
    )
    wide, narrow = (database.do(f"select max({name}) from t").scanned_bytes for name in ("wide", "narrow"))
    assert wide > 160_000  # 16 random bytes a row cannot be packed further
    assert 0 < narrow < 60_000  # of which 48 KB are the file's end, which is read to know where its columns are


def test_results_are_in_s3_before_the_query_has_succeeded(database: Database) -> None:
    answer = database.do("select 'say \"x\"' as a, cast(null as varchar) as b")
    location = answer.execution["ResultConfiguration"]["OutputLocation"]
    assert location == f"s3://{database.local.bucket}/results/{answer.execution['QueryExecutionId']}.csv"
    key = location.removeprefix(f"s3://{database.local.bucket}/")
    stored = database.local.client("s3").get_object(Bucket=database.local.bucket, Key=key)["Body"].read()
    assert stored == b'"a","b"\n"say ""x""",\n'


def test_results_come_in_pages_and_the_header_is_a_row_of_the_first(database: Database) -> None:
    execution = database.do("select i from unnest(sequence(1, 2500)) u(i) order by i").execution["QueryExecutionId"]
    found: list[list[str]] = []
    for page in database.client.get_paginator("get_query_results").paginate(QueryExecutionId=execution):
        found.append([row["Data"][0]["VarCharValue"] for row in page["ResultSet"]["Rows"]])
    assert [len(page) for page in found] == [1000, 1000, 501]
    assert [value for page in found for value in page] == ["i", *map(str, range(1, 2501))]


def test_ddl_and_utilities_have_no_header(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    shown = database.do("show tables")
    assert shown.rows == [("t",)]
    assert shown.execution["ResultConfiguration"]["OutputLocation"].endswith(".txt")


def test_a_statement_without_results_yet_gives_none(database: Database) -> None:
    execution = database.start(SLOW)
    with pytest.raises(ClientError) as error:
        database.client.get_query_results(QueryExecutionId=execution)
    code, message = refusal(error)
    assert code == "InvalidRequestException"
    assert message.startswith("Query has not yet finished. Current state: ")
    database.client.stop_query_execution(QueryExecutionId=execution)
    assert database.wait(execution).state == "CANCELLED"


def test_a_query_can_be_stopped(database: Database) -> None:
    execution = database.start(SLOW)
    started = time.monotonic()
    database.client.stop_query_execution(QueryExecutionId=execution)
    answer = database.wait(execution)
    assert (answer.state, answer.reason) == ("CANCELLED", "Query cancelled by user")
    assert time.monotonic() - started < 10
    with pytest.raises(ClientError) as error:
        database.client.get_query_results(QueryExecutionId=execution)
    assert refusal(error)[1] == "Could not find results"


def test_statements_beyond_twenty_wait_in_the_queue(database: Database) -> None:
    executions = [database.start(SLOW) for _ in range(22)]
    states = [
        execution["Status"]["State"]
        for execution in database.client.batch_get_query_execution(QueryExecutionIds=executions)["QueryExecutions"]
    ]
    waiting = [one for one, state in zip(executions, states, strict=True) if state == "QUEUED"]
    database.client.stop_query_execution(QueryExecutionId=waiting[-1])
    assert database.wait(waiting[-1]).state == "CANCELLED", "what waits can be cancelled before it runs"
    for execution in executions:
        database.client.stop_query_execution(QueryExecutionId=execution)
    assert {database.wait(execution).state for execution in executions} == {"CANCELLED"}
    assert len(waiting) >= 2


def test_the_same_token_is_the_same_execution(database: Database) -> None:
    token = str(uuid.uuid4())
    first, again = (database.start("select 1", ClientRequestToken=token) for _ in range(2))
    assert first == again
    with pytest.raises(ClientError) as error:
        database.start("select 2", ClientRequestToken=token)
    assert refusal(error) == ("InvalidRequestException", "Idempotent parameters do not match")


@pytest.mark.parametrize(
    ("statement", "name", "category", "kind"),
    [
        ("select * from nowhere", "TABLE_NOT_FOUND: line 1:15: Table", 2, 1110),
        ("select nothing", "COLUMN_NOT_FOUND: line 1:8", 2, 1000),
        ("select 1 / 0", "DIVISION_BY_ZERO", 2, 1001),
        ("select cast('x' as integer)", "INVALID_CAST_ARGUMENT", 2, 1001),
        ("alter table nowhere set tblproperties ('a' = 'b')", "FAILED: SemanticException Table not found", 2, 1003),
    ],
)
def test_a_failure_has_a_name_a_category_and_a_type(
    database: Database, statement: str, name: str, category: int, kind: int
) -> None:
    answer = database.run(statement)
    assert answer.state == "FAILED"
    assert answer.reason.startswith(name)
    assert (answer.error["ErrorCategory"], answer.error["ErrorType"]) == (category, kind)
    with pytest.raises(ClientError) as error:
        database.client.get_query_results(QueryExecutionId=answer.execution["QueryExecutionId"])
    assert refusal(error)[1] == "Query did not finish successfully. Final query state: FAILED"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("select 1 as", "line 1:12: mismatched input '<EOF>'"),
        ("selec 1", "Queries of this type are not supported"),
        ("select 1; select 2", "Only one sql statement is allowed. Got: select 1; select 2"),
        ("start transaction", "Queries of this type are not supported"),
        ('drop table "t"', "FAILED: ParseException line 1:11"),
        ("select '" + "é" * 131_072 + "'", "Member must have length less than or equal to 262144"),
    ],
    ids=["half", "misspelt", "two", "transaction", "quotes", "long"],
)
def test_what_is_no_statement_of_athenas_gets_no_execution(database: Database, statement: str, message: str) -> None:
    before = database.client.list_query_executions(WorkGroup=database.local.work_group)["QueryExecutionIds"]
    with pytest.raises(ClientError) as error:
        database.start(statement)
    code, said = refusal(error)
    assert code == "InvalidRequestException"
    assert message in said
    after = database.client.list_query_executions(WorkGroup=database.local.work_group)["QueryExecutionIds"]
    assert after == before


def test_the_longest_statement_runs(database: Database) -> None:
    answer = database.do("select length('" + "x" * (262_144 - len("select length('')")) + "')")
    assert answer.rows == [("262127",)]


def test_parameters_take_the_place_of_question_marks(database: Database) -> None:
    answer = database.do("select ? || 'x' as a, ? + 1 as b", ExecutionParameters=["'it''s '", "41"])
    assert answer.rows == [("it's x", "42")]


def test_calls_are_throttled_on_demand_and_boto_repeats_them(database: Database) -> None:
    database.local.inject(operation="StartQueryExecution", error="TooManyRequestsException", times=1)
    assert database.do("select 1").rows == [("1",)]
    database.local.inject(operation="StartQueryExecution", error="ThrottlingException", times=100)
    with pytest.raises(ClientError) as error:
        database.start("select 1")
    assert refusal(error) == ("ThrottlingException", "Rate exceeded")


def test_statements_fail_on_demand(database: Database) -> None:
    database.create_table("t", "select 1 as a")
    database.local.inject(statement="(?i)^vacuum", error="ICEBERG_VACUUM_MORE_RUNS_NEEDED", message="again", times=1)
    first, second = (database.run("VACUUM t") for _ in range(2))
    assert (first.state, first.reason) == ("FAILED", "ICEBERG_VACUUM_MORE_RUNS_NEEDED: again")
    assert first.error["ErrorType"] == 233
    assert second.state == "SUCCEEDED"


def test_a_call_whose_answer_is_lost_was_done_and_is_told_so_at_once(database: Database) -> None:
    local = database.local
    local.inject(of_aws=True, operation="PutObject", error="InternalError", lost=True, times=1)
    # Nobody tries again, and nobody waits for a body that came already: boto would, for a minute.
    once = local.client("s3", config=Config(retries={"total_max_attempts": 1}, read_timeout=20))
    with pytest.raises(ClientError, match="InternalError"):
        once.put_object(Bucket=local.bucket, Key="lost", Body=b"content")
    assert once.get_object(Bucket=local.bucket, Key="lost")["Body"].read() == b"content"


def test_an_operation_that_nobody_wrote_says_so(database: Database) -> None:
    with pytest.raises(ClientError) as error:
        database.client.list_named_queries()
    assert refusal(error) == ("UnknownOperationException", "the local Athena does not know ListNamedQueries")


def test_several_executions_are_described_at_once(database: Database) -> None:
    known = database.do("select 1").execution["QueryExecutionId"]
    unknown = str(uuid.uuid4())
    answer = database.client.batch_get_query_execution(QueryExecutionIds=[known, unknown])
    assert [one["QueryExecutionId"] for one in answer["QueryExecutions"]] == [known]
    assert [one["QueryExecutionId"] for one in answer["UnprocessedQueryExecutionIds"]] == [unknown]
    listed = database.client.list_query_executions(WorkGroup=database.local.work_group, MaxResults=1)
    assert listed["QueryExecutionIds"] == [known]
    assert "NextToken" in listed


class TestWorkGroup:
    """What a work group allows."""

    @pytest.fixture
    def group(self, database: Database) -> str:
        return f"group_of_{database.name}"

    def create(self, database: Database, name: str, **configuration: Any) -> None:
        database.client.create_work_group(Name=name, Configuration=configuration)

    def test_one_that_insists_has_the_last_word_on_where_results_go(self, database: Database, group: str) -> None:
        output = {"OutputLocation": f"s3://{database.local.bucket}/insisted"}
        self.create(database, group, ResultConfiguration=output, EnforceWorkGroupConfiguration=True)
        mine = {"OutputLocation": f"s3://{database.local.bucket}/mine/"}
        answer = database.do("select 1", WorkGroup=group, ResultConfiguration=mine)
        assert "/insisted/" in answer.execution["ResultConfiguration"]["OutputLocation"]
        database.client.update_work_group(
            WorkGroup=group, ConfigurationUpdates={"EnforceWorkGroupConfiguration": False}
        )
        answer = database.do("select 1", WorkGroup=group, ResultConfiguration=mine)
        assert "/mine/" in answer.execution["ResultConfiguration"]["OutputLocation"]

    def test_without_a_place_for_results_nothing_starts(self, database: Database, group: str) -> None:
        self.create(database, group)
        with pytest.raises(ClientError) as error:
            database.start("select 1", WorkGroup=group)
        assert refusal(error)[1].startswith("No output location provided.")
        with pytest.raises(ClientError) as error:
            database.start("select 1", ResultConfiguration={"OutputLocation": "s3://no-such-bucket/x/"})
        assert refusal(error)[1] == "Unable to verify/create output bucket no-such-bucket"

    def test_one_that_is_disabled_or_unknown_starts_nothing(self, database: Database, group: str) -> None:
        with pytest.raises(ClientError) as error:
            database.start("select 1", WorkGroup=group)
        assert refusal(error)[1] == f"WorkGroup {group} is not found."
        self.create(database, group)
        database.client.update_work_group(WorkGroup=group, State="DISABLED")
        with pytest.raises(ClientError) as error:
            database.start("select 1", WorkGroup=group)
        assert refusal(error)[1] == f"WorkGroup {group} is disabled."

    def test_a_query_that_scans_more_than_its_group_allows_is_cancelled(self, database: Database, group: str) -> None:
        line = b"x" * 99 + b"\n"
        s3 = database.local.client("s3")
        for name, size in {"small": 9_000_000, "large": 11_000_000}.items():
            s3.put_object(
                Bucket=database.local.bucket, Key=f"{database.name}/{name}/lines", Body=line * (size // len(line))
            )
            database.do(f"create external table `{name}` (line string) location '{database.location(name)}'")
        output = {"OutputLocation": f"s3://{database.local.bucket}/limited/"}
        self.create(database, group, ResultConfiguration=output, BytesScannedCutoffPerQuery=10_000_000)
        assert database.do("select count(*) from small", WorkGroup=group).rows == [("90000",)]
        answer = database.run("select count(*) from large", WorkGroup=group)
        assert (answer.state, answer.reason) == ("CANCELLED", "Query cancelled! : Bytes scanned limit was exceeded")
        assert database.do("select count(*) from large").scanned_bytes == 11_000_000

    def test_its_settings_can_be_read_back(self, database: Database, group: str) -> None:
        self.create(database, group, BytesScannedCutoffPerQuery=10_000_000)
        found = database.client.get_work_group(WorkGroup=group)["WorkGroup"]
        assert (found["State"], found["Configuration"]["BytesScannedCutoffPerQuery"]) == ("ENABLED", 10_000_000)
        assert found["Configuration"]["EnforceWorkGroupConfiguration"] is True
        database.client.delete_work_group(WorkGroup=group)
        assert group not in [one["Name"] for one in database.client.list_work_groups()["WorkGroups"]]


class TestMetadata:
    """The catalog through Athena's own calls."""

    def test_databases_and_tables_are_glues(self, database: Database) -> None:
        database.do(
            f"create external table t (a string comment 'x', b array<int>) partitioned by (p string) "
            f"location '{database.location('t')}'"
        )
        client = database.client
        pages = client.get_paginator("list_databases").paginate(CatalogName="AwsDataCatalog")
        assert database.name in [one["Name"] for page in pages for one in page["DatabaseList"]]
        found = client.get_table_metadata(CatalogName="awsdatacatalog", DatabaseName=database.name, TableName="t")
        table = found["TableMetadata"]
        assert table["Columns"] == [
            {"Name": "a", "Type": "string", "Comment": "x"},
            {"Name": "b", "Type": "array<int>"},
        ]
        assert table["PartitionKeys"] == [{"Name": "p", "Type": "string"}]
        assert table["Parameters"]["location"] == database.location("t")
        listed = client.list_table_metadata(CatalogName="awsdatacatalog", DatabaseName=database.name)
        assert [one["Name"] for one in listed["TableMetadataList"]] == ["t"]

    def test_what_is_missing_is_a_metadata_exception(self, database: Database) -> None:
        with pytest.raises(ClientError) as error:
            database.client.get_table_metadata(
                CatalogName="awsdatacatalog", DatabaseName=database.name, TableName="nothing"
            )
        assert refusal(error)[0] == "MetadataException"
