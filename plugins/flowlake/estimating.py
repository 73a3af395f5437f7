"""What windows are going to take, by what earlier runs took: on Athena what they scan and cost, everywhere how long.

A run has fixed costs (statements that read little, whatever came) and others that grow with what arrived; both are
taken from the ledger `ops.query_costs`. How far such a prediction is off is found by predicting each earlier run from
the others. Where the lake is not on Athena there is no such ledger: a run took from when its hours were registered to
when they were validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from statistics import fmean, linear_regression, median
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError
from flowlake.lake.athena import AthenaLake
from flowlake.lake.aws import athena_settings
from flowlake.lake.costs import LEAST_BILLED, dollars
from flowlake.lake.duck import columns_of, connect, lake_exists
from flowlake.lake.manifests import objects_path
from flowlake.lake.tables import read_rows
from flowlake.settings import Target
from flowlake.terminal import counted, human_bytes, human_duration

if TYPE_CHECKING:
    from flowlake.lake.windows import Window
    from flowlake.settings import Settings

RUNS = 100
"""The newest ones; what a lake was like long ago says little."""

DAYS = 30

PROBES = 20
"""Of the newest runs, each of which is predicted from all others."""

MEASURED_BYTES_A_SECOND = 4_000_000
"""How fast a run takes what comes on top, in bytes as delivered; measured in 2026-11 on two cores."""

_OBJECTS = "int_objects__accounted"

_RUNS = f"""
with runs as (
    select
        run_id, arrival_from, arrival_to, count(*) as statements,
        sum(scanned_bytes) as scanned, sum(billed_bytes) as billed, max(submitted_at) as ended_at,
        date_diff('second', min(submitted_at), max(submitted_at)) as seconds
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
select runs.statements, runs.scanned, runs.billed, coalesce(sum(sizes.arrived), 0) as arrived, runs.seconds
from runs
left join sizes on sizes.arrival_hour >= runs.arrival_from and sizes.arrival_hour < runs.arrival_to
group by
    runs.run_id, runs.arrival_from, runs.arrival_to, runs.statements, runs.scanned, runs.billed, runs.ended_at,
    runs.seconds
order by runs.ended_at desc
limit {RUNS}
"""

_VALIDATED = f"""
with runs as (
    select max(updated_at) as ended_at, list(arrival_hour order by arrival_hour) as hours
    from {{ops}}.windows
    where state = 'validated'
    group by run_id
    order by ended_at desc
    limit {RUNS}
),
members as (select ended_at, hours, unnest(hours) as arrival_hour from runs),
sizes as (
    select arrival_hour, sum(object_bytes) as arrived
    from {{intermediate}}.{_OBJECTS}
    where arrival_hour in (select arrival_hour from members)
    group by arrival_hour
)
select ended_at, hours, coalesce(sum(arrived), 0) as arrived
from members
left join sizes using (arrival_hour)
group by ended_at, hours
order by ended_at desc
"""
"""On DuckDB: the arrival hours that a run has validated, and when it was done with them."""


class EstimateError(FlowlakeError):
    """There is nothing by which a window can be estimated."""


@dataclass(frozen=True)
class PastRun:
    """What a run that succeeded was about, and what it took; in bytes, but for the statements and the seconds."""

    statements: int
    scanned: int
    billed: int
    arrived: int
    seconds: int = 0

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
    billed = _billed(past, planned.bytes)
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


def _billed(past: Sequence[PastRun], arrived: int) -> int:
    # Most statements are billed their least, whatever arrived; only what is beyond that grows.
    least = round(median(run.least_billed for run in past))
    return least + predict([(run.arrived, run.billed - run.least_billed) for run in past], arrived)


@dataclass(frozen=True)
class RangeEstimate:
    """What windows are going to take, one after the other: how long each, in seconds, and on Athena the costs of all.

    `seconds_each` is None where no earlier run says anything (`runs` is 0), `dollars` where nothing is paid for.
    """

    seconds_each: tuple[float, ...] | None
    runs: int
    billed: int | None = None
    dollars: float | None = None

    def __str__(self) -> str:
        """For people."""
        if self.seconds_each is None:
            return "how long that takes is known once a window was run"
        paid = "" if self.dollars is None else f", {human_bytes(self.billed)} billed, {self.dollars:.4f} dollars"
        return f"about {human_duration(sum(self.seconds_each))}{paid} (by {counted(self.runs, 'earlier run')})"


def estimate_range(settings: Settings, arrived: Sequence[int]) -> RangeEstimate:
    """Predict what windows that hold so many bytes each take; on Athena it asks what earlier runs cost.

    Raises AthenaError, AwsError, LakeError: a service, or the lake, cannot be read.
    """
    on_athena = settings.target is Target.ATHENA
    past = _past_runs(settings) if on_athena and arrived else []
    times = [(run.arrived, float(run.seconds)) for run in past] if on_athena else _past_times(settings)
    if not times:
        return RangeEstimate(None, 0)
    seconds = tuple(predict_seconds(times, size) for size in arrived)
    if not on_athena:
        return RangeEstimate(seconds, len(times))
    billed = sum(_billed(past, size) for size in arrived)
    return RangeEstimate(seconds, len(times), billed, dollars(athena_settings(settings), billed))


def _past_times(settings: Settings) -> list[tuple[int, float]]:
    """(bytes that arrived, seconds) of the newest runs over whole windows, where the lake is on DuckDB.

    The ledger of a window's first hour is written as its registration ends; the time of that file is the run's start.
    """
    if not lake_exists(settings):
        return []
    with connect(settings) as connection:
        if not all(columns_of(connection, table) for table in ("ops.windows", f"intermediate.{_OBJECTS}")):
            return []
    times = []
    for ended_at, hours, arrived in read_rows(settings, _VALIDATED):
        written = [_written_at(settings, hour) for hour in hours]
        known = [moment for moment in written if moment is not None]
        # A file that is newer was registered again since, or copied.
        if known and (seconds := (ended_at - min(known)).total_seconds()) > 0:
            times.append((int(arrived), seconds))
    return times


def _written_at(settings: Settings, hour: str) -> datetime | None:
    try:
        modified = (settings.lake.path / objects_path(hour)).stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(modified, UTC).replace(tzinfo=None)


def predict_seconds(points: Sequence[tuple[int, float]], arrived: int) -> float:
    """How long so many arrived bytes take, by (arrived, seconds) of earlier runs: a fixed part, and one that grows.

    Medians (Theil and Sen's line), for some runs waited: for another one, or overnight for somebody to cure a gate.
    Runs of about one size cannot tell how it grows: then it grows as it was measured to (docs/benchmarks.md).
    """
    pairs = ((min(pair), max(pair)) for pair in combinations(points, 2))
    slopes = [(large[1] - small[1]) / (large[0] - small[0]) for small, large in pairs if large[0] > 2 * small[0]]
    slope = median(slopes) if slopes else 0.0
    if slope <= 0:
        slope = 1 / MEASURED_BYTES_A_SECOND
    fixed = max(median(seconds - slope * size for size, seconds in points), 0.0)
    return fixed + slope * arrived


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
