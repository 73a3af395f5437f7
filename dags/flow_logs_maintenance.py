"""# Maintenance of the lake

Keeps the lake small and quick: merges the small files that hourly runs write, lets old versions of the lake go, and
removes what killed runs and time left behind. No row of any table is ever deleted, and what people read stays the same.

**Who runs it.** Airflow, once a day, at 02:30 UTC. It waits for a run that is under way and holds the lake while it
works, seconds to minutes; hourly runs wait for it, readers do not. The DAG is paused until you switch it on. Without
it everything works, and the lake grows with every run.

**What it does.**

| task | does |
|---|---|
| `dry_run` | counts what there is to do, with bytes; changes nothing and waits for nobody |
| `maintain` | does it: merge, move the readers' views to the merged files, expire, remove |

On Athena that is OPTIMIZE of the tables that have small files or deleted rows, VACUUM, and old results of queries.

The report of both stands in their logs and XComs: of each kind what was found, how many bytes that is, what was done.

**Parameters.**

* `dry_run_only` (boolean, default `false`): only say what there is to do; `maintain` is skipped.

**Settings.** Three, under `maintenance` in the settings file:

| key | default | meaning |
|---|---|---|
| `keep_snapshots_days` | 7 | versions of the lake that can be read; the published one always stays |
| `remove_files_after_hours` | 24 | grace for files that nothing needs: longer than any query or run takes |
| `keep_logs_days` | 30 | pages and failing rows of the gates, logs of dbt |

**A worked example.** To see what there is before the DAG is switched on: *Trigger* with `dry_run_only`, then look at
the log of `dry_run`. From a terminal: `flowlake maintain --dry-run`.

**When it fails.** Nothing is lost; what was not done is done by the next run. Clear the task.

* `the lake ... is being written by ...`: a run takes longer than this one was willing to wait. Clear it later.
* `cannot remove ...`: the file's owner or the folder's permissions are not those of this process. Correct them.
* Published views that *stay at version ...*: without a reason behind it, nothing was written anew, and nothing had to
  move. Else an hour changed the marts and did not pass its gate: run it again, the next `publish` moves the views.
"""

from __future__ import annotations

from airflow.sdk import DAG, CronDataIntervalTimetable, Param  # noqa: TID253 - what a DAG file is for

from flowlake.orchestration.defaults import DEFAULT_ARGS, START_DATE, Tag
from flowlake.orchestration.operators import DRY_RUN_ONLY, maintenance_tasks

with DAG(
    dag_id="flow_logs_maintenance",
    description="Merges small files, expires old versions of the lake, removes what was left behind.",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("30 2 * * *", timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args=DEFAULT_ARGS,
    params={
        DRY_RUN_ONLY: Param(
            default=False,
            type="boolean",
            title="Dry run only",
            description="Say what there is to merge, expire and remove; change nothing.",
        ),
    },
    tags=[Tag.FLOWLAKE, Tag.MAINTENANCE],
) as dag:
    maintenance_tasks()
