"""A new user's first session, typed: sample, inspect, run, query, report, and the run again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FLOWLAKE = Path(sys.executable).parent / "flowlake"
WINDOW = ("--from", "2026-11-20T12", "--to", "2026-11-20T13")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("session")


def _type(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(FLOWLAKE), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def _rows(folder: Path, sql: str) -> list[dict[str, object]]:
    answer = _type(folder, "query", "--config", "some/flowlake.yaml", "--format", "json", sql)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_a_first_session(folder: Path) -> None:
    sampled = _type(folder, "sample", "--out", "some", "--hours", "1", "--scale", "0.02")
    assert sampled.returncode == 0, sampled.stderr

    inspected = _type(folder, "--config", "some/flowlake.yaml", "inspect", *WINDOW, "--format", "json")
    assert inspected.returncode == 0, inspected.stderr
    assert not (folder / "some" / "lake").exists()

    ran = _type(folder, "--config", "some/flowlake.yaml", "run", *WINDOW)
    assert ran.returncode == 0, ran.stderr
    assert "\x1b" not in ran.stderr
    steps = [line.split()[1] for line in ran.stderr.splitlines() if line.startswith("[")]
    assert steps == ["register", "build_staging", "validate_staging", "build_marts", "validate_marts", "publish"]
    assert ": published " in ran.stdout

    coverage = _rows(folder, "select sum(objects) as objects, sum(records) as records from fct_coverage")
    (edges,) = _rows(folder, "select count(*) as edges, sum(bytes) as bytes from fct_edges where is_counted")
    planned = json.loads(inspected.stdout)
    assert coverage[0]["objects"] == sum(flow_log["objects"] for flow_log in planned["flow_logs"])
    assert isinstance(edges["edges"], int)
    assert edges["edges"] > 0

    reported = _type(folder, "--config", "some/flowlake.yaml", "report", *WINDOW)
    assert reported.returncode == 0, reported.stderr
    for heading in ("What arrived", "Each packet once", "Top talkers", "Top pairs", "rejected", "What the gates said"):
        assert heading in reported.stdout
    assert "staging: passed" in reported.stdout
    assert "marts: passed" in reported.stdout

    status = _type(folder, "--config", "some/flowlake.yaml", "status")
    assert "no hour is held, failed or under way" in status.stdout


def test_what_goes_wrong_is_one_line(folder: Path) -> None:
    config = folder / "gone.yaml"
    config.write_text("sources: [{name: gone, uri: nowhere}]\nlake: {path: gone}\n")
    ran = _type(folder, "--config", "gone.yaml", "run", *WINDOW)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("flowlake: error: sources")
    assert "Traceback" not in ran.stderr
    assert not (folder / "gone").exists()
