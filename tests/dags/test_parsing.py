"""What parsing a DAG file may do: import little, and touch nothing outside Python's own files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("boto3", "botocore", "duckdb", "great_expectations", "moto", "numpy", "pandas", "pyarrow", "isal")

# Imports Airflow first: what it loads and opens by itself (EmptyOperator, where a task is mapped) is not the DAG's
# doing. Then every event of the interpreter is watched (PEP 578), and connections and variables are mined, while the
# file is executed.
PARSE = """
import json, runpy, sys
import airflow.providers.standard.operators.empty
import airflow.sdk
from airflow.sdk import BaseHook, DAG, CronDataIntervalTimetable, Param, Variable

def looked_up(*args, **kwargs):
    raise AssertionError(f"looked up while parsing: {args}")

for owner, names in ((BaseHook, ["get_connection"]), (Variable, ["get", "set"])):
    for name in names:
        setattr(owner, name, looked_up)
events = []
before = set(sys.modules)

def watch(event, args):
    if event.split(".")[0] in ("socket", "sqlite3", "subprocess") or event in ("os.system", "os.exec", "os.fork"):
        events.append(f"{event} {args}")
    elif event == "open" and isinstance(args[0], str) and not args[0].endswith((".py", ".pyc", ".so")):
        events.append(f"open {args[0]} {args[1]}")

sys.addaudithook(watch)
found = runpy.run_path(sys.argv[1])
seen = list(events)
dags = [value.dag_id for value in found.values() if isinstance(value, DAG)]
print(json.dumps({"dags": dags, "events": seen, "modules": sorted(set(sys.modules) - before)}))
"""


def _parse(file: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", PARSE, str(file)]
    output = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
    assert output.returncode == 0, output.stderr
    return dict(json.loads(output.stdout.splitlines()[-1]))


@pytest.fixture(scope="module", params=["flow_logs_backfill", "flow_logs_hourly", "flow_logs_replay"])
def parsed(project: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    found = _parse(project / "dags" / f"{request.param}.py")
    assert found["dags"] == [request.param]
    return found


def test_parsing_imports_nothing_heavy(parsed: dict[str, Any]) -> None:
    assert "flowlake.steps" in parsed["modules"]
    assert [name for name in parsed["modules"] if name.split(".")[0] in HEAVY] == []
    assert [name for name in parsed["modules"] if name.startswith(("airflow.providers", "airflow.models"))] == []


def test_parsing_opens_no_file_no_socket_no_database_and_starts_no_process(parsed: dict[str, Any]) -> None:
    assert parsed["events"] == []


def test_the_watch_sees_what_it_watches_for(tmp_path: Path) -> None:
    file = tmp_path / "dag.py"
    file.write_text(
        "import socket, sqlite3, subprocess\n"
        "sqlite3.connect(':memory:').close()\n"
        "socket.socket().close()\n"
        "open('/etc/hosts').close()\n"
        "subprocess.run(['true'])\n"
    )
    events = _parse(file)["events"]
    for trace in ("sqlite3.connect", "socket", "open /etc/hosts", "subprocess.Popen"):
        assert any(event.startswith(trace) for event in events), trace


def test_a_connection_looked_up_while_parsing_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "dag.py"
    file.write_text("from airflow.sdk import BaseHook\nBaseHook.get_connection('aws_default')\n")
    with pytest.raises(AssertionError, match="looked up while parsing"):
        _parse(file)


def test_no_module_of_the_package_imports_anything_heavy(project: Path) -> None:
    folder = project / "plugins" / "flowlake" / "orchestration"
    modules = [f"flowlake.orchestration.{path.stem}" for path in sorted(folder.glob("[a-z]*.py"))]
    assert len(modules) >= 9
    code = f"""
import json, sys, airflow.sdk
before = set(sys.modules)
import {", ".join(modules)}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(output.stdout.splitlines()[-1])
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_only_orchestration_imports_airflow(project: Path) -> None:
    for path in (project / "plugins" / "flowlake").rglob("*.py"):
        if "orchestration" not in path.parts:
            text = path.read_text()
            assert "import airflow" not in text, path
            assert "from airflow" not in text, path
