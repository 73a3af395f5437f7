"""# Replay of what is quarantined

Reads again what could not be read: runs exactly the arrival hours once more that hold unreadable objects or malformed
lines, after the cause was cured. The cure may be at the source (an object that was restored, or that may be read by
now), in the settings, or in flowlake itself.

**Who runs it.** You, by hand, after a cure: *Trigger*. It has no schedule, is paused until you switch it on, and says
what it would do unless you switch `dry_run` off. Hourly runs go on beside it. While an hour of another run is
in the marts, or failed there, what a replay wrote is validated and not shown yet; the next publish shows it, and tells
who follows the tables. Such a `replay` ends as skipped, and says so in its log.

**What it does.**

| task | does |
|---|---|
| `find` | says which hours hold something that matches, and how much; how much is read again; changes nothing |
| `replay` | one mapped task for each window of consecutive hours (a day at most): all steps of an hourly run |

Windows run one after the other. An hour is read whole, and replaced, as by any run of it; what people read moves at the
end of each window, when its gates have passed. Each `replay` says in its log and its XCom what came free and what is
still quarantined; the XCom `report` of `find` has the numbers of the dry run. In a dry run, and where nothing matches,
`replay` is skipped.

**Parameters.**

* `from_hour`, `to_hour` (text or empty, default empty): only arrival hours from the one, and before the other, as
  `2026-11-20T12` or `2026-11-20`.
* `flow_log` (text or empty, default empty): only hours in which something of this flow log is quarantined.
* `reason` (text or empty, default empty): only hours in which something is quarantined for this reason, one word:
  `truncated`, `access_denied`, `bad_field`, ... `flowlake quarantine list` counts them.
* `dry_run` (boolean, default `true`): run nothing.

**A worked example.** The bucket's policy did not allow some objects of 20 November 2026 to be read, and now it does.
*Trigger* with `from_hour` 2026-11-20, `to_hour` 2026-11-21, `reason` access_denied, and look at the log of `find`. Then
the same with `dry_run` switched off. From a terminal: `flowlake quarantine replay --from 2026-11-20 --to 2026-11-21
--reason access_denied`.

**When it fails.** What people read stays as it was before that window; other windows are not held up. Cure the cause
and clear the failed `replay`: it alone runs again. Its messages are those of the hourly DAG's tasks.

* `... objects registered earlier are gone`: the source no longer has what these hours were read from, so they cannot be
  read again. Leave them out (`from_hour`, `to_hour`), or run them in `flow_logs_backfill` with `accept_missing`.
* Airflow refuses to map more windows than `core.max_map_length` (1,024): choose a shorter time.

**Who can follow it.** The assets that `flow_logs_hourly` updates have an event for each window; its `extra` says which
event hours changed for those who had seen them, and why.
"""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: TID253 - what a DAG file is for

from flowlake.orchestration.defaults import DEFAULT_ARGS, START_DATE, Tag
from flowlake.orchestration.replaying import REPLAY_PARAMS, replay_tasks

with DAG(
    dag_id="flow_logs_replay",
    description="Runs the hours again that hold unreadable objects or malformed lines, after a cure.",
    doc_md=__doc__,
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args=DEFAULT_ARGS,
    params=REPLAY_PARAMS,
    tags=[Tag.FLOWLAKE, Tag.REPLAY],
) as dag:
    replay_tasks()
