"""The template of deploy/aws, deployed into the local services, and what came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_athena.policies import Document, Grant, grants
from local_athena.server import LocalAthena

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATE = PROJECT / "deploy/aws/flowlake.yaml"
ACCOUNT = "123456789012"

ROLES = ("Pipeline", "Analyst")


@dataclass(frozen=True)
class Stack:
    """A stack that was made of the template, by its outputs."""

    local: LocalAthena
    name: str
    outputs: Mapping[str, str]

    @property
    def lake_bucket(self) -> str:
        return self.outputs["LakeLocation"].split("/")[2]

    @property
    def buckets(self) -> tuple[str, ...]:
        return self.outputs["LogsBucket"], self.lake_bucket, self.outputs["ResultsBucket"]

    def role(self, who: str) -> str:
        """The name of a role: of the pipeline or of an analyst."""
        return self.outputs[f"{who}Role"].rpartition("/")[2]

    def session(self, who: str) -> dict[str, str]:
        """The environment of a session of a role."""
        return self.local.assume(self.outputs[f"{who}Role"])

    def client(self, service: str, who: str) -> Any:
        """A client with the permissions of a role."""
        return self.local.client(service, self.session(who))

    def policies(self, who: str) -> list[Document]:
        """The policies of a role, as IAM has them."""
        iam, role = self.local.client("iam"), self.role(who)
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        return [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]

    def grants(self, who: str) -> list[Grant]:
        """All that a role may do."""
        return [grant for document in self.policies(who) for grant in grants(document)]


def deploy(local: LocalAthena, name: str = "flowlake", **parameters: str) -> Stack:
    """Make a stack. Its databases and the rest are called as it is, unless `Name` says otherwise."""
    cloudformation = local.client("cloudformation")
    given = {"Name": name, **parameters}
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return Stack(local, name, {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]})


def default_vpc(local: LocalAthena) -> str:
    """The VPC that every account has."""
    [vpc] = local.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    return str(vpc["VpcId"])
