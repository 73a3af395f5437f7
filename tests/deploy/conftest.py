"""A stack in the local services; those that need no engine start in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.stack import Stack, default_vpc, deploy
from local_athena.server import LocalAthena, start_aws


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAthena]:
    """The local services without an engine: no statement runs there."""
    with start_aws(tmp_path_factory.mktemp("aws")) as url:
        yield LocalAthena(url, url)


@pytest.fixture(scope="session")
def stack(aws: LocalAthena) -> Stack:
    """The template with a VPC to log, and nothing else said."""
    return deploy(aws, VpcId=default_vpc(aws))


@pytest.fixture(scope="session")
def encrypted(aws: LocalAthena) -> Stack:
    """The template with a key of its own, and somebody named for each role."""
    return deploy(
        aws,
        "other",
        Encryption="KMS",
        PipelinePrincipals=f"arn:aws:iam::{'1' * 12}:role/airflow,arn:aws:iam::{'1' * 12}:role/backfill",
        AnalystPrincipals=f"arn:aws:iam::{'1' * 12}:role/people",
    )
