"""What IAM policies say of a call: actions, resources, principals and conditions, as far as the policies here go.

moto's own enforcement knows neither the resources of services other than S3 nor conditions (`moto.iam.access_control`
lists that as work to do), and takes a condition that it cannot look up for a refusal. So roles are held to their
policies by this page. It knows what the policies of this project say and raises on anything else, so that a policy is
never taken for stricter or laxer than it is. No permission boundaries, session policies or those of an organisation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Document = Mapping[str, Any]
"""A policy, from its JSON."""


class PolicyError(Exception):
    """A policy says something that is not known here."""


class Verdict(StrEnum):
    """What policies say together; without a word there is no permission."""

    ALLOWED = "allowed"
    DENIED = "denied"
    SILENT = "silent"


@dataclass(frozen=True)
class Need:
    """An action on a resource, by its ARN."""

    action: str
    resource: str


@dataclass(frozen=True)
class Grant:
    """One action and one resource of a statement that allows, patterns both."""

    sid: str
    action: str
    resource: str

    def covers(self, need: Need) -> bool:
        """Whether a need is one of those that it is for."""
        return is_like(self.action, need.action, ignore_case=True) and is_like(self.resource, need.resource)


@dataclass(frozen=True)
class Caller:
    """Who calls: an ARN, or a service by its name."""

    arn: str = ""
    service: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    """Condition keys of the call, by their names."""


def decide(documents: Iterable[Document], need: Need, caller: Caller) -> Verdict:
    """What policies say of a need: a refusal counts above every permission. Raises PolicyError."""
    verdict = Verdict.SILENT
    for document in documents:
        for statement in statements(document):
            if _concerns(statement, need, caller):
                if statement["Effect"] == "Deny":
                    return Verdict.DENIED
                verdict = Verdict.ALLOWED
    return verdict


def statements(document: Document) -> list[Document]:
    """A policy's statements."""
    return _listed(document["Statement"])


def grants(document: Document) -> Iterator[Grant]:
    """What a policy allows, each action with each resource."""
    for statement in statements(document):
        if statement["Effect"] == "Allow":
            for action in _listed(statement["Action"]):
                for resource in _listed(statement["Resource"]):
                    yield Grant(str(statement["Sid"]), action, resource)


def is_like(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether a text is like a pattern, in which * stands for any characters and ? for one."""
    parts = ("[\\s\\S]*" if part == "*" else "[\\s\\S]" if part == "?" else re.escape(part) for part in pattern)
    return re.fullmatch("".join(parts), text, re.IGNORECASE if ignore_case else 0) is not None


def _concerns(statement: Document, need: Need, caller: Caller) -> bool:
    unknown = statement.keys() - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if unknown:
        raise PolicyError(f"{statement.get('Sid')} has {', '.join(sorted(unknown))}, which is not known here")
    return (
        _is_of(statement.get("Principal", "*"), caller)
        and any(is_like(action, need.action, ignore_case=True) for action in _listed(statement["Action"]))
        and any(is_like(resource, need.resource) for resource in _listed(statement.get("Resource", "*")))
        and all(
            _holds(operator, _listed(values), caller.context.get(key))
            for operator, conditions in statement.get("Condition", {}).items()
            for key, values in conditions.items()
        )
    )


def _is_of(principal: Any, caller: Caller) -> bool:
    if principal == "*":
        return True
    for kind, names in principal.items():
        if kind not in ("AWS", "Service"):
            raise PolicyError(f"a principal of the kind {kind} is not known here")
        for name in _listed(names):
            # The account's root stands for everybody in it whom IAM allows the same.
            is_account = name.endswith(":root") and caller.arn.split(":")[4:5] == name.split(":")[4:5]
            if name in ("*", caller.arn if kind == "AWS" else caller.service) or is_account:
                return True
    return False


def _holds(operator: str, wanted: list[str], found: str | None) -> bool:
    if operator not in ("StringEquals", "StringLike", "ArnLike", "Bool"):
        raise PolicyError(f"the condition {operator} is not known here")
    if found is None:
        return False
    if operator in ("StringEquals", "Bool"):
        return found in wanted
    return any(is_like(pattern, found) for pattern in wanted)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
