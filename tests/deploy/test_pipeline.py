"""The whole pipeline with the permissions of its role leaves the rows that DuckDB leaves, in every table, and a ledger
of what it cost; an analyst's queries have theirs; nothing more is granted.

Each call of theirs is held to the deployed policies, and so is each call of S3 and Glue that Trino makes for their
statements (local_athena/gate.py). Athena may ask for other things than Trino does: what only the service asks for is
excused below, each with its reason, and what only Trino asks for in the gate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from deploy.played import QUESTIONS, Needed, Played
from deploy.stack import ROLES, deploy
from flowlake.estimating import estimate
from flowlake.lake.athena import AthenaLake
from flowlake.querying import QueryError
from flowlake.steps import STEPS
from local_athena.policies import Grant, is_like
from local_athena.server import LocalAthena
from parity.compare import Table, assert_same
from parity.engines import AthenaReader
from parity.lakes import Lake, on_athena, on_duckdb

LEAST_TABLES = 90
"""Models, seeds, the raw layer, the ledger, and what people read: fewer, and the comparison looks past something."""

NOTHING_HAPPENED = {"marts.rpt_denied_spikes", "flowlake.rpt_denied_spikes"}
"""A spike is one beside the hours before it, and there are none."""

_IN_PARTS = "Athena writes large results and files in parts; nothing is large here, and Trino's parts are put and ended"
_DRIVERS = "JDBC and ODBC drivers stream results by a call that no SDK has"
_AS_AWS = "AWS's policy for people who use Athena has it beside GetPartitions; Trino has no need of it"

EXCUSED = {
    ("*", "s3:AbortMultipartUpload", "*"): _IN_PARTS,
    ("*", "s3:ListMultipartUploadParts", "*"): _IN_PARTS,
    ("*", "s3:ListBucketMultipartUploads", "*"): _IN_PARTS,
    ("Analyst", "s3:ListBucket", "*"): "Athena lists what it reads and writes; Trino asks for files by their names",
    ("*", "glue:GetDatabase", "*:database/default"): "Athena looks at `default` before each statement; Trino does not",
    ("Analyst", "glue:GetDatabase", "*:database/*"): "Athena looks at a table's database; Trino at some of them only",
    ("Pipeline", "athena:GetTableMetadata", "*:datacatalog/AwsDataCatalog"): "its own spelling; the client's is small",
    ("Analyst", "athena:GetQueryResultsStream", "*"): _DRIVERS,
    ("Pipeline", "glue:GetPartition", "*"): _AS_AWS,
    ("Pipeline", "glue:BatchGetPartition", "*"): _AS_AWS,
}
"""What no run uses here, by role, action and resource; and why it is granted."""

DENIED = (
    "select * from {}_staging.stg_flow_logs__lines limit 1",
    "select * from {}_intermediate.int_objects__accounted limit 1",
    "select * from {}_raw.objects limit 1",
    "select * from {}_raw.text_lines limit 1",
    "select * from {}_seeds.service_ports limit 1",
)
"""What an analyst may not ask."""

pytestmark = pytest.mark.timeout(2400)
"""Two runs, a publish and maintenance on the local Athena, which share two cores with whatever else runs."""


@dataclass(frozen=True)
class Ran:
    """A lake on DuckDB and one on Athena after the same runs over one bucket; who played them."""

    played: Played
    duckdb: Lake
    reader: AthenaReader

    @property
    def athena(self) -> Lake:
        return self.played.made["Pipeline"]

    def tables(self, but: Collection[str] = ()) -> dict[str, Table]:
        """All that is on Athena now, but some."""
        return on_athena(self.athena, self.reader, but)


@pytest.fixture(scope="module")
def ran(athena: LocalAthena, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    played = Played(deploy(athena, "played"), tmp_path_factory.mktemp("played"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in athena.environment.items():
            patch.setenv(name, value)
        try:
            yield Ran(played, played.run(), AthenaReader(athena.client("athena"), athena.work_group))
        finally:
            athena.clear_faults()


@pytest.fixture(scope="module")
def expected(ran: Ran) -> dict[str, Table]:
    """All that is on DuckDB."""
    return on_duckdb(ran.duckdb)


def test_both_engines_leave_the_same_rows_in_every_table(ran: Ran, expected: dict[str, Table]) -> None:
    assert len(expected) >= LEAST_TABLES
    assert {name for name, table in expected.items() if not table.rows} <= NOTHING_HAPPENED
    assert_all_same(expected, ran.tables())


def assert_all_same(one: Mapping[str, Table], other: Mapping[str, Table]) -> None:
    assert one.keys() == other.keys()
    for name in sorted(one, key=upstream_first):
        assert_same(name, one[name], other[name])


def test_the_ledger_of_costs_has_every_statement_of_every_step(ran: Ran) -> None:
    settings = ran.athena.settings
    assert settings.athena is not None
    lake, results = AthenaLake(settings), settings.athena.results
    sent = {
        one["QueryExecutionId"]: int(one["Statistics"]["DataScannedInBytes"])
        for one in lake.executions(datetime(2026, 1, 1, tzinfo=UTC))
        if one["ResultConfiguration"]["OutputLocation"].startswith(results)
    }
    costs = lake.table("ops", "query_costs")
    counted = lake.query(f"select execution_id, scanned_bytes from {costs}")
    assert {str(one): int(scanned or 0) for one, scanned in counted} == sent
    assert len(counted) == len(sent)
    # Each step of each run sends some, and dbt says for which model.
    steps = lake.query(f"select step, count(distinct arrival_to), count(distinct node) from {costs} group by step")
    windows = str(len(ran.played.windows))
    assert {(step, runs) for step, runs, _ in steps} == {
        (step.name, windows) for step in STEPS if step.name != "register"
    }
    nodes = {str(step): int(count or 0) for step, _, count in steps}
    assert nodes["build_marts"] > 20 > nodes["publish"] == 0


def test_a_window_is_estimated_by_the_runs_before_it(ran: Ran) -> None:
    settings = ran.athena.settings
    estimated = estimate(settings, ran.played.windows[1])
    assert (estimated.runs, estimated.window) == (2, str(ran.played.windows[1]))
    assert estimated.error is not None
    lake = AthenaLake(settings)
    ((scanned, dollars),) = lake.query(
        f"select sum(scanned_bytes), sum(dollars) from {lake.table('ops', 'query_costs')} "
        f"where arrival_to = '{str(ran.played.windows[1]).split('/')[1]}'"
    )
    # It is one of the two runs that it was estimated by.
    assert estimated.scanned == pytest.approx(float(scanned or 0), rel=0.2)
    assert estimated.dollars == pytest.approx(float(dollars or 0), rel=0.2)


def upstream_first(name: str) -> tuple[int, str]:
    """The layer that a table is of, so that the first one that differs is where a difference begins."""
    layers = ["raw", "seeds", "staging", "intermediate", "core", "marts", "ops", "flowlake"]
    return layers.index(name.partition(".")[0]), name


@pytest.fixture(scope="module")
def played(ran: Ran) -> Played:
    """The lake that has grown old."""
    ran.played.grow_old()
    return ran.played


@pytest.fixture(scope="module")
def needed(played: Played) -> list[Needed]:
    """What calls of both roles needed; an analyst's queries were answered."""
    with played.role("Analyst") as lake:
        for question in QUESTIONS:
            assert played.ask(lake.settings, question), question
        # As who asks for too much, and thinks better of it.
        athena = played.stack.client("athena", "Analyst")
        played.stack.local.inject(statement="-- long", delay=30)
        started = athena.start_query_execution(
            QueryString="select 1 -- long", WorkGroup=played.stack.outputs["AnalystWorkGroup"]
        )
        athena.stop_query_execution(QueryExecutionId=started["QueryExecutionId"])
        look_around(played)
    return played.needed()


def look_around(played: Played) -> None:
    """What the console and drivers ask for somebody who looks for something to ask."""
    athena, catalog = played.stack.client("athena", "Analyst"), "AwsDataCatalog"
    database, group = played.stack.outputs["Database"], played.stack.outputs["AnalystWorkGroup"]
    assert group in {one["Name"] for one in athena.list_work_groups()["WorkGroups"]}
    assert athena.get_work_group(WorkGroup=group)["WorkGroup"]["Name"] == group
    assert athena.list_data_catalogs()["DataCatalogsSummary"]
    assert athena.get_data_catalog(Name=catalog)["DataCatalog"]["Name"]
    pages = athena.get_paginator("list_databases").paginate(CatalogName=catalog)
    assert database in {one["Name"] for page in pages for one in page["DatabaseList"]}
    assert athena.get_database(CatalogName=catalog, DatabaseName=database)["Database"]["Name"] == database
    [table, *_] = athena.list_table_metadata(CatalogName=catalog, DatabaseName=database)["TableMetadataList"]
    assert athena.get_table_metadata(CatalogName=catalog, DatabaseName=database, TableName=table["Name"])
    ids = athena.list_query_executions(WorkGroup=group)["QueryExecutionIds"]
    assert athena.batch_get_query_execution(QueryExecutionIds=ids[:5])["QueryExecutions"]
    assert played.stack.client("glue", "Analyst").get_databases()["DatabaseList"]


def test_nothing_is_missing(needed: list[Needed]) -> None:
    assert {one.who for one in needed} == set(ROLES)
    assert {one.by for one in needed} == {"client", "statement"}
    assert [one for one in needed if not one.is_allowed] == []


def test_maintenance_leaves_every_row(ran: Ran, expected: dict[str, Table], needed: list[Needed]) -> None:
    # After the analysts: the engine keeps what it has read, and would ask S3 for nothing more.
    # Each report once, as people read it: another view of the same words holds nothing that could go.
    twins = ran.athena.reports
    assert {f"flowlake.{name.removeprefix('marts.').removesuffix('_report')}" for name in twins} <= expected.keys()
    assert_all_same({name: table for name, table in expected.items() if name not in twins}, ran.tables(but=twins))


@pytest.mark.parametrize("who", ROLES)
def test_nothing_is_granted_that_no_run_used(played: Played, needed: list[Needed], who: str) -> None:
    used = [one.need for one in needed if one.who == who]
    idle = [grant for grant in played.stack.grants(who) if not any(grant.covers(need) for need in used)]
    assert [grant for grant in idle if not is_excused(who, grant)] == []


def test_every_excuse_is_about_something_that_is_granted(played: Played) -> None:
    granted = [(who, grant) for who in ROLES for grant in played.stack.grants(who)]
    for excuse in EXCUSED:
        assert any(excuses(excuse, who, grant) for who, grant in granted), excuse


def is_excused(who: str, grant: Grant) -> bool:
    return any(excuses(excuse, who, grant) for excuse in EXCUSED)


def excuses(excuse: tuple[str, str, str], who: str, grant: Grant) -> bool:
    role, action, resource = excuse
    return role in ("*", who) and action == grant.action and is_like(resource, grant.resource)


@pytest.mark.parametrize("question", DENIED)
def test_an_analyst_reads_nothing_but_what_is_published(played: Played, needed: list[Needed], question: str) -> None:
    with (
        played.role("Analyst") as lake,
        pytest.raises(QueryError, match="not authorized to perform: glue:Get"),
    ):
        played.ask(lake.settings, question.format(played.stack.outputs["Database"]))


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("delete from {}_core.fct_edges where true", "s3:PutObject"),
        ("drop table {}_core.fct_edges", "glue:DeleteTable"),
        ("create view {}.mine as select 1 as x", "glue:CreateTable"),
    ],
)
def test_an_analyst_writes_nothing(played: Played, needed: list[Needed], statement: str, refused: str) -> None:
    before = set(played.needed())
    started = played.stack.client("athena", "Analyst").start_query_execution(
        QueryString=statement.format(played.stack.outputs["Database"]),
        WorkGroup=played.stack.outputs["AnalystWorkGroup"],
    )
    assert played.wait(started["QueryExecutionId"])["Status"]["State"] == "FAILED"
    assert refused in {one.need.action for one in set(played.needed()) - before if not one.is_allowed}
    with played.role("Analyst") as lake:
        assert played.ask(lake.settings, "select 1 from fct_edges limit 1")


def test_results_of_analysts_lie_where_their_work_group_says(played: Played, needed: list[Needed]) -> None:
    stack = played.stack
    results = stack.local.client("s3").list_objects_v2(Bucket=stack.outputs["ResultsBucket"])["Contents"]
    assert len([item for item in results if item["Key"].startswith("results/")]) == len(results) >= len(QUESTIONS)
