"""Processes that end with the one that started them, however that one ends.

Between the two stands a small process, this file's `main`: it looks whether its parent is still there and, when not,
ends the child. Linux could do that by itself (PR_SET_PDEATHSIG), macOS cannot.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

END_SECONDS = 5.0
LOOK_SECONDS = 0.2


@contextlib.contextmanager
def child(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of a `with` block; what it says goes to `log`.

    It is in a session of its own, so that Ctrl-C in a terminal reaches only the parent, which then ends it in order.
    """
    guarded = [sys.executable, __file__, str(os.getpid()), *map(str, command)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Stand between a parent (the first argument) and the command that follows."""

    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Not by an exception: it could come when the child is there and has no name yet.
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    parent = int(sys.argv[1])
    process = subprocess.Popen(sys.argv[2:])
    while process.poll() is None and os.getppid() == parent and not stopped.is_set():
        time.sleep(LOOK_SECONDS)
    end(process)
    raise SystemExit(0 if stopped.is_set() else process.returncode)


if __name__ == "__main__":
    main()
