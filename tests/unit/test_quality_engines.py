"""Connections of a gate to Athena; none of them calls it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import sqlalchemy

from flowlake.quality.engines import _one_loader


def loaders(*results: str) -> list[Any]:
    """What new connections read descriptions of services with, by where their results go."""
    found = []
    for place in results:
        url = f"awsathena+rest://athena.eu-west-3.amazonaws.com:443/core?s3_staging_dir={place}"
        with closing(sqlalchemy.create_engine(url).raw_connection()) as pooled:
            connection: Any = pooled.dbapi_connection
            assert connection.session.region_name == connection.client.meta.region_name == "eu-west-3"
            found.append(connection.session._session.get_component("data_loader"))
    return found


def test_connections_of_a_gate_read_descriptions_of_services_once_and_others_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with _one_loader("s3://lake/results/"):
        first, second, other = loaders("s3://lake/results/", "s3://lake/results/", "s3://others/")
    assert first is second
    assert other is not first
    (later,) = loaders("s3://lake/results/")
    assert later is not first
