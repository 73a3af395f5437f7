"""What every DAG of flowlake shares: one set of default arguments, one closed list of tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from flowlake.orchestration.alerts import FAILURE_CALLBACKS

HOURLY_DAG = "flow_logs_hourly"
"""The DAG that runs the steps every hour."""

START_DATE = datetime(2015, 6, 1, tzinfo=UTC)
"""The month in which AWS announced VPC Flow Logs: no log is older, so any hour can be backfilled."""


class Tag(StrEnum):
    """The tags that a DAG may carry; a test refuses any other."""

    FLOWLAKE = "flowlake"
    HOURLY = "hourly"
    MAINTENANCE = "maintenance"


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "flowlake",
    # A step is idempotent, so a retry is always safe. Two retries, after 1 and 2 minutes, outlast what passes by itself
    # (an S3 throttle, a restarting catalogue); what lasts longer should wake someone up within the hour.
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    # An hour of logs takes seconds to minutes. A step that runs for an hour is stuck, or the hourly rhythm is lost.
    "execution_timeout": timedelta(hours=1),
    # Hours do not need each other: each is accounted for alone, and what an hour restates is the same in any order.
    "depends_on_past": False,
    "on_failure_callback": FAILURE_CALLBACKS,
}
