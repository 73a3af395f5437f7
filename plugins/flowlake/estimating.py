"""`flowlake run --estimate`: what a window is going to scan on Athena, by what earlier runs scanned.

A run has fixed costs (statements that read little, whatever came) and others that grow with what arrived; both are
taken from the ledger `ops.query_costs`. How far such a prediction is off is found by predicting each earlier run from
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean, linear_regression, median
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError
from flowlake.lake.athena import AthenaLake
from flowlake.lake.aws import athena_settings
from flowlake.lake.costs import LEAST_BILLED, dollars
from flowlake.lake.tables import read_rows
from flowlake.settings import Target
from flowlake.terminal import counted, human_bytes

if TYPE_CHECKING:
    from flowlake.lake.windows import Window
    from flowlake.settings import Settings

RUNS = 100
"""The newest ones; what a lake was like long ago says little."""

DAYS = 30

PROBES = 20
"""Of the newest runs, each of which is predicted from all others."""

_OBJECTS = "int_objects__accounted"

_RUNS = f"""
with runs as (
    select
        run_id, arrival_from, arrival_to, count(*) as statements,
        sum(scanned_bytes) as scanned, sum(billed_bytes) as billed, max(submitted_at) as ended_at
    from {{ops}}.query_costs
    where day >= '{{since}}' and arrival_from is not null
    group by run_id, arrival_from, arrival_to
    having count_if(step = 'publish') > 0 and count_if(state <> 'SUCCEEDED') = 0
),
sizes as (
    select arrival_hour, sum(object_bytes) as arrived
    from {{intermediate}}.{_OBJECTS}
    group by arrival_hour
)
select runs.statements, runs.scanned, runs.billed, coalesce(sum(sizes.arrived), 0) as arrived
from runs
left join sizes on sizes.arrival_hour >= runs.arrival_from and sizes.arrival_hour < runs.arrival_to
group by runs.run_id, runs.arrival_from, runs.arrival_to, runs.statements, runs.scanned, runs.billed, runs.ended_at
order by runs.ended_at desc
limit {RUNS}
"""


class EstimateError(FlowlakeError):
    """There is nothing by which a window can be estimated."""


@dataclass(frozen=True)
class PastRun:
    """What a run that succeeded was about, and what it took; all but the first in bytes."""

    statements: int
    scanned: int
    billed: int
    arrived: int

    @property
    def least_billed(self) -> int:
        """What of the bill is there because no statement is billed less."""
        return min(self.billed, self.statements * LEAST_BILLED)


@dataclass(frozen=True)
class Estimate:
    """What a window is going to take. `error`: by which share such predictions were off; None where none could be."""

    window: str
    objects: int
    arrived: int
    statements: int
    scanned: int
    billed: int
    dollars: float
    runs: int
    error: float | None

    def __str__(self) -> str:
        """One line for people."""
        off = "too few to say how far off" if self.error is None else f"{self.error:.0%} off on the average"
        return (
            f"{self.window}: {counted(self.objects, 'object')}, {human_bytes(self.arrived)}: about "
            f"{human_bytes(self.scanned)} scanned by {counted(self.statements, 'statement')}, "
            f"{human_bytes(self.billed)} billed, "
            f"{self.dollars:.4f} dollars (by {counted(self.runs, 'earlier run')}: {off})"
        )


def estimate(settings: Settings, window: Window) -> Estimate:
    """Predict what a run over the window scans and costs; lists its objects, and asks Athena what earlier runs cost.

    Raises:
        EstimateError: the lake is not on Athena, or no run has succeeded in the last 30 days.
        AthenaError, AwsError, SourceError: a service, or a source, cannot be read.
    """
    from flowlake.lake.register import plan

    if settings.target is not Target.ATHENA:
        raise EstimateError("--estimate is about what Athena scans: on the target duckdb nothing is paid for")
    planned = plan(settings, window)
    past = _past_runs(settings)
    if not past:
        raise EstimateError(
            f"no run of the last {DAYS} days has succeeded, by which this one could be estimated: run one hour first"
        )
    # Most statements are billed their least, whatever arrived; only what is beyond that grows.
    least = round(median(run.least_billed for run in past))
    billed = least + predict([(run.arrived, run.billed - run.least_billed) for run in past], planned.bytes)
    return Estimate(
        window=str(window),
        objects=planned.objects,
        arrived=planned.bytes,
        statements=round(median(run.statements for run in past)),
        scanned=predict([(run.arrived, run.scanned) for run in past], planned.bytes),
        billed=billed,
        dollars=dollars(athena_settings(settings), billed),
        runs=len(past),
        error=error_of([(run.arrived, run.scanned) for run in past]),
    )


def _past_runs(settings: Settings) -> list[PastRun]:
    lake = AthenaLake(settings)
    if not all(lake.glue_table(*table) for table in (("ops", "query_costs"), ("intermediate", _OBJECTS))):
        return []  # nothing ever ran
    since = f"{datetime.now(UTC) - timedelta(days=DAYS):%Y-%m-%d}"
    rows = read_rows(settings, _RUNS.replace("{since}", since), asked=True)
    return [PastRun(*(int(value) for value in row)) for row in rows]


def predict(points: Sequence[tuple[int, int]], arrived: int) -> int:
    """What goes with so many arrived bytes, by (arrived, taken) of earlier runs: a fixed part, and one that grows.

    Runs of one size cannot tell the two from each other: then all of it counts as growing.
    """
    sizes = [size for size, _ in points]
    taken = [amount for _, amount in points]
    if not any(sizes):
        return round(fmean(taken))
    if len(set(sizes)) > 1:
        slope, fixed = linear_regression(sizes, taken)
        if slope >= 0 and fixed >= 0:
            return round(fixed + slope * arrived)
        if slope < 0:
            return round(fmean(taken))
    slope, _ = linear_regression(sizes, taken, proportional=True) if len(points) > 1 else (taken[0] / sizes[0], 0.0)
    return round(slope * arrived)


def error_of(points: Sequence[tuple[int, int]]) -> float | None:
    """By which share the newest runs, each predicted from all others, were off on the average; None for one run."""
    if len(points) == 1:
        return None
    probes = [
        abs(predict([*points[:place], *points[place + 1 :]], arrived) - taken) / taken
        for place, (arrived, taken) in enumerate(points[:PROBES])
        if taken
    ]
    return fmean(probes) if probes else None
