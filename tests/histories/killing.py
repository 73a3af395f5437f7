"""Runs of the real `flowlake run` that are killed: at a random moment, or at a chosen one (`points.py`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from flowlake.lake.windows import Window, format_hour
from flowlake.settings import Settings

DRIVER = Path(__file__).resolve().parent / "killed_run.py"
PATIENCE_SECONDS = 900


@dataclass(frozen=True)
class Kill:
    """When and how a run kills itself.

    `step` and `seconds`: so long after the step's start, whatever is done then. `target` (module:function): as it is
    called for the `count`th time; with `after`, as it has returned; with `item`, as it asks for that item of its last
    argument. `line`: as dbt prints a line that the pattern matches. `statement`: as Athena has got the `count`th
    statement that the pattern matches, whoever sent it. `group`: dbt and all other children die too; else they live on
    without their parent.
    """

    step: str = ""
    seconds: float = 0.0
    target: str = ""
    after: bool = False
    count: int = 1
    item: int = 0
    line: str = ""
    statement: str = ""
    group: bool = True

    def __str__(self) -> str:
        where = self.line or self.statement or self.target or f"{self.seconds:.2f} s into {self.step}"
        return f"killed {'after' if self.after else 'at'} {where}{'' if self.group else ', its dbt lives on'}"


@dataclass(frozen=True)
class Killed:
    """How a run ended that was to be killed: its exit code (negative: the signal), the last step that it began."""

    code: int
    step: str
    output: str

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL


def run_and_kill(settings: Settings, window: Window, kill: Kill) -> Killed:
    """Run a window by `flowlake run` in a process group of its own, and have it killed.

    Returns when the process has ended; a dbt that it leaves behind may still be writing, and holds the run's locks.
    """
    config = str(settings.config_path)
    arguments = ["--config", config, "run", "--from", format_hour(window.start), "--to", format_hour(window.end), "-v"]
    output = settings.lake.path.parent / "killed.log"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, DRIVER, json.dumps(asdict(kill)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    text = output.read_text(errors="replace")
    steps = [line.removeprefix("step ") for line in text.splitlines() if line.startswith("step ")]
    return Killed(code, steps[-1] if steps else "", text)
