"""Roles are held to their policies: in their own calls, and in those that the engine makes for their statements.

The engine here is none: a statement is a key of an object, which it reads. What Trino itself asks for is seen where it
runs a whole pipeline (tests/deploy).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.iam.aws_managed_policies import aws_managed_policies_data

from local_athena.api import Athena, Server
from local_athena.executions import Runner
from local_athena.faults import Faults
from local_athena.gate import ENGINES_OWN
from local_athena.policies import Caller, Need, PolicyError, Verdict, decide, is_like
from local_athena.senders import Senders
from local_athena.server import CREDENTIALS, LOCAL_PATH, REGION, LocalAthena, start_aws
from local_athena.trino import ENGINE_KEY, Outcome, TrinoError

ACCOUNT = "123456789012"
BUCKET = "own"


@dataclass
class Reading:
    """A statement under way: it reads an object, at once or when it may go on."""

    engine: Reader
    key: str
    outcome: Outcome = field(default_factory=Outcome)
    is_parsed: bool = True

    def advance(self) -> bool:
        self.engine.go_on.wait(10)
        try:
            self.engine.s3.get_object(Bucket=BUCKET, Key=self.key)
        except ClientError as error:
            raise TrinoError("PERMISSION_DENIED", "EXTERNAL", str(error)) from error
        return False


@dataclass
class Reader:
    """An engine whose statements read the object that their last word names."""

    s3: Any
    go_on: threading.Event = field(default_factory=threading.Event)

    def start(self, sql: str, *_more: Any) -> Reading:
        return Reading(self, sql.rpartition(" ")[2].strip('"'))


@dataclass
class World:
    """A local Athena with that engine."""

    local: LocalAthena
    engine: Reader

    def role(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        """A session of a role that may do what statements say."""
        iam = self.local.client("iam")
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        allowed = [{"Effect": "Allow", **statement} for statement in statements]
        document = {"Version": "2012-10-17", "Statement": allowed}
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(document))
        return self.local.assume(made)

    def run(self, session: dict[str, str], key: str, group: str = "primary") -> dict[str, Any]:
        athena = self.local.client("athena", session)
        started = athena.start_query_execution(
            QueryString=f'select * from "{key}"',
            WorkGroup=group,
            ResultConfiguration={"OutputLocation": f"s3://{BUCKET}/results/"},
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = self.local.client("athena").get_query_execution(QueryExecutionId=started["QueryExecutionId"])
            if found["QueryExecution"]["Status"]["State"] not in ("QUEUED", "RUNNING"):
                return dict(found["QueryExecution"])
            time.sleep(0.02)
        raise AssertionError(found)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with start_aws(tmp_path_factory.mktemp("gate")) as aws:
        local = LocalAthena(aws, aws)
        s3 = local.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        for key in ("mine", "theirs"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        own = local.client("s3", CREDENTIALS | {"AWS_ACCESS_KEY_ID": ENGINE_KEY})
        engine: Any = Reader(own)
        senders = Senders(f"{aws}{LOCAL_PATH}", REGION)
        runner = Runner(engine, local.client("glue"), own, Faults(), senders)
        with Server(Athena(runner, local.client("athena"))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield World(LocalAthena(aws, server.url), engine)
            server.shutdown()


@pytest.fixture(autouse=True)
def _running(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").engine.go_on.set()


GROUP = f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/primary"
STATEMENTS = {
    "Action": ["athena:StartQueryExecution", "athena:GetQueryExecution", "athena:GetQueryResults"],
    "Resource": GROUP,
}
RESULTS = {
    "Action": ["s3:GetBucketLocation", "s3:PutObject", "s3:GetObject"],
    "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/results/*"],
}
MINE = {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/mine"}


def denied(call: Callable[[], object], action: str) -> None:
    with pytest.raises(ClientError, match=f"not authorized to perform: {action}"):
        call()


def test_requests_are_counted_as_they_are_billed(world: World) -> None:
    s3, before = world.local.client("s3"), world.local.requests()
    s3.put_object(Bucket=BUCKET, Key="counted", Body=b"x")
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/counted")
    s3.list_objects_v2(Bucket=BUCKET)
    s3.head_object(Bucket=BUCKET, Key="counted")
    s3.get_object(Bucket=BUCKET, Key="counted")["Body"].read()
    s3.delete_object(Bucket=BUCKET, Key="counted")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "copy"}]})
    world.local.client("glue").get_databases()
    found = {kind: number - before.get(kind, 0) for kind, number in world.local.requests().items()}
    assert {kind: number for kind, number in found.items() if number} == {
        **{"s3 write": 3, "s3 read": 2, "s3 delete": 2},
        "glue": 1,
    }


def test_a_statement_reads_what_its_sender_may(world: World) -> None:
    session = world.role("reader", STATEMENTS, RESULTS, MINE)
    assert world.run(session, "mine")["Status"]["State"] == "SUCCEEDED"
    refused = world.run(session, "theirs")["Status"]
    assert refused["State"] == "FAILED"
    assert (
        f"not authorized to perform: s3:GetObject on resource: arn:aws:s3:::{BUCKET}/theirs"
        in (refused["StateChangeReason"])
    )
    # An administrator's statement may read it, afterwards as before.
    assert world.run(dict(CREDENTIALS), "theirs")["Status"]["State"] == "SUCCEEDED"
    needed = {(one["by"], one["action"], one["resource"], one["verdict"]) for one in world.local.needs()}
    assert {
        ("statement", "s3:GetObject", f"arn:aws:s3:::{BUCKET}/mine", "allowed"),
        ("statement", "s3:GetObject", f"arn:aws:s3:::{BUCKET}/theirs", "silent"),
        ("client", "athena:StartQueryExecution", GROUP, "allowed"),
        ("client", "s3:GetBucketLocation", f"arn:aws:s3:::{BUCKET}", "allowed"),
    } <= needed


def test_a_result_is_written_and_read_by_its_sender(world: World) -> None:
    session = world.role("deaf", STATEMENTS, MINE, RESULTS | {"Action": ["s3:GetBucketLocation", "s3:PutObject"]})
    execution = world.run(session, "mine")
    assert execution["Status"]["State"] == "SUCCEEDED"
    athena = world.local.client("athena", session)
    denied(lambda: athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"]), "s3:GetObject")
    mute = world.role("mute", STATEMENTS, MINE, RESULTS | {"Action": ["s3:GetBucketLocation", "s3:GetObject"]})
    assert "s3:PutObject" in world.run(mute, "mine")["Status"]["StateChangeReason"]


def test_who_may_not_list_is_not_told_that_an_object_is_missing(world: World) -> None:
    reading = {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    listing = {
        **{"Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{BUCKET}"},
        "Condition": {"StringLike": {"s3:prefix": "told/*"}},
    }
    s3 = world.local.client("s3", world.role("seeker", reading, listing))
    denied(lambda: s3.get_object(Bucket=BUCKET, Key="missing"), "s3:ListBucket")
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="told/missing")


def test_a_role_that_is_gone_may_nothing(world: World) -> None:
    s3 = world.local.client("s3", world.local.assume(f"arn:aws:iam::{ACCOUNT}:role/never-made"))
    denied(lambda: s3.get_object(Bucket=BUCKET, Key="mine"), "s3:GetObject")


def test_a_buckets_policy_allows_and_refuses_too(world: World) -> None:
    admin = world.local.client("s3")
    admin.create_bucket(Bucket="shared")
    for key in ("open", "shut"):
        admin.put_object(Bucket="shared", Key=key, Body=b"x")
    here = "arn:aws:s3:::shared"
    policy = [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"{here}/open"},
        {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"{here}/shut"},
        {
            **{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"{here}/*"},
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    admin.put_bucket_policy(Bucket="shared", Policy=json.dumps({"Version": "2012-10-17", "Statement": policy}))
    nothing = world.local.client("s3", world.role("nothing", MINE))
    nothing.get_object(Bucket="shared", Key="open")
    all_of_s3 = world.local.client("s3", world.role("all", {"Action": "s3:*", "Resource": "*"}))
    all_of_s3.put_object(Bucket="shared", Key="shut", Body=b"y")
    denied(lambda: all_of_s3.get_object(Bucket="shared", Key="shut"), "s3:GetObject")
    with pytest.raises(ClientError):
        nothing.head_object(Bucket="shared", Key="shut")
    assert admin.get_object(Bucket="shared", Key="shut")["Body"].read() == b"y"


def test_calls_of_athena_need_the_work_group(world: World) -> None:
    session = world.role("outsider", RESULTS, MINE, STATEMENTS | {"Resource": GROUP.replace("primary", "other")})
    denied(lambda: world.run(session, "mine"), "athena:StartQueryExecution")
    others = world.run(dict(CREDENTIALS), "mine")["QueryExecutionId"]
    athena = world.local.client("athena", session)
    for operation in ("get_query_execution", "get_query_results", "stop_query_execution"):
        denied(lambda: getattr(athena, operation)(QueryExecutionId=others), "athena:")  # noqa: B023
    denied(lambda: athena.batch_get_query_execution(QueryExecutionIds=[others]), "athena:BatchGetQueryExecution")
    denied(lambda: athena.list_query_executions(WorkGroup="primary"), "athena:ListQueryExecutions")
    denied(athena.list_work_groups, "athena:ListWorkGroups")
    denied(lambda: athena.get_data_catalog(Name="AwsDataCatalog"), "athena:GetDataCatalog")


def test_nobody_knows_whose_call_it_is_when_two_roles_have_statements_under_way(world: World) -> None:
    one, two = (world.role(name, STATEMENTS, RESULTS, MINE) for name in ("one", "two"))
    world.engine.go_on.clear()
    states: list[str] = []
    threads = [
        threading.Thread(target=lambda who=who: states.append(world.run(who, "mine")["Status"]["State"]))
        for who in (one, two)
    ]
    for thread in threads:
        thread.start()
    time.sleep(1)
    world.engine.go_on.set()
    for thread in threads:
        thread.join()
    assert "FAILED" in states


def test_a_work_group_of_a_stack_is_one_of_athena(world: World) -> None:
    template: dict[str, Any] = {
        "Resources": {
            "Group": {
                "Type": "AWS::Athena::WorkGroup",
                "Properties": {
                    "Name": "stacked",
                    "WorkGroupConfiguration": {
                        "EnforceWorkGroupConfiguration": True,
                        "PublishCloudWatchMetricsEnabled": False,
                        "BytesScannedCutoffPerQuery": "10000000",
                        "EngineVersion": {"SelectedEngineVersion": "Athena engine version 3"},
                        "ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/enforced/"},
                    },
                },
            }
        }
    }
    world.local.client("cloudformation").create_stack(StackName="groups", TemplateBody=json.dumps(template))
    execution = world.run(dict(CREDENTIALS), "mine", "stacked")
    assert execution["ResultConfiguration"]["OutputLocation"].startswith(f"s3://{BUCKET}/enforced/")


def test_a_bucket_that_says_more_than_is_known_here_is_refused(world: World) -> None:
    template = {"Resources": {"B": {"Type": "AWS::S3::Bucket", "Properties": {"WebsiteConfiguration": {}}}}}
    cloudformation = world.local.client("cloudformation")
    with pytest.raises(ClientError, match="WebsiteConfiguration"):
        cloudformation.create_stack(StackName="odd", TemplateBody=json.dumps(template))


@pytest.mark.parametrize(
    ("statement", "context", "verdict"),
    [
        ({}, {}, Verdict.ALLOWED),
        ({"Action": "s3:get*"}, {}, Verdict.ALLOWED),
        ({"Action": "s3:Put*"}, {}, Verdict.SILENT),
        ({"Resource": "arn:aws:s3:::b/K"}, {}, Verdict.SILENT),
        ({"Resource": "arn:aws:s3:::b/?"}, {}, Verdict.ALLOWED),
        ({"Resource": "arn:aws:s3:::b"}, {}, Verdict.SILENT),
        ({"Effect": "Deny"}, {}, Verdict.DENIED),
        ({"Condition": {"StringLike": {"s3:prefix": "a/*"}}}, {}, Verdict.SILENT),
        ({"Condition": {"StringLike": {"s3:prefix": ["b/*", "a/*"]}}}, {"s3:prefix": "a/b"}, Verdict.ALLOWED),
        ({"Condition": {"StringEquals": {"x": "a*"}}}, {"x": "ab"}, Verdict.SILENT),
        ({"Effect": "Deny", "Condition": {"Bool": {"tls": "false"}}}, {"tls": "true"}, Verdict.SILENT),
        ({"Effect": "Deny", "Condition": {"Bool": {"tls": "false"}}}, {"tls": "false"}, Verdict.DENIED),
        ({"Principal": {"Service": "s"}}, {}, Verdict.SILENT),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}, {}, Verdict.ALLOWED),
        ({"Principal": {"AWS": "arn:aws:iam::999999999999:root"}}, {}, Verdict.SILENT),
    ],
)
def test_a_statement(statement: dict[str, Any], context: dict[str, str], verdict: Verdict) -> None:
    whole = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", **statement}
    caller = Caller(f"arn:aws:iam::{ACCOUNT}:user/u", context=context)
    assert decide([{"Statement": whole}], Need("s3:GetObject", "arn:aws:s3:::b/k"), caller) is verdict
    allowed = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}, whole]}
    expected = Verdict.DENIED if verdict is Verdict.DENIED else Verdict.ALLOWED
    assert decide([allowed], Need("s3:GetObject", "arn:aws:s3:::b/k"), caller) is expected


@pytest.mark.parametrize(
    "statement",
    [{"NotAction": "x"}, {"Condition": {"IpAddress": {"aws:SourceIp": "x"}}}, {"Principal": {"Federated": "x"}}],
)
def test_what_is_not_known_is_refused(statement: dict[str, Any]) -> None:
    whole = {"Effect": "Allow", "Action": "*", "Resource": "*", **statement}
    with pytest.raises(PolicyError):
        decide([{"Statement": whole}], Need("s3:GetObject", "x"), Caller("arn"))


def test_what_is_the_engines_own_is_nothing_that_athena_wants() -> None:
    policies = json.loads(aws_managed_policies_data)
    document = policies["AmazonAthenaFullAccess"]["Document"]
    wanted = {action for statement in document["Statement"] for action in statement["Action"]}
    assert "glue:GetTable" in wanted
    assert not wanted & ENGINES_OWN


def test_patterns_are_not_regular_expressions() -> None:
    assert is_like("a.b/*", "a.b/c/d")
    assert not is_like("a.b/*", "axb/c")
    assert is_like("*", "")
    assert not is_like("lake/*", "lakes/x")
