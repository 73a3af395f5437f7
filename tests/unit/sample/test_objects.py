"""The objects: names, layouts, arrival, determinism, imperfections."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowlake.sample import FaultKind, SampleError, SampleReport, SampleSpec, generate, generate_worst_case

PLAIN = r"(?P<account>\d{12})/vpcflowlogs/(?P<region>[a-z0-9-]+)/(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)"
HIVE = (
    r"aws-account-id=(?P<account>\d{12})/aws-service=vpcflowlogs/aws-region=(?P<region>[a-z0-9-]+)"
    r"/year=(?P<year>\d{4})/month=(?P<month>\d\d)/day=(?P<day>\d\d)"
)
LAYOUTS = {
    "plain": rf"AWSLogs/(o-[a-z0-9]{{10}}/)?{PLAIN}",
    "hourly": rf"AWSLogs/{PLAIN}/(?P<hour>\d\d)",
    "hive": rf"AWSLogs/{HIVE}",
    "hive_hourly": rf"AWSLogs/{HIVE}/hour=(?P<hour>\d\d)",
}
NAME = (
    r"(?P<name_account>\d{12})_vpcflowlogs_(?P<name_region>[a-z0-9-]+)_(?P<flow_log_id>fl-[0-9a-f]{17})"
    r"_(?P<at>\d{8}T\d{4}Z)_[0-9a-f]{8}\.log\.(gz|parquet)"
)
SMALL = SampleSpec(seed=5, hours=2, scale=0.05)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> SampleReport:
    return generate(SMALL, tmp_path_factory.mktemp("faulty"))


def contents(logs: Path) -> dict[str, tuple[str, float]]:
    """The digest and modification time of every file, by key."""
    return {
        str(path.relative_to(logs)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime)
        for path in logs.rglob("*")
        if path.is_file()
    }


def test_the_same_spec_gives_the_same_bytes_and_times(faulty: SampleReport, tmp_path: Path) -> None:
    again = generate(SMALL, tmp_path)
    assert contents(again.logs) == contents(faulty.logs)
    assert again.truth.read_bytes() == faulty.truth.read_bytes()
    assert again.network.read_bytes() == faulty.network.read_bytes()
    assert again.faults == tuple(faulty.faults)


def test_another_seed_gives_other_traffic(faulty: SampleReport, tmp_path: Path) -> None:
    other = generate(SampleSpec(seed=6, hours=2, scale=0.05), tmp_path)
    assert other.record_bytes != faulty.record_bytes
    assert not set(contents(other.logs)) & {key for key in contents(faulty.logs) if "vpcflowlogs_" in key}


def test_every_object_lies_where_its_name_and_layout_say(sample: Any) -> None:
    layouts = {log["flow_log_id"]: log for log in sample.network["flow_logs"]}
    seen = set()
    for path in sample.report.logs.rglob("*_vpcflowlogs_*"):
        key = path.relative_to(sample.report.logs).as_posix()
        log = layouts[path.name.split("_")[3]]
        match = re.fullmatch(rf"{LAYOUTS[log['layout']]}/{NAME}", key)
        assert match, key
        found = match.groupdict()
        at = datetime.strptime(found["at"], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
        assert at.minute % 5 == 0
        assert (found["account"], found["region"]) == (log["account_id"], log["region"])
        assert (found["account"], found["region"]) == (found["name_account"], found["name_region"])
        assert f"{at:%Y%m%d}" == found["year"] + found["month"] + found["day"]
        assert found.get("hour") in {None, f"{at:%H}"}
        seen.add((log["layout"], log["file_format"]))
    assert seen == {("plain", "text"), ("hourly", "text"), ("hive", "text"), ("hive_hourly", "parquet")}


def test_an_object_holds_the_records_that_end_in_its_five_minutes(sample: Any) -> None:
    for path in sorted(sample.report.logs.rglob("*_vpcflowlogs_*"))[::9]:
        named = datetime.strptime(path.name.split("_")[4], "%Y%m%dT%H%MZ").replace(tzinfo=UTC).timestamp()
        if path.suffix == ".parquet":
            ends = pq.read_table(path, partitioning=None)["end"].to_pylist()
        else:
            lines = gzip.decompress(path.read_bytes()).decode().splitlines()
            position = lines[0].split().index("end")
            ends = [int(line.split()[position]) for line in lines[1:]]
        assert ends
        assert all(named <= end < named + 300 for end in ends)


def test_text_objects_begin_with_their_header(sample: Any) -> None:
    fields = {log["flow_log_id"]: log["fields"] for log in sample.network["flow_logs"]}
    for path in sample.report.logs.rglob("*.gz"):
        with gzip.open(path, "rt") as lines:
            assert lines.readline() == fields[path.name.split("_")[3]] + "\n"


def test_objects_arrive_in_the_claimed_window_and_some_late(faulty: SampleReport) -> None:
    arrivals = {}
    for path in faulty.logs.rglob("*"):
        if path.is_file():
            arrivals[path] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    assert faulty.first_arrival == min(arrivals.values()).replace(minute=0, second=0)
    assert faulty.last_arrival == max(arrivals.values()).replace(minute=0, second=0)
    assert (faulty.arrival_from, faulty.arrival_to) == ("2026-11-20T12", "2026-11-20T15")
    delays = {
        path: arrival - datetime.strptime(path.name.split("_")[4], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
        for path, arrival in arrivals.items()
        if "_vpcflowlogs_" in path.name
    }
    assert min(delays.values()) >= timedelta(minutes=6)
    late = {path.relative_to(faulty.logs).as_posix() for path, delay in delays.items() if delay > timedelta(minutes=15)}
    assert late == {fault.key for fault in faulty.faults if fault.kind is FaultKind.LATE_OBJECT}
    assert late


def test_a_sample_without_faults_has_none(sample: Any) -> None:
    assert {fault.kind for fault in sample.report.faults} == {FaultKind.SKIPDATA}


def test_faults_take_no_record_away(faulty: SampleReport, tmp_path: Path) -> None:
    """Every good line of the sample without faults is in the one with them, as often, and the truth is the same."""

    def good_lines(report: SampleReport) -> dict[str, list[bytes]]:
        broken = {f.key for f in report.faults if f.kind is FaultKind.TRUNCATED_GZIP or f.kind in ADDITIONAL}
        lines: dict[str, list[bytes]] = {}
        for path in sorted(report.logs.rglob("*.log.gz")):
            key = path.relative_to(report.logs).as_posix()
            if key not in broken:
                found = gzip.decompress(path.read_bytes()).splitlines()
                width = len(found[0].split())
                lines[key] = [
                    line
                    for line in found[1:]
                    if len(line.split()) == width and line != found[0] and b"12x4" not in line and b"yester" not in line
                ]
        return lines

    clean = generate(SampleSpec(seed=5, hours=2, scale=0.05, faults=False), tmp_path)
    assert good_lines(faulty) == good_lines(clean)
    assert faulty.truth.read_bytes() == clean.truth.read_bytes()
    assert faulty.records == clean.records


ADDITIONAL = {FaultKind.WRONG_CHECKSUM, FaultKind.UNPACKED, FaultKind.EMPTY_OBJECT, FaultKind.NO_HEADER}


def by_kind(report: SampleReport, kind: FaultKind) -> list[Path]:
    return [report.logs / fault.key for fault in report.faults if fault.kind is kind]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.TRUNCATED_GZIP, EOFError),
        (FaultKind.WRONG_CHECKSUM, (gzip.BadGzipFile, zlib.error)),
    ],
)
def test_broken_text_objects_are_broken(faulty: SampleReport, kind: FaultKind, error: Any) -> None:
    (path,) = by_kind(faulty, kind)
    with pytest.raises(error):
        gzip.decompress(path.read_bytes())


def test_an_unpacked_object_is_whole_and_its_gaps_are_counted(faulty: SampleReport, tmp_path: Path) -> None:
    (path,) = by_kind(faulty, FaultKind.UNPACKED)
    header, *lines = path.read_text().splitlines()
    assert "log-status" in header
    assert all(line.split(" ")[header.split(" ").index("log-status")] == "NODATA" for line in lines)
    clean = generate(SampleSpec(seed=5, hours=2, scale=0.05, faults=False), tmp_path)
    assert faulty.gap_records - clean.gap_records == len(lines) == 400


def test_a_broken_parquet_object_is_broken(faulty: SampleReport) -> None:
    (path,) = by_kind(faulty, FaultKind.TRUNCATED_PARQUET)
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(path, partitioning=None)


def test_every_other_fault_is_there(faulty: SampleReport) -> None:
    assert {fault.kind for fault in faulty.faults} == set(FaultKind) - {FaultKind.LOST_RECORDS}
    (empty,) = by_kind(faulty, FaultKind.EMPTY_OBJECT)
    assert empty.stat().st_size == 0
    malformed = by_kind(faulty, FaultKind.MALFORMED_LINES)[0]
    lines = gzip.decompress(malformed.read_bytes()).decode().splitlines()
    width = len(lines[0].split())
    assert {len(line.split()) - width for line in lines if line.strip()} >= {-2, 0, 1}
    assert any("12x4" in line for line in lines)


def test_lossy_interfaces_lose_records_only_where_skipdata_says_so(tmp_path: Path) -> None:
    spec = {"seed": 7, "hours": 1, "scale": 0.3, "faults": False}
    whole, lossy = (
        generate(SampleSpec(**spec, lossy=lossy), tmp_path / str(lossy))  # type: ignore[arg-type]
        for lossy in (False, True)
    )

    def windows(report: SampleReport) -> tuple[dict[tuple[str, ...], int], set[tuple[str, ...]]]:
        counts: dict[tuple[str, ...], int] = {}
        skipped = set()
        for path in report.logs.rglob("*.log.gz"):
            header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
            names = header.split()
            interface, start, status = (names.index(name) for name in ("interface-id", "start", "log-status"))
            for line in lines:
                tokens = line.split()
                window = tokens[interface], tokens[start]
                counts[window] = counts.get(window, 0) + (tokens[status] == "OK")
                if tokens[status] == "SKIPDATA":
                    skipped.add(window)
        return counts, skipped

    before, _ = windows(whole)
    after, skipped = windows(lossy)
    changed = {window for window, count in before.items() if after.get(window, 0) != count}
    assert changed
    assert changed <= skipped
    assert lossy.records < whole.records
    assert lossy.truth.read_bytes() == whole.truth.read_bytes()


def test_network_facts_are_settings_that_a_run_can_take(sample: Any) -> None:
    settings = sample.network["settings"]
    assert set(settings) == {"nat_gateways", "internal_cidrs", "device_names"}
    assert len(settings["nat_gateways"]) == 3
    assert settings["device_names"]["10.20.0.20"] == "lb-a"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"start": datetime(2026, 11, 20, 12, 30, tzinfo=UTC)}, "start"),
        ({"start": datetime(2026, 11, 20, 12)}, "start"),
        ({"hours": 0}, "hours"),
        ({"scale": 0.0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"seed": -1}, "seed"),
        ({"prefix": "../up"}, "prefix"),
    ],
)
def test_a_spec_out_of_range_says_which_argument(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(SampleError, match=word):
        SampleSpec(**arguments)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine").touch()
    with pytest.raises(SampleError, match="not empty"):
        generate(SMALL, tmp_path)
    with pytest.raises(SampleError, match="not empty"):
        generate_worst_case(10, tmp_path, objects=1)


def test_a_prefix_stands_before_awslogs(tmp_path: Path) -> None:
    report = generate(SampleSpec(hours=1, scale=0.01, prefix="network/flows"), tmp_path)
    assert [path.name for path in report.logs.iterdir()] == ["network"]
    assert [path.name for path in (report.logs / "network/flows").iterdir()] == ["AWSLogs"]


@pytest.mark.parametrize("records", [30_000, 120_000])
def test_a_wanted_number_of_records_is_met_roughly(tmp_path: Path, records: int) -> None:
    report = generate(SampleSpec.for_records(records, hours=2), tmp_path)
    assert abs(report.records - records) < 0.2 * records


def test_the_worst_case_has_no_two_equal_edges(tmp_path: Path) -> None:
    report = generate_worst_case(50_000, tmp_path, objects=4)
    paths = list(report.logs.rglob("*.log.gz"))
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).decode().splitlines()[1:]]
    tokens = [line.split(" ") for line in lines]
    assert len(paths) == report.objects == 4
    assert len(tokens) == report.records == 50_000
    assert {len(row) for row in tokens} == {14}
    assert len({(row[3], row[4]) for row in tokens}) == 50_000
    assert sum(int(row[9]) for row in tokens) == report.record_bytes
    assert {int(row[11]) - int(row[10]) for row in tokens} == {59}
    hours = {datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H") for path in paths}
    assert hours == {report.arrival_from}
