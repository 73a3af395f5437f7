"""Every expectation has a case in which it must fail, and fails there by exactly the rows that the case made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from flowlake.lake.windows import Window
from flowlake.quality.report import GateReport, Layer
from flowlake.quality.suites import REPORT_TOTALS, marts_checks, staging_checks
from flowlake.settings import Gates, Severity
from quality import cases

ALL = [(group, case) for group in cases.GROUPS for case in group.cases]


@pytest.fixture(scope="module")
def reports() -> dict[str, GateReport]:
    return {}


def report_of(group: Any, lake: Any, reports: dict[str, GateReport]) -> GateReport:
    """The report on a lake that the whole group broke; one a group, because a gate takes a second."""
    if group.name not in reports:
        lake.write_objects(group.objects)
        lake.execute(*(statement for case in group.cases for statement in case.breaks))
        reports[group.name] = lake.validate(group.layer, pages=True, **group.gates)
    return reports[group.name]


@pytest.mark.parametrize(("group", "case"), [pytest.param(*each, id=each[1].check) for each in ALL])
def test_the_expectation_fails(
    group: Any, case: Any, built_lake: Any, reports: dict[str, GateReport], rows_of: Any
) -> None:
    if group.name not in reports:
        built_lake.reset()
    report = report_of(group, built_lake, reports)
    found = {finding.check: finding for finding in report.failures + report.warnings}
    assert case.check in found, f"holds, though broken; what failed: {sorted(found)}"
    finding = found[case.check]
    assert finding.count == case.count
    assert finding.severity is case.severity
    assert finding in (report.failures if case.severity is Severity.ERROR else report.warnings)
    assert finding.message.startswith(f"{group.layer}: ")
    assert case.says in finding.message
    assert "\n" not in finding.message
    assert finding.page.is_file()
    assert len(rows_of(finding.rows)) == (case.count if case.keeps is None else case.keeps)


def test_every_expectation_has_a_case() -> None:
    window = Window.parse("2026-11-20T12", "2026-11-20T13")
    restated = [datetime(2026, 11, 20, 12)]
    expected = {(Layer.STAGING, check.name) for check in staging_checks(Gates(), window)}
    expected |= {(Layer.MARTS, check.name) for check in marts_checks(window, restated, REPORT_TOTALS)}
    assert {(group.layer, case.check) for group, case in ALL} == expected
    assert len(ALL) == len(expected), "a case twice"
