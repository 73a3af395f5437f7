"""How flowlake reaches the AWS services of the Athena target: one place that makes clients, one that explains errors.

Credentials, region and endpoints come as everywhere in the AWS SDK (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, ...).
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.storage import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlake.settings import AthenaSettings, Settings


class AwsError(FlowlakeError):
    """A call of an AWS service that failed; the message says which, and what to do."""


def athena_settings(settings: Settings) -> AthenaSettings:
    """The settings of the Athena target, which `load_settings` has made sure of."""
    if settings.athena is None:
        raise AwsError("athena: is missing from the settings")
    return settings.athena


def region() -> str | None:
    """AWS_REGION, as the other SDKs have it; None leaves it to boto3 (AWS_DEFAULT_REGION, the profile)."""
    return os.environ.get("AWS_REGION") or None


def client(service: str) -> Any:
    """A client of an AWS service, which serves several threads at a time. Raises AwsError when there is no region.

    Making one takes longer than a call, so it is kept: not for another process, which would share its connections, nor
    for other credentials or endpoints.
    """
    surroundings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return _client(service, os.getpid(), surroundings)


@lru_cache(maxsize=16)
def _client(service: str, _process: int, _surroundings: tuple[tuple[str, str], ...]) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(retries={"mode": "standard", "max_attempts": 8}, max_pool_connections=32)
    try:
        session: Any = boto3.session.Session(region_name=region())
        return session.client(service, config=config)
    except BotoCoreError as error:
        raise AwsError(f"{service} cannot be reached: {explain(error)}") from None


class aws_errors:  # noqa: N801 (a context manager, used as a verb)
    """Turn the errors of the AWS SDK into AwsError: `what` says what was being done ("read s3://…")."""

    def __init__(self, what: str) -> None:
        """Remember what is being done."""
        self._what = what

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise AwsError for what the SDK raised."""
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, BotoCoreError | ClientError):
            raise AwsError(f"cannot {self._what}: {explain(error)}") from error


def error_code(error: Exception) -> str:
    """The code of an error that a service answered; empty for any other."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def pages(client_: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """What all pages of a listing hold under a key."""
    for page in client_.get_paginator(operation).paginate(**arguments):
        yield from page.get(key, [])
