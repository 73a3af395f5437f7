"""Roles held to their policies, in moto's process: who calls, what the call needs, what the deployed policies say.

moto's enforcement is for all calls or none, and stops at actions (`policies.py` says why that is not enough). Here the
sessions of assumed roles are held to the policies that moto's IAM has for their role, and to those of buckets, whatever
made them; moto says whose a session's key and token are. Everybody else is the account's administrator, and no
signature is looked at.

The engine's own calls, of Trino and of what stands before it, are made for the statements of a role while those are
under way: then they need what that role may, as on Athena, which reads and writes with its caller's permissions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from moto.iam.access_control import AssumedRoleAccessKey, CreateAccessKeyFailure
from moto.iam.models import iam_backends
from moto.s3.exceptions import MissingBucket
from moto.s3.models import s3_backends

from local_athena.calls import Call
from local_athena.policies import Caller, Document, Need, Verdict, decide
from local_athena.trino import ENGINE_KEY

ENGINES_OWN = frozenset(
    {
        "glue:GetUserDefinedFunction",
        "glue:GetUserDefinedFunctions",
        "glue:GetColumnStatisticsForTable",
        "glue:GetColumnStatisticsForPartition",
        "glue:UpdateColumnStatisticsForTable",
        "glue:UpdateColumnStatisticsForPartition",
        "glue:DeleteColumnStatisticsForTable",
        "glue:DeleteColumnStatisticsForPartition",
    }
)
"""What Trino asks of Glue and Athena does not: AWS's own policy for people who use Athena has none of it."""


@dataclass(frozen=True)
class Record:
    """A permission that a role's call needed."""

    role: str
    by: str
    """`client`, or `statement` for a call that the engine made for one."""
    action: str
    resource: str
    verdict: Verdict


class Gate:
    """Decides and remembers; for threads."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._senders: dict[str, str] = {}
        self.records: set[Record] = set()

    def begin(self, execution: str, role: str) -> None:
        """A statement of a role is under way."""
        with self._lock:
            self._senders[execution] = role

    def end(self, execution: str) -> None:
        """A statement has ended."""
        with self._lock:
            self._senders.pop(execution, None)

    def role_of(self, key: str, token: str | None) -> tuple[str, str]:
        """The role whose calls are made with an access key, and by whom; twice empty for an administrator's.

        Raises PermissionError when a session is not one of ours, or statements of two roles are under way.
        """
        if key == ENGINE_KEY:
            with self._lock:
                roles = set(self._senders.values())
            if len(roles) > 1:
                raise PermissionError(f"the engine works for {' and '.join(sorted(roles))}: whose call is it?")
            return (roles.pop(), "statement") if roles else ("", "")
        if not key.startswith("ASIA") and token is None:
            return "", ""
        try:
            session = AssumedRoleAccessKey(self._account, "aws", key, {"X-Amz-Security-Token": token or ""})
        except CreateAccessKeyFailure:
            raise PermissionError("The security token included in the request is invalid") from None
        return session.arn.split("/")[1], "client"

    def require(self, role: str, by: str, call: Call) -> None:
        """Let a role's call pass. Raises PermissionError, in IAM's words, when a policy does not."""
        documents = self._policies(role)
        arn = f"arn:aws:sts::{self._account}:assumed-role/{role}/session"
        # Calls here are plain HTTP; those to AWS are not, or its policies refuse them.
        caller = Caller(arn, context={"aws:SecureTransport": "true", **call.context})
        refused = None
        for need in call.needs:
            if by == "statement" and need.action in ENGINES_OWN:
                continue
            verdict = self._decide(documents, need, caller)
            with self._lock:
                self.records.add(Record(role, by, need.action, need.resource, verdict))
            if verdict is not Verdict.ALLOWED and refused is None:
                refused = need
            if (
                verdict is Verdict.ALLOWED
                and need.action == "s3:GetObject"
                and _is_absent(self._account, need.resource)
            ):
                # Only who may list it is told that an object is not there; its key stands for the prefix.
                bucket, _, key = need.resource.partition("/")
                self.require(role, by, Call((Need("s3:ListBucket", bucket),), {"s3:prefix": key}))
        if refused is not None:
            raise PermissionError(
                f"User: {arn} is not authorized to perform: {refused.action} on resource: {refused.resource}"
            )

    def listed(self) -> list[dict[str, str]]:
        """What was needed so far, as JSON has it."""
        with self._lock:
            return [asdict(record) for record in self.records]

    def _decide(self, documents: Iterable[Document], need: Need, caller: Caller) -> Verdict:
        own = decide(documents, need, caller)
        bucket = self._bucket_policy(need.resource)
        if own is Verdict.DENIED or bucket is None:
            return own
        # In one account either policy may allow, and either may deny.
        others = decide([bucket], need, caller)
        return others if own is Verdict.SILENT or others is Verdict.DENIED else own

    def _policies(self, role: str) -> list[Document]:
        backend = iam_backends[self._account]["aws"]
        if role not in {known.name for known in backend.roles.values()}:
            return []
        if backend.list_attached_role_policies(role)[0]:
            raise NotImplementedError(f"{role} has managed policies, which are not looked at here")
        return [json.loads(backend.get_role_policy(role, name)[1]) for name in backend.list_role_policies(role)]

    def _bucket_policy(self, resource: str) -> Document | None:
        if not resource.startswith("arn:aws:s3:::"):
            return None
        name = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        try:
            policy: Any = s3_backends[self._account]["aws"].get_bucket_policy(name)
        except MissingBucket:
            return None
        return None if policy is None else dict(json.loads(policy))


def _is_absent(account: str, resource: str) -> bool:
    bucket, _, key = resource.removeprefix("arn:aws:s3:::").partition("/")
    try:
        return s3_backends[account]["aws"].get_object(bucket, key) is None
    except MissingBucket:
        return False
