"""What stands in for the dbt executable: hand everything to the server (dbt_server.py), and end as its child ends."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

request = json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(os.environ["FLOWLAKE_DBT_SERVER"])
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], [1, 2])
    connection.sendall(request)
    code = connection.recv(1)
sys.exit(code[0] if code else 70)
