"""Folders that the user may not read or write: one line that names the place and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user: NOT tested")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of the other user's own, where that user may go."""
    with tempfile.TemporaryDirectory(prefix="flowlake-nobody-") as folder:
        os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


@pytest.fixture
def as_nobody(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line as a user who owns nothing but that folder."""

    def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("flowlake")), "--config", str(config), *arguments],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd=home,
            env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def locked(published: Any) -> Iterator[Any]:
    """A lake that others may read and not write."""
    lake, _ = published
    subprocess.run(["chmod", "-R", "a+rX,go-w", str(lake.settings.lake.path)], check=True)
    return lake


WINDOW = ("--from", "2026-11-20T13", "--to", "2026-11-20T14")


def test_a_lake_that_may_not_be_written_is_one_line(locked: Any, as_nobody: Callable[..., Any]) -> None:
    done = as_nobody(locked.config, "run", *WINDOW)
    assert done.returncode == 1, done.stderr
    path = locked.settings.lake.run_lock
    assert f"cannot read or write {path}: Permission denied: this user may not read or write there" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lake_that_may_only_be_read_answers_queries(locked: Any, as_nobody: Callable[..., Any]) -> None:
    done = as_nobody(locked.config, "query", "--format", "csv", "select count(*) as edges from fct_edges")
    assert (done.returncode, done.stdout) == (0, "edges\n200\n"), done.stderr


def test_a_source_that_may_not_be_read_is_one_line(
    published: Any, home: Path, make_lake: Callable[..., Any], as_nobody: Callable[..., Any]
) -> None:
    _, logs = published
    lake = make_lake(home / "mine", logs.root)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(lake.config.parent)], check=True)
    folder = next(logs.root.rglob("2026"))
    folder.chmod(0o700)
    try:
        done = as_nobody(lake.config, "run", *WINDOW)
    finally:
        folder.chmod(0o755)
    assert done.returncode == 1, done.stderr
    *_, line = done.stderr.splitlines()
    assert line.startswith("flowlake: error: sources[0].uri (logs): cannot list the folder ")
    assert line.endswith("Permission denied: let the user of this process read it")
