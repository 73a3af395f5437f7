"""Start the dbt server, and name its client as flowlake's dbt (FLOWLAKE_DBT)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from flowlake import dbt

HERE = Path(__file__).resolve().parent


@contextmanager
def shared_dbt(folder: Path) -> Iterator[None]:
    """Let runs of this process use one dbt that is imported already; `folder` is to be short-lived and ours."""
    python = dbt.executable().with_name("python")
    path, client = folder / "dbt.socket", folder / "dbt"
    client.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{HERE / "dbt_client.py"}" "$@"\n')
    client.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    # Children end without a farewell, and Python counts what they leave to it.
    environment["PYTHONWARNINGS"] = "ignore"
    command = [python, "-P", HERE / "dbt_server.py", path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as server:
        try:
            while not path.exists():
                if server.poll() is not None:
                    raise RuntimeError("the dbt server ended as it started: see above")
                time.sleep(0.05)
            with patch.dict(os.environ, FLOWLAKE_DBT=str(client), FLOWLAKE_DBT_SERVER=str(path)):
                yield
        finally:
            server.stdin.close()
