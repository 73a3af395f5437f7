"""Objects that are overwritten after they were registered count once, in the hour of their last arrival."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowlake.lake.duck import connect
from flowlake.lake.ledger import HourState, StagingState, begun_hours, ensure_ledger, mark_hours, mark_staging
from flowlake.lake.overtaken import OvertakenHour, record, recorded_hours, widened
from flowlake.lake.windows import Window
from flowlake.steps import run_step

HOURS = ("2026-11-20T12", "2026-11-20T13", "2026-11-20T14", "2026-11-20T15")
RECORDED = "select arrival_hour, objects, example from lake.ops.overtaken_hours order by 1"


def test_objects_that_are_overwritten_leave_what_one_clean_run_leaves(
    tmp_path: Path, logs: Any, make_lake: Callable[..., Any], assert_same_tables: Callable[..., None]
) -> None:
    """Between two runs, while a run was killed, and once more."""
    lake = make_lake(tmp_path / "hourly", logs.root)
    for hour in HOURS[:3]:
        logs.put("fl-1", f"{hour}:05", arrived=f"{hour}:10")
    moving = ("fl-2", f"{HOURS[0]}:05")
    moved = str(logs.put(*moving, arrived=f"{HOURS[0]}:10"))
    lake.run(*HOURS[:2])

    logs.put(*moving, arrived=f"{HOURS[1]}:20", packets=(3, 4))
    register, *_, publish = lake.run(*HOURS[1:3])
    assert publish.overtaken == (HOURS[0],)
    (problem,) = register.details["problems"]
    assert problem.startswith(f"1 object of {HOURS[0]} overwritten since, for example {moved}: the hour is run again")
    assert lake.rows(RECORDED) == []
    packets = "select sum(packets) from flowlake.fct_edges"
    assert lake.rows(packets) == [(3 + 3 + 7,)]
    restated = "select why, arrival_from, packets_before, packets_change, flows_change from lake.ops.restatements"
    assert lake.rows(restated) == [("correction", HOURS[0], 3 + 3, 4, 1)]
    states = lake.rows("select arrival_hour, state from lake.ops.windows order by 1")
    assert states == [(HOURS[0], "validated"), (HOURS[1], "validated")]

    logs.put(*moving, arrived=f"{HOURS[2]}:20", packets=(3, 4, 5))
    # A run that is killed behind its first step has left the fact, and raw files that say nothing of it any more.
    run_step("register", lake.context(HOURS[2], HOURS[3]))
    assert lake.rows(RECORDED) == [(HOURS[1], 1, moved)]
    logs.put(*moving, arrived=f"{HOURS[2]}:40", packets=(3, 4, 5, 6))
    lake.build(HOURS[2], HOURS[3])
    assert lake.rows(RECORDED) == []
    assert lake.rows(packets.replace("flowlake", "core")) == [(3 + 3 + 3 + 18,)]

    clean = make_lake(tmp_path / "clean", logs.root)
    clean.build(HOURS[0], HOURS[3])
    assert_same_tables(lake, clean)


def test_a_record_that_nobody_cures_does_not_widen_the_runs_of_later_days(
    tmp_path: Path, make_lake: Callable[..., Any]
) -> None:
    lake = make_lake(tmp_path, tmp_path)
    found_by = Window.parse("2026-11-20T15", "2026-11-20T16")
    record(lake.settings, found_by, [OvertakenHour("2026-11-20T12", 1, "s3://bucket/key")])

    def works_on(start: str, end: str) -> str:
        window = Window.parse(start, end)
        return str(widened(window, recorded_hours(lake.settings, window)))

    assert works_on("2026-11-20T15", "2026-11-20T16") == "2026-11-20T12/2026-11-20T16"
    assert works_on("2026-11-21T16", "2026-11-21T17") == "2026-11-20T12/2026-11-21T17"
    assert works_on("2026-11-21T17", "2026-11-21T18") == "2026-11-21T17/2026-11-21T18"
    assert works_on("2026-11-20T10", "2026-11-20T12") == "2026-11-20T10/2026-11-20T12"
    assert works_on("2026-11-20T10", "2026-11-20T14") == "2026-11-20T10/2026-11-20T14"


def test_a_run_goes_on_with_what_it_staged_when_another_one_cured_the_record(
    tmp_path: Path, make_lake: Callable[..., Any]
) -> None:
    lake = make_lake(tmp_path, tmp_path)
    with connect(lake.settings, read_only=False) as connection:
        late = Window.parse("2026-11-20T16", "2026-11-20T17")
        assert begun_hours(connection, "late", late) == ()
        ensure_ledger(connection)
        # Staged from 12 on, for a record; then another run has cured 12 and 13, and released it.
        mark_staging(connection, Window.parse("2026-11-20T12", "2026-11-20T17"), StagingState.BUILDING, "late")
        early = Window.parse("2026-11-20T12", "2026-11-20T14")
        mark_staging(connection, early, StagingState.PASSED, "early")
        mark_hours(connection, early, HourState.VALIDATED, "early")
        assert begun_hours(connection, "late", late) == ("2026-11-20T14", "2026-11-20T15")
        assert begun_hours(connection, "late", early) == ("2026-11-20T14", "2026-11-20T15", "2026-11-20T16")
        assert begun_hours(connection, "another", late) == ()
