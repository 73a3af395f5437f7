"""dbt as a child process; that it builds is for the warehouse's tests."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from flowlake import dbt
from flowlake.lake.windows import Window
from flowlake.settings import LakeSettings, Settings

TRAP = "trap '' TERM"
WINDOW = Window.parse("2026-11-20T12", "2026-11-20T13")


@pytest.mark.parametrize("deaf", [False, True])
def test_whoever_is_interrupted_leaves_no_dbt_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deaf: bool
) -> None:
    """It would go on writing without a lock, or keep the task beyond its time limit."""
    hanging = tmp_path / "dbt"
    hanging.write_text(f"#!/bin/sh\n{TRAP if deaf else ':'}\nexec sleep 30\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("FLOWLAKE_DBT", str(hanging))
    monkeypatch.setattr(dbt, "_PATIENCE_SECONDS", 0.5)

    def interrupt() -> None:
        time.sleep(0.3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dbt.build(Settings(sources=(), lake=LakeSettings(tmp_path / "lake")), WINDOW, "staging", interrupt)
    assert [child for child in psutil.Process().children() if child.name() == "sleep"] == []


def test_what_dbt_says_of_a_hostile_value_is_printable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saying = tmp_path / "dbt"
    saying.write_text("#!/bin/sh\nprintf 'cannot convert \\033[2J\\342\\200\\256<script>\\n'\nexit 1\n")
    saying.chmod(0o755)
    monkeypatch.setenv("FLOWLAKE_DBT", str(saying))
    caplog.set_level("INFO", logger="flowlake")
    settings = Settings(sources=(), lake=LakeSettings(tmp_path / "lake"))
    with pytest.raises(dbt.DbtError, match="before it ran anything") as caught:
        dbt.build(settings, WINDOW, "staging")
    for text in (str(caught.value), caplog.text):
        assert r"cannot convert \x1b[2J\u202e<script>" in text
