"""deploy/aws/flowlake.yaml: it is sound, and what it makes is what docs/deploy-aws.md promises.

What moto keeps of a resource is compared; a property of a bucket that the local CloudFormation would leave out is
refused by it (local_athena/stacks.py).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.stack import ACCOUNT, TEMPLATE, Stack, default_vpc, deploy
from flowlake.lake.tables import SCHEMAS
from flowlake.records.fields import FIELDS_BY_COLUMN
from flowlake.settings import AthenaSettings
from local_athena.policies import Caller, Need, Verdict, decide
from local_athena.server import LocalAthena

DELIVERY = "delivery.logs.amazonaws.com"
SOURCE = f"arn:aws:logs:us-east-1:{ACCOUNT}:*"


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    found = subprocess.run([linter, TEMPLATE], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout


def bucket_policy(stack: Stack, bucket: str) -> dict[str, Any]:
    found = stack.local.client("s3").get_bucket_policy(Bucket=bucket)["Policy"]
    return dict(json.loads(found))


def test_buckets_are_private_encrypted_and_owned(stack: Stack) -> None:
    s3 = stack.local.client("s3")
    assert len(set(stack.buckets)) == 3
    for bucket in stack.buckets:
        private = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert len(private) == 4
        assert all(private.values())
        [encryption] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert encryption["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        assert encryption["BucketKeyEnabled"]
        [ownership] = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        assert ownership["ObjectOwnership"] == "BucketOwnerEnforced"


def test_with_a_key_everything_is_encrypted_by_it(encrypted: Stack) -> None:
    kms, s3 = encrypted.local.client("kms"), encrypted.local.client("s3")
    keys = [kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in kms.list_keys()["Keys"]]
    [key] = [key for key in keys if key["Description"].startswith("other:")]
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]
    service = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": SOURCE.replace("*", "delivery-source:x")}
    policy = json.loads(kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
    for action in ("kms:GenerateDataKey", "kms:Decrypt", "kms:DescribeKey"):
        for context, verdict in (
            (service, Verdict.ALLOWED),
            (service | {"aws:SourceAccount": "999999999999"}, Verdict.SILENT),
            (service | {"aws:SourceArn": "arn:aws:logs:eu-west-1:1:x"}, Verdict.SILENT),
        ):
            assert decide([policy], Need(action, key["Arn"]), Caller(service=DELIVERY, context=context)) is verdict
    assert len(set(encrypted.buckets)) == 3
    for bucket in encrypted.buckets:
        [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}
    group = encrypted.local.client("athena").get_work_group(WorkGroup="other-analysts")["WorkGroup"]["Configuration"]
    assert group["ResultConfiguration"]["EncryptionConfiguration"] == {
        "EncryptionOption": "SSE_KMS",
        "KmsKey": key["Arn"],
    }
    for who in ("Pipeline", "Analyst"):
        granted = {grant.action: grant.resource for grant in encrypted.grants(who) if grant.sid == "UseKey"}
        assert granted == {"kms:Decrypt": key["Arn"], "kms:GenerateDataKey": key["Arn"]}


def test_without_a_key_nobody_is_granted_one(stack: Stack) -> None:
    for who in ("Pipeline", "Analyst"):
        assert not [grant for grant in stack.grants(who) if grant.action.startswith("kms:")]


def test_nothing_is_answered_without_tls(stack: Stack) -> None:
    for bucket in stack.buckets:
        policy = bucket_policy(stack, bucket)
        for resource in (f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/lake/data/x"):
            for caller in ({"arn": f"arn:aws:iam::{ACCOUNT}:user/admin"}, {"service": DELIVERY}):
                plain = Caller(**caller, context={"aws:SecureTransport": "false"})
                assert decide([policy], Need("s3:GetObject", resource), plain) is Verdict.DENIED


@pytest.mark.parametrize(
    ("action", "path", "changed", "verdict"),
    [
        ("s3:PutObject", f"/AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/2026/11/20/a.log.parquet", {}, Verdict.ALLOWED),
        ("s3:GetBucketAcl", "", {}, Verdict.ALLOWED),
        ("s3:PutObject", "/elsewhere", {}, Verdict.SILENT),
        ("s3:PutObject", "/AWSLogs/999999999999/vpcflowlogs/x", {}, Verdict.SILENT),
        ("s3:GetObject", f"/AWSLogs/{ACCOUNT}/x", {}, Verdict.SILENT),
        ("s3:PutObject", f"/AWSLogs/{ACCOUNT}/x", {"aws:SourceAccount": "999999999999"}, Verdict.SILENT),
        ("s3:PutObject", f"/AWSLogs/{ACCOUNT}/x", {"aws:SourceArn": "arn:aws:logs:eu-west-1:1:x"}, Verdict.SILENT),
        ("s3:PutObject", f"/AWSLogs/{ACCOUNT}/x", {"s3:x-amz-acl": "public-read"}, Verdict.SILENT),
        ("s3:PutObject", f"/AWSLogs/{ACCOUNT}/x", {"aws:SecureTransport": "false"}, Verdict.DENIED),
    ],
)
def test_delivery_writes_flow_logs_of_this_account_and_nothing_else(
    stack: Stack, action: str, path: str, changed: dict[str, str], verdict: Verdict
) -> None:
    context = {
        "aws:SecureTransport": "true",
        "aws:SourceAccount": ACCOUNT,
        "aws:SourceArn": SOURCE.replace("*", "delivery-source:x"),
        "s3:x-amz-acl": "bucket-owner-full-control",
    }
    bucket = stack.outputs["LogsBucket"]
    service = Caller(service=DELIVERY, context=context | changed)
    need = Need(action, f"arn:aws:s3:::{bucket}{path}")
    assert decide([bucket_policy(stack, bucket)], need, service) is verdict
    assert decide([bucket_policy(stack, bucket)], need, Caller(service="x.amazonaws.com", context=context)) is not (
        Verdict.ALLOWED
    )


def test_what_is_current_of_logs_and_lake_never_expires(stack: Stack) -> None:
    s3 = stack.local.client("s3")
    for bucket in stack.buckets:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert all(rule["Status"] == "Enabled" for rule in rules)
        assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
        expired = {rule["Filter"]["Prefix"] for rule in rules if "Days" in rule.get("Expiration", {})}
        results = {stack.lake_bucket: {"lake/results/"}, stack.outputs["ResultsBucket"]: {""}}
        assert expired == results.get(bucket, set())
    for bucket in (stack.outputs["LogsBucket"], stack.lake_bucket):
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert [
            rule["NoncurrentVersionExpiration"]["NoncurrentDays"] for rule in rules if "Noncurrent" in str(rule)
        ] == [7]


def test_what_holds_data_outlives_the_stack() -> None:
    text = TEMPLATE.read_text()
    resources = re.findall(r"^  (\w+):\n    Type: (\S+)\n((?:    .*\n|\n)*)", text.partition("\nResources:\n")[2], re.M)
    assert len(resources) > 15
    holds = ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::Glue::Database", "AWS::KMS::Key")
    for policy in ("    DeletionPolicy: RetainExceptOnCreate\n", "    UpdateReplacePolicy: Retain\n"):
        kept = {name for name, _, body in resources if policy in body}
        assert kept == {name for name, kind, _ in resources if kind in holds}


def test_a_stack_that_is_gone_has_left_what_holds_data_and_nothing_else(aws: LocalAthena) -> None:
    gone = deploy(aws, "gone")
    aws.client("cloudformation").delete_stack(StackName="gone")
    assert "gone" not in str(aws.client("iam").list_roles()["Roles"])
    assert "gone" not in str(aws.client("athena").list_work_groups()["WorkGroups"])
    # Empty, as they are: nothing but the template keeps them.
    assert set(gone.buckets) <= {one["Name"] for one in aws.client("s3").list_buckets()["Buckets"]}
    for bucket in gone.buckets:
        assert "TlsOnly" in str(bucket_policy(gone, bucket))
    found = {one["Name"] for one in aws.client("glue").get_databases()["DatabaseList"]}
    assert {"gone", "gone_raw", "gone_core", "gone_marts", "gone_ops"} <= found


def test_databases_are_those_that_the_product_writes(stack: Stack) -> None:
    pages = stack.local.client("glue").get_paginator("get_databases").paginate()
    there = {database["Name"] for page in pages for database in page["DatabaseList"]}
    settings = AthenaSettings("s3://x/y", stack.outputs["Database"])
    wanted = {settings.schema(schema) for schema in (*SCHEMAS, "raw", "seeds")}
    assert {name for name in there if name == "flowlake" or name.startswith("flowlake_")} == wanted


def test_work_groups_have_cutoffs_and_know_who_names_the_place_of_results(stack: Stack) -> None:
    athena = stack.local.client("athena")
    configurations = {
        who: athena.get_work_group(WorkGroup=stack.outputs[f"{who}WorkGroup"])["WorkGroup"]["Configuration"]
        for who in ("Pipeline", "Analyst")
    }
    for configuration in configurations.values():
        assert configuration["EngineVersion"]["SelectedEngineVersion"] == "Athena engine version 3"
        assert configuration["PublishCloudWatchMetricsEnabled"]
    pipeline, analyst = configurations["Pipeline"], configurations["Analyst"]
    assert pipeline["BytesScannedCutoffPerQuery"] == 1000 * 10**9
    assert analyst["BytesScannedCutoffPerQuery"] == 100 * 10**9
    assert not pipeline["EnforceWorkGroupConfiguration"]
    assert "OutputLocation" not in pipeline.get("ResultConfiguration", {})
    assert analyst["EnforceWorkGroupConfiguration"]
    assert analyst["ResultConfiguration"] == {
        "OutputLocation": f"s3://{stack.outputs['ResultsBucket']}/results/",
        "EncryptionConfiguration": {"EncryptionOption": "SSE_S3"},
    }


def trusted(stack: Stack, who: str) -> dict[str, Any]:
    role = stack.local.client("iam").get_role(RoleName=stack.role(who))["Role"]
    return dict(role["AssumeRolePolicyDocument"])


@pytest.mark.parametrize("who", ["Pipeline", "Analyst"])
def test_a_role_is_assumed_by_its_account_or_by_those_who_are_named(stack: Stack, encrypted: Stack, who: str) -> None:
    def verdict(of: Stack, arn: str) -> Verdict:
        return decide([trusted(of, who)], Need("sts:AssumeRole", of.outputs[f"{who}Role"]), Caller(arn))

    assert verdict(stack, f"arn:aws:iam::{ACCOUNT}:user/somebody") is Verdict.ALLOWED
    assert verdict(stack, f"arn:aws:iam::{'1' * 12}:role/airflow") is Verdict.SILENT
    names = {"Pipeline": ("airflow", "backfill"), "Analyst": ("people",)}
    for name in ("airflow", "backfill", "people"):
        expected = Verdict.ALLOWED if name in names[who] else Verdict.SILENT
        assert verdict(encrypted, f"arn:aws:iam::{'1' * 12}:role/{name}") is expected
    assert verdict(encrypted, f"arn:aws:iam::{ACCOUNT}:user/somebody") is Verdict.SILENT


def test_the_flow_log_has_what_models_read(stack: Stack) -> None:
    [flow_log] = stack.local.client("ec2").describe_flow_logs()["FlowLogs"]
    assert flow_log["ResourceId"] == default_vpc(stack.local)
    assert flow_log["LogDestination"] == f"arn:aws:s3:::{stack.outputs['LogsBucket']}"
    assert flow_log["TrafficType"] == "ALL", "a receiver's rejects have the last word on a packet"
    assert flow_log["MaxAggregationInterval"] == 60
    fields = re.findall(r"\$\{([a-z0-9-]+)\}", flow_log["LogFormat"])
    assert " ".join(f"${{{field}}}" for field in fields) == flow_log["LogFormat"], "single spaces, nothing else"
    known = {name.replace("_", "-") for name in FIELDS_BY_COLUMN}
    assert set(fields) <= known
    assert {"pkt-srcaddr", "pkt-dstaddr", "tcp-flags", "flow-direction", "interface-type"} <= set(fields)


def test_existing_flow_logs_are_read_and_none_are_made(aws: LocalAthena) -> None:
    aws.client("s3").create_bucket(Bucket="old-logs")
    stack = deploy(aws, "beside", ExistingLogsBucket="old-logs")
    assert stack.outputs["LogsBucket"] == "old-logs"
    assert "beside-logs" not in str(aws.client("s3").list_buckets()["Buckets"])
    granted = [grant for grant in stack.grants("Pipeline") if grant.sid.endswith("Logs")]
    assert ("s3:ListBucket", "arn:aws:s3:::old-logs") in {(grant.action, grant.resource) for grant in granted}
    day = {"plain": "1/vpcflowlogs/r/2026/11/20/x", "hive": "aws-account-id=1/aws-service=vpcflowlogs/x"}
    readable = {"AWSLogs/" + day["plain"], "a/b/AWSLogs/o-x/" + day["plain"], "a/AWSLogs/" + day["hive"]}
    for key in (*readable, "AWSLogs/1/CloudTrail/r/2026/11/20/x", "AWSLogs/1/elasticloadbalancing/x", "x"):
        may = any(grant.covers(Need("s3:GetObject", f"arn:aws:s3:::old-logs/{key}")) for grant in granted)
        assert may == (key in readable), key
