"""The list of published tables is the list of dbt models that say so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from flowlake.dbt import PROJECT as DBT_PROJECT
from flowlake.dbt import executable
from flowlake.lake.publish import published_tables
from flowlake.orchestration.assets import PUBLISHED_TABLES


def test_the_assets_are_the_tables_that_dbt_says_are_published(tmp_path: Path) -> None:
    arguments = ["parse", "--project-dir", DBT_PROJECT, "--profiles-dir", DBT_PROJECT]
    places = ["--target-path", tmp_path / "target"]
    environment = {**os.environ, "FLOWLAKE_LAKE_PATH": str(tmp_path), "DO_NOT_TRACK": "1"}
    command = [executable(), "--quiet", "--log-path", tmp_path / "logs", *arguments, *places]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = tuple(sorted(table.name for table in published_tables(tmp_path / "target" / "manifest.json")))
    assert tables == PUBLISHED_TABLES, "write the list into flowlake.orchestration.assets"
