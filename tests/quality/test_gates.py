"""What a gate does with what it finds: passing, failing, warning, keeping rows, writing pages, refusing to guess."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake.windows import Window
from flowlake.quality import great, runner, suites
from flowlake.quality.report import GateError, Layer
from flowlake.settings import Severity

EMPTY = Window.parse("2026-11-20T14", "2026-11-20T15")
SILENT = "update intermediate.int_coverage__expected set status = 'silent' where flow_log_id = 'fl-bbbb2222'"
HOSTILE_ACTION = (
    "update staging.stg_flow_logs__lines set action = '<script>alert(2)</script>' || chr(10) || repeat('x', 500)"
    " where line_kind = 'record' and srcport = 0"
)


def checks_of(findings: Any) -> set[str]:
    return {finding.check for finding in findings}


@pytest.mark.parametrize("layer", list(Layer))
def test_a_sound_hour_passes_without_a_word(lake: Any, layer: Layer, capfd: pytest.CaptureFixture[str]) -> None:
    report = lake.validate(layer, pages=True)
    assert (report.passed, report.failures, report.warnings) == (True, (), ())
    assert report.layer is layer
    assert report.checks > 30
    assert report.pages == lake.settings.lake.quality / "data_docs" / "index.html"
    assert report.pages.is_file()
    assert not (lake.settings.lake.quality / "failures").exists()
    # No progress bars, no advertisements: the task's log is for what it found.
    assert capfd.readouterr() == ("", "")


def test_an_hour_without_objects_passes(lake: Any) -> None:
    lake.execute("delete from intermediate.int_hours__restated")
    for layer in Layer:
        report = lake.validate(layer, EMPTY)
        assert (report.passed, report.failures, report.warnings) == (True, (), ())


def test_an_hour_without_objects_fails_when_a_flow_log_went_silent(lake: Any) -> None:
    lake.execute(
        "insert into intermediate.int_coverage__expected"
        " select * replace ('2026-11-20T14' as arrival_hour, 'silent' as status, 0 as objects, 0 as lines)"
        " from intermediate.int_coverage__expected where flow_log_id = 'fl-aaaa1111' limit 1"
    )
    report = lake.validate(Layer.STAGING, EMPTY)
    assert checks_of(report.failures) == {"no_flow_log_is_silent"}
    assert checks_of(report.warnings) == {"volume"}


def test_a_silent_flow_log_is_what_the_settings_say(lake: Any) -> None:
    lake.execute(SILENT)
    assert not lake.validate(Layer.STAGING).passed
    warned = lake.validate(Layer.STAGING, silent_flow_log=Severity.WARN)
    assert (warned.passed, checks_of(warned.warnings)) == (True, {"no_flow_log_is_silent"})
    retired = lake.validate(Layer.STAGING, retired_flow_logs=("fl-bbbb2222",))
    assert (retired.passed, retired.warnings) == (True, ())
    other = lake.validate(Layer.STAGING, retired_flow_logs=("fl-aaaa1111",))
    assert checks_of(other.failures) == {"no_flow_log_is_silent"}


def test_an_unreadable_object_is_what_the_settings_say(lake: Any) -> None:
    lake.write_objects(
        "from objects union all select * replace ('s3://b/c' as uri, 'unreadable' as status, 'empty' as reason)"
        " from objects limit 3"
    )
    assert lake.validate(Layer.STAGING).passed
    failed = lake.validate(Layer.STAGING, unreadable_objects=Severity.ERROR)
    assert checks_of(failed.failures) == {"objects_are_readable"}


def test_what_came_twice_is_not_missing(lake: Any) -> None:
    lake.write_objects(
        "from objects union all select objects.* replace (why as uri, 'unreadable' as status, why as reason)"
        " from (from objects limit 1) as objects cross join (values ('copy'), ('duplicate')) as reasons (why)"
    )
    report = lake.validate(Layer.STAGING, unreadable_objects=Severity.ERROR)
    assert report.passed
    assert checks_of(report.warnings) == {"objects_came_once"}


def test_what_could_not_be_read_need_not_add_up(lake: Any) -> None:
    lake.execute(
        "insert into intermediate.int_objects__accounted select * replace ('s3://b/cut' as source_uri,"
        " 'unreadable' as status, 0 as read_lines, 0 as records) from intermediate.int_objects__accounted limit 1"
    )
    report = lake.validate(Layer.STAGING)
    assert report.passed, report.failures


def test_a_volume_has_no_usual_before_there_is_history(lake: Any) -> None:
    lake.execute(
        "delete from intermediate.int_coverage__expected"
        " where arrival_hour between '2026-11-20T05' and '2026-11-20T06'",
        "update intermediate.int_coverage__expected set lines = 1 where arrival_hour = '2026-11-20T12'",
    )
    assert lake.validate(Layer.STAGING).warnings == ()


HOLE = "delete from core.fct_edges where event_hour = timestamp '2026-11-20 12:00:00'"


def without(interface: str) -> tuple[str, ...]:
    """Statements that take away what an interface logged; it is still known."""
    tables = ("intermediate.int_edges__partials", "staging.stg_flow_logs__lines")
    return tuple(f"delete from {table} where interface_id = '{interface}'" for table in tables)


def test_edges_may_be_missing_where_the_destination_speaks_and_had_nothing(lake: Any) -> None:
    lake.execute(HOLE, *without("eni-0b"))
    report = lake.validate(Layer.MARTS)
    assert report.passed, report.failures
    lake.execute("update core.dim_interfaces set own_address = '10.0.0.9' where interface_id = 'eni-0b'")
    assert checks_of(lake.validate(Layer.MARTS).failures) == {"edges_have_no_hole"}
    # Where networks overlap, the network is a part of the device's name.
    lake.execute("update core.dim_interfaces set own_address = '10.0.0.2' where interface_id = 'eni-0b'")
    lake.execute("update intermediate.int_edges__partials set dst_device_id = 'vpc-01/10.0.0.2'")
    report = lake.validate(Layer.MARTS)
    assert report.passed, report.failures
    lake.execute("delete from core.dim_interfaces where interface_id = 'eni-0b'")
    assert checks_of(lake.validate(Layer.MARTS).failures) == {"edges_have_no_hole"}


def test_edges_may_be_missing_where_the_source_speaks_and_had_nothing(lake: Any) -> None:
    """An interface in between logged what nobody knows the receiver of."""
    lake.execute(HOLE, *without("eni-0b"), "update core.dim_interfaces set own_address = null")
    assert checks_of(lake.validate(Layer.MARTS).failures) == {"edges_have_no_hole"}
    lake.execute("update core.dim_interfaces set own_address = '10.0.0.1' where interface_id = 'eni-0b'")
    report = lake.validate(Layer.MARTS)
    assert report.passed, report.failures
    # The destination has the last word: its own interface logged it, whoever speaks for the source.
    lake.execute("update core.dim_interfaces set own_address = '10.0.0.2' where interface_id = 'eni-0a'")
    assert checks_of(lake.validate(Layer.MARTS).failures) == {"edges_have_no_hole"}


def test_edges_may_be_missing_where_another_flow_log_speaks_and_had_nothing(lake: Any) -> None:
    lake.execute(HOLE)
    assert checks_of(lake.validate(Layer.MARTS).failures) == {"edges_have_no_hole"}
    lake.execute(
        "insert into intermediate.int_coverage__partials"
        " select * replace ('fl-cccc3333' as flow_log_id, 0 as accepted_records, 0 as rejected_records)"
        " from intermediate.int_coverage__partials",
        "insert into intermediate.int_flow_logs__merged values ('fl-cccc3333', true, false)",
        "insert into ops.fct_interface_hours"
        " select * replace ('fl-cccc3333' as flow_log_id, 0 as accepted_records, 0 as rejected_records)"
        " from ops.fct_interface_hours",
        "insert into ops.fct_flow_log_hours"
        " select event_hour, 'fl-cccc3333', 0, sum(nodata_records), 0 from ops.fct_flow_log_hours group by event_hour",
    )
    # It has nothing to say of what was rejected.
    assert checks_of(lake.validate(Layer.MARTS).failures) == {"edges_have_no_hole"}
    lake.execute("update intermediate.int_flow_logs__merged set logs_reject = true")
    report = lake.validate(Layer.MARTS)
    assert report.passed, report.failures


def test_restated_hours_may_be_too_many_to_be_listed(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "HOURS_LISTED", 0)
    checks = suites.marts_checks(EMPTY, [datetime(2026, 11, 20, 12)], suites.REPORT_TOTALS)
    assert not [check.name for check in checks if "event_hour in (timestamp" in check.failing or check.conditions]
    # An hour that is not restated is still none of the gate's business.
    report = lake.validate(Layer.MARTS)
    assert report.passed, report.failures
    lake.execute("update core.fct_edges set action = 'odd' where event_hour = timestamp '2026-11-20 12:00:00'")
    assert "fct_edges_action_is_known" in checks_of(lake.validate(Layer.MARTS).failures)


def test_malformed_lines_are_kept_with_their_text(lake: Any, rows_of: Any) -> None:
    report = lake.validate(Layer.STAGING, max_malformed_share=0.0001, warn_malformed_share=0.0)
    (finding,) = report.failures
    assert finding.check == "malformed_share"
    window = "2026-11-20T12_2026-11-20T13"
    assert finding.rows == lake.settings.lake.quality / "failures" / "staging" / window / "malformed_share.parquet"
    (row,) = rows_of(finding.rows)
    assert row["raw_line"] == "2 <script>alert(1)</script> 13 fields"
    assert row["malformed_reason"] == "field_count: 13 instead of 14"
    # One line is told once: what is beyond the limit is not also unusual.
    assert checks_of(report.warnings) == {"malformed_share_of_a_flow_log"}


def test_kept_rows_are_bounded_and_replaced(lake: Any, rows_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "KEPT_ROWS", 7)
    lake.execute("update staging.stg_flow_logs__lines set srcport = -1 where line_kind = 'record'")
    (finding,) = lake.validate(Layer.STAGING).failures
    assert finding.count == 2999
    assert len(rows_of(finding.rows)) == 7
    lake.execute("update staging.stg_flow_logs__lines set srcport = 1 where line_kind = 'record'")
    assert lake.validate(Layer.STAGING).passed
    assert not finding.rows.exists()


def test_hostile_text_is_inert_in_pages_and_messages(lake: Any, rows_of: Any) -> None:
    lake.execute(
        HOSTILE_ACTION,
        "update intermediate.int_objects__accounted"
        " set registered_lines = 0, source_uri = '<img src=x onerror=alert(3)>'"
        " where source_uri = 's3://b/a.log.gz'",
    )
    report = lake.validate(Layer.STAGING, pages=True)
    found = {finding.check: finding for finding in report.failures}
    pages = [page.read_text() for page in lake.settings.lake.quality.rglob("*.html")]
    assert not any("<script>alert" in page or "<img src=x" in page for page in pages)
    assert "&lt;script&gt;alert(2)" in found["lines_action_is_known"].page.read_text()
    assert "&lt;img src=x" in found["lines_are_accounted"].page.read_text()
    message = found["lines_action_is_known"].message
    assert "such as <script>alert(2)</script>?xxx" in message
    assert "\n" not in message
    assert "x" * 240 not in message
    # The kept rows are data, exactly as they are in the lake.
    kept = {str(row["action"]) for row in rows_of(found["lines_action_is_known"].rows)}
    assert kept == {"<script>alert(2)</script>\n" + "x" * 500}


def test_pages_show_the_claim_the_finding_and_earlier_runs(lake: Any) -> None:
    lake.validate(Layer.MARTS, pages=True)
    lake.execute("update intermediate.int_objects__accounted set records = 0 where source_uri = 's3://b/a.log.gz'")
    report = lake.validate(Layer.STAGING, pages=True)
    page = next(finding.page for finding in report.failures if finding.check == "lines_are_accounted").read_text()
    assert "lines = records + malformed + gaps + headers + blanks + empty lines, in every object" in page
    assert "1 object has lines that are neither records, malformed" in page
    index = report.pages.read_text()
    assert "staging.int_objects__accounted" in index
    assert "marts.fct_edges" in index


def test_old_runs_and_their_pages_are_forgotten(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(great, "KEPT_RUNS", 2)
    for _ in range(3):
        lake.validate(Layer.MARTS, pages=True)
    quality: Path = lake.settings.lake.quality
    assert len({path.parent.name for path in (quality / "gx").rglob("lake-*.json")}) == 2
    assert len({path.parent.name for path in quality.rglob("lake-*.html")}) == 2


def test_a_missing_table_is_named(lake: Any) -> None:
    lake.execute("drop table core.dim_interfaces")
    with pytest.raises(GateError, match=r"no table core\.dim_interfaces: run the step"):
        lake.validate(Layer.MARTS)


def test_an_hour_that_was_never_registered_does_not_pass(lake: Any) -> None:
    with pytest.raises(GateError, match="2026-11-20T13 was never registered: run the step register"):
        lake.validate(Layer.STAGING, Window.parse("2026-11-20T12", "2026-11-20T15"))


def test_an_expectation_that_cannot_be_evaluated_does_not_pass(lake: Any) -> None:
    lake.execute("alter table core.fct_edges drop column observations")
    with pytest.raises(GateError, match=r"marts\.fct_edges: fct_edges_observations_is_in_range could not be evaluated"):
        lake.validate(Layer.MARTS)


def test_a_missing_lake_says_what_to_run(lake: Any) -> None:
    lake.settings.lake.sqlite_catalog.unlink()
    with pytest.raises(GateError, match=r"there is no lake at .* build_staging first"):
        lake.validate(Layer.STAGING)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_lake_is_let_go_of(lake: Any) -> None:
    lake.validate(Layer.STAGING, pages=True)
    opened = {descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()}
    assert not any(lake.settings.lake.path in path.parents for path in opened)


def test_importing_the_runner_imports_nothing_heavy() -> None:
    code = (
        "import sys, flowlake.quality.runner; "
        "print([name for name in ('great_expectations', 'sqlalchemy', 'duckdb', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
