"""What could not be read is listed, shown and, once it is cured, read again as if it had been whole from the start."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake import cli
from flowlake.quarantine import Selection, plan_replay
from shared_dbt.start import shared_dbt

DAY = "2026-11-20"
HOSTILE = "\x1b[31m\u202e<b>{x}</b>','\";\x07=cmd|1 " + "x" * 200
FOREIGN = "\x1b]0;{owned}\x07\u202e.log.gz"


@dataclass(frozen=True)
class Kept:
    """A lake of the arrival hours 12 to 16, in whose hours 12 and 14 something is quarantined, and its logs."""

    lake: Any
    logs: Any
    foreign: Path
    truncated: Path
    headless: Path
    malformed: Path

    def type(self, *arguments: str) -> int:
        return cli.run(["--config", str(self.lake.config), "quarantine", *arguments])


def _write(path: Path, data: bytes) -> None:
    """Give an object another content at the same time of arrival."""
    arrived = path.stat().st_mtime
    path.write_bytes(data)
    os.utime(path, (arrived, arrived))


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, make_lake: Callable[..., Any], make_logs: Callable[..., Any]
) -> Kept:
    folder = tmp_path_factory.mktemp("quarantine")
    logs = make_logs(folder / "logs")
    for hour in (12, 13, 14, 15):
        logs.put("fl-1", f"{DAY}T{hour}:05", arrived=f"{DAY}T{hour}:10", lines=20)
    truncated = logs.put("fl-2", f"{DAY}T14:05", arrived=f"{DAY}T14:20", lines=20)
    _write(truncated, truncated.read_bytes()[:-12])
    headless = logs.put("fl-3", f"{DAY}T14:05", arrived=f"{DAY}T14:20")
    _write(headless, gzip.compress(f"{HOSTILE}\n".encode()))
    malformed = logs.put("fl-1", f"{DAY}T14:06", arrived=f"{DAY}T14:20")
    good = gzip.decompress(malformed.read_bytes()).decode()
    bad = good.splitlines()[1].replace(" 443 ", " 443x ")
    _write(malformed, gzip.compress(f"{good}{bad}\n{HOSTILE}\n".encode()))
    foreign = malformed.with_name(FOREIGN)
    foreign.write_bytes(b"")
    noon = datetime(2026, 11, 20, 12, 20, tzinfo=UTC).timestamp()
    os.utime(foreign, (noon, noon))
    lake = make_lake(folder / "lake", logs.root, gates={"max_malformed_share": 1.0, "silent_flow_log": "warn"})
    lake.build(f"{DAY}T12", f"{DAY}T16")
    return Kept(lake, logs, foreign, truncated, headless, malformed)


def _listed(kept: Kept, capsys: pytest.CaptureFixture[str], *options: str) -> list[tuple[Any, ...]]:
    assert kept.type("list", "--format", "json", *options) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(row["arrival_hour"][-2:], row["flow_log_id"], row["reason"], row["objects"], row["lines"]) for row in rows]


def test_what_is_quarantined_is_counted_by_hour_flow_log_and_reason(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [("14", "fl-1", "bad_field", 0, 1), ("14", "fl-1", "field_count", 0, 1)]
    others = [("14", "fl-2", "truncated", 1, 0), ("14", "fl-3", "no_header", 1, 0)]
    assert _listed(kept, capsys) == [("12", None, "unsafe_name", 1, 0), *lines, *others]
    assert _listed(kept, capsys, "--to", f"{DAY}T14") == [("12", None, "unsafe_name", 1, 0)]
    assert _listed(kept, capsys, "--from", f"{DAY}T13", "--flow-log", "fl-1") == lines
    assert _listed(kept, capsys, "--reason", "field_count") == lines[1:]

    assert kept.type("list") == 0
    printed = capsys.readouterr().out
    assert "3 objects, 2 lines in 2 hours" in printed
    assert str(kept.truncated) in printed


def test_hostile_text_stays_text_in_every_form(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    hours = ("--from", f"{DAY}T12", "--to", f"{DAY}T15")
    # A line has one character for each byte; keys are text.
    line = HOSTILE.encode().decode("latin-1")

    assert kept.type("show", *hours, "--format", "json") == 0
    output = capsys.readouterr().out
    assert output.isascii()
    assert {char for char in output if not char.isprintable()} == {"\n"}
    rows = [json.loads(text) for text in output.splitlines()]
    assert [row["text"] for row in rows if row["reason"].startswith("field_count")] == [line]
    assert str(kept.foreign) in [row["object"] for row in rows]
    assert "it starts with: \\x1b[31m" in next(row["text"] for row in rows if row["reason"] == "no_header")

    assert kept.type("show", *hours, "--format", "csv") == 0
    output = capsys.readouterr().out
    assert {char for char in output if not char.isprintable()} == {"\n"}
    table = list(csv.DictReader(io.StringIO(output)))
    assert [len(row) for row in table] == [7] * len(rows)
    assert all(row["text"].startswith("\\x1b[31m") for row in table if row["reason"].startswith("field_count"))

    for command in (["show", *hours], ["list", "--format", "table"], ["list", "--format", "csv"]):
        assert kept.type(*command) == 0
        output = capsys.readouterr().out
        assert {char for char in output if not char.isprintable()} == {"\n"}
        assert "\\u202e" in output
    assert kept.type("show", *hours) == 0
    assert "x" * 200 not in capsys.readouterr().out


def test_show_is_limited_and_says_so(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--from", DAY, "--to", f"{DAY}T16", "--format", "json", "--limit", "2")
    assert kept.type("show", *options) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == "the first 2: there are more (--limit)\n"


def test_a_dry_run_says_which_hours_and_how_much_and_runs_nothing(
    kept: Kept, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowlake.quarantine.run_window", None)
    noon, two = plan_replay(kept.lake.settings, Selection())
    assert (str(noon.window), noon.objects, noon.lines, noon.bytes) == (f"{DAY}T12/{DAY}T13", 1, 0, 0)
    assert (noon.read_objects, noon.read_lines) == (2, 21)
    assert (str(two.window), two.objects, two.lines) == (f"{DAY}T14/{DAY}T15", 2, 2)
    assert (two.read_objects, two.read_lines) == (4, 21 + 4)
    (truncated,) = plan_replay(kept.lake.settings, Selection(reason="truncated"))
    size = kept.truncated.stat().st_size
    assert (truncated.window, truncated.objects, truncated.lines, truncated.bytes) == (two.window, 1, 0, size)

    assert kept.type("replay", "--dry-run", "--reason", "bad_field") == 0
    printed = capsys.readouterr().out
    assert f"{DAY}T14/{DAY}T15" in printed
    assert "T12" not in printed
    assert printed.endswith("nothing was run\n")


def test_a_replay_runs_exactly_the_hours_concerned_and_leaves_what_a_clean_run_leaves(
    kept: Kept,
    tmp_path: Path,
    make_lake: Callable[..., Any],
    assert_same_tables: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An object and a line are mended where they are; another object is replaced, and has another hour from then on."""
    kept.lake.step("publish", kept.lake.context(f"{DAY}T12", f"{DAY}T16"))
    kept.logs.put("fl-2", f"{DAY}T14:05", arrived=f"{DAY}T14:20", lines=20)
    kept.logs.put("fl-3", f"{DAY}T14:05", arrived=f"{DAY}T16:20")
    text = gzip.decompress(kept.malformed.read_bytes())
    _write(kept.malformed, gzip.compress(text.replace(b" 443x ", b" 443 ")))
    with shared_dbt():
        assert kept.type("replay", "--reason", "truncated") == 0
    assert capsys.readouterr().out.splitlines() == [
        "replayed 1 of 1 windows",
        "came free: 1 object, 1 line",
        f"  {kept.truncated}",
        "in these hours no more: 1 object (replaced or removed at the source)",
        f"  {kept.headless}",
        "still quarantined in these hours: 0 objects, 1 line",
    ]
    runs = kept.lake.rows("select arrival_hour[-2:], run_id like 'replay-%', state from lake.ops.windows order by 1")
    assert runs == [(hour, hour == "14", "validated") for hour in ("12", "13", "14", "15")]
    assert kept.lake.rows("select sum(flows) from flowlake.fct_edges where is_counted") == [(4 * 20 + 20 + 2,)]
    told = "select distinct event_hour::varchar, why::varchar from lake.ops.restatements where run_id like 'replay-%'"
    assert kept.lake.rows(told) == [(f"{DAY} 14:00:00", "correction")]

    assert kept.type("replay", "--reason", "truncated") == 0
    assert capsys.readouterr().out == "nothing that is quarantined matches: there is nothing to replay\n"
    assert _listed(kept, capsys) == [("12", None, "unsafe_name", 1, 0), ("14", "fl-1", "field_count", 0, 1)]

    clean = make_lake(tmp_path / "clean", kept.logs.root)
    clean.build(f"{DAY}T12", f"{DAY}T16")
    assert_same_tables(kept.lake, clean)
