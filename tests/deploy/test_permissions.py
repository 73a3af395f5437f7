"""What each role may and may not do, asked of the local services with a session of it.

They hold it to the policies that were deployed (local_athena/gate.py). moto's own enforcement is asked, too, as far as
it goes: it looks at signatures, sessions, actions and the ARNs of S3's objects, but for every other service's resource
it takes a star, which no policy here has, and a condition that it cannot look up for a refusal. So what it says is
compared for objects alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from deploy.stack import ACCOUNT, Stack, deploy
from local_athena.policies import Caller, Need, Verdict, decide
from local_athena.server import LocalAthena, start_aws

DENIED = ("AccessDenied", "AccessDeniedException", "403")

LAKE, LOGS, RESULTS, OTHERS = "lake", "logs", "results", "others"
"""The buckets of a stack, and one that belongs to somebody else."""

LOG = f"AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/2026/11/20/a.log.gz"

OBJECTS = [
    (LOGS, LOG, "Pipeline", "read"),
    (LAKE, "lake/raw/objects/x", "Pipeline", "read write delete"),
    (LAKE, "lake/data/flowlake_core/fct_edges/x", "Pipeline", "read write delete"),
    (LAKE, "lake/ops/published.json", "Pipeline", "read write delete"),
    (LAKE, "lake/results/x.csv", "Pipeline", "read write delete"),
    (LAKE, "x", "Pipeline", ""),
    (LAKE, "lakes/x", "Pipeline", ""),
    (RESULTS, "results/x.csv", "Pipeline", ""),
    (OTHERS, "lake/raw/x", "Pipeline", ""),
    (LAKE, "lake/data/flowlake_core/fct_edges/x", "Analyst", "read"),
    (LAKE, "lake/data/flowlake_marts/rpt_top_pairs/x", "Analyst", "read"),
    (LAKE, "lake/data/flowlake_ops/fct_coverage/x", "Analyst", "read"),
    (LAKE, "lake/data/flowlake_staging/stg_flow_logs__lines/x", "Analyst", ""),
    (LAKE, "lake/data/flowlake_intermediate/x", "Analyst", ""),
    (LAKE, "lake/data/flowlake_coreX/x", "Analyst", ""),
    (LAKE, "lake/raw/objects/x", "Analyst", ""),
    (LAKE, "lake/raw/copies/x", "Analyst", ""),
    (LAKE, "lake/ops/published.json", "Analyst", ""),
    (LAKE, "lake/results/x.csv", "Analyst", ""),
    (LOGS, LOG, "Analyst", ""),
    (RESULTS, "results/x.csv", "Analyst", "read write"),
    (RESULTS, "elsewhere/x.csv", "Analyst", ""),
    (OTHERS, "results/x.csv", "Analyst", ""),
]
"""An object, a role, and what the role may do with it; whatever is not named it may not."""


def buckets(stack: Stack) -> dict[str, str]:
    logs, lake, results = stack.buckets
    return {LOGS: logs, LAKE: lake, RESULTS: results, OTHERS: "others"}


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Stack:
    fill(stack)
    return stack


def fill(stack: Stack) -> None:
    s3 = stack.local.client("s3")
    s3.create_bucket(Bucket="others")
    for bucket, key, _, _ in OBJECTS:
        s3.put_object(Bucket=buckets(stack)[bucket], Key=key, Body=b"x")


def is_allowed(call: Callable[..., object], **arguments: object) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in DENIED:
            return False
        raise
    return True


def done(s3: Any, bucket: str, key: str) -> str:
    """What can be done with an object, in the words of OBJECTS; it is there again afterwards, or as it was."""
    calls = {
        "read": lambda: s3.get_object(Bucket=bucket, Key=key),
        "write": lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"x"),
        "delete": lambda: s3.delete_object(Bucket=bucket, Key=key),
    }
    found = [name for name, call in calls.items() if is_allowed(call)]
    if "delete" in found:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    return " ".join(found)


@pytest.mark.parametrize(("bucket", "key", "who", "expected"), OBJECTS)
def test_objects(filled: Stack, bucket: str, key: str, who: str, expected: str) -> None:
    assert done(filled.client("s3", who), buckets(filled)[bucket], key) == expected


@pytest.mark.parametrize(
    ("bucket", "prefix", "expected"),
    [
        (LOGS, "", {"Pipeline"}),
        (LOGS, "AWSLogs/", {"Pipeline"}),
        (LAKE, "", set()),
        (LAKE, "la", set()),
        (LAKE, "lake/data/", {"Pipeline"}),
        (LAKE, "lake/data/flowlake_staging/", {"Pipeline"}),
        (LAKE, "lake/data/flowlake_marts/", {"Pipeline", "Analyst"}),
        (RESULTS, "", {"Analyst"}),
        (OTHERS, "", set()),
    ],
)
def test_listings(filled: Stack, bucket: str, prefix: str, expected: set[str]) -> None:
    name = buckets(filled)[bucket]
    found = {
        who
        for who in ("Pipeline", "Analyst")
        if is_allowed(filled.client("s3", who).list_objects_v2, Bucket=name, Prefix=prefix)
    }
    assert found == expected


def test_versions_and_policies_are_for_administrators(filled: Stack) -> None:
    for who in ("Pipeline", "Analyst"):
        s3 = filled.client("s3", who)
        for bucket in filled.buckets:
            assert not is_allowed(s3.list_object_versions, Bucket=bucket, Prefix="lake/data/flowlake_core/")
            assert not is_allowed(s3.get_bucket_policy, Bucket=bucket)
            assert not is_allowed(s3.put_bucket_policy, Bucket=bucket, Policy="{}")
            assert not is_allowed(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={})


@pytest.mark.parametrize(("who", "key"), [("Pipeline", "ops/x"), ("Analyst", "data/flowlake_core/x")])
def test_who_reads_a_file_that_is_not_there_is_told_so(filled: Stack, who: str, key: str) -> None:
    """Ledgers may be missing; S3 says so only to those who may list them, and to others that they may not look."""
    with pytest.raises(ClientError, match="NoSuchKey"):
        filled.client("s3", who).get_object(Bucket=filled.lake_bucket, Key=f"lake/{key}-missing")


def test_several_objects_are_deleted_only_if_each_may_be(filled: Stack) -> None:
    s3 = filled.client("s3", "Pipeline")

    def delete(*keys: str) -> None:
        s3.delete_objects(Bucket=filled.lake_bucket, Delete={"Objects": [{"Key": key} for key in keys]})

    assert is_allowed(lambda: delete("lake/one", "lake/two"))
    assert not is_allowed(lambda: delete("lake/one", "two"))


TABLE = {
    "Name": "t",
    "StorageDescriptor": {"Columns": [], "Location": "s3://x/y"},
    "PartitionKeys": [{"Name": "p", "Type": "string"}],
}

TABLES = [
    ("flowlake", "Pipeline", "read write"),
    ("flowlake_raw", "Pipeline", "read write partition"),
    ("flowlake_core", "Pipeline", "read write"),
    ("flowlakes", "Pipeline", ""),
    ("default", "Pipeline", ""),
    ("flowlake", "Analyst", "read list"),
    ("flowlake_core", "Analyst", "read"),
    ("flowlake_marts", "Analyst", "read"),
    ("flowlake_ops", "Analyst", "read"),
    ("flowlake_raw", "Analyst", ""),
    ("flowlake_staging", "Analyst", ""),
    ("flowlake_intermediate", "Analyst", ""),
    ("flowlake_seeds", "Analyst", ""),
    ("default", "Analyst", ""),
]
"""A database, a role, and what the role may do with its tables; `list` is noted where it may not write."""


@pytest.mark.parametrize(("database", "who", "expected"), TABLES)
def test_tables(stack: Stack, database: str, who: str, expected: str) -> None:
    admin, glue = stack.local.client("glue"), stack.client("glue", who)
    if database in ("flowlakes", "default"):
        with_own = {one["Name"] for one in admin.get_databases()["DatabaseList"]}
        if database not in with_own:
            admin.create_database(DatabaseInput={"Name": database})
    admin.create_table(DatabaseName=database, TableInput=TABLE)
    named = {"DatabaseName": database}
    partition = {"Values": ["a"], "StorageDescriptor": TABLE["StorageDescriptor"]}
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: glue.get_table(**named, Name="t"),
        "list": lambda: glue.get_tables(**named),
        "update": lambda: glue.update_table(**named, TableInput=TABLE),
        "partition": lambda: glue.batch_create_partition(**named, TableName="t", PartitionInputList=[partition]),
        "partitions": lambda: glue.get_partitions(**named, TableName="t"),
        "drop database": lambda: glue.delete_database(Name=database),
        "make database": lambda: glue.create_database(DatabaseInput={"Name": f"{database}_new"}),
        "delete": lambda: glue.delete_table(**named, Name="t"),
        "create": lambda: glue.create_table(**named, TableInput=TABLE),
    }
    found = {name for name, call in calls.items() if is_allowed(call)}
    meant = {
        "read": {"get", "list"} if who == "Pipeline" else {"get"},
        "list": {"list"},
        "write": {"update", "delete", "create"},
        "partition": {"partition", "partitions"},
    }
    assert found == {one for word in expected.split() for one in meant[word]}
    admin.delete_table(**named, Name="t")


@pytest.mark.parametrize(
    ("table", "allowed"),
    [("flowlake_raw/text_lines", True), ("flowlake_ops/query_costs", True), ("flowlake_ops/windows", False)],
)
def test_partitions_are_made_where_tables_have_some(stack: Stack, table: str, allowed: bool) -> None:
    root = f"arn:aws:glue:us-east-1:{ACCOUNT}"
    named = ("catalog", f"database/{table.partition('/')[0]}", f"table/{table}")
    needs = [Need("glue:BatchCreatePartition", f"{root}:{name}") for name in named]
    found = [decide(stack.policies("Pipeline"), need, Caller()) is Verdict.ALLOWED for need in needs]
    assert all(found) is allowed
    assert not any(decide(stack.policies("Analyst"), need, Caller()) is Verdict.ALLOWED for need in needs)


@pytest.mark.parametrize(
    ("who", "group", "action", "allowed"),
    [
        ("Pipeline", "flowlake-pipeline", "StartQueryExecution", True),
        ("Pipeline", "flowlake-analysts", "StartQueryExecution", False),
        ("Pipeline", "primary", "StartQueryExecution", False),
        ("Pipeline", "flowlake-pipeline", "UpdateWorkGroup", False),
        ("Analyst", "flowlake-analysts", "StartQueryExecution", True),
        ("Analyst", "flowlake-pipeline", "StartQueryExecution", False),
        ("Analyst", "flowlake-pipeline", "GetQueryResults", False),
        ("Analyst", "flowlake-pipeline", "StopQueryExecution", False),
        ("Analyst", "primary", "StartQueryExecution", False),
        ("Analyst", "flowlake-analysts", "UpdateWorkGroup", False),
    ],
)
def test_statements_run_in_the_own_work_group(stack: Stack, who: str, group: str, action: str, allowed: bool) -> None:
    need = Need(f"athena:{action}", f"arn:aws:athena:us-east-1:{ACCOUNT}:workgroup/{group}")
    assert (decide(stack.policies(who), need, Caller()) is Verdict.ALLOWED) is allowed


@pytest.mark.parametrize("service", ["iam", "cloudformation", "ec2", "kms"])
def test_nothing_else_may_be_asked(stack: Stack, service: str) -> None:
    calls = {"iam": "list_roles", "cloudformation": "list_stacks", "ec2": "describe_vpcs", "kms": "list_keys"}
    for who in ("Pipeline", "Analyst"):
        assert not is_allowed(getattr(stack.client(service, who), calls[service]))


NAMES_OF_OTHERS = ("glue:GetDatabases", "athena:ListWorkGroups", "athena:ListDataCatalogs")
"""A list of names is all or nothing."""


@pytest.mark.parametrize("who", ["Pipeline", "Analyst"])
def test_every_permission_names_its_action_and_what_it_is_on(stack: Stack, who: str) -> None:
    for grant in stack.grants(who):
        assert "*" not in grant.action
        if grant.action in NAMES_OF_OTHERS:
            continue
        owned = re.sub("^(database|table|workgroup|datacatalog)/", "", grant.resource.split(":", 5)[5])
        assert owned.lower() in ("catalog", "default", "awsdatacatalog") or owned.startswith("flowlake"), grant
        first = owned.partition("/")[0]
        assert first.endswith("_*") or "*" not in first, f"{grant}: of others, too"


def test_a_session_that_was_never_given_is_none(stack: Stack) -> None:
    forged = stack.session("Pipeline") | {"AWS_SESSION_TOKEN": "forged"}
    assert not is_allowed(lambda: stack.local.client("s3", forged).list_objects_v2(Bucket=stack.outputs["LogsBucket"]))


@dataclass(frozen=True)
class Strict:
    """A stack in a moto that holds everybody to policies by itself, and a client of each role."""

    stack: Stack
    clients: dict[str, Any]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with start_aws(tmp_path_factory.mktemp("strict")) as url:
        stack = deploy(LocalAthena(url, url))
        fill(stack)
        clients = {who: stack.client("s3", who) for who in ("Pipeline", "Analyst")}
        answer = urllib3.request("POST", f"{url}/moto-api/reset-auth", body="0")
        assert answer.status == 200
        yield Strict(stack, clients)


@pytest.mark.parametrize(("bucket", "key", "who", "expected"), OBJECTS)
def test_moto_itself_says_the_same_of_objects(strict: Strict, bucket: str, key: str, who: str, expected: str) -> None:
    assert done(strict.clients[who], buckets(strict.stack)[bucket], key) == expected
