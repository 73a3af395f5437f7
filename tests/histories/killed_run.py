"""In a process of its own: `flowlake ARGUMENTS...`, which kills itself (SIGKILL) where its first argument says.

See `killing.Kill` for what can be said. Nothing is changed before that moment but that functions are called through a
counter.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial, wraps
from typing import Any

from flowlake import cli, steps


def die(kill: dict[str, Any]) -> None:
    if kill["group"]:
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(kill: dict[str, Any]) -> None:
    module_name, _, path = kill["target"].partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module_name)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []

    @wraps(original)
    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        is_due = len(calls) == kill["count"]
        if is_due and kill["item"]:
            args = (*args[:-1], up_to(kill, args[-1]))
        elif is_due and not kill["after"]:
            die(kill)
        result = original(*args, **kwargs)
        if is_due:
            die(kill)
        return result

    setattr(owner, name, counted)


def up_to(kill: dict[str, Any], items: Iterable[Any]) -> Iterator[Any]:
    for number, item in enumerate(items, start=1):
        if number == kill["item"]:
            die(kill)
        yield item


class AtLine(logging.Handler):
    """Dies as a line of dbt's passes."""

    def __init__(self, kill: dict[str, Any]) -> None:
        super().__init__()
        self.kill, self.pattern = kill, re.compile(kill["line"])

    def emit(self, record: logging.LogRecord) -> None:
        if self.pattern.search(record.getMessage()):
            die(self.kill)


def at_statement(kill: dict[str, Any]) -> None:
    """Look at Athena's list from a thread, and die of the statement as soon as it stands there."""
    client: Any = importlib.import_module("boto3").client("athena")
    group, pattern, seen, due = os.environ["LOCAL_WORK_GROUP"], re.compile(kill["statement"]), set(), kill["count"]

    def new() -> list[str]:
        ids = client.list_query_executions(WorkGroup=group)["QueryExecutionIds"]
        fresh = [one for one in ids if one not in seen]
        seen.update(fresh)
        asked = client.batch_get_query_execution(QueryExecutionIds=fresh)["QueryExecutions"] if fresh else []
        return [one["Query"] for one in asked]

    def watch() -> None:
        found = 0
        while True:
            found += sum(bool(pattern.search(text)) for text in new())
            if found >= due:
                die(kill)
            time.sleep(0.1)

    new()  # what others sent before
    threading.Thread(target=watch, daemon=True).start()


def tell_steps(kill: dict[str, Any]) -> None:
    """Say which step begins, and start the clock in the one that is chosen."""
    run = steps._run

    @wraps(run)
    def told(step: steps.Step, *args: Any, **kwargs: Any) -> Any:
        os.write(1, f"\nstep {step.name}\n".encode())
        if step.name == kill["step"]:
            timer = threading.Timer(kill["seconds"], partial(die, kill))
            timer.daemon = True
            timer.start()
        return run(step, *args, **kwargs)

    steps._run = told


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    tell_steps(chosen)
    if chosen["target"]:
        at_call(chosen)
    if chosen["statement"]:
        at_statement(chosen)
    if chosen["line"]:
        logger = logging.getLogger("flowlake.dbt")
        logger.setLevel(logging.INFO)
        logger.addHandler(AtLine(chosen))
    sys.argv = ["flowlake", *sys.argv[2:]]
    cli.main()
