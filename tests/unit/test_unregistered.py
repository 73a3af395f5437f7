"""What lies in a source and in no ledger, by the reason for which no run has seen it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowlake import cli
from flowlake.lake.register import register
from flowlake.lake.windows import Window
from flowlake.settings import Settings, load_settings
from flowlake.unregistered import Unregistered, Why, find_unregistered

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LOGS = "AWSLogs/123456789012/vpcflowlogs/eu-central-1"
HOSTILE = "<script>\u202e\x1b[2J"


def put(root: Path, arrived: datetime, *, named: datetime = NOON, folder: str | None = None, name: str = "") -> str:
    """Write an object, and return its path; its folder is that of the time in its name unless another is given."""
    at = f"{named:%Y%m%dT%H%MZ}"
    name = name or f"123456789012_vpcflowlogs_eu-central-1_fl-0123456789abcdef0_{at}_{arrived:%d%H%M}abcd.log.gz"
    path = root / (f"{LOGS}/{named:%Y/%m/%d}" if folder is None else folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1234567")
    os.utime(path, (arrived.timestamp(), arrived.timestamp()))
    return str(path)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a lake in the working folder whose hours of noon and of one o'clock are registered, and are empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWLAKE_CONFIG", raising=False)
    (tmp_path / "logs").mkdir()
    (tmp_path / "flowlake.yaml").write_text("sources: [{name: here, uri: logs}]\nlake: {path: lake}\n")
    settings = load_settings(tmp_path / "flowlake.yaml", environ={})
    put(tmp_path / "logs", NOON)
    register(settings, Window(NOON, NOON + 2 * HOUR))
    return settings


def test_what_is_registered_is_not_told(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_unregistered(settings) == []
    assert cli.run(["unregistered"]) == 0
    assert capsys.readouterr().out == "every object of the sources is registered\n"


def test_each_reason_is_told_with_what_reads_its_objects(settings: Settings) -> None:
    logs = Path("logs").absolute()
    unseen = put(logs, NOON + HOUR)
    later = sorted(put(logs, NOON + hours * HOUR) for hours in (2, 4))
    old = put(logs, NOON + HOUR, named=NOON - timedelta(days=40))
    outside = put(logs, NOON, folder="copied/2026/11/20")
    foreign = put(logs, NOON, folder=f"{LOGS.replace('vpcflowlogs', 'CloudTrail')}/2026/11/20", name="trail.json.gz")
    # It may still get more: no run takes the hour that is not over.
    put(logs, datetime.now(UTC), named=datetime.now(UTC))
    found = {one.why: one for one in find_unregistered(settings)}
    first, second = "2026-11-20T12", "2026-11-20T13"
    assert list(found) == list(Why) == ["not_run", "unseen", "old_folder", "outside", "foreign"]
    assert found[Why.NOT_RUN] == Unregistered("here", Why.NOT_RUN, 2, 14, "2026-11-20T14", "2026-11-20T16", 0, later[0])
    assert found[Why.UNSEEN] == Unregistered("here", Why.UNSEEN, 1, 7, second, second, 0, unseen)
    assert found[Why.OLD_FOLDER] == Unregistered("here", Why.OLD_FOLDER, 1, 7, second, second, 40, old)
    assert found[Why.OUTSIDE] == Unregistered("here", Why.OUTSIDE, 1, 7, first, first, 0, outside)
    assert found[Why.FOREIGN] == Unregistered("here", Why.FOREIGN, 1, 7, first, first, 0, foreign)
    assert found[Why.NOT_RUN].advice == (
        "2 objects of here: their arrival hours were not run: flowlake backfill --from 2026-11-20T14 --to 2026-11-20T17"
    )
    assert "set lookback_days of here to 40" in found[Why.OLD_FOLDER].advice


def test_folders_that_no_lookback_reaches_are_read_by_the_times_in_names(settings: Settings) -> None:
    put(Path("logs").absolute(), NOON + HOUR, named=NOON - timedelta(days=730))
    [found] = find_unregistered(settings)
    assert (found.why, found.days) == (Why.OLD_FOLDER, 730)
    assert "`arrival: object_name`" in found.advice
    assert "lookback_days" not in found.advice


def test_below_logs_that_lie_too_deep_for_a_listing_nothing_is_looked_for(settings: Settings) -> None:
    for depth, why in ((3, Why.UNSEEN), (4, Why.OUTSIDE)):
        put(Path("logs").absolute(), NOON + HOUR, folder=f"{'a/' * depth}{LOGS}/2026/11/20")
        assert why in {one.why for one in find_unregistered(settings)}
    register(settings, Window(NOON, NOON + 2 * HOUR))
    assert [one.why for one in find_unregistered(settings)] == [Why.OUTSIDE]


def test_what_the_advice_says_has_them_registered(settings: Settings, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    put(logs, NOON + HOUR)
    put(logs, NOON + HOUR, named=NOON - timedelta(days=40))
    put(logs, NOON + 2 * HOUR, folder="copied")
    assert {one.why for one in find_unregistered(settings)} == {Why.UNSEEN, Why.OLD_FOLDER, Why.OUTSIDE}
    (tmp_path / "flowlake.yaml").write_text(
        "sources: [{name: here, uri: logs/AWSLogs, lookback_days: 40}, {name: copied, uri: logs/copied, layout: any}]\n"
        "lake: {path: lake}\n"
    )
    settings = load_settings(tmp_path / "flowlake.yaml", environ={})
    assert {one.why for one in find_unregistered(settings)} == {Why.UNSEEN, Why.NOT_RUN}
    register(settings, Window(NOON, NOON + 3 * HOUR))
    assert find_unregistered(settings) == []


def test_programs_get_texts_exactly_and_a_terminal_nothing_that_moves_it(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path / "logs", NOON, folder="other", name=HOSTILE)
    assert cli.run(["unregistered", "--format", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["why"], row["example"]) == ("foreign", path)
    assert cli.run(["unregistered"]) == 0
    said = capsys.readouterr().out
    assert "foreign" in said
    assert not {"\x1b", "\u202e"} & set(said)
