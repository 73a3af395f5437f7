"""A full disk: each step says so in a line, readers keep what they had, and with room the same step goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("full_disk.py")


@pytest.fixture(scope="module")
def on_a_full_disk(published: Any, make_lake: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The lake after its second hour was run on a disk that was full at each step, and what came of each step."""
    namespace = ["unshare", "--mount"]
    trial = [*namespace, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount anything here: full disks are NOT tested")
    original, _ = published
    folder = tmp_path_factory.mktemp("full")
    command = [*namespace, sys.executable, str(SCRIPT), str(original.config), str(folder / "lake")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "lake", original, json.loads(done.stdout)


@pytest.mark.parametrize(
    "step", ["register", "build_staging", "validate_staging", "build_marts", "validate_marts", "publish"]
)
def test_a_full_disk_is_one_line_and_the_same_step_goes_on_when_there_is_room(on_a_full_disk: Any, step: str) -> None:
    outcome = on_a_full_disk[-1][step]
    full, again = outcome["full"], outcome["again"]
    assert full["code"] == 1, full["err"]
    *_, line = full["err"].splitlines()
    assert line.startswith("flowlake: error: ")
    assert "the disk is full: make room" in line
    assert "Traceback" not in full["err"]
    assert json.loads(outcome["readers"]["out"])["edges"] == 200, outcome["readers"]["err"]
    assert again["code"] == 0, again["err"]


def test_a_full_disk_leaves_what_a_clean_run_leaves(
    on_a_full_disk: Any, tmp_path: Path, make_lake: Callable[..., Any], assert_same_tables: Callable[..., None]
) -> None:
    kept, original, _ = on_a_full_disk
    clean = make_lake(tmp_path, Path(original.settings.sources[0].uri))
    clean.build("2026-11-20T12", "2026-11-20T14")
    # A lake's catalogue knows the folder of its files: the kept lake goes where it was for as long as it is compared.
    place = original.settings.lake.path
    aside = place.rename(place.with_name("original"))
    shutil.copytree(kept, place)
    try:
        assert original.rows("select count(*) from flowlake.fct_edges") == [(400,)]
        assert_same_tables(original, clean)
    finally:
        shutil.rmtree(place)
        aside.rename(place)
