"""A history: what happens to a lake between its first object and the end, and whether it ends as one clean run does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from flowlake.lake.duck import lake_exists
from flowlake.lake.maintain import maintain
from flowlake.lake.publish import HoursBlock
from flowlake.lake.windows import Window, format_hour
from flowlake.settings import Settings
from flowlake.steps import GateFailed, RunContext, run_window
from histories.killing import Kill, run_and_kill
from histories.lakes import published_state, write_settings
from histories.world import LogObject, World

SECONDS = {
    "register": 0.5,
    "build_staging": 2.5,
    "validate_staging": 5.0,
    "build_marts": 6.5,
    "validate_marts": 4.0,
    "publish": 1.0,
}
"""About how long a step takes in a process of its own, with the dbt of `shared_dbt`. A random kill falls within that
time, or into the next step."""

Say = Callable[[str], None]

NewCatalog = Callable[[], str | None]
"""Makes an empty catalogue, and gives its URL; None stands for SQLite, which makes its own."""


class HistoryError(Exception):
    """A history went another way than it should."""


@dataclass(frozen=True)
class Arrive:
    """Objects are put into place. One that stands there in another form is overwritten."""

    objects: tuple[LogObject, ...]

    def __str__(self) -> str:
        return f"{len(self.objects)} objects arrive"


@dataclass(frozen=True)
class Run:
    """A window is run. `strict`: no malformed line is allowed, so that the staging gate may hold the hours back."""

    window: Window
    strict: bool = False
    kill: Kill | None = None

    def __str__(self) -> str:
        return f"run {self.window}{' with a strict gate' if self.strict else ''}{f', {self.kill}' if self.kill else ''}"


@dataclass(frozen=True)
class Maintain:
    """The lake is maintained, as if days had passed: versions expire, files that nothing needs are removed."""

    days: int

    def __str__(self) -> str:
        return f"maintain, {self.days} days later"


Event = Arrive | Run | Maintain


def plan(seed: str, world: World, *, kill: bool) -> list[Event]:
    """A random history over a world, with one killed run or none; `History.close` adds the runs that it still needs."""
    chance = random.Random(f"history {seed}")  # noqa: S311 - a seed, not a secret
    objects = list(world.objects)
    chance.shuffle(objects)
    first_ones = chance.randrange(len(objects)) + 1 if chance.random() < 0.5 else len(objects)
    first = [item.earlier or item for item in objects[:first_ones]]
    later = [item for index, item in enumerate(objects) if index >= first_ones or item.earlier]
    chance.shuffle(later)

    runs = [Run(window) for window in _cut(chance, world)]
    if chance.random() < 0.5:
        runs.insert(chance.randint(0, len(runs)), Run(_any_window(chance, world)))
    if chance.random() < 0.25:
        place = chance.randrange(len(runs))
        runs[place] = replace(runs[place], strict=True)
    if kill:
        place = chance.randrange(len(runs))
        window = chance.choice([runs[place].window, _any_window(chance, world)])
        runs.insert(place + chance.randrange(2), Run(window, kill=_random_kill(chance)))
    events: list[Event] = [*runs]
    for part in _parts(chance, later):
        events.insert(chance.randint(1, len(events)), Arrive(tuple(part)))
    if chance.random() < 0.5:
        events.insert(chance.randint(1, len(events)), Maintain(chance.choice([0, 2, 9])))
    return [Arrive(tuple(first)), *events]


def _cut(chance: random.Random, world: World) -> list[Window]:
    """All hours, in one to three windows, in any order."""
    inner = range(1, len(world.hours))
    cuts = sorted(chance.sample(inner, min(len(inner), chance.choice([0, 1, 1, 2]))))
    windows = [world.window(*bounds) for bounds in pairwise([0, *cuts, len(world.hours)])]
    chance.shuffle(windows)
    return windows


def _any_window(chance: random.Random, world: World) -> Window:
    first = chance.randrange(len(world.hours))
    return world.window(first, chance.randint(first + 1, len(world.hours)))


def _random_kill(chance: random.Random) -> Kill:
    step = chance.choice(list(SECONDS))
    return Kill(step=step, seconds=round(chance.uniform(0, SECONDS[step]), 2), group=chance.random() < 0.6)


def _parts(chance: random.Random, objects: list[LogObject]) -> Iterator[list[LogObject]]:
    middle = chance.randint(0, len(objects))
    yield from (part for part in (objects[:middle], objects[middle:]) if part)


class History:
    """A lake that goes through events, and remembers which of its hours are to be run (again) before the end."""

    def __init__(self, world: World, folder: Path, catalog: str | None = None, say: Say = lambda line: None) -> None:
        self.world, self.say = world, say
        self.logs = folder / "logs"
        self.settings = write_settings(folder, self.logs, world.settings, catalog)
        self.due = set(world.whole.hours)
        self.kills = 0

    def go(self, events: Sequence[Event]) -> None:
        for event in events:
            self.say(str(event))
            if isinstance(event, Arrive):
                self._arrive(event)
            elif isinstance(event, Maintain):
                self._maintain(event.days)
            elif event.kill:
                self._run_and_kill(event.window, event.kill)
            else:
                self._run(event.window, strict=event.strict)

    def close(self, seed: str) -> None:
        """Run the hours that are due, in any order, each with all between it and the last one or with all hours."""
        chance = random.Random(f"close {seed}")  # noqa: S311 - a seed, not a secret
        while self.due:
            hours = [index for index, hour in enumerate(self.world.whole.hours) if hour in self.due]
            first, last = sorted((chance.choice([hours[0], hours[-1]]), chance.choice(hours)))
            window = self.world.window(first, last + 1)
            self.say(f"at last run {window}")
            self._run(window)

    def _arrive(self, event: Arrive) -> None:
        for item in event.objects:
            item.write(self.logs)
            # The hour in which an overwritten object came before is for the pipeline to find.
            self.due.add(_hour(item))

    def _maintain(self, days: int) -> None:
        if lake_exists(self.settings):
            maintain(self.settings, now=datetime.now(UTC) + timedelta(days=days))

    def _run(self, window: Window, *, strict: bool = False) -> None:
        gates = replace(self.settings.gates, max_malformed_share=0.0, warn_malformed_share=0.0)
        settings = replace(self.settings, gates=gates) if strict else self.settings
        try:
            run_window(RunContext(settings, window, "history"))
        except GateFailed as error:
            if not strict or "staging gate" not in str(error):
                raise
            self.say(f"held back: {error}")
            self.due |= set(window.hours)
        except HoursBlock as error:
            self.due -= set(window.hours)
            if not {hour for hour, _, _ in error.hours} <= self.due:
                raise
            self.say("not published before the hours of the killed run have run again")
        else:
            self.due -= set(window.hours)

    def _run_and_kill(self, window: Window, kill: Kill) -> None:
        before = published_state(self.settings)
        killed = run_and_kill(self.settings, window, kill)
        if not killed.was_killed and killed.code != 0:
            raise HistoryError(f"the run that was to be killed failed by itself: {killed.output[-2000:]}")
        self.kills += killed.was_killed
        self.say(f"killed in {killed.step}" if killed.was_killed else "it ended before it was killed")
        if killed.step != "publish" and published_state(self.settings) != before:
            raise HistoryError(f"readers saw a run that was killed in {killed.step}")
        self.due |= set(window.hours)


def _hour(item: LogObject) -> str:
    return format_hour(datetime.fromtimestamp(item.arrived, UTC))


def clean_run(world: World, folder: Path, catalog: str | None = None) -> Settings:
    """One run over all that there is in the end, into an empty lake."""
    history = History(world, folder, catalog)
    history.go([Arrive(world.objects), Run(world.whole)])
    return history.settings
