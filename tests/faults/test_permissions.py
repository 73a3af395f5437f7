"""Folders that the user may not read or write: one line that names the place and says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WINDOW = ("--from", "2026-11-20T13", "--to", "2026-11-20T14")
AS_ANYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root without what sets it above the modes of its own files; anybody else has none of that."""

pytestmark = pytest.mark.skipif(
    bool(AS_ANYBODY) and shutil.which("setpriv") is None,
    reason="root may do everything and there is no setpriv: missing permissions are NOT tested",
)


def flowlake(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*AS_ANYBODY, str(Path(sys.executable).with_name("flowlake")), "--config", str(config), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def modes(folder: Path, change: str) -> Iterator[None]:
    """A folder and all in it with other modes, for a while."""
    subprocess.run(["chmod", "-R", change, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)


def test_a_lake_that_may_not_be_written_is_one_line_and_answers_queries(published: Any) -> None:
    lake, _ = published
    with modes(lake.settings.lake.path, "a-w"):
        ran = flowlake(lake.config, "run", *WINDOW)
        asked = flowlake(lake.config, "query", "--format", "csv", "select count(*) as edges from fct_edges")
    assert ran.returncode == 1, ran.stderr
    path = lake.settings.lake.run_lock
    assert f"cannot read or write {path}: Permission denied: this user may not read or write there" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (asked.returncode, asked.stdout) == (0, "edges\n200\n"), asked.stderr


def test_a_source_that_may_not_be_read_is_one_line(tmp_path: Path, logs: Any, make_lake: Any) -> None:
    lake = make_lake(tmp_path, logs.root)
    path = logs.put("fl-1", "2026-11-20T13:05", arrived="2026-11-20T13:10")
    with modes(path.parent, "a-rwx"):
        ran = flowlake(lake.config, "run", *WINDOW)
    assert ran.returncode == 1, ran.stderr
    *_, line = ran.stderr.splitlines()
    assert line.startswith(f"flowlake: error: sources[0].uri (logs): cannot list the folder {path.parent}")
    assert line.endswith("Permission denied: let the user of this process read it")


def test_objects_that_may_not_be_read_are_one_line(tmp_path: Path, logs: Any, make_lake: Any) -> None:
    lake = make_lake(tmp_path, logs.root)
    path = logs.put("fl-1", "2026-11-20T13:05", arrived="2026-11-20T13:10")
    path.chmod(0)
    ran = flowlake(lake.config, "run", *WINDOW)
    assert ran.returncode == 1, ran.stderr
    assert "its objects can be listed but not read" in ran.stderr
