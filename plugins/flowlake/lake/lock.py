"""One writer at a time: the SQLite catalogue takes no more, and a run is one piece of work."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 3600.0
"""How long a run waits for another: longer than any hourly run takes, shorter than a night lost in silence."""


class LockError(FlowlakeError):
    """Another run held the lake for longer than this one was willing to wait."""


@contextmanager
def run_lock(lake: Path, purpose: str, *, patience: float = PATIENCE_SECONDS, poll: float = 0.5) -> Iterator[None]:
    """Hold the lake for writing; wait for whoever holds it, and say for whom.

    The lock is the kernel's (flock), so a killed holder leaves nothing behind. Child processes that inherit the file
    hold it with their parent and after it: nobody writes beside a dbt that outlived its killed run. Not re-entrant.

    Raises:
        LockError: after `patience` seconds.
    """
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / "run.lock").open("a+") as file:
        os.set_inheritable(file.fileno(), True)
        deadline = time.monotonic() + patience
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder = _describe(file.read())
                if time.monotonic() >= deadline:
                    raise LockError(
                        f"the lake {lake} is being written by {holder}; gave up after {patience:.0f} s. "
                        "Run again when it has ended, or stop it."
                    ) from None
                if not told:
                    log.warning("waiting for %s to release the lake %s", holder, lake)
                    told = True
                time.sleep(poll)
        file.seek(0)
        file.truncate()
        json.dump(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "purpose": purpose,
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            file,
        )
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()
            fcntl.flock(file, fcntl.LOCK_UN)


def _describe(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"{holder['purpose']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return "another run"
