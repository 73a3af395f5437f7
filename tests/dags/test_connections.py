"""S3 through an Airflow connection, against a real S3 API on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from flowlake.lake.storage import default_s3_client
from flowlake.orchestration.connections import s3_client_factory
from flowlake.settings import LakeSettings, Settings, SettingsError, Source


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_FLOW_LOGS", json.dumps(connection))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield url
    finally:
        server.stop()


def _settings(*sources: Source) -> Settings:
    return Settings(sources=sources, lake=LakeSettings(path=Path("lake")))


def test_no_connection_named_leaves_the_clients_to_boto3() -> None:
    assert s3_client_factory(_settings(Source("logs", "s3://bucket/logs"))) is None


def test_a_named_connection_gives_endpoint_and_credentials(endpoint: str) -> None:
    source = Source("logs", "s3://bucket/logs", aws_conn_id="flow_logs")
    factory = s3_client_factory(_settings(source))
    assert factory is not None
    client = factory(source)
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="logs/a", Body=b"x")
    assert client.meta.endpoint_url == endpoint
    assert [item["Key"] for item in client.list_objects_v2(Bucket="bucket")["Contents"]] == ["logs/a"]


def test_a_source_beside_it_without_connection_keeps_the_usual_client(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Source("plain", "s3://other/logs")
    factory = s3_client_factory(_settings(plain, Source("logs", "s3://bucket/logs", aws_conn_id="flow_logs")))
    assert factory is not None
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert factory(plain).meta.endpoint_url == default_s3_client(plain).meta.endpoint_url != endpoint


def test_an_unknown_connection_never_falls_back_to_the_machines_credentials() -> None:
    source = Source("logs", "s3://bucket/logs", aws_conn_id="no_such_connection")
    factory = s3_client_factory(_settings(source))
    assert factory is not None
    with pytest.raises(SettingsError, match="no Airflow connection 'no_such_connection'"):
        factory(source)


def test_a_role_belongs_into_the_connection() -> None:
    source = Source("logs", "s3://b/logs", role_arn="arn:aws:iam::111122223333:role/reader", aws_conn_id="flow_logs")
    with pytest.raises(SettingsError, match=r"sources\[0\] \(logs\): aws_conn_id and role_arn exclude each other"):
        s3_client_factory(_settings(source))
