"""The hourly DAG over past hours, through a real scheduler, from start to end.

`run_hours` starts an Airflow of its own, asks it for a backfill, shows what the runs do, and ends it again. It is what
the demo and the integration tests use; on a server the same is `airflow backfill create` or the button in the UI.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from flowlake.errors import FlowlakeError
from flowlake.lake.objects import shown as printable
from flowlake.lake.windows import Window, format_hour, parse_hour
from flowlake.orchestration import local
from flowlake.orchestration.api import AirflowApi, ApiError
from flowlake.orchestration.defaults import HOURLY_DAG
from flowlake.steps import STEPS

DAG_ID = HOURLY_DAG

COMPONENTS = (local.API_SERVER, local.SCHEDULER, local.DAG_PROCESSOR)
"""No triggerer: no task of flowlake defers."""

_LOOKS = 20
"""How often runs that are to end are looked for at most."""

_TRIES = 5
"""How often a backfill is cancelled at most."""

_CALM_LOOKS = 4
"""How many looks in a row must find none, for them to have ended."""

POLL_SECONDS = 0.5
STALL_SECONDS = 3900.0
"""Without any change for longer than a task may take at most, something is wrong with Airflow itself."""

LOG_LINES = 25
_HOUR = timedelta(hours=1)
_ENDED = {"success", "failed", "upstream_failed", "skipped", "removed"}


class HoursFailedError(FlowlakeError):
    """An hour's run failed; the message names the task and ends with the tail of its log."""


@dataclass(frozen=True)
class HourRun:
    """How one hour went: the seconds of its run; `ran` is False when it ran in an earlier call."""

    hour: str
    seconds: float
    ran: bool


def run_hours(
    window: Window,
    *,
    home: Path,
    config: Path,
    progress: Progress | None = None,
    port: int | None = None,
    project: Path = local.PROJECT,
) -> tuple[HourRun, ...]:
    """Run the hourly DAG for every hour of a window, in order, and return how each hour went.

    Hours whose run succeeded before, with the same settings file, are not run again; when that holds for all of them,
    Airflow is not even started. `home` keeps Airflow's state between calls. Raises HoursFailedError when a run fails
    (the hours after it are then ended) and LocalAirflowError when Airflow does not start.
    """
    shown = progress or Progress()
    ledger = _Ledger.read(home, config)
    missing = [hour for hour in window.hours if hour not in ledger.seconds]
    if not missing:
        shown.line(f"All {len(window.hours)} hours of {window} ran before: nothing to do")
        return ledger.results(window, ran=())
    done = len(window.hours) - len(missing)
    if done:
        shown.line(f"{done} of the {len(window.hours)} hours of {window} ran before, {len(missing)} are to be run")
    airflow = local.LocalAirflow(
        home=home.resolve(),
        port=port or local.free_port(),
        config=config,
        parallelism=local.default_parallelism(),
        scheduled=False,
        components=COMPONENTS,
        project=project,
    )
    with local.running(airflow, shown.line) as api:
        local.wait_for_dag(api, DAG_ID)
        for gap in _gaps(missing):
            _backfill(api, gap, ledger, shown, window)
    return ledger.results(window, ran=missing)


class Progress:
    """Where the progress goes: a terminal gets one line that changes, anything else gets plain lines."""

    def __init__(self, write: Callable[[str], None] | None = None, *, live: bool | None = None) -> None:
        """Take the function that writes text without adding a line end; the default is standard error."""
        self._write = write or (lambda text: click.echo(text, nl=False, err=True))
        self._live = sys.stderr.isatty() if live is None else live
        self._width = 0

    def line(self, text: str) -> None:
        """A line that stays."""
        self._write(("\r" + text.ljust(self._width) if self._live and self._width else text) + "\n")
        self._width = 0

    def now(self, text: str) -> None:
        """What is going on at the moment: overwritten by what comes next, and only shown on a terminal."""
        if self._live:
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)


@dataclass
class _Ledger:
    """Which hours succeeded, in how many seconds, kept beside Airflow's metadata; void when the settings changed."""

    path: Path
    fingerprint: str
    seconds: dict[str, float]

    @classmethod
    def read(cls, home: Path, config: Path) -> _Ledger:
        path = home / "hours.json"
        fingerprint = hashlib.sha256(config.read_bytes()).hexdigest()
        try:
            raw = json.loads(path.read_text())
            kept = raw["seconds"] if raw["fingerprint"] == fingerprint and (home / "airflow.db").is_file() else {}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            kept = {}
        return cls(path, fingerprint, {str(hour): float(seconds) for hour, seconds in kept.items()})

    def add(self, hour: str, seconds: float) -> None:
        self.seconds[hour] = seconds
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps({"fingerprint": self.fingerprint, "seconds": self.seconds}))
        temporary.replace(self.path)

    def results(self, window: Window, ran: Collection[str]) -> tuple[HourRun, ...]:
        return tuple(HourRun(hour, self.seconds[hour], hour in ran) for hour in window.hours)


def _gaps(hours: list[str]) -> list[Window]:
    """The hours as windows without holes, ascending: a backfill has no holes."""
    found: list[Window] = []
    for hour in hours:
        start = parse_hour(hour)
        if found and found[-1].end == start:
            found[-1] = Window(found[-1].start, start + _HOUR)
        else:
            found.append(Window(start, start + _HOUR))
    return found


def _backfill(api: AirflowApi, window: Window, ledger: _Ledger, shown: Progress, asked: Window) -> None:
    """Run one window's hours through a backfill and follow it to its end."""
    first, last = window.start, window.end - _HOUR
    _clear_away(api, first, last)
    api.unpause(DAG_ID)
    # `completed`: an hour is asked for only when it has to run; what Airflow remembers may belong to other settings.
    backfill = api.create_backfill(DAG_ID, first, last, reprocess="completed", max_active=1)
    try:
        _follow(api, window, ledger, shown, asked)
    except BaseException:
        # Otherwise the next start of this Airflow would go on with the hours that are left. The next hour's run may
        # have begun by now: cancelling ends only those that wait.
        _cancel(api, backfill)
        _end_runs(api, first, last)
        raise


def _clear_away(api: AirflowApi, first: datetime, last: datetime) -> None:
    """End what a killed call left: one backfill per DAG is allowed, and a run that is under way is not run again."""
    for backfill in api.active_backfills(DAG_ID):
        _cancel(api, backfill)
    _end_runs(api, first, last)


def _cancel(api: AirflowApi, backfill: int) -> None:
    """End a backfill.

    Airflow's server notes each such call in its event loop. While a task's start, which needs the loop to be done with,
    holds SQLite's only lock, both wait until the note gives up; so what failed is tried again.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(ApiError):
            api.cancel_backfill(backfill)
        with contextlib.suppress(ApiError):
            if backfill not in api.active_backfills(DAG_ID):
                return
        time.sleep(POLL_SECONDS)


def _end_runs(api: AirflowApi, first: datetime, last: datetime) -> None:
    """End the runs that wait or are under way, until for some looks in a row none is.

    A scheduler that is just starting a run writes its own state over `failed`, also over that of a cancelled backfill.
    """
    calm = 0
    for _ in range(_LOOKS):
        # What Airflow could not do now (its database may be locked) it is asked for again.
        with contextlib.suppress(ApiError):
            under_way = [run for run in api.runs(DAG_ID, first, last) if run["state"] in ("queued", "running")]
            calm = 0 if under_way else calm + 1
            for run in under_way:
                api.fail_run(DAG_ID, run["dag_run_id"])
        if calm == _CALM_LOOKS:
            return
        time.sleep(POLL_SECONDS)


def _follow(api: AirflowApi, window: Window, ledger: _Ledger, shown: Progress, asked: Window) -> None:
    ended: set[str] = set()
    retried: set[tuple[str, str, int]] = set()
    seen: object = None
    changed = time.monotonic()
    while len(ended) < len(window.hours):
        runs = api.runs(DAG_ID, window.start, window.end - _HOUR)
        for run in runs:
            hour = format_hour(datetime.fromisoformat(run["logical_date"]))
            if hour in ended or run["state"] in (None, "queued"):
                continue
            place = f"[{1 + sum(known in ledger.seconds for known in asked.hours)}/{len(asked.hours)}]"
            tasks = api.task_instances(DAG_ID, run["dag_run_id"])
            waiting = {(hour, t["task_id"], t["try_number"]) for t in tasks if t["state"] == "up_for_retry"}
            for _, name, attempt in sorted(waiting - retried):
                shown.line(f"{place} {hour} {name} failed at its try {attempt}; it is tried again in some minutes")
            retried |= waiting
            if run["state"] == "success":
                ended.add(hour)
                ledger.add(hour, _seconds(run))
                shown.line(f"{place} {hour} done in {_seconds(run):.1f} s ({_task_seconds(tasks)})")
            elif run["state"] == "failed":
                shown.line(f"{place} {hour} failed")
                raise HoursFailedError(_failure(api, hour, run, tasks))
            else:
                shown.now(f"{place} {hour} {_under_way(tasks)}")
                seen, before = [(task["task_id"], task["state"]) for task in tasks], seen
                changed = changed if seen == before else time.monotonic()
        if time.monotonic() - changed > STALL_SECONDS:
            message = f"Airflow has not moved for {STALL_SECONDS:.0f} s: see its logs"
            raise HoursFailedError(message)
        time.sleep(POLL_SECONDS)


def _seconds(item: Mapping[str, Any]) -> float:
    """The time from start to end of a run or a task, in seconds; 0 for one that never started."""
    if not item.get("start_date") or not item.get("end_date"):
        return 0.0
    return (datetime.fromisoformat(item["end_date"]) - datetime.fromisoformat(item["start_date"])).total_seconds()


def _in_order(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = {step.name: index for index, step in enumerate(STEPS)}
    return sorted(tasks, key=lambda task: order.get(task["task_id"], len(order)))


def _task_seconds(tasks: list[dict[str, Any]]) -> str:
    return ", ".join(f"{task['task_id']} {_seconds(task):.1f}" for task in _in_order(tasks))


def _under_way(tasks: list[dict[str, Any]]) -> str:
    """What a running run does: the tasks behind it, and the one it is at."""
    ordered = _in_order(tasks)
    done = sum(task["state"] in _ENDED for task in ordered)
    current = next((task for task in ordered if task["state"] not in _ENDED), None)
    return f"{done}/{len(ordered)} tasks" + (f", {current['task_id']} {current['state'] or 'waits'}" if current else "")


def _failure(api: AirflowApi, hour: str, run: Mapping[str, Any], tasks: list[dict[str, Any]]) -> str:
    """Which task failed and the last lines of its log."""
    failed = next((task for task in _in_order(tasks) if task["state"] == "failed"), None)
    if failed is None:
        return f"The run of {hour} failed without a failed task; its tasks: {_under_way(tasks)}"
    try:
        events = api.log(DAG_ID, run["dag_run_id"], failed["task_id"], failed["try_number"])
    except ApiError as error:
        return f"{failed['task_id']} failed for {hour}, and its log cannot be read: {error}"
    tail = "\n".join(f"  {line}" for line in _log_lines(events)[-LOG_LINES:])
    return f"{failed['task_id']} failed for {hour}. The end of its log:\n{tail}"


def _log_lines(events: list[dict[str, Any]]) -> list[str]:
    """Airflow's structured log as text: the level when it is not the usual one, the event, the error behind it."""
    lines: list[str] = []
    for event in events:
        level = str(event.get("level", "info"))
        text = str(event.get("event", ""))
        if text.startswith("::"):
            continue
        lines += (text if level == "info" else f"{level.upper()} {text}").splitlines()
        for detail in event.get("error_detail") or []:
            lines += f"{detail.get('exc_type', '')}: {detail.get('exc_value', '')}".splitlines()
    # A log holds what any package said, and a terminal would do what control characters ask for.
    return [printable(line) for line in lines]
