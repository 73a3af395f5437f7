"""Who calls Athena, and whether they may: asked of the gate in moto's process, which knows the roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import urllib3

from local_athena.calls import credential
from local_athena.faults import ApiError

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Sender:
    """A call's signature: the access key, and the token where it is a session's."""

    key: str = ""
    token: str | None = None

    @property
    def is_role(self) -> bool:
        return self.token is not None


def sender_of(headers: Mapping[str, str]) -> Sender:
    """Who has signed a request."""
    known = {name.lower(): value for name, value in headers.items()}
    signed = credential(known.get("authorization", ""))
    return Sender("" if signed is None else signed.key, known.get("x-amz-security-token"))


@dataclass(frozen=True)
class Senders:
    """The gate, from another process. `url` is where it listens."""

    url: str
    region: str
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=32), repr=False)

    def require(self, sender: Sender, *needs: tuple[str, str]) -> str:
        """A session's role; ApiError where it may not have all that it needs.

        Each need is an action and an ARN, or what stands last in one of Athena's.
        """
        root = f"arn:aws:athena:{self.region}:{ACCOUNT}:"
        named = [(action, name if name.startswith(("arn:", "*")) else root + name) for action, name in needs]
        status, answer = self._post("role", {"key": sender.key, "token": sender.token, "needs": named})
        if status == 403:
            raise ApiError("AccessDeniedException", answer)
        return str(answer)

    @contextmanager
    def under_way(self, execution: str, role: str) -> Iterator[None]:
        """While a statement of a role runs, the engine's calls are that role's."""
        if not role:
            yield
            return
        self._post("begin", {"execution": execution, "role": role})
        try:
            yield
        finally:
            self._post("end", {"execution": execution})

    def _post(self, path: str, content: Mapping[str, Any]) -> tuple[int, Any]:
        answer = self.pool.request("POST", f"{self.url}/{path}", json=content)
        return answer.status, answer.json()
