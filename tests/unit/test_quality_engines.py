"""Connections of a gate to Athena; none of them calls it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import boto3
import pytest
import sqlalchemy

from flowlake.quality.engines import _one_loader


def loaders(*options: str, **given: Any) -> list[Any]:
    """What new connections read descriptions of services with, by the options of their URLs."""
    found = []
    for option in options:
        url = f"awsathena+rest://athena.eu-west-3.amazonaws.com:443/core?{option}"
        with closing(sqlalchemy.create_engine(url, connect_args=given).raw_connection()) as pooled:
            connection: Any = pooled.dbapi_connection
            assert connection.session.region_name == connection.client.meta.region_name == "eu-west-3"
            found.append(connection.session._session.get_component("data_loader"))
    return found


def test_connections_of_a_gate_read_descriptions_of_services_once_and_others_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    own, session = "s3_staging_dir=s3://lake/results/", boto3.session.Session(region_name="eu-west-3")
    with _one_loader("s3://lake/results/"):
        first, second, *others = loaders(own, own, "s3_staging_dir=s3://others/", "work_group=others")
        others += loaders(own, session=session)
    assert first is second
    others += loaders(own)
    assert len(others) == 4
    assert all(other is not first for other in others)
