"""What happens when a task has failed for good.

One line in the log is always written, and it is written first. Whoever should be called goes into
`FAILURE_CALLBACKS`: any Airflow notifier is a callback, for example the amazon provider's

    SnsNotifier(aws_conn_id="alerts", target_arn="arn:aws:sns:...", message="{{ ti.dag_id }}.{{ ti.task_id }} failed")

A notifier's texts are templates of Jinja, and a reason may quote keys and lines of logs. So it comes in by its name and
never as a part of the template: `{{ exception }}`, and `{{ exception | e }}` where the message is HTML, as mails are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from flowlake.lake.objects import shown

log = logging.getLogger(__name__)


class _TaskInstance(Protocol):
    dag_id: str
    task_id: str
    run_id: str
    try_number: int


def describe_failure(context: Any) -> str:
    """One printable line that says which task of which hour failed and why, from a task's context."""
    ti: _TaskInstance = context["ti"]
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    interval = f" for {start:%Y-%m-%dT%H:%M} to {end:%Y-%m-%dT%H:%M} UTC" if start and end else ""
    # What other packages raise may quote a line as it is.
    reason = shown(" ".join(str(context.get("exception") or "no reason was given").split()))
    return f"{ti.dag_id}.{ti.task_id} failed{interval} (run {ti.run_id}, try {ti.try_number}): {reason}"


def log_failure(context: Any) -> None:
    """The failure callback of every task: one line, at the level that log collectors alert on."""
    log.error("%s", describe_failure(context))


FAILURE_CALLBACKS: list[Callable[[Any], None]] = [log_failure]
"""Called in this order, once per task instance, after its last try."""
