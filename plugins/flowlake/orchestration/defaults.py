"""What every DAG of flowlake shares: one set of default arguments, one closed list of tags."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from flowlake.orchestration.alerts import FAILURE_CALLBACKS

HOURLY_DAG = "flow_logs_hourly"
"""The DAG that runs the steps every hour."""

START_DATE = datetime(2015, 6, 1, tzinfo=UTC)
"""The month in which AWS announced VPC Flow Logs: no log is older, so any hour can be backfilled."""


def max_active_runs() -> int:
    """How many hours the DAG runs side by side: FLOWLAKE_MAX_ACTIVE_RUNS, else 1.

    On the SQLite catalogue there is one writer at a time, and runs that wait for its lock only hold worker slots; on
    PostgreSQL hours go side by side. Raises ValueError when the variable is no number from 1 on.
    """
    text = os.environ.get("FLOWLAKE_MAX_ACTIVE_RUNS") or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"FLOWLAKE_MAX_ACTIVE_RUNS must be a number of runs, 1 or more, but is {text!r}")
    return int(text)


class Tag(StrEnum):
    """The tags that a DAG may carry; a test refuses any other."""

    BACKFILL = "backfill"
    FLOWLAKE = "flowlake"
    HOURLY = "hourly"
    MAINTENANCE = "maintenance"
    REPLAY = "replay"


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "flowlake",
    # A step is idempotent, so a retry is always safe. Two retries, after 1 and 2 minutes, outlast what passes by itself
    # (an S3 throttle, a restarting catalogue); what lasts longer should wake someone up within the hour.
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    # An hour of logs takes seconds to minutes, but a step may first wait for another run (`lake.wait_minutes`: an
    # hour), and gives up saying for whom: that must come before the timeout, which says nothing.
    "execution_timeout": timedelta(hours=2),
    # Hours do not need each other: each is accounted for alone, and what an hour restates is the same in any order.
    "depends_on_past": False,
    "on_failure_callback": FAILURE_CALLBACKS,
}
