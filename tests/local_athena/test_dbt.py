"""dbt-athena, unmodified: a small project with every kind of model that flowlake has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_athena.queries import Database

DBT = Path(__file__).parents[2] / ".venv-dbt" / "bin" / "dbt"

ICEBERG = "table_type='iceberg', format='parquet'"

FILES = {
    "seeds/protocols.csv": "number,name,since\n6,TCP,1981-09-01\n17,UDP,1980-08-28\n",
    "models/flows.sql": (
        "{{ config(materialized='incremental', incremental_strategy='append', " + ICEBERG + ", "
        "partitioned_by=['truncate(hour, 10)'], on_schema_change='append_new_columns', contract={'enforced': true}, "
        "pre_hook=\"{% if is_incremental() %}delete from {{ this }} where hour = '{{ var('hour') }}'{% endif %}\") }}\n"
        "select '{{ var('hour') }}' as hour, number, cast({{ var('bytes') }} as bigint) as bytes\n"
        "from {{ ref('protocols') }}\n"
    ),
    "models/devices.sql": (
        "{{ config(materialized='incremental', incremental_strategy='merge', unique_key='number', " + ICEBERG + ", "
        "delete_condition='src.bytes = 0') }}\n"
        "select number, cast(sum(bytes) as bigint) as bytes, cast(max(hour) as varchar) as hour\n"
        "from {{ ref('flows') }} group by 1\n"
    ),
    "models/totals.sql": (
        "{{ config(materialized='table', " + ICEBERG + ") }}\n"
        "select hour, cast(sum(bytes) as bigint) as bytes from {{ ref('flows') }} group by 1\n"
    ),
    "models/named.sql": (
        "{{ config(materialized='view') }}\n"
        "select p.name, d.bytes, d.hour from {{ ref('devices') }} d join {{ ref('protocols') }} p "
        "on p.number = d.number\n"
    ),
    "models/models.yml": yaml.safe_dump(
        {
            "models": [
                {
                    "name": "flows",
                    "columns": [
                        {"name": "hour", "data_type": "varchar", "data_tests": ["not_null"]},
                        {"name": "number", "data_type": "integer"},
                        {"name": "bytes", "data_type": "bigint"},
                    ],
                },
                {"name": "devices", "columns": [{"name": "number", "data_tests": ["unique"]}]},
            ],
            "unit_tests": [
                {
                    "name": "an_hour_is_the_sum_of_its_flows",
                    "model": "totals",
                    "given": [
                        {"input": "ref('flows')", "rows": [{"hour": "x", "bytes": 1}, {"hour": "x", "bytes": 2}]}
                    ],
                    "expect": {"rows": [{"hour": "x", "bytes": 3}]},
                }
            ],
        }
    ),
}


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Path:
    profile = {
        "type": "athena",
        "database": "awsdatacatalog",
        "schema": database.name,
        "region_name": database.local.region,
        "work_group": database.local.work_group,
        "s3_staging_dir": f"s3://{database.local.bucket}/staging/",
        "s3_data_dir": f"s3://{database.local.bucket}/{database.name}/",
        "poll_interval": 0.05,
        "threads": 2,
    }
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"tiny": {"target": "t", "outputs": {"t": profile}}}))
    (tmp_path / "dbt_project.yml").write_text(
        yaml.safe_dump(
            {
                "name": "tiny",
                "profile": "tiny",
                "vars": {"hour": "2026-01-01T00", "bytes": 1},
                "seeds": {"tiny": {"+column_types": {"number": "integer", "since": "date"}}},
            }
        )
    )
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return tmp_path


def build(database: Database, project: Path, *extra: str, **variables: object) -> Mapping[str, Any]:
    """`dbt build`; its results by node."""
    command: list[str | Path] = [DBT, "--no-use-colors", "build", "--vars", json.dumps(variables), *extra]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= database.local.environment | {"DBT_PROFILES_DIR": str(project)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    results = json.loads((project / "target" / "run_results.json").read_text())["results"]
    return {result["unique_id"]: result for result in results}


def test_a_project_is_built_twice_and_a_repeated_hour_is_replaced(database: Database, project: Path) -> None:
    first = build(database, project, hour="2026-01-01T01", bytes=10)
    assert {result["status"] for result in first.values()} == {"success", "pass"}
    assert len(first) == 8
    database.do("insert into flows values ('2026-01-01T00', 6, 1)")
    again = build(database, project, hour="2026-01-01T01", bytes=20)
    assert database.rows("select hour, number, bytes from flows") == [
        ("2026-01-01T00", "6", "1"),
        ("2026-01-01T01", "17", "20"),
        ("2026-01-01T01", "6", "20"),
    ]
    assert database.rows("select number, bytes, hour from devices") == [
        ("17", "20", "2026-01-01T01"),
        ("6", "21", "2026-01-01T01"),
    ]
    assert database.rows("select * from totals") == [("2026-01-01T00", "1"), ("2026-01-01T01", "40")]
    assert database.rows("select name, bytes from named") == [("TCP", "21"), ("UDP", "20")]
    assert again["model.tiny.devices"]["adapter_response"]["rows_affected"] == 2
    assert again["model.tiny.devices"]["adapter_response"]["data_scanned_in_bytes"] > 0
    left = database.rows("show tables")
    assert left == [("devices",), ("flows",), ("named",), ("protocols",), ("totals",)]


def test_a_column_is_added_and_one_failure_hinders_no_other_model(database: Database, project: Path) -> None:
    build(database, project, "--select", "+flows")
    flows = project / "models" / "flows.sql"
    flows.write_text(flows.read_text().replace("as bytes\n", "as bytes, cast('x' as varchar) as more\n"))
    models = project / "models" / "models.yml"
    content = yaml.safe_load(models.read_text())
    content["models"][0]["columns"].append({"name": "more", "data_type": "varchar"})
    models.write_text(yaml.safe_dump(content))
    wide = "{{ config(materialized='table', " + ICEBERG + ", partitioned_by=['p']) }}\n"
    wide += "select cast(i as varchar) as p from unnest(sequence(1, 150)) u(i)\n"
    (project / "models" / "wide.sql").write_text(wide)
    broken = "{{ config(materialized='table', " + ICEBERG + ") }} select 1 / 0 as a\n"
    (project / "models" / "broken.sql").write_text(broken)
    with pytest.raises(AssertionError, match="DIVISION_BY_ZERO"):
        build(database, project, "--select", "flows", "wide", "broken", hour="2026-01-01T01")
    assert database.rows("select distinct hour, more from flows") == [("2026-01-01T00", None), ("2026-01-01T01", "x")]
    # A write has at most 100 partitions: dbt-athena is told so, and writes these in two.
    assert database.rows("select count(*), count(distinct p) from wide") == [("150", "150")]
