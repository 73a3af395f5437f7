"""A whole run over a bucket, through boto3 and HTTP against moto's S3, gives the rows that a folder gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from flowlake.sample import SampleSpec, generate
from flowlake.settings import load_settings

BUCKET = "flow-logs"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


def test_a_bucket_gives_the_rows_that_a_folder_gives(tmp_path: Path, s3: Any, make_lake: Callable[..., Any]) -> None:
    spec = SampleSpec(seed=3, start=datetime(2026, 11, 20, 12, tzinfo=UTC), hours=1, scale=0.05)
    sample = generate(spec, tmp_path / "sample")
    for path in sorted(sample.logs.rglob("*")):
        if path.is_file():
            s3.upload_file(str(path), BUCKET, f"logs/{path.relative_to(sample.logs)}")
    lakes = {}
    # The bucket's objects were all written now; their names know when they are from.
    for name, uri in (("folder", str(sample.logs)), ("bucket", f"s3://{BUCKET}/logs")):
        lakes[name] = make_lake(
            tmp_path / name, sample.logs, sources=[{"name": "logs", "uri": uri, "arrival": "object_name"}]
        )
        lakes[name].run("2026-11-20T12", "2026-11-20T13")

    query = "select * from flowlake.{} order by all"
    for table in ("fct_edges", "dim_devices", "dim_interfaces", "fct_coverage", "rpt_talkers_hourly"):
        rows = lakes["bucket"].rows(query.format(table))
        assert rows, table
        assert rows == lakes["folder"].rows(query.format(table)), table
    uris = lakes["bucket"].rows("select distinct source_uri from lake.staging.stg_flow_logs__lines")
    assert all(uri.startswith(f"s3://{BUCKET}/logs/AWSLogs/") for (uri,) in uris)
    assert not list((lakes["bucket"].settings.lake.path / "spool").glob("*.gz")), "fetched objects are not kept"


def test_a_bucket_that_does_not_exist_is_named(tmp_path: Path, s3: Any, make_lake: Callable[..., Any]) -> None:
    lake = make_lake(tmp_path, tmp_path, sources=[{"name": "logs", "uri": "s3://no-such-bucket/logs"}])
    assert load_settings(lake.config).sources[0].uri == "s3://no-such-bucket/logs"
    with pytest.raises(Exception, match=r"sources\[0\]\.uri.*no-such-bucket") as failure:
        lake.run("2026-11-20T12", "2026-11-20T13")
    assert "\n" not in str(failure.value)
