"""Kills on purpose on Athena, between any two things that a step has AWS do; and services that fail.

`make nightly` plays them one after the other on one lake, each followed by a run that nobody disturbs and a comparison
with a clean run: the same hour again and again, so that every kill finds rows which it must neither double nor lose.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from athena.stage import Failure, Stage, StageError, assert_same_tables
from histories.killing import Kill
from histories.world import make_world
from local_athena.server import LocalAthena
from parity.compare import Table

SEED = "athena 63"
"""A small world of five arrival hours: of eleven objects one is overwritten an hour after it came, two after two."""


LATE_SECONDS = 25.0
"""How long a statement of a killed run waits before Athena begins it, if nobody stops it: the next run is then in the
middle of its work.
"""

CALL = "botocore.client:BaseClient._make_api_call"
"""Every call of AWS that flowlake's own process makes."""

DATABASE = "<database>"
"""What stands in a pattern for the lake's own; several lakes share the service."""

WRITES = (
    ("build_staging", "delete from", "staging", "stg_flow_logs__lines"),
    ("build_staging", "insert into", "staging", "stg_flow_logs__lines"),
    ("build_staging", "insert into", "intermediate", "int_objects__accounted"),
    ("build_staging", "insert into", "intermediate", "int_coverage__delivered"),
    ("build_marts", "insert into", "intermediate", "int_coverage__partials"),
    ("build_marts", "merge into", "intermediate", "int_hours__touched"),
    ("build_marts", "merge into", "intermediate", "int_addresses__merged"),
    ("build_marts", "insert into", "intermediate", "int_edges__partials"),
    ("build_marts", "merge into", "core", "dim_devices"),
    ("build_marts", "insert into", "intermediate", "int_hours__restated"),
    ("build_marts", "insert into", "ops", "fct_interface_hours"),
    ("build_marts", "delete from", "core", "fct_edges"),
    ("build_marts", "insert into", "core", "fct_edges"),
    ("build_marts", "insert into", "marts", "rpt_pairs_hourly"),
    ("build_marts", "insert into", "ops", "fct_coverage"),
)
"""Statements of dbt's: the run dies as Athena gets one, and Athena begins it later than the next run."""

FUNCTIONS = (
    ("register", Kill(target="flowlake.lake.register:record", after=True)),
    ("register", Kill(target="flowlake.lake.glue:GlueTables.add_partitions")),
    ("register", Kill(target="flowlake.lake.glue:GlueTables.add_partitions", after=True)),
    ("register", Kill(target="flowlake.lake.register:write_manifests", after=True)),
    ("register", Kill(target="flowlake.lake.register:write_objects", count=2)),
    ("register", Kill(target="flowlake.lake.register:register", after=True)),
    ("build_staging", Kill(target="flowlake.dbt:build")),
    ("build_staging", Kill(target="flowlake.dbt:build", after=True)),
    ("validate_staging", Kill(target="flowlake.lake.ledger:mark_staging", count=2, after=True)),
    ("build_marts", Kill(target="flowlake.lake.ledger:mark_hours", after=True)),
    ("build_marts", Kill(target="flowlake.dbt:build", count=2)),
    ("build_marts", Kill(target="flowlake.dbt:build", count=2, after=True)),
    ("validate_marts", Kill(target="flowlake.lake.ledger:mark_hours", count=2, after=True)),
    ("validate_marts", Kill(target="flowlake.lake.ledger:forget_pending_restatements", after=True)),
    ("publish", Kill(target="flowlake.lake.athena_views:publish")),
    ("publish", Kill(target="flowlake.lake.athena_views:_move", count=1)),
    ("publish", Kill(target="flowlake.lake.athena_views:_move", count=4, after=True)),
    ("publish", Kill(target="flowlake.lake.athena_views:publish", after=True)),
)

NEEDS_OVERTAKEN = ("flowlake.lake.register:record", "flowlake.lake.register:write_objects")
"""Where a run only comes, or comes twice, that finds overwritten objects: the first one over a stage alone does."""

CALLS = tuple(
    ("", Kill(target=CALL, count=count, after=after))
    for count, after in ((3, True), (9, False), (17, True), (30, False), (60, True), (110, False), (170, True))
)
"""In whatever step that call is then."""

PASSING = (
    {"operation": "StartQueryExecution", "error": "ThrottlingException", "times": 3},
    {"operation": "StartQueryExecution", "error": "InternalServerException", "lost": True, "times": 2},
    {"operation": "GetQueryExecution", "error": "ThrottlingException", "times": 5},
    {"operation": "GetQueryResults", "error": "InternalServerException", "times": 2},
    {"operation": "ListQueryExecutions", "error": "ThrottlingException", "times": 2},
    {"of_aws": True, "operation": "GetObject", "error": "SlowDown", "times": 5},
    {"of_aws": True, "operation": "PutObject", "error": "SlowDown", "times": 5},
    {"of_aws": True, "operation": "PutObject", "error": "InternalError", "lost": True, "times": 3},
    {"of_aws": True, "operation": "GetTable", "error": "ThrottlingException", "times": 3},
    {"of_aws": True, "operation": "UpdateTable", "error": "ConcurrentModificationException", "times": 2},
)
"""Faults that a run lives through: another try cures them, and what was done before its answer was lost counts once."""

ALWAYS = {"times": 10_000}

FAILURES = (
    Failure("register", ({"of_aws": True, "operation": "PutObject", "error": "SlowDown", **ALWAYS},), "SlowDown"),
    Failure(
        "build_staging",
        ({"operation": "StartQueryExecution", "error": "ExpiredTokenException", "message": "expired", **ALWAYS},),
        "expired",
    ),
    Failure(
        "build_marts",
        ({"statement": rf'merge into \S*"{DATABASE}_core"\."dim_devices"', "error": "GENERIC_INTERNAL_ERROR"},),
        "dim_devices failed",
    ),
    Failure("build_marts", ({"operation": "GetQueryExecution", "error": "AccessDeniedException", **ALWAYS},), "Access"),
    Failure(
        "validate_marts",
        ({"operation": "StartQueryExecution", "error": "ThrottlingException", **ALWAYS},),
        "Rate exceeded",
    ),
    Failure(
        "publish",
        ({"statement": r"(?i)create or replace view", "error": "QUERY_STOPPED", "message": "by hand", "times": 2},),
        "by hand",
    ),
)

Point = tuple[str, Kill] | Failure


def _points() -> tuple[Point, ...]:
    writes = (
        (step, Kill(statement=rf'{verb} \S*"{DATABASE}_{schema}"\."{table}"')) for step, verb, schema, table in WRITES
    )
    return (*writes, *FUNCTIONS, *CALLS, *FAILURES)


POINTS = _points()


def needs_overtaken(point: Point) -> bool:
    """Whether a point is only reached by the first run over a stage."""
    return not isinstance(point, Failure) and point[1].target in NEEDS_OVERTAKEN


class KillStage:
    """A lake on which one kill is played after the other."""

    def __init__(self, local: LocalAthena, folder: Path, name: str) -> None:
        """Run the first hour, and have objects of it overwritten; nothing more is needed for any of the kills."""
        self.stage = Stage(local, folder, make_world(SEED), name)
        world = self.stage.world
        self.hour = world.window(3, 4)
        self.stage.put(item.earlier or item for item in world.objects)
        self.stage.run(world.window(2, 3))
        self.stage.put(world.objects)

    @functools.cached_property
    def expected(self) -> Mapping[str, Table]:
        return self.stage.clean(self.stage.world.window(2, 4))

    def play(self, *points: Point) -> None:
        """Kill a run at each of the points, or have it fail, look as a reader, run once more undisturbed, and compare.

        Raises:
            StageError: a point was not reached in its step, or readers saw what was not published.
            Difference: the last run left other rows than the clean one.
        """
        for each in points:
            before = self.stage.shown()
            if isinstance(each, Failure):
                self.stage.fail(self.hour, each)
                continue
            step, point = each
            kill = replace(point, statement=point.statement.replace(DATABASE, self.stage.athena.database))
            if kill.statement:
                self.stage.slow(kill.statement, LATE_SECONDS)
            killed = self.stage.kill(self.hour, kill, step)
            if killed.step != "publish" and killed.was_killed and self.stage.shown() != before:
                raise StageError(f"{kill}: readers saw another state than the published one")
        self.stage.run(self.hour)
        assert_same_tables(self.expected, self.stage.tables())
