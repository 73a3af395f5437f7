"""Which permissions a call of S3 or Glue needs, by what AWS's service authorization reference says of them; pure.

What is not known here needs a permission that nobody has (`s3:?...`), so that a new call is found out at once.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from local_athena.policies import Need

PARTITION = "arn:aws"

_OBJECT_CALLS = {
    ("GET", None): "GetObject",
    ("HEAD", None): "GetObject",
    ("PUT", None): "PutObject",
    ("PUT", "uploadId"): "PutObject",
    ("POST", "uploadId"): "PutObject",
    ("POST", "uploads"): "PutObject",
    ("DELETE", None): "DeleteObject",
    ("GET", "uploadId"): "ListMultipartUploadParts",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "versionId"): "GetObjectVersion",
    ("DELETE", "versionId"): "DeleteObjectVersion",
}
"""Calls on an object, by method and the part of the query that says which it is."""

_BUCKET_CALLS = {
    ("GET", None): "ListBucket",
    ("HEAD", None): "ListBucket",
    ("PUT", None): "CreateBucket",
    ("DELETE", None): "DeleteBucket",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "uploads"): "ListBucketMultipartUploads",
    ("GET", "versions"): "ListBucketVersions",
    ("GET", "policy"): "GetBucketPolicy",
    ("PUT", "policy"): "PutBucketPolicy",
}

_SUBRESOURCES = (
    *(
        "uploadId",
        "uploads",
        "versionId",
        "location",
        "versions",
        "policy",
        "acl",
        "tagging",
        "lifecycle",
        "encryption",
    ),
    *("versioning", "publicAccessBlock", "ownershipControls", "replication", "retention"),
    *("legal-hold", "restore"),
)


_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/[^/]+/([^/]+)/([^/]+)/")


@dataclass(frozen=True)
class Credential:
    """What a request's signature says: whose key, for which region and service."""

    key: str
    region: str
    service: str


def credential(authorization: str) -> Credential | None:
    """What a header says; None where a request is not signed."""
    found = _CREDENTIAL.search(authorization)
    return None if found is None else Credential(found[1], found[2], found[3])


@dataclass(frozen=True)
class Call:
    """What a call needs, all of it, and the condition keys that it brings."""

    needs: tuple[Need, ...]
    context: Mapping[str, str] = field(default_factory=dict)


def s3_call(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Call:
    """A call of S3 in the path style; `path` is unquoted, `body` is only looked at where keys are in it."""
    bucket, _, key = path.lstrip("/").partition("/")
    asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    part = next((name for name in _SUBRESOURCES if name in asked), None)
    arn = f"{PARTITION}:s3:::{bucket}"
    if not bucket:
        return Call((Need("s3:ListAllMyBuckets", "*"),))
    if not key:
        if method == "POST" and "delete" in asked:
            return Call(tuple(Need("s3:DeleteObject", f"{arn}/{name}") for name in _keys(body)))
        action = _BUCKET_CALLS.get((method, part), f"?{method}:{part}")
        prefix = {"s3:prefix": asked["prefix"]} if "prefix" in asked else {}
        return Call((Need(f"s3:{action}", arn),), prefix)
    needs = [Need(f"s3:{_OBJECT_CALLS.get((method, part), f'?{method}:{part}')}", f"{arn}/{key}")]
    if source := headers.get("x-amz-copy-source"):
        needs.append(Need("s3:GetObject", f"{PARTITION}:s3:::{urllib.parse.unquote(source).lstrip('/')}"))
    return Call(tuple(needs))


def _keys(body: bytes) -> list[str]:
    """The keys of a DeleteObjects."""
    document = ElementTree.fromstring(body)  # noqa: S314 - what clients of this machine send
    return [str(node.text) for node in document.iter() if node.tag.rpartition("}")[2] == "Key"]


def glue_call(operation: str, body: bytes, region: str, account: str) -> Call:
    """A call of Glue: it needs its action on what it names and on all that stands above that."""
    request = json.loads(body or b"{}")
    root = f"{PARTITION}:glue:{region}:{account}"
    resources = [f"{root}:catalog"]
    database, tables = _named(operation, request)
    if database:
        resources.append(f"{root}:database/{database}")
    resources += [f"{root}:table/{database}/{table}" for table in tables]
    if "UserDefinedFunction" in operation:
        resources.append(f"{root}:userDefinedFunction/{database}/{request.get('FunctionName', '*')}")
    return Call(tuple(Need(f"glue:{operation}", resource) for resource in resources))


def _named(operation: str, request: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The database and the tables that a request names; all tables are a star."""
    if operation in ("GetDatabase", "UpdateDatabase", "DeleteDatabase"):
        return str(request["Name"]), []
    if operation == "CreateDatabase":
        return str(request["DatabaseInput"]["Name"]), []
    if operation == "GetDatabases":
        return "*", []
    database = str(request.get("DatabaseName", ""))
    if operation == "GetTables":
        return database, ["*"]
    if operation == "BatchDeleteTable":
        return database, [str(name) for name in request["TablesToDelete"]]
    table = request.get("TableName") or request.get("TableInput", {}).get("Name") or request.get("Name")
    return database, [str(table)] if database and table and "UserDefinedFunction" not in operation else []
