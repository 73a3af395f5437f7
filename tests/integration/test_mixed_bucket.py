"""A bucket of many flow logs ends with a ledger in which every object and line has its place; hostile text is inert."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake import cli
from histories.world import HOUR
from mixed_bucket import HOSTILE, MixedBucket, interface
from shared_dbt.start import shared_dbt

FIRST_HOUR = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) // HOUR
HOURS = ("2026-11-20T12", "2026-11-20T13", "2026-11-20T14")
GATES = {"max_malformed_share": 1.0, "silent_flow_log": "warn"}


@dataclass(frozen=True)
class Mixed:
    """The lake after a run over each of the bucket's two hours."""

    lake: Any
    bucket: MixedBucket
    logs: Path
    folder: Path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, make_lake: Callable[..., Any]) -> Mixed:
    folder = tmp_path_factory.mktemp("mixed")
    bucket = MixedBucket(FIRST_HOUR)
    for item in bucket.objects:
        item.write(folder / "bucket")
    lake = make_lake(folder / "lake", folder / "bucket", gates=GATES, device_names={"10.1.0.1": HOSTILE})
    for start, end in itertools.pairwise(HOURS):
        lake.run(start, end)
    return Mixed(lake, bucket, folder / "bucket", folder)


def test_every_object_has_its_place(mixed: Mixed) -> None:
    found = mixed.lake.rows("select source_uri, reason, flow_log_id from lake.intermediate.int_objects__accounted")
    expected = [(str(mixed.logs / placed.object.key), placed.reason, placed.flow_log) for placed in mixed.bucket.placed]
    assert Counter(found) == Counter(expected)
    assert {uri for uri, *_ in found} == {str(path) for path in mixed.logs.rglob("*") if path.is_file()}
    assert len({flow_log for *_, flow_log in found if flow_log}) >= 10


def test_every_line_has_its_place(mixed: Mixed) -> None:
    found = mixed.lake.rows(
        "select source_uri, line_kind, count(*) from lake.staging.stg_flow_logs__lines group by all"
    )
    expected = [
        (str(mixed.logs / placed.object.key), kind, count)
        for placed in mixed.bucket.placed
        for kind, count in placed.kinds.items()
        if kind != "empty"
    ]
    assert Counter(found) == Counter(expected)
    ((odd,),) = mixed.lake.rows(
        "select count(*) from lake.intermediate.int_objects__accounted where registered_lines <> "
        "empty_lines + records + malformed + nodata_gaps + skipdata_gaps + headers + blanks"
    )
    assert odd == 0


def test_coverage_adds_up_by_flow_log_and_says_what_is_late_or_silent(mixed: Mixed) -> None:
    rows = mixed.lake.rows(
        "select flow_log_id, sum(objects), sum(unreadable_objects), sum(records), sum(malformed), sum(gaps), "
        "sum(headers), sum(blanks), sum(late_objects) from flowlake.fct_coverage "
        "where flow_log_id is not null group by 1"
    )
    expected: dict[str, Counter[str]] = {}
    for placed in mixed.bucket.placed:
        if placed.flow_log:
            late = placed.object.arrived >= (FIRST_HOUR + 1) * HOUR and "T1205Z" in placed.object.key
            expected.setdefault(placed.flow_log, Counter()).update(
                {**placed.kinds, "objects": 1, "unreadable": placed.reason is not None, "late": late}
            )
    columns = ("objects", "unreadable", "record", "malformed", "gap", "header", "blank", "late")
    assert {row[0]: tuple(map(int, row[1:])) for row in rows} == {
        flow_log: tuple(int(counts[name]) + (counts["empty"] if name == "blank" else 0) for name in columns)
        for flow_log, counts in expected.items()
    }
    silent = mixed.lake.rows(
        "select flow_log_id from flowlake.fct_coverage where status = 'silent' and arrival_hour = ?", [HOURS[1]]
    )
    talked = {placed.flow_log for placed in mixed.bucket.placed if placed.object.hour > FIRST_HOUR}
    assert {flow_log for (flow_log,) in silent} == expected.keys() - talked


def test_completeness_stands_beside_the_numbers(mixed: Mixed) -> None:
    flow_logs = {placed.flow_log for placed in mixed.bucket.placed if placed.flow_log}
    first, second = (datetime.fromtimestamp((FIRST_HOUR + hour) * HOUR, UTC).replace(tzinfo=None) for hour in (0, 1))
    found = mixed.lake.rows("select event_hour, flow_log_id, status from flowlake.rpt_completeness")
    # The last records of an hour come in the next one, which was run after the first hour and not after the second.
    assert Counter(found) == Counter(
        (hour, flow_log, status) for hour, status in ((first, "complete"), (second, "open")) for flow_log in flow_logs
    )
    days = mixed.lake.rows("select distinct event_date, incomplete_hours from flowlake.rpt_top_talkers")
    assert days == [(first.date(), 1)]
    scopes = mixed.lake.rows("select distinct event_hour, is_complete from flowlake.rpt_internal_external order by 1")
    assert scopes == [(first, True), (second, False)]
    hours = mixed.lake.rows(
        "select event_hour, accepted_records, rejected_records, nodata_records, skipdata_records, status "
        "from flowlake.fct_interface_hours where flow_log_id = 'fl-mixed01'"
    )
    assert hours == [(first, 5, 0, 1, 1, "traffic")]
    # Three flow logs log what network 1 sends, one of them NODATA alone.
    doubled = mixed.lake.rows(
        "select interface_id, flow_log_id, flow_logs, records, counted_records from flowlake.rpt_double_subscriptions "
        "order by 2"
    )
    assert doubled == [
        (interface(1), "fl-mixed01", 3, 5, 5),
        (interface(1), "fl-mixed09", 3, 5, 0),
        (interface(1), "fl-mixed10", 3, 0, 0),
    ]


def test_each_packet_counts_once(mixed: Mixed) -> None:
    rows = mixed.lake.rows(
        "select src_device_id, sum(flows), sum(packets), sum(bytes) from flowlake.fct_edges where is_counted group by 1"
    )
    assert {sender: tuple(map(int, sums)) for sender, *sums in rows} == mixed.bucket.truth()
    gateway = mixed.lake.rows("select src_address, packets, bytes from flowlake.fct_gateway_flows")
    assert gateway == [("10.5.0.1", 7, 700)]


def test_hostile_text_is_inert_wherever_it_is_shown(mixed: Mixed, capsys: pytest.CaptureFixture[str]) -> None:
    window = ("--from", HOURS[0], "--to", HOURS[-1])
    shown = []
    for command in (
        ("inspect", *window),
        ("status",),
        ("report", *window),
        ("quarantine", "list"),
        ("quarantine", "show", *window),
        ("quarantine", "replay", "--dry-run"),
        ("backfill", *window, "--dry-run"),
        ("query", "select * from dim_devices"),
    ):
        with shared_dbt():
            assert cli.run(["--config", str(mixed.lake.config), *command]) == 0, command
        out, err = capsys.readouterr()
        assert {char for char in out + err if not char.isprintable()} <= {"\n"}, command
        shown.append(out + err)
    assert all("{{7*7}}" in shown[at] for at in (0, 3, 4, 7)), "or it says nothing"

    pages = [page.read_text() for page in mixed.lake.settings.lake.quality.rglob("*.html")]
    assert pages
    assert not [page for page in pages if "<script>alert" in page]
    # What a shell, a template or a path would have made of it.
    assert not [path for path in mixed.folder.rglob("*") if "pwned" in path.name and "touch" not in path.name]
    assert not list(Path.cwd().glob("pwned*"))
    assert not any("49" in text for text in re.findall(r"alert\(1\)</script>(.{5})", "".join(shown)))
    outside = [path for path in mixed.folder.iterdir() if path.name not in ("bucket", "lake")]
    assert outside == []
    kept = mixed.lake.rows("select raw_line from lake.staging.stg_flow_logs__malformed order by 1 desc")
    (hostile,), (rounded,) = kept
    assert hostile == HOSTILE.encode().decode("latin-1")
    assert rounded.startswith(f"2,1.23457E+11,{interface(13)},")
