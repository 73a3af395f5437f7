"""The report: its numbers are those of the published version, and of the hours that were asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from flowlake.lake.duck import LakeError, connect
from flowlake.lake.windows import Window
from flowlake.quality.report import Finding, GateReport, Layer
from flowlake.reporting import ReportError, print_report, verdicts
from flowlake.settings import LakeSettings, Settings, Severity, Source
from flowlake.terminal import make_console

WINDOW = Window.parse("2026-11-20T12", "2026-11-20T13")

# web sends 3,000 bytes to db, logged at both ends, and 500 are rejected; the hour after has traffic of its own.
LAKE = """
create schema lake.core; create schema lake.intermediate; create schema lake.staging; create schema lake.ops;
create schema lake.seeds; create schema lake.flowlake;

create table lake.seeds.service_ports as from (values (5432, 'postgresql'), (22, 'ssh')) as t (port, service);

create table lake.staging.stg_flow_logs__lines as select range as line from range(5000);

create table lake.intermediate.int_objects__accounted as from (values
    ('a', 'fl-1', '2026-11-20T12', 'readable', null, 1000::bigint, 9000::bigint, 40::bigint),
    ('b', 'fl-1', '2026-11-20T12', 'unreadable', 'truncated', 500, 0, 0),
    ('c', null, '2026-11-20T12', 'unreadable', 'not_a_flow_log', 10, 0, 0),
    ('d', 'fl-1', '2026-11-20T13', 'readable', null, 490, 1000, 10)
) as t (source_uri, flow_log_id, arrival_hour, status, reason, object_bytes, registered_line_bytes, records);

create table lake.ops.fct_coverage as from (values
    ('fl-1', '2026-11-20T12', '123456789012', 'us-east-1', 2::bigint, 1::bigint, 1500::bigint, 44::bigint, 40::bigint,
        1::bigint, 2::bigint, 1::bigint, 0::bigint, 1::bigint, 'late'),
    ('fl-2', '2026-11-20T12', '123456789012', 'us-west-2', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'silent'),
    ('fl-1', '2026-11-20T13', '123456789012', 'us-east-1', 1, 0, 490, 11, 10, 0, 0, 1, 0, 0, 'on_time')
) as t (flow_log_id, arrival_hour, account_id, region, objects, unreadable_objects, object_bytes, lines, records,
    malformed, gaps, headers, blanks, late_objects, status);

create table lake.intermediate.int_edges__partials as from (values
    ('2026-11-20T12', timestamp '2026-11-20 12:00', 3500::bigint),
    ('2026-11-20T12', timestamp '2026-11-20 12:00', 3500),
    ('2026-11-20T13', timestamp '2026-11-20 13:00', 70000)
) as t (arrival_hour, event_hour, bytes);

create table lake.core.fct_edges as from (values
    (timestamp '2026-11-20 12:00', '10.0.0.1', '10.0.0.2', 6, 5432, 'client', 'ACCEPT', 2::bigint, 30::bigint,
        3000::bigint, true),
    (timestamp '2026-11-20 12:00', '198.51.100.9', '10.0.0.2', 6, 22, 'client', 'REJECT', 1, 7, 500, true),
    (timestamp '2026-11-20 12:00', '10.0.0.9', '8.8.8.8', 17, 53, 'client', 'ACCEPT', 1, 1, 900, false),
    (timestamp '2026-11-20 13:00', '10.0.0.7', '10.0.0.8', 6, 443, 'client', 'ACCEPT', 1, 1, 70000, true)
) as t (event_hour, src_device_id, dst_device_id, protocol, service_port, src_role, action, flows, packets, bytes,
    is_counted);

create table lake.ops.rpt_completeness as from (values
    (timestamp '2026-11-20 11:00', 'fl-1', 'open'), (timestamp '2026-11-20 12:00', 'fl-1', 'open'),
    (timestamp '2026-11-20 12:00', 'fl-2', 'silent'), (timestamp '2026-11-20 12:00', 'fl-3', 'silent'),
    (timestamp '2026-11-20 12:00', 'fl-4', 'complete')
) as t (event_hour, flow_log_id, status);

create table lake.core.dim_devices as from (values
    ('10.0.0.1', 'web' || chr(27) || '[2J[red]', 'internal', null), ('10.0.0.2', 'db', 'internal', null),
    ('198.51.100.9', null, 'external', 'S3')
) as t (device_id, name, scope, aws_service);
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("report")
    settings = Settings(
        sources=(Source(name="here", uri=str(folder)),),
        lake=LakeSettings(folder / "lake"),
        config_path=folder / "it's mine.yaml",
    )
    with connect(settings, read_only=False) as connection:
        connection.execute(LAKE)
        (version,) = connection.execute("select max(snapshot_id) from ducklake_snapshots('lake')").fetchone() or (0,)
        tables = (("core", "fct_edges"), ("core", "dim_devices"), ("ops", "fct_coverage"), ("ops", "rpt_completeness"))
        for schema, table in tables:
            connection.execute(
                f"create view lake.flowlake.{table} as select * from {schema}.{table} at (version => {int(version)})"
            )
        # A later run, whose gate failed: none of this is published.
        for table in ("core.fct_edges", "intermediate.int_edges__partials", "intermediate.int_objects__accounted"):
            connection.execute(f"insert into lake.{table} select * from lake.{table}")
    return settings


def _report(settings: Settings, window: Window = WINDOW, gates: list[GateReport] | None = None) -> str:
    stream = io.StringIO()
    print_report(settings, window, make_console(stream), gates=gates)
    return "\n".join(" ".join(line.split()) for line in stream.getvalue().splitlines())


def test_it_says_what_arrived_and_what_is_missing(settings: Settings) -> None:
    text = _report(settings)
    assert "fl-1 us-east-1 2 1 1 44 40 2 1 0" in text
    assert "fl-2 us-west-2 0 0 0 0 0 0 0 1" in text
    assert "unread: fl-1: truncated" in text
    assert "unread: of no flow log: not a flow log" in text
    assert "not complete (rpt_completeness): 2026-11-20T12 (1 flow log open, 2 flow logs silent)" in text
    assert "2026-11-20T11" not in text


def test_it_compares_a_plain_sum_with_what_moved(settings: Settings) -> None:
    text = _report(settings)
    assert "a plain sum over all records says 7.0 kB, 3.5 kB moved over 2 edges: 2.00 times" in text
    assert "left out of totals as their clients were seen: 900 B" in text


def test_it_names_talkers_pairs_and_what_was_rejected(settings: Settings) -> None:
    lines = _report(settings).splitlines()
    assert "db 10.0.0.2 internal 0 B 3.0 kB 1" in lines
    assert "S3 198.51.100.9 external 500 B 0 B 1" in lines
    assert any(line.endswith("db (10.0.0.2) 3.0 kB 30 TCP 5432 (postgresql)") for line in lines)
    assert "500 B in 7 packets of 1 flow from 1 source" in lines
    assert "TCP 22 (ssh) 500 B 7 1 S3 (198.51.100.9) 500 B 7 1" in lines
    assert not any("8.8.8.8" in line or "10.0.0.7" in line for line in lines)


def test_it_gives_sizes_before_and_after(settings: Settings) -> None:
    text = _report(settings)
    assert "4 objects in the lake: 2.0 kB as delivered (10.0 kB of text unpacked)" in text
    assert "; 40.0 and " in text
    assert "rows of tables: dim_devices 3, fct_coverage 3, fct_edges 4" in text


def test_names_from_logs_cannot_harm_the_terminal(settings: Settings) -> None:
    stream = io.StringIO()
    print_report(settings, WINDOW, Console(file=stream, force_terminal=True, width=120, markup=True))
    assert "web\\x1b[2J[red]" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


def test_the_next_commands_can_be_typed_as_they_stand(settings: Settings) -> None:
    lines = _report(settings).splitlines()
    at = lines.index("What to type next")
    assert len(lines[at + 1 :]) == 3
    assert "--config '" in lines[at + 1]
    assert "it'\"'\"'s mine.yaml'" in lines[at + 1]


def test_without_anything_to_report_it_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no flow log delivered in 2026-11-21T00/2026-11-21T01"):
        _report(settings, Window.parse("2026-11-21T00", "2026-11-21T01"))
    bare = Settings(sources=settings.sources, lake=LakeSettings(tmp_path / "lake"))
    with pytest.raises(LakeError, match="there is no lake"):
        _report(bare)
    with connect(bare, read_only=False):
        pass
    with pytest.raises(ReportError, match="nothing is published"):
        _report(bare)


def test_gates_can_be_handed_over(settings: Settings) -> None:
    finding = Finding("x", Severity.WARN, "staging: 3 lines odd; rows: /a; see /b", 3, Path("/a"), Path("/b"))
    report = GateReport(Layer.STAGING, True, (), (finding,), Path("/pages"), 12)
    text = _report(settings, gates=[report, report])
    assert "staging: passed, 24 checks in 2 runs, 2 warnings\nstaging: 3 lines odd\n" in text
    failed = GateReport(Layer.MARTS, False, (finding,), (), Path("/pages"), 5)
    assert "marts: FAILED (1), 5 checks in 1 run" in _report(settings, gates=[failed])


def _store(quality: Path, run: str, at: str, results: list[dict[str, object]]) -> None:
    layer = run.split("_", maxsplit=1)[0]
    file = quality / "gx" / "validations" / layer / "objects" / run / at / "lake-objects.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"results": results}))


def test_the_gates_last_results_are_read_back(tmp_path: Path) -> None:
    settings = Settings(sources=(), lake=LakeSettings(tmp_path))
    good: dict[str, object] = {"success": True, "expectation_config": {"severity": "critical"}}
    bad: dict[str, object] = {
        "success": False,
        "expectation_config": {"severity": "critical", "description": "every line is accounted for"},
        "result": {"unexpected_count": 1234},
    }
    warned: dict[str, object] = {
        "success": False,
        "expectation_config": {"severity": "warning", "description": "few"},
        "result": {"observed_value": "staging: 2 &lt; 3 lines; rows: /rows; see /pages"},
    }
    quality = settings.lake.quality
    _store(quality, "staging_2026-11-20T12_2026-11-20T13", "20261121T01", [bad, bad])
    _store(quality, "staging_2026-11-20T12_2026-11-20T13", "20261121T02", [good, bad, warned])
    _store(quality, "staging_2026-11-20T13_2026-11-20T14", "20261121T02", [good])
    _store(quality, "staging_2026-11-20T14_2026-11-20T15", "20261121T02", [bad])
    _store(quality, "marts_2026-11-20T11_2026-11-20T13", "20261121T02", [bad])
    (verdict,) = verdicts(settings, Window.parse("2026-11-20T12", "2026-11-20T14"))
    assert (verdict.layer, verdict.runs, verdict.checks) == (Layer.STAGING, 2, 4)
    assert verdict.failures == (
        "2026-11-20T12/2026-11-20T13: does not hold: every line is accounted for (1,234 do not)",
    )
    assert verdict.warnings == ("2 < 3 lines",)


def test_results_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    settings = Settings(sources=(), lake=LakeSettings(tmp_path))
    file = settings.lake.quality / "gx/validations/staging/t/staging_2026-11-20T12_2026-11-20T13/x/y.json"
    file.parent.mkdir(parents=True)
    file.write_text("{half")
    assert verdicts(settings, WINDOW) == []
