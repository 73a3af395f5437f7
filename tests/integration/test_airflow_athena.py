"""The hourly DAG through a real scheduler on the Athena target, with credentials from an Airflow connection."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from flowlake.lake.windows import Window
from flowlake.orchestration import local
from flowlake.orchestration.demo import Progress, run_hours
from integration.test_airflow_backfill import put_object
from local_athena.queries import Database
from local_athena.server import LocalAthena
from shared_dbt.start import shared_dbt

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def test_an_hour_runs_on_athena(athena: LocalAthena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_object(tmp_path / "logs", NOON, size=100)
    s3 = athena.client("s3")
    s3.create_bucket(Bucket="airflow-logs")
    for path in (tmp_path / "logs").rglob("*.gz"):
        s3.upload_file(str(path), "airflow-logs", str(path.relative_to(tmp_path / "logs")))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    # An endpoint of its own for Athena is nothing that an Airflow connection knows.
    monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", athena.athena)
    connection = {
        "conn_type": "aws",
        "login": "local",
        "password": "local",
        "extra": {"region_name": athena.region, "endpoint_url": athena.aws},
    }
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    config = tmp_path / "flowlake.yaml"
    source = {"name": "logs", "uri": "s3://airflow-logs", "arrival": "object_name", "aws_conn_id": "lake"}
    target = {
        "location": f"s3://{athena.bucket}/airflow",
        "database": "airflow",
        "work_group": athena.work_group,
        "aws_conn_id": "lake",
    }
    lake = {"path": str(tmp_path / "lake")}
    config.write_text(yaml.safe_dump({"sources": [source], "target": "athena", "athena": target, "lake": lake}))
    shown: list[str] = []
    home = tmp_path / "airflow"
    progress = Progress(shown.append, live=False)
    # Airflow with a dbt of its own is in tests/compose, Athena with one in tests/deploy/test_manual.py.
    with shared_dbt():
        try:
            runs = run_hours(Window(NOON, NOON + timedelta(hours=1)), home=home, config=config, progress=progress)
        finally:
            local.down(local.LocalAirflow(home=home))

    assert [(run.hour, run.ran) for run in runs] == [("2024-03-05T12", True)]
    readers = Database(athena, "airflow")
    assert readers.rows("select sum(flows), sum(bytes) from fct_edges where is_counted") == [("10", "1000")]
