"""What stands in for the dbt executable: hand everything to the server (server.py), and end as its child ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType


def is_inheritable(file: int) -> bool:
    try:
        return os.get_inheritable(file)
    except OSError:  # the listing's own, closed by now
        return False


request = json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
# What Python opens itself is not inheritable: the others are a run's locks, which a dbt that outlives its run keeps.
open_files = sorted(int(path.name) for path in Path("/dev/fd").iterdir())
inherited = [file for file in open_files if file > 2 and is_inheritable(file)]
with socket.socket(socket.AF_UNIX) as connection:

    def end_child(_signal: int, _frame: FrameType | None) -> None:
        """Have it killed: who ends a dbt and waits for it takes it that nothing writes any more."""
        connection.shutdown(socket.SHUT_WR)

    connection.connect(os.environ["FLOWLAKE_DBT_SERVER"])
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], [1, 2, *inherited])
    connection.sendall(request)
    signal.signal(signal.SIGTERM, end_child)
    code = connection.recv(1)
sys.exit(code[0] if code else 70)
