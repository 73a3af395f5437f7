"""dbt, imported once: a server that forks a child for each `dbt build`, so that many small runs do not pay its start.

Run by the Python of `.venv-dbt`, with the path of a socket. A request is the command line, the environment, the folder,
and the file descriptors that a dbt would inherit: the two that it writes to, then the locks of the run; the answer is
its exit code. The child is forked before dbt has opened anything of that lake, its command is the real one, and it is
killed with its client. What it is spared is the import of dbt, the parsing of the project, which is the same for every
lake with the same variables, and what dbt-athena reads again for each model. The server ends with the process that
holds its input open.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback

import botocore.session
from dbt.cli.main import dbtRunner

# dbt-athena makes a session for each model, and each would read the descriptions of AWS's services again.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

PARSED_BY = ("--project-dir", "--profiles-dir", "--target", "--vars")
"""The options on which a parsed project depends, beside the database on Athena: schemas have it in their names."""

MOST_FILES = 250
"""So many descriptors go with one message."""

KEPT = 8
"""Parsed projects; each is some ten megabytes."""

manifests: dict[tuple[str, ...], object] = {}


def serve(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                length, files, flags, _ = socket.recv_fds(connection, 8, MOST_FILES)
                request = receive(connection, int.from_bytes(length, "big"))
                if request is not None and not flags & socket.MSG_CTRUNC:
                    manifest = parsed(request)
                    if os.fork() == 0:
                        listener.close()
                        answer(connection, request, files, manifest)
                for file in files:
                    os.close(file)


def receive(connection: socket.socket, length: int) -> dict | None:
    """A request; None when its client was killed before all of it was said."""
    try:
        with connection.makefile("rb") as stream:
            return json.loads(stream.read(length))
    except (OSError, ValueError):
        return None


def parsed(request: dict) -> object:
    """The project as dbt's own `parse` leaves it, for these variables."""
    arguments = request["arguments"]
    options = {name: arguments[arguments.index(name) + 1] for name in PARSED_BY}
    key = (request["environment"].get("FLOWLAKE_DATABASE", ""), *options.values())
    if key not in manifests:
        os.environ.clear()
        os.environ.update(request["environment"])
        for name in ("--log-path", "--target-path"):
            options[name] = arguments[arguments.index(name) + 1]
        result = dbtRunner().invoke(["--quiet", "parse", *(f"{name}={value}" for name, value in options.items())])
        # A project that does not parse is for the child to say, in dbt's own words.
        manifests[key] = result.result if result.success else None
        for oldest in list(manifests)[:-KEPT]:
            del manifests[oldest]
    return manifests[key]


def answer(connection: socket.socket, request: dict, files: list[int], manifest: object) -> None:
    """In the child: be the dbt that was asked for, and end."""
    code = 70
    # A tenth of dbt's time goes into looking for garbage, and this process ends with its one build.
    gc.disable()
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        threading.Thread(target=end_with, args=(connection,), daemon=True).start()
        os.dup2(files[0], sys.stdout.fileno())
        os.dup2(files[1], sys.stderr.fileno())
        os.environ.clear()
        os.environ.update(request["environment"])
        # Every statement in a file costs a twentieth of the time, and nobody reads it.
        os.environ.setdefault("DBT_LOG_LEVEL_FILE", "warn")
        os.chdir(request["folder"])
        result = dbtRunner(manifest=manifest).invoke(request["arguments"])
        code = 0 if result.success else 2 if result.exception else 1
    except BaseException:
        traceback.print_exc()
    finally:
        # Nobody may be there any more to hear it.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            connection.sendall(bytes([code]))
        os._exit(code)


def end_with(connection: socket.socket) -> None:
    """Be killed when the client has ended, which stands for this process to whoever ends dbt."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1])
