"""Objects that change or vanish between register and the end of staging: the step fails, and the next run heals it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowlake import dbt
from flowlake.lake.manifests import NotRegistered
from flowlake.lake.spool import SpoolError
from flowlake.steps import run_step

HOUR = ("2026-11-20T12", "2026-11-20T13")
NAMED = ("fl-1", "2026-11-20T12:05")


@pytest.fixture
def lake(tmp_path: Path, logs: Any, make_lake: Callable[..., Any]) -> Any:
    lake = make_lake(tmp_path, logs.root)
    logs.put(*NAMED, arrived="2026-11-20T12:10")
    logs.put("fl-2", "2026-11-20T12:05", arrived="2026-11-20T12:10")
    run_step("register", lake.context(*HOUR))
    return lake


def overwrite(logs: Any) -> Path:
    path: Path = logs.put(*NAMED, arrived="2026-11-20T12:50", packets=(3, 4))
    return path


def delete(logs: Any) -> Path:
    path: Path = logs.put(*NAMED, arrived="2026-11-20T12:10")
    path.unlink()
    return path


def expected(path: Path, what: str) -> str:
    return f"^{path}: it was {what} after it was registered: run {HOUR[0]} again, from register$"


@pytest.mark.parametrize(("event", "what"), [(overwrite, "overwritten"), (delete, "deleted")])
def test_an_object_that_changed_before_staging_is_not_read(
    lake: Any, logs: Any, monkeypatch: pytest.MonkeyPatch, event: Callable[[Any], Path], what: str
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("dbt was started")

    monkeypatch.setattr(dbt, "build", never)
    path = event(logs)
    with pytest.raises(SpoolError, match=expected(path, what)):
        run_step("build_staging", lake.context(*HOUR))


@pytest.mark.parametrize("event", [overwrite, delete])
@pytest.mark.parametrize("dbt_fails", [False, True])
def test_an_object_that_changes_while_staging_reads_it_fails_the_step(
    lake: Any, logs: Any, monkeypatch: pytest.MonkeyPatch, event: Callable[[Any], Path], dbt_fails: bool
) -> None:
    changed = []

    def build(*_: Any) -> dbt.DbtRun:
        changed.append(event(logs))
        if dbt_fails:
            raise dbt.DbtError("dbt: stg_flow_logs__lines failed (1 in all): IO Error: No files found")
        return dbt.DbtRun(1, 0, {})

    monkeypatch.setattr(dbt, "build", build)
    with pytest.raises(SpoolError) as failure:
        run_step("build_staging", lake.context(*HOUR))
    what = "overwritten" if event is overwrite else "deleted"
    assert re.match(expected(changed[0], what), str(failure.value))


def test_the_same_window_run_again_reads_what_stands_there_now(
    lake: Any, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    overwrite(logs)
    read = []

    def build(_: Any, window: Any, layer: str, *__: Any) -> dbt.DbtRun:
        manifests = lake.settings.lake.raw.glob("text_lines/*/*/manifest")
        read.extend(line for manifest in manifests for line in manifest.read_text().splitlines())
        raise dbt.DbtError(f"{layer} {window}: far enough")

    monkeypatch.setattr(dbt, "build", build)
    run_step("register", lake.context(*HOUR))
    with pytest.raises(dbt.DbtError, match="far enough"):
        run_step("build_staging", lake.context(*HOUR))
    assert len(read) == 2


def test_staging_before_register_says_which_step_is_missing(lake: Any) -> None:
    with pytest.raises(NotRegistered, match="the hour 2026-11-20T13 was never registered: run the step register first"):
        run_step("build_staging", lake.context("2026-11-20T12", "2026-11-20T14"))
