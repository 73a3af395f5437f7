"""# Hourly flow logs

Turns the flow logs that arrived in one hour into tables: cleaned records, an edges fact, a devices dimension and
report marts, and shows them to readers only when their checks have passed.

**Who runs it.** Airflow, every hour, as soon as the hour is over (all times are UTC). The run at 13:00 handles the
objects that arrived in S3 from 12:00 to 13:00, whatever the time of the traffic in them: an object that AWS delivers
late belongs to the hour in which it came. Hours do not wait for each other. The DAG is paused until you switch it on,
and it does not catch up by itself: past hours are run by a backfill.

**What it does.** One task after the other; each can be run again at any time and leaves the same rows.

| task | does |
|---|---|
| `register` | finds the hour's objects, reads their headers, notes what cannot be read and why |
| `build_staging` | dbt parses every line into typed records; what is no record is kept and counted |
| `validate_staging` | gate: is every line accounted for, did every flow log deliver, are the values possible? |
| `build_marts` | dbt builds the edges, the devices and the reports of the event hours that the hour touched |
| `validate_marts` | gate: do the keys hold, do the edges add up to the staged records? |
| `publish` | moves the schema `flowlake`, which people read, to the new state, all tables at once |

**Parameters.**

* `accept_missing` (boolean, default `false`): drop the rows of objects that an earlier run of this hour read and that
  are gone from the source by now (expired, deleted). Otherwise `register` refuses, so that a rerun cannot lose rows
  unnoticed.

**Settings.** One YAML file, named by the environment variable `FLOWLAKE_CONFIG` (else `flowlake.yaml` in the working
directory): sources, the lake's folder, thresholds of the gates. A source with `aws_conn_id` uses that Airflow
connection for S3; the others use the machine's AWS credentials.

**Hours side by side.** One run at a time, as the SQLite catalogue wants it. Where the lake's catalogue is PostgreSQL
(`lake.catalog`), set `FLOWLAKE_MAX_ACTIVE_RUNS` for the scheduler and the DAG processor (4, say): hours are registered,
staged and checked side by side, and wait for each other from `build_marts` on. A `publish` waits for the hours that
others have begun.

**A worked example.** To load 20 November 2026 from midnight to three in the afternoon:

    airflow backfill create --dag-id flow_logs_hourly --from-date 2026-11-20T00:00 --to-date 2026-11-20T14:00 \\
        --max-active-runs 1

Both dates are starts of hours, and the end counts in: the last run handles the objects that arrived from 14:00 to
15:00, and is named after 15:00, when that hour was over. In the UI it is *Trigger*, then *Backfill*. A single run that
is triggered by hand with the logical date 05:00 handles 04:00 to 05:00; without one, the last whole hour.

**When it fails.** The tables that people read stay as they were; nothing half-done is ever shown. Read the last lines
of the failed task's log, cure the cause, then *clear* the failed task: it and the tasks after it run again.

* `register`: look at the settings file, the credentials and the bucket's policy, and correct them. When it says that
  objects are gone, and they are gone for good, trigger the hour again with `accept_missing`.
* `build_staging`, `build_marts`: the message ends with what dbt said and names its log. Cure that (a full disk, as a
  rule) and clear the task.
* `validate_staging`: the message says which check failed, where, for how many rows, and names the page and the failing
  rows. When a flow log is silent, look at why it stopped. Objects that come late belong to a later hour, so this hour
  stays silent: to let it pass, name a flow log that was retired in the settings (`gates.retired_flow_logs`), or set
  `gates.silent_flow_log` to `warn`, and clear this task.
* `validate_marts`: as above; after a correction in the models clear `build_marts`.
* Any task that says who holds the lake waited `lake.wait_minutes` for another run. Look at that one.
* `publish`: the message names the hours that changed the marts and did not pass their gate. Cure and run those first,
  then clear it; everything becomes visible together.

A failed gate, wrong settings, a spent budget and an hour that is not over are not retried, because they would fail
again; everything else is retried twice.

**Who can follow it.** `publish` updates one Airflow asset per published table, for example
`Asset("x-flowlake://flowlake/fct_edges")`; a DAG scheduled on it runs after each publication. The event's `extra` says
which event hours readers see otherwise than before:

    {"window": "2026-11-20T12/2026-11-20T13", "restated_hours": {"late": 1, "delivery": 1},
     "restated": [{"event_hour": "2026-11-20T11", "why": "delivery"}, {"event_hour": "2026-11-17T09", "why": "late"}]}

`restated` names the newest 100; `ops.restatements` has all of them, with numbers. `delivery` is what every hour has:
its end comes with the next one. Where there is anything else (`late`, `replay`, `correction`, `learnt`), and only then,
`Asset("x-flowlake://ops/restatements")` has an event too, with the same `extra`: schedule on it what has to be done
again for hours that were done.
"""

from __future__ import annotations

from airflow.sdk import DAG, CronDataIntervalTimetable, Param  # noqa: TID253 - what a DAG file is for

from flowlake.orchestration.defaults import DEFAULT_ARGS, START_DATE, Tag, max_active_runs
from flowlake.orchestration.operators import ACCEPT_MISSING, step_tasks

with DAG(
    dag_id="flow_logs_hourly",
    description="Registers, cleans, checks and publishes the flow logs that arrived in one hour.",
    doc_md=__doc__,
    # Not "@hourly": in Airflow 3 that gives an empty data interval, and a run would have no window.
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=max_active_runs(),
    is_paused_upon_creation=True,
    default_args=DEFAULT_ARGS,
    params={
        ACCEPT_MISSING: Param(
            default=False,
            type="boolean",
            title="Accept missing objects",
            description="Drop the rows of objects that an earlier run of this hour read and that are gone by now.",
        ),
    },
    tags=[Tag.FLOWLAKE, Tag.HOURLY],
) as dag:
    step_tasks()
