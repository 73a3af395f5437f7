"""The SQL rules: every dbt unit test, run once by the real dbt.

A unit test takes the types of its inputs from the tables that are there, so a lake of one object is built first.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from flowlake import dbt
from flowlake.records.fields import V2_DEFAULT_HEADER

RECORD = b"2 123456789012 eni-0a1b2c3d 10.0.0.1 10.0.0.2 50000 443 6 10 1000 1795176000 1795176060 ACCEPT OK\n"

TESTED = {
    "dim_devices",
    "dim_interfaces",
    "fct_coverage",
    "fct_edges",
    "fct_flow_log_hours",
    "fct_gateway_flows",
    "fct_interface_hours",
    "int_addresses__merged",
    "int_coverage__partials",
    "int_edges__partials",
    "int_flow_logs__merged",
    "int_flows__oriented",
    "int_gateway_flows__partials",
    "int_gateways__inferred",
    "int_hours__restated",
    "int_interfaces__merged",
    "int_interfaces__observed",
    "int_objects__accounted",
    "rpt_completeness",
    "rpt_double_subscriptions",
    "rpt_gateway_flows",
    "rpt_gateway_flows_hourly",
    "rpt_internal_external",
    "rpt_rejected_protocols_hourly",
    "rpt_rejected_quarter_hourly",
    "rpt_scopes_hourly",
    "rpt_silences",
}
"""Models whose rules are claims of unit tests; a file of them that dbt no longer finds is missed here."""


@pytest.fixture(scope="module")
def outcomes(handmade_lake: Callable[..., Any]) -> list[dict[str, Any]]:
    lake = handmade_lake()
    lake.write(V2_DEFAULT_HEADER.encode() + b"\n" + RECORD, "fl-0a1b2c3d")
    lake.build("2026-11-20T12", "2026-11-20T13")
    home = lake.settings.lake.path / "dbt"
    hourly = json.loads((home / "target" / "run_results.json").read_text())["results"]
    assert not [result for result in hourly if result["unique_id"].startswith("unit_test.")], "an hour ran unit tests"
    command = [str(dbt.executable()), "--no-use-colors", "--log-path", str(home / "logs"), "test"]
    command += ["--project-dir", str(dbt.PROJECT), "--profiles-dir", str(dbt.PROJECT), "--select", "test_type:unit"]
    command += ["--target-path", str(home / "target")]
    environment = {**os.environ, "FLOWLAKE_LAKE_PATH": str(lake.settings.lake.path), "DO_NOT_TRACK": "1"}
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    ran = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False, timeout=300)
    results = home / "target" / "run_results.json"
    assert results.exists(), ran.stdout
    content = json.loads(results.read_text())
    assert content["args"]["which"] == "test", ran.stdout
    return [result for result in content["results"] if result["unique_id"].startswith("unit_test.")]


def test_every_claim_holds(outcomes: list[dict[str, Any]]) -> None:
    failed = {outcome["unique_id"]: outcome["message"] for outcome in outcomes if outcome["status"] != "pass"}

    assert not failed, "\n".join(f"{name}: {message}" for name, message in failed.items())


def test_every_model_with_rules_has_claims(outcomes: list[dict[str, Any]]) -> None:
    assert {outcome["unique_id"].split(".")[2] for outcome in outcomes} >= TESTED
