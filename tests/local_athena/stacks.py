"""CloudFormation's resources that moto has no word for, and what it leaves out of those that it has.

moto skips a type that it does not know with a warning, and of a bucket takes the encryption and the tags alone. What is
not known here either is refused, so that no property of a template goes unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.athena.models import athena_backends
from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend
from moto.core.common_models import CloudFormationModel
from moto.glue.models import glue_backends
from moto.iam.models import Role
from moto.kms.models import Key, KmsBackend
from moto.s3.models import FakeBucket, s3_backends

_BUCKET_PROPERTIES = {
    *("BucketName", "BucketEncryption", "Tags"),
    *("OwnershipControls", "PublicAccessBlockConfiguration", "VersioningConfiguration", "LifecycleConfiguration"),
}
_RULE_PROPERTIES = {
    *("Id", "Status", "Prefix", "ExpirationInDays", "AbortIncompleteMultipartUpload"),
    *("NoncurrentVersionExpiration", "ExpiredObjectDeleteMarker"),
}

_moto_create_bucket = FakeBucket.create_from_cloudformation_json.__func__  # type: ignore[attr-defined] # a classmethod


def create_bucket(
    cls: type[FakeBucket], resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **more: Any
) -> FakeBucket:
    """A bucket with all that its template says."""
    properties = cloudformation_json.get("Properties", {})
    _require_known("a bucket", properties, _BUCKET_PROPERTIES)
    bucket: FakeBucket = _moto_create_bucket(cls, resource_name, cloudformation_json, account_id, region_name, **more)
    backend: Any = s3_backends[account_id]["aws"]
    for rule in properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", []):
        bucket.encryption["Rule"]["BucketKeyEnabled"] = _flag(rule.get("BucketKeyEnabled", False))  # type: ignore[index]
    if private := properties.get("PublicAccessBlockConfiguration"):
        backend.put_public_access_block(resource_name, {name: _flag(value) for name, value in private.items()})
    if ownership := properties.get("OwnershipControls"):
        backend.put_bucket_ownership_controls(resource_name, ownership["Rules"][0]["ObjectOwnership"])
    if versioning := properties.get("VersioningConfiguration"):
        backend.put_bucket_versioning(resource_name, versioning["Status"])
    if lifecycle := properties.get("LifecycleConfiguration"):
        backend.put_bucket_lifecycle(resource_name, [_rule(rule) for rule in lifecycle["Rules"]])
    return bucket


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A lifecycle rule as the API has it, from CloudFormation's."""
    _require_known("a lifecycle rule", rule, _RULE_PROPERTIES)
    wanted: dict[str, Any] = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    if "ExpirationInDays" in rule:
        wanted["Expiration"] = {"Days": str(rule["ExpirationInDays"])}
    if "ExpiredObjectDeleteMarker" in rule:
        wanted["Expiration"] = {"ExpiredObjectDeleteMarker": _flag(rule["ExpiredObjectDeleteMarker"])}
    for name, key in (
        ("AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
        ("NoncurrentVersionExpiration", "NoncurrentDays"),
    ):
        if name in rule:
            wanted[name] = {key: str(rule[name][key])}
    return wanted


def _flag(value: Any) -> str:
    return str(value).lower()


def _require_known(what: str, found: Mapping[str, Any], known: set[str]) -> None:
    if unknown := found.keys() - known:
        raise ValidationError(message=f"{what} has {', '.join(sorted(unknown))}, which is not known here")


class Named:
    """A resource by the name that `Ref` gives; what it stands for is in the service's own backend."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name
        super().__init__()

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return False

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> Any:
        """As it is: a stack is made once here."""
        return original_resource


class BucketPolicy(Named, CloudFormationModel):
    """AWS::S3::BucketPolicy."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::BucketPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **more: Any
    ) -> BucketPolicy:
        properties = cloudformation_json["Properties"]
        policy = json.dumps(properties["PolicyDocument"], default=str).encode()
        s3_backends[account_id]["aws"].put_bucket_policy(properties["Bucket"], policy)
        return cls(properties["Bucket"])

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        s3_backends[account_id]["aws"].delete_bucket_policy(resource_name)


class GlueDatabase(Named, CloudFormationModel):
    """AWS::Glue::Database."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Glue::Database"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **more: Any
    ) -> GlueDatabase:
        described = cloudformation_json["Properties"]["DatabaseInput"]
        glue_backends[account_id][region_name].create_database(described["Name"], described)
        return cls(described["Name"])

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        glue_backends[account_id][region_name].delete_database(resource_name)


class WorkGroup(Named, CloudFormationModel):
    """AWS::Athena::WorkGroup, in moto's Athena, where the local one looks for groups that it has not made itself."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Athena::WorkGroup"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **more: Any
    ) -> WorkGroup:
        properties = cloudformation_json["Properties"]
        configuration = dict(properties["WorkGroupConfiguration"])
        configuration["BytesScannedCutoffPerQuery"] = int(configuration["BytesScannedCutoffPerQuery"])
        for name in ("EnforceWorkGroupConfiguration", "PublishCloudWatchMetricsEnabled"):
            configuration[name] = _flag(configuration[name]) == "true"
        version = configuration["EngineVersion"]["SelectedEngineVersion"]
        configuration["EngineVersion"] = {"SelectedEngineVersion": version, "EffectiveEngineVersion": version}
        athena_backends[account_id][region_name].create_work_group(
            properties["Name"], configuration, properties.get("Description", ""), []
        )
        return cls(properties["Name"])

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        athena_backends[account_id][region_name].delete_work_group(resource_name)


_moto_clean = parsing.clean_json


def clean(value: Any, resources: Any) -> Any:
    """A part of a template with its functions worked out; what AWS::NoValue takes from a list is gone from it."""
    cleaned = _moto_clean(value, resources)
    return [one for one in cleaned if one is not None] if isinstance(value, list) else cleaned


_moto_delete = parsing.ResourceMap.delete


def delete(resources: parsing.ResourceMap) -> None:
    """What goes with a stack; moto knows one word of two for what stays."""
    for described in resources._resource_json_map.values():
        if described.get("DeletionPolicy") == "RetainExceptOnCreate":
            described["DeletionPolicy"] = "Retain"
    _moto_delete(resources)


_moto_put_policy = Role.put_policy


def put_policy(role: Role, name: str, document: Any) -> None:
    """A role's policy, kept as JSON also where a template has it: moto answers with what it was given."""
    _moto_put_policy(role, name, document if isinstance(document, str) else json.dumps(document, default=str))


_moto_create_key = KmsBackend.create_key


def create_key(backend: KmsBackend, policy: Any, *rest: Any, **more: Any) -> Key:
    """As `put_policy`, for a key."""
    return _moto_create_key(
        backend, json.dumps(policy, default=str) if isinstance(policy, dict) else policy, *rest, **more
    )


_moto_execute = CloudFormationBackend.execute_change_set


def execute_change_set(backend: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
    """A stack of a change set, as `aws cloudformation deploy` makes it; moto looks for its outputs too early."""
    _moto_execute(backend, change_set_name, stack_name)
    for stack in backend.stacks.values():
        if stack.template:
            stack._parse_template()
            stack.output_map = stack._create_output_map()


def install_stacks() -> None:
    """Give moto's CloudFormation what it lacks, in this process; the classes above are found by being there."""
    overlay: tuple[tuple[Any, str, Any], ...] = (
        (parsing, "clean_json", clean),
        (parsing.ResourceMap, "delete", delete),
        (CloudFormationBackend, "execute_change_set", execute_change_set),
        (Role, "put_policy", put_policy),
        (KmsBackend, "create_key", create_key),
        (FakeBucket, "create_from_cloudformation_json", classmethod(create_bucket)),  # type: ignore[arg-type]
    )
    if parsing.clean_json is not clean:
        for owner, name, function in overlay:
            setattr(owner, name, function)
