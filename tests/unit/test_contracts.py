"""A flow log's formats: the first is kept, another one is named, and read or kept aside as the settings say."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake.manifests import read_objects
from flowlake.lake.register import RegisterReport, register
from flowlake.lake.windows import Window
from flowlake.settings import FormatChanges, LakeSettings, Settings, Source

ACCOUNT, REGION = "123456789012", "us-east-1"
OLD, NEW = "srcaddr dstaddr bytes", "dstaddr srcaddr bytes"


class Logs:
    """A source's folder, and a lake beside it; the hours of its objects are those of their names."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "logs"
        self.root.mkdir()
        self.settings = Settings(
            sources=(Source(name="logs", uri=str(self.root)),), lake=LakeSettings(path=folder / "lake")
        )

    def put(self, hour: int, content: str | dict[str, Any], flow_log: str = "fl-1", mark: str = "0a") -> Path:
        ending = "log.gz" if isinstance(content, str) else "log.parquet"
        folder = self.root / f"AWSLogs/{ACCOUNT}/vpcflowlogs/{REGION}/2026/11/20"
        path = folder / f"{ACCOUNT}_vpcflowlogs_{REGION}_{flow_log}_20261120T{hour}05Z_{mark}.{ending}"
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_bytes(gzip.compress(f"{content}\n10.0.0.1 10.0.0.2 {hour}\n".encode(), mtime=0))
        else:
            parquet.write_table(pa.table(content), path)
        moment = datetime(2026, 11, 20, hour, 10, tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
        return path

    def register(self, hour: int, changes: FormatChanges = FormatChanges.ACCEPT) -> RegisterReport:
        sources = (replace(self.settings.sources[0], format_changes=changes),)
        window = Window.parse(f"2026-11-20T{hour}", f"2026-11-20T{hour + 1}")
        return register(replace(self.settings, sources=sources), window)

    def reasons(self, hour: int) -> list[str | None]:
        return [row.reason for row in read_objects(self.settings, f"2026-11-20T{hour}") or ()]


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def test_a_header_that_changes_is_read_and_named(logs: Logs) -> None:
    logs.put(12, OLD)
    changed = logs.put(13, NEW)
    logs.put(13, NEW, "fl-2")
    logs.put(14, NEW)
    assert logs.register(12).problems == ()
    line = (
        f"flow log fl-1 changed its format: '{NEW}' instead of '{OLD}'; since 2026-11-20T13:05 ({changed}); "
        "read by what it says of itself"
    )
    assert logs.register(13).problems == (line,)
    # Once for a change, however long it lasts, and again when its hour is run again.
    assert logs.register(14).problems == ()
    assert logs.register(13).problems == (line,)
    assert [logs.reasons(hour) for hour in (12, 13, 14)] == [[None], [None, None], [None]]


def test_the_first_is_the_first_by_name_in_whatever_order_hours_run(logs: Logs) -> None:
    logs.put(12, OLD)
    changed = logs.put(13, NEW)
    assert logs.register(13).problems == ()
    (line,) = logs.register(12).problems
    assert line.startswith(f"flow log fl-1 changed its format: '{NEW}' instead of '{OLD}'; since 2026-11-20T13:05 ")
    assert str(changed) in line
    assert logs.register(12).problems == ()
    assert logs.register(13).problems == (line,)


def test_what_is_kept_aside_is_read_once_it_is_accepted(logs: Logs) -> None:
    first = logs.put(12, OLD)
    changed = logs.put(13, NEW)
    logs.put(13, OLD, mark="0b")
    for hour in (12, 13):
        report = logs.register(hour, FormatChanges.QUARANTINE)
    assert (logs.reasons(12), sorted(map(str, logs.reasons(13)))) == ([None], ["None", "format_changed"])
    (row,) = [row for row in read_objects(logs.settings, "2026-11-20T13") or () if row.reason]
    assert (row.uri, row.detail, row.read_path) == (str(changed), f"'{NEW}' instead of '{OLD}'", None)
    assert report.problems == (
        f"flow log fl-1 changed its format: '{NEW}' instead of '{OLD}'; since 2026-11-20T13:05 ({changed}); "
        "not read: see sources[].format_changes",
        "1 object not read: format_changed, its flow log had another format before: see sources[].format_changes "
        f"(for example {changed})",
    )
    # It stays aside, also where it is alone and where the first format is of another hour.
    logs.put(14, NEW)
    logs.register(14, FormatChanges.QUARANTINE)
    assert logs.reasons(14) == ["format_changed"]
    logs.register(13, FormatChanges.ACCEPT)
    # What was accepted once is accepted for good.
    for hour in (12, 13, 14):
        logs.register(hour, FormatChanges.QUARANTINE)
    assert [logs.reasons(hour) for hour in (12, 13, 14)] == [[None], [None, None], [None]]
    assert first.exists()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"bytes": pa.array(["3"])}, "bytes is text and was integer"),
        ({"bytes": pa.array([3.0])}, "bytes is double and was integer"),
        ({"bytes": pa.array([[3]])}, "bytes is list and was integer"),
        ({"packets": pa.array([3])}, "bytes is gone, packets is new"),
        ({"bytes": pa.array([3], pa.int64()), "srcaddr": pa.array(["a"]).dictionary_encode()}, None),
    ],
)
def test_columns_of_parquet_that_change_are_named(logs: Logs, columns: dict[str, Any], said: str | None) -> None:
    """AWS itself writes whole numbers of one field in several widths: that is no change."""
    logs.put(12, {"srcaddr": ["10.0.0.1"], "bytes": pa.array([3], pa.int32())})
    logs.put(13, {"srcaddr": ["10.0.0.1"]} | columns)
    logs.register(12)
    found = [line for line in logs.register(13).problems if "changed its format" in line]
    assert len(found) == (0 if said is None else 1)
    assert said is None or f"changed its format: {said}; since 2026-11-20T13:05" in found[0]


def test_text_beside_parquet_is_a_change(logs: Logs) -> None:
    logs.put(12, OLD)
    logs.put(13, {"srcaddr": ["10.0.0.1"]})
    logs.register(12)
    (line,) = logs.register(13, FormatChanges.QUARANTINE).problems[:1]
    assert f"changed its format: 'parquet: srcaddr text' instead of '{OLD}'" in line
    assert logs.reasons(13) == ["format_changed"]
