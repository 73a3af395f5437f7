"""Selecting a part of the quarantine, making windows of hours, and what a replay says when it does not come through."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake import cli, quarantine
from flowlake.lake.duck import connect
from flowlake.lake.windows import Window, WindowError
from flowlake.quarantine import (
    WINDOW_HOURS,
    Entry,
    PlannedReplay,
    Replayed,
    Selection,
    list_entries,
    list_groups,
    plan_replay,
    show_entries,
    show_replayed,
    windows_of,
)
from flowlake.querying import OutputFormat, QueryError
from flowlake.settings import Settings, load_settings
from flowlake.steps import GateFailed
from flowlake.terminal import make_console

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOURS = Window.parse("2026-11-20T00", "2026-11-22T02").hours


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a lake that does not exist yet, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWLAKE_CONFIG", raising=False)
    (tmp_path / "logs").mkdir()
    (tmp_path / "flowlake.yaml").write_text("sources: [{name: here, uri: logs}]\nlake: {path: lake}\n")
    return load_settings(tmp_path / "flowlake.yaml", environ={})


@pytest.mark.parametrize(
    ("hours", "windows"),
    [
        ([], []),
        (["2026-11-20T12"], ["2026-11-20T12/2026-11-20T13"]),
        (
            ["2026-11-21T00", "2026-11-20T23", "2026-11-20T12", "2026-11-20T12"],
            ["2026-11-20T12/2026-11-20T13", "2026-11-20T23/2026-11-21T01"],
        ),
        (HOURS, ["2026-11-20T00/2026-11-21T00", "2026-11-21T00/2026-11-22T00", "2026-11-22T00/2026-11-22T02"]),
    ],
)
def test_windows_hold_exactly_the_hours_and_at_most_a_day(hours: list[str], windows: list[str]) -> None:
    found = windows_of(hours)
    assert [str(window) for window in found] == windows
    assert [hour for window in found for hour in window.hours] == sorted(set(hours))
    assert all(len(window.hours) <= WINDOW_HOURS for window in found)


def test_a_selection_is_a_condition() -> None:
    assert Selection().where("reason") == "true"
    whole = Selection(NOON, NOON.replace(hour=13), "fl-1", "truncated")
    hours = "arrival_hour >= '2026-11-20T12' and arrival_hour < '2026-11-20T13' and flow_log_id = 'fl-1'"
    assert whole.where() == hours
    assert whole.where("reason") == f"{hours} and reason = 'truncated'"


@pytest.mark.parametrize("text", ["", "x' or 'a' = 'a", "{core}", "truncated\n", "fl-1'; drop table x --", "\x1b[31m"])
def test_nothing_that_is_typed_becomes_sql(text: str) -> None:
    for name in ("flow_log", "reason"):
        with pytest.raises(QueryError) as caught:
            Selection(**{name: text})  # type: ignore[arg-type]
        assert str(caught.value).isprintable()


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(WindowError, match="empty"):
        Selection(NOON, NOON)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--reason", "field_count: 1 instead of 2"], "give one word"),
        (["list", "--from", "2026-11-20T13", "--to", "2026-11-20T12"], "is empty"),
        (["show", "--from", "2026-11-20T13"], "give --from and --to"),
        (["replay", "--flow-log", "vpc-1"], "no flow log id"),
    ],
)
@pytest.mark.usefixtures("settings")
def test_a_mistake_is_one_line_and_code_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["quarantine", *arguments]) == cli.MISTAKE
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.usefixtures("settings")
def test_without_a_lake_the_answer_is_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["quarantine", "list"]) == cli.FAILED
    assert "flowlake run" in capsys.readouterr().err


def test_a_lake_in_which_nothing_was_staged_has_nothing_in_quarantine(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(settings, read_only=False):
        pass
    assert list_groups(settings, Selection()) == []
    assert list_entries(settings, Selection(), limit=1) == []
    assert plan_replay(settings, Selection()) == []
    assert cli.run(["quarantine", "list"]) == 0
    assert capsys.readouterr().out == "nothing is quarantined there\n"


def test_the_first_error_ends_a_replay_which_says_what_it_has_done(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = windows_of(["2026-11-20T12", "2026-11-20T14", "2026-11-20T16"])
    planned = [PlannedReplay(window, 1, 0, 9, 2, 3, 20) for window in windows]
    runs = []

    def replay_window(context: Any, on_step: Any) -> Replayed:
        runs.append((context.run_id, context.window))
        if context.window == windows[1]:
            raise GateFailed("the staging gate failed")
        return Replayed(context.window, ("s3://b/one",), (), 2, 0, 5)

    monkeypatch.setattr(quarantine, "plan_replay", lambda *_: planned)
    monkeypatch.setattr(quarantine, "replay_window", replay_window)
    assert cli.run(["quarantine", "replay"]) == cli.FAILED
    out, err = capsys.readouterr()
    assert [window for _, window in runs] == windows[:2]
    assert len({run_id for run_id, _ in runs}) == 2
    assert out.splitlines() == [
        "replayed 1 of 3 windows",
        "came free: 1 object, 2 lines",
        "  s3://b/one",
        "still quarantined in these hours: 0 objects, 5 lines",
    ]
    assert "the staging gate failed" in err.splitlines()[-1]


def test_many_objects_that_came_free_are_counted_and_none_reaches_the_terminal_raw() -> None:
    stream = io.StringIO()
    uris = tuple(f"s3://b/\x1b[31m[bold]\u202e{number:02}" for number in range(12))
    show_replayed([Replayed(windows_of(["2026-11-20T12"])[0], uris, (), 0, 0, 0)], make_console(stream))
    lines = stream.getvalue().splitlines()
    assert lines[1] == r"  s3://b/\x1b[31m[bold]\u202e00"
    assert lines[11:] == ["  and 2 more", "still quarantined in these hours: 0 objects, 0 lines"]


def test_a_text_is_cut_where_a_table_would_not_end() -> None:
    stream = io.StringIO()
    entry = Entry("2026-11-20T12", None, "s3://b/one", "line", "field_count: 1 instead of 14", "\u2066" * 500, 1500)
    show_entries([entry], OutputFormat.TABLE, make_console(stream), stream)
    assert "\\u2066" * 20 + "…" in stream.getvalue()
    assert "\\u2066" * 21 not in stream.getvalue()
