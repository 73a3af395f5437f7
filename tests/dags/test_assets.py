"""The list of published tables is the list of dbt models that say so."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from flowlake.dbt import PROJECT as DBT_PROJECT
from flowlake.dbt import executable
from flowlake.orchestration.assets import PUBLISHED_TABLES


def test_the_assets_are_the_tables_that_dbt_says_are_published(tmp_path: Path) -> None:
    arguments = ["parse", "--project-dir", DBT_PROJECT, "--profiles-dir", DBT_PROJECT]
    places = ["--target-path", tmp_path / "target"]
    environment = {**os.environ, "FLOWLAKE_LAKE_PATH": str(tmp_path), "DO_NOT_TRACK": "1"}
    command = [executable(), "--quiet", "--log-path", tmp_path / "logs", *arguments, *places]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = json.loads((tmp_path / "target" / "manifest.json").read_text())["nodes"].values()
    models = [node for node in nodes if node["resource_type"] == "model"]
    tables = tuple(sorted(node["name"] for node in models if node["config"]["meta"].get("published")))
    assert tables == PUBLISHED_TABLES, "write the list into flowlake.orchestration.assets"
