"""Objects that come an hour, three days and forty days late: found, counted, and told to who had seen the hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from flowlake.lake.register import list_window
from flowlake.steps import run_step

LINES = 3
"""Each object names so many peers, so that nothing has to be learnt of its interface later."""

FIRST = "2026-09-01T12"
LATE = {
    "2026-09-01T13": (5,),
    "2026-09-04T12": (7, 2),
    "2026-10-11T12": (11,),
}
"""The arrival hours of objects with records of the first hour: the packets of their conversations."""


def test_each_restates_the_hour_by_what_it_brings_and_leaves_what_one_clean_run_leaves(
    tmp_path: Path, logs: Any, make_lake: Callable[..., Any]
) -> None:
    source = {"name": "logs", "uri": str(logs.root)}
    lake = make_lake(tmp_path / "hourly", logs.root, sources=[{**source, "lookback_days": 40}])
    default = make_lake(tmp_path / "default", logs.root).settings
    seen = (3,)
    logs.put("fl-1", f"{FIRST}:05", arrived=f"{FIRST}:10", packets=seen, lines=LINES)
    *_, publish = lake.run(FIRST, after(FIRST))
    assert publish.restated == ()

    expected = []
    for number, (arrival, packets) in enumerate(LATE.items(), start=1):
        logs.put("fl-1", f"{FIRST}:{5 + number:02}", arrived=f"{arrival}:20", packets=packets, lines=LINES)
        logs.put("fl-1", f"{arrival}:05", arrived=f"{arrival}:10", lines=LINES)
        window = lake.context(arrival, after(arrival)).window
        assert len(list_window(lake.settings, window)[0]) == 2
        assert len(list_window(default, window)[0]) == (2 if number == 1 else 1), "older folders are not listed"
        *_, publish = lake.run(arrival, after(arrival))
        before = [sum(numbers) for numbers in zip(*map(numbers_of, seen), strict=True)]
        change = [sum(numbers) for numbers in zip(*map(numbers_of, packets), strict=True)]
        expected.append(("fct_edges", hour(FIRST), "late", "test", arrival, after(arrival), *before, *change))
        assert [tuple(vars(one).values()) for one in publish.restated] == expected[-1:]
        seen += packets
    run_step("publish", lake.context(arrival, after(arrival)))
    ledger = "select * exclude (published_at, version) from lake.ops.restatements order by version"
    assert lake.rows(ledger) == expected
    shown = "select sum(flows), sum(packets), sum(bytes) from flowlake.fct_edges where is_counted and event_hour = ?"
    assert lake.rows(shown, [hour(FIRST)]) == [tuple(b + c for b, c in zip(before, change, strict=True))]

    clean = make_lake(tmp_path / "clean", logs.root)
    clean.build(FIRST, after(arrival))
    in_marts = "schema_name in ('core', 'marts')"
    tables = lake.rows(f"select schema_name || '.' || table_name from duckdb_tables() where {in_marts}")
    assert len(tables) > 10
    for (table,) in tables:
        assert lake.rows(f"from lake.{table} order by all") == clean.rows(f"from lake.{table} order by all"), table


def numbers_of(packets: int) -> tuple[int, int, int]:
    """Flows, packets and bytes of an object's conversations of so many packets, with each of its peers."""
    return LINES, LINES * packets, LINES * packets * 100


def hour(text: str) -> datetime:
    """An event hour as the tables hold it."""
    return datetime.fromisoformat(f"{text}:00")


def after(text: str) -> str:
    """The hour that follows one of these."""
    return f"{text[:-2]}{int(text[-2:]) + 1}"
