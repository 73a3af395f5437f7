"""A flow log that stops, an interface that vanishes, an account that delivers no more: who is told of it, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flowlake.settings import Settings, Severity
from flowlake.status import show_status
from flowlake.steps import GateFailed

ONE, TWO = "123456789012", "210987654321"
ACCOUNT_OF = {"fl-1": ONE, "fl-2": ONE, "fl-3": TWO, "fl-4": TWO}
DAY = date(2026, 11, 20)

VANISHING = "2 {account} eni-vanishing 10.0.9.1 10.1.9.1 40000 443 6 3 300 {begun} {ended} ACCEPT OK"
IDLE = "2 {account} eni-idle - - - - - - - {begun} {ended} - NODATA"
"""Who has nothing to say says so: that is no silence."""

Silence = tuple[str, str, str | None, str | None, int, int | None, int]
"""Kind, account, flow log, interface, last hour heard, hour heard again, settled hours."""


@dataclass(frozen=True)
class Told:
    """What a lake tells after a publish; hours are those of the day."""

    warnings: tuple[str, ...]
    """Of the run's gate over staging."""
    status: str
    silences: set[Silence]
    completeness: dict[tuple[int, str], str]
    is_complete: dict[int, bool]
    incomplete_hours: int
    arrivals: dict[tuple[int, str], str]
    interfaces: dict[tuple[int, str], str]


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, make_lake: Callable[..., Any], make_logs: Callable[[Path], Any]
) -> Mapping[str, Told]:
    """All speak at 12 and 13; from 14 on fl-2, an interface of fl-1 and an account do not; at 16 fl-2 is back."""
    folder = tmp_path_factory.mktemp("silences")
    logs = make_logs(folder / "logs")
    for hour in (12, 13, 14, 15, 16):
        speaking = ["fl-1", *(["fl-2"] if hour not in (14, 15) else []), *(["fl-3", "fl-4"] if hour < 14 else [])]
        for flow_log in speaking:
            extra = ((VANISHING, IDLE) if hour < 14 else (IDLE,)) if flow_log == "fl-1" else ()
            at, account = f"{DAY}T{hour}", ACCOUNT_OF[flow_log]
            logs.put(flow_log, f"{at}:05", arrived=f"{at}:10", lines=3, account=account, extra=extra)
    lake = make_lake(folder / "lake", logs.root)
    warned = lake.with_gates(silent_flow_log=Severity.WARN)
    retired = lake.with_gates(retired_flow_logs=("fl-3", "fl-4"))

    stages = {"all speak": run(lake, 12, 14, lake.settings)}
    with pytest.raises(GateFailed, match="3 times a flow log was silent in 2026-11-20T14, such as fl-2 of account"):
        run(lake, 14, 15, lake.settings)
    stages["held"] = tell(lake, ())
    stages["14 was run"] = run(lake, 14, 15, warned)
    stages["15 was run"] = run(lake, 15, 16, warned)
    stages["16 was run"] = run(lake, 16, 17, retired)
    return stages


def run(lake: Any, first: int, end: int, settings: Settings) -> Told:
    """Run every step over some hours of the day."""
    reports = {report.step: report for report in lake.run(f"{DAY}T{first}", f"{DAY}T{end}", settings=settings)}
    return tell(lake, tuple(reports["validate_staging"].details["warnings"]))


def tell(lake: Any, warnings: tuple[str, ...]) -> Told:
    """Ask the published lake all that it can tell of who is silent."""
    said = StringIO()
    show_status(lake.settings, Console(file=said, width=300))
    coverage = "select arrival_hour, flow_log_id, status from flowlake.fct_coverage"
    scopes = lake.rows("select distinct event_hour, is_complete from flowlake.rpt_internal_external")
    ((day, incomplete_hours),) = lake.rows("select distinct event_date, incomplete_hours from flowlake.rpt_top_talkers")
    assert day == DAY
    return Told(
        warnings,
        said.getvalue(),
        {tuple(map(plain, row)) for row in lake.rows("from flowlake.rpt_silences")},  # type: ignore[misc]
        by_hour(lake.rows("select event_hour, flow_log_id, status from flowlake.rpt_completeness")),
        {hour.hour: is_complete for hour, is_complete in scopes},
        incomplete_hours,
        {(int(hour[-2:]), flow_log): status for hour, flow_log, status in lake.rows(coverage)},
        by_hour(lake.rows("select event_hour, interface_id, status from flowlake.fct_interface_hours")),
    )


def by_hour(rows: list[tuple[datetime, str, str]]) -> dict[tuple[int, str], str]:
    """What is said of each hour and speaker."""
    return {(hour.hour, speaker): status for hour, speaker, status in rows}


def plain(value: object) -> object:
    """Of a time, its hour."""
    return value.hour if isinstance(value, datetime) else value


def test_while_all_speak_nobody_is_silent(told: Mapping[str, Told]) -> None:
    first = told["all speak"]
    assert first.warnings == ()
    assert first.silences == set()
    assert first.completeness == {
        (hour, flow_log): status for hour, status in ((12, "complete"), (13, "open")) for flow_log in ACCOUNT_OF
    }
    assert first.is_complete == {12: True, 13: False}
    assert first.incomplete_hours == 1
    assert set(first.arrivals.values()) == {"on_time"}
    assert first.interfaces[12, "eni-vanishing"] == "traffic"
    assert first.interfaces[12, "eni-idle"] == "nodata"


def test_the_first_hour_without_them_is_held_and_status_says_so_and_readers_see_what_they_saw(
    told: Mapping[str, Told],
) -> None:
    before, held = told["all speak"], told["held"]
    assert f"{DAY}T14" not in before.status
    line = next(line for line in held.status.splitlines() if f"{DAY}T14" in line and "held" in line)
    assert f"3 times a flow log was silent in {DAY}T14, such as fl-2 of account {ONE}" in line
    assert "no hour is held" in told["14 was run"].status
    for name in ("silences", "completeness", "is_complete", "incomplete_hours", "arrivals", "interfaces"):
        assert getattr(held, name) == getattr(before, name), name


def test_where_the_gate_warns_it_does_so_in_each_silent_hour(told: Mapping[str, Told]) -> None:
    for hour in (14, 15):
        (warning,) = (text for text in told[f"{hour} was run"].warnings if "silent" in text)
        assert f"3 times a flow log was silent in {DAY}T{hour}" in warning
        arrivals = told[f"{hour} was run"].arrivals
        assert {flow_log: arrivals[hour, flow_log] for flow_log in ACCOUNT_OF} == {
            "fl-1": "on_time",
            **dict.fromkeys(("fl-2", "fl-3", "fl-4"), "silent"),
        }


def test_an_hour_is_not_called_silent_before_the_hour_in_which_its_last_records_come(
    told: Mapping[str, Told],
) -> None:
    early = told["14 was run"]
    assert early.silences == set()
    assert {early.completeness[13, flow_log] for flow_log in ACCOUNT_OF} == {"complete"}
    assert {early.completeness[14, flow_log] for flow_log in ACCOUNT_OF} == {"open"}
    assert early.is_complete == {12: True, 13: True, 14: False}
    assert early.incomplete_hours == 1


def test_then_each_is_named_once_and_those_that_go_on_are_not(told: Mapping[str, Told]) -> None:
    settled = told["15 was run"]
    assert settled.silences == {
        ("flow_log", ONE, "fl-2", None, 13, None, 1),
        ("flow_log", TWO, "fl-3", None, 13, None, 1),
        ("flow_log", TWO, "fl-4", None, 13, None, 1),
        ("account", TWO, None, None, 13, None, 1),
        ("interface", ONE, "fl-1", "eni-vanishing", 13, None, 1),
    }
    assert {flow_log: settled.completeness[14, flow_log] for flow_log in ACCOUNT_OF} == {
        "fl-1": "complete",
        **dict.fromkeys(("fl-2", "fl-3", "fl-4"), "silent"),
    }
    assert {settled.completeness[15, flow_log] for flow_log in ACCOUNT_OF} == {"open"}
    assert settled.is_complete == {12: True, 13: True, 14: False, 15: False}
    assert settled.incomplete_hours == 2
    heard = {speaker for hour, speaker in settled.interfaces if hour == 14}
    assert heard == {"eni-fl-1", "eni-idle"}


def test_who_is_back_was_silent_in_between_and_who_is_retired_is_not_waited_for(told: Mapping[str, Told]) -> None:
    last = told["16 was run"]
    assert not [warning for warning in last.warnings if "silent" in warning]
    assert last.silences == {
        ("flow_log", ONE, "fl-2", None, 13, 16, 2),
        ("interface", ONE, "fl-1", "eni-vanishing", 13, None, 2),
    }
    assert {key: status for key, status in last.completeness.items() if key[0] > 13} == {
        **{(hour, "fl-1"): "complete" for hour in (14, 15)},
        **{(hour, "fl-2"): "silent" for hour in (14, 15)},
        **{(16, flow_log): "open" for flow_log in ("fl-1", "fl-2")},
    }
    assert last.is_complete == {12: True, 13: True, 14: False, 15: False, 16: False}
    assert last.incomplete_hours == 3
