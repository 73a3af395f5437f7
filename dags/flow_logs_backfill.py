"""# Bulk backfill

Runs a long range of past hours, cut into windows of a day or a month: a day in one window takes a small part of what
its 24 hours take one by one. Each window goes through the very steps of an hourly run, and leaves the same rows.

**Who runs it.** You, by *Trigger*; it has no schedule. `flow_logs_hourly` may go on beside it: on the SQLite catalogue
they take turns, window by window, on PostgreSQL they go side by side.

**What it does.**

| task | does |
|---|---|
| `plan` | the dry run: what each window holds, whether it is to run and why, how long all of it takes |
| `windows` | one task per window, named after it, one at a time and oldest first: all steps, and readers see it |
| `publish` | sees that readers see all of it |

`plan` counts objects, bytes and flow logs of each window; how long it takes goes by what earlier runs took, and on
Athena it says what all of it costs.

A window is **done**, and its task ends at once, when all of its hours are validated and the source lists the very
objects that were read. One with an hour that never ran, was held or failed, and one whose objects came, changed or were
overwritten since, runs again.

**Parameters.**

* `from`, `to` (times, required): the first arrival hour, and the hour to stop before. Whole hours, UTC, both past.
* `window` (text, default `day`): what one task runs: `day`, `month`, or so many hours, as `6h`. A window needs memory
  and disk for all of its objects; on busy accounts a day is enough.
* `dry_run` (boolean, default `true`): only `plan`. Look at its log or its XCom `plan`, then trigger it without.
* `again` (boolean, default `false`): run windows that are done, too; for example after an upgrade that reads more.
* `accept_missing` (boolean, default `false`): drop the rows of objects that were read before and are gone from the
  source by now. Otherwise a window to run that misses some is refused.

**A worked example.** To load October 2026, day by day: *Trigger* with `from` 2026-10-01 00:00, `to` 2026-11-01 00:00,
and read the log of `plan`. Then the same with `dry_run` switched off; 31 tasks `windows` show how far it is. From a
terminal: `flowlake backfill --from 2026-10-01 --to 2026-11-01`.

**When it fails.** What is done stays done, and readers keep the last validated state. The window that failed is
red, those behind it are skipped. Read its log (the steps are those of `flow_logs_hourly`, and so are the cures), then
*clear* the task `windows`, all of it, or trigger the DAG with the same range: done windows are over in a second.

* `plan` fails when the range is none, a source cannot be listed, or it has more windows than Airflow makes tasks of one
  (1,024): take larger windows.
* `publish` says which hours stand between the tables and their readers, those of other runs too. Cure them, clear it.

**Who can follow it.** The assets that `flow_logs_hourly` updates have one event for the whole range; its `extra` says
which event hours the windows changed for those who had seen them, and why.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param  # noqa: TID253 - what a DAG file is for

from flowlake.orchestration.defaults import DEFAULT_ARGS, START_DATE, Tag
from flowlake.orchestration.operators import ACCEPT_MISSING, AGAIN, DRY_RUN, FROM, TO, WINDOW_SIZE, backfill_tasks

with DAG(
    dag_id="flow_logs_backfill",
    description="Runs a range of past hours in windows of a day or a month; a dry run first.",
    doc_md=__doc__,
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args=DEFAULT_ARGS,
    params={
        FROM: Param(
            type="string", format="date-time", title="From", description="The first arrival hour: a whole hour, UTC."
        ),
        TO: Param(
            type="string", format="date-time", title="To", description="The hour to stop before: a whole hour, UTC."
        ),
        WINDOW_SIZE: Param(
            default="day",
            type="string",
            pattern="^(day|month|[1-9][0-9]{0,2}h)$",
            examples=["day", "month", "6h"],
            title="Window",
            description="What one task runs: day, month, or so many hours, as 6h.",
        ),
        DRY_RUN: Param(
            default=True,
            type="boolean",
            title="Dry run",
            description="Say what there is to run, and how long it takes; change nothing.",
        ),
        AGAIN: Param(default=False, type="boolean", title="Again", description="Run windows that are done, too."),
        ACCEPT_MISSING: Param(
            default=False,
            type="boolean",
            title="Accept missing objects",
            description="Drop the rows of objects that an earlier run read and that are gone by now.",
        ),
    },
    tags=[Tag.FLOWLAKE, Tag.BACKFILL],
) as dag:
    backfill_tasks()
