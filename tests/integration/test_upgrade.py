"""A lake of a version before, in which three reports were tables that are views now, is upgraded by its next hour."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake.duck import connect
from flowlake.lake.maintain import MaintenanceReport, maintain
from flowlake.lake.publish import follow_compaction
from flowlake.records.fields import TGW_DEFAULT_HEADER, V2_DEFAULT_HEADER
from gateway_logs import ATTACHMENTS, Crossing

ACCOUNT = "123456789012"
DAY = datetime(2026, 11, 20, tzinfo=UTC)

REPORTS = {
    "rpt_internal_external": ("rpt_scopes_hourly", "event_hour, src_scope, dst_scope, action"),
    "rpt_rejected_quarter_hourly": ("rpt_rejected_protocols_hourly", "event_hour, quarter_at, protocol"),
    "rpt_gateway_flows": ("rpt_gateway_flows_hourly", "event_hour, src_attachment_id, dst_attachment_id"),
}
"""By report that was a table: the table that it is a view over now, and its key."""

Packets = dict[tuple[str, int], int]
"""By report and event hour."""


def deliver(logs: Path, flow_log: str, hour: int, lines: Sequence[str]) -> None:
    """Put an object that arrives in an hour of the day."""
    named = DAY + timedelta(hours=hour, minutes=5)
    folder = logs / f"AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/{named:%Y/%m/%d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ACCOUNT}_vpcflowlogs_us-east-1_{flow_log}_{named:%Y%m%dT%H%M}Z_0a1b2c3d.log.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))
    arrived = named.timestamp() + 300
    os.utime(path, (arrived, arrived))


def traffic(hour: int, packets: int, action: str = "ACCEPT") -> str:
    """A record of a host; with three peers each hour nothing is left to be learnt of it."""
    begun = int(DAY.timestamp()) + hour * 3600 + 60
    return (
        f"2 {ACCOUNT} eni-1 10.0.1.1 10.1.1.{packets} 40000 443 6 {packets} {packets * 100} "
        f"{begun} {begun + 60} {action} OK"
    )


def crossing(hour: int, packets: int) -> list[str]:
    """What both attachments log of a crossing."""
    begun = int(DAY.timestamp()) + hour * 3600 + 60
    crossed = Crossing(ATTACHMENTS[0], ATTACHMENTS[1], None, begun, 40000, packets, packets * 100)
    return [crossed.line("ingress"), crossed.line("egress")]


@dataclass(frozen=True)
class Upgraded:
    """What a lake showed as the version before left it, after its maintenance, and after the next hour."""

    lake: Any
    before: Packets
    maintained: Packets
    upgraded: Packets
    maintained_again: Packets
    pins: tuple[str, str]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory, make_lake: Callable[..., Any]) -> Upgraded:
    """Hours 11 and 12 are of the version before; what arrives at 13 belongs to 12 in part."""
    folder = tmp_path_factory.mktemp("upgrade")
    logs = folder / "logs"
    for hour, late in ((11, 0), (12, 0), (13, 4)):
        records = [*(traffic(hour, packets) for packets in (1, 2, 3)), traffic(hour, 5, "REJECT")]
        crossed = crossing(hour, 7)
        if late:
            records += [traffic(hour - 1, late), traffic(hour - 1, late + 2, "REJECT")]
            crossed += crossing(hour - 1, late)
        deliver(logs, "fl-1", hour, [V2_DEFAULT_HEADER, *records])
        deliver(logs, "fl-2", hour, [TGW_DEFAULT_HEADER, *crossed])
    lake = make_lake(folder / "lake", logs)
    lake.run(f"{DAY:%Y-%m-%d}T11", f"{DAY:%Y-%m-%d}T13")
    make_older(lake)

    before = packets_of(lake)
    first = maintain_in_a_month(lake)
    maintained = packets_of(lake)
    lake.run(f"{DAY:%Y-%m-%d}T13", f"{DAY:%Y-%m-%d}T14")
    after = packets_of(lake)
    second = maintain_in_a_month(lake)
    return Upgraded(lake, before, maintained, after, packets_of(lake), (first.pins, second.pins))


def make_older(lake: Any) -> None:
    """Have the lake as versions before left it.

    There are tables of the reports' names, views of these names over them, and no times of what was there in an hour.
    """
    with connect(lake.settings, read_only=False) as connection:
        for column in ("first_at", "last_at"):
            connection.execute(f"alter table lake.intermediate.int_coverage__partials drop column {column}")
        for report, (hourly, _) in REPORTS.items():
            rows = f"select * exclude (is_complete) from lake.flowlake.{report} where hour(event_hour)"
            connection.execute(f"create table lake.marts.{report} as {rows} is null")
            # So few rows would stay in the catalogue: a file for each hour, for maintenance to merge.
            connection.execute(
                "call ducklake_set_option('lake', 'data_inlining_row_limit', '0', schema => 'marts', table_name => ?)",
                [report],
            )
            for hour in (11, 12):
                connection.execute(f"insert into lake.marts.{report} {rows} = {hour}")
            connection.execute(f"drop view lake.flowlake.{report}")
            connection.execute(f"drop view lake.marts.{report}_report")
            connection.execute(f"drop view lake.flowlake.{hourly}")
            connection.execute(f"drop table lake.marts.{hourly}")
            columns = ", ".join(name for name, *_ in connection.execute(f"describe lake.marts.{report}").fetchall())
            ((version,),) = connection.execute("select max(snapshot_id) from ducklake_snapshots('lake')").fetchall()
            connection.execute(
                f"create view lake.flowlake.{report} as select {columns} "
                f'from "marts"."{report}" at (version => {version})'
            )
        follow_compaction(connection)


def maintain_in_a_month(lake: Any) -> MaintenanceReport:
    """Maintenance that expires all versions but those that are shown."""
    return maintain(lake.settings, now=datetime.now(UTC) + timedelta(days=30))


def packets_of(lake: Any) -> Packets:
    """What readers see of the three reports."""
    return {
        (report, hour.hour): int(packets)
        for report in REPORTS
        for hour, packets in lake.rows(f"select event_hour, sum(packets) from flowlake.{report} group by 1")
    }


def test_it_shows_what_it_showed_until_the_next_hour(upgraded: Upgraded) -> None:
    assert upgraded.before == {
        (report, hour): packets for report, packets in zip(REPORTS, (11, 5, 7), strict=True) for hour in (11, 12)
    }
    assert upgraded.maintained == upgraded.before


def test_then_the_reports_begin_with_the_hours_that_were_run_since(upgraded: Upgraded) -> None:
    assert upgraded.upgraded == {
        **{("rpt_internal_external", 12): 21, ("rpt_internal_external", 13): 11},
        **{("rpt_rejected_quarter_hourly", 12): 11, ("rpt_rejected_quarter_hourly", 13): 5},
        **{("rpt_gateway_flows", 12): 11, ("rpt_gateway_flows", 13): 7},
    }
    assert upgraded.maintained_again == upgraded.upgraded
    said = "select distinct event_hour, is_complete from flowlake.{} order by 1"
    for report, (_, key) in REPORTS.items():
        found = upgraded.lake.rows(said.format(report))
        assert [(hour.hour, is_complete) for hour, is_complete in found] == [(12, True), (13, False)]
        assert upgraded.lake.rows(f"select {key} from flowlake.{report} group by all having count(*) > 1") == []


def test_what_stands_under_the_old_names_is_a_view_for_readers_and_the_old_table_in_marts(upgraded: Upgraded) -> None:
    lake = upgraded.lake
    views = lake.rows("select view_name from duckdb_views() where schema_name = 'flowlake'")
    assert REPORTS.keys() <= {name for (name,) in views}
    for report in REPORTS:
        rows = lake.rows(f"select event_hour, sum(packets) from lake.marts.{report} group by 1")
        assert {(report, hour.hour): int(packets) for hour, packets in rows} == {
            key: packets for key, packets in upgraded.before.items() if key[0] == report
        }


def test_maintenance_moves_the_views_of_both_versions(upgraded: Upgraded) -> None:
    assert all(re.fullmatch(r"moved from version \d+ to \d+", pins) for pins in upgraded.pins)
