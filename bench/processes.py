"""Child processes, measured with all their descendants: wall, CPU, and the height of memory and of spilled files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped] # it ships no types

from flowlake.errors import FlowlakeError

SAMPLE_SECONDS = 0.1
MEMORY_HELP = (
    "Memory: the largest sum over all processes of the tree, looked at 10 times a second; PSS, which counts a page that"
    " several share once (USS where the system has no PSS)."
)


class BenchError(FlowlakeError):
    """A measured command failed: there is nothing to compare."""


@dataclass(frozen=True)
class Measured:
    """What a command took. Memory and spilled files at their height, in bytes; CPU of all descendants, in seconds."""

    seconds: float
    cpu_seconds: float
    peak_memory: int
    peak_spill: int
    output: str


def measure(
    command: Sequence[str], *, log: Path, cwd: Path, environ: Mapping[str, str], spill: Path | None = None
) -> Measured:
    """Run a command to its end; its output goes to `log`. `spill` is a folder whose size is watched.

    Raises BenchError when it fails. Whatever happens, no process of it is left.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    memory, spilled = _Memory(), 0
    started = time.monotonic()
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(environ),
            start_new_session=True,
        )
        try:
            root = psutil.Process(child.pid)
            while True:
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    seconds = time.monotonic() - started
                    child.returncode = os.waitstatus_to_exitcode(status)
                    break
                memory.look(root)
                if spill is not None:
                    spilled = max(spilled, folder_bytes(spill))
                time.sleep(SAMPLE_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if child.returncode is None:
                child.wait()
    text = log.read_text(encoding="utf-8", errors="replace")
    if child.returncode:
        message = (
            f"{' '.join(command[:3])} … failed with {child.returncode}: {' | '.join(text.splitlines()[-4:])} ({log})"
        )
        raise BenchError(message)
    return Measured(seconds, usage.ru_utime + usage.ru_stime, memory.peak, spilled, text)


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder; what vanishes meanwhile does not count."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                total += path.stat().st_size
    return total


class _Memory:
    """The height of a process tree's memory. PSS is dear, so asked for when the sum of RSS reaches a new height."""

    def __init__(self) -> None:
        self.peak = 0
        self._highest_rss = 0

    def look(self, root: psutil.Process) -> None:
        processes = [root]
        with contextlib.suppress(psutil.Error):
            processes += root.children(recursive=True)
        rss = sum(_bytes(process, "memory_info", "rss") for process in processes)
        if rss > self._highest_rss * 1.01:
            self._highest_rss = rss
            self.peak = max(self.peak, sum(_bytes(process, "memory_full_info", "pss", "uss") for process in processes))


def _bytes(process: psutil.Process, method: str, *names: str) -> int:
    with contextlib.suppress(psutil.Error):
        info = getattr(process, method)()
        return int(next(getattr(info, name) for name in names if hasattr(info, name)))
    return 0
