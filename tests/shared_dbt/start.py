"""One dbt for many small runs: start the server (server.py), and name its client as flowlake's dbt (FLOWLAKE_DBT)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

from flowlake import dbt

HERE = Path(__file__).resolve().parent

_lock = threading.Lock()
_users = 0


@contextmanager
def shared_dbt() -> Iterator[None]:
    """Let runs of this process use one dbt that is imported already; it is started once, and ends with the process."""
    global _users  # noqa: PLW0603 - the environment is the process' own, too
    with _lock:
        _users += 1
        os.environ.update(_start())
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for name in _start():
                    del os.environ[name]


@cache
def _start() -> Mapping[str, str]:
    """Start the server; the environment in which flowlake finds it."""
    python = dbt.executable().with_name("python")
    # Not a test's folder: the path of a socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="flowlake-dbt-"))
    path, client = folder / "dbt.socket", folder / "dbt"
    client.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{HERE / "client.py"}" "$@"\n')
    client.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    # Children end without a farewell, and Python counts what they leave to it.
    environment["PYTHONWARNINGS"] = "ignore"
    server = subprocess.Popen([python, "-P", HERE / "server.py", path], stdin=subprocess.PIPE, env=environment)

    def end() -> None:
        if server.stdin is not None:
            server.stdin.close()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    # Of a pool's process too, which has no atexit.
    Finalize(None, end, exitpriority=1)
    while not path.exists():
        if server.poll() is not None:
            raise RuntimeError("the dbt server ended as it started: see above")
        time.sleep(0.05)
    return {"FLOWLAKE_DBT": str(client), "FLOWLAKE_DBT_SERVER": str(path)}
