"""`make nightly`: random histories and kills, each compared with one clean run over the same objects; random objects.

    make nightly                   102 histories, a third of them with a killed run; of the kills on purpose every third
                                   one, and every fifteenth on Athena (all of them in three, and in fifteen days);
                                   20,000 objects, each held against its bytes
    make nightly SEED=7 SHARE=0.1  a tenth of it, from a seed of one's own (else the day is the seed)
    make nightly ONLY=7-23         the histories of a world again; ONLY=kill-12 one kill on purpose; athena-3 one on
                                   Athena; objects-3 the objects of a seed

Each line names what to give ONLY. Of one that fails it says what to type, keeps the folder, and ends with 1 when all
others have been played.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import count
from multiprocessing.util import Finalize
from pathlib import Path

from athena.points import POINTS as POINTS_ATHENA
from athena.points import KillStage, needs_overtaken
from athena.stage import Failure
from histories.history import History, clean_run, plan
from histories.lakes import assert_restatements_add_up, assert_same_contents, contents
from histories.points import POINTS, Stage
from histories.world import make_world
from local_athena.parts import MissingPartError, installation
from local_athena.server import LocalAthena, local_athena
from objects.making import make_objects
from objects.proof import prove
from postgres import Postgres, start_postgres
from shared_dbt.start import shared_dbt

WORLDS = 34
"""Sets of objects. Histories of each are compared with one clean run."""

KILLED = (False, True, False)
"""Which of a world's histories have a killed run."""

BATCHES, BATCH = 40, 500
"""Objects that are made, mutated and staged: so many lakes, and so many objects in each."""

KILL = "kill-"
OBJECTS = "objects-"
ATHENA = "athena-"
"""Kills, and failing services, on the local Athena. They come first: it would slow the others down."""

KILL_SHARE, ATHENA_SHARE = 1 / 3, 1 / 15
"""How much of the kills on purpose, here and on Athena: seeds that follow each other, as days do, play the others."""


@dataclass(frozen=True)
class Outcome:
    """What came of one piece of work. `problem`: why it failed, with the folder that shows it; None when it is well."""

    name: str
    histories: int
    kills: int
    objects: int
    seconds: float
    told: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Bench:
    """Where a process works: always the same folder, so that dbt's parsed project can be shared."""

    folder: Path
    server: Postgres | None
    athena: LocalAthena | None
    names: Iterator[int]

    def fresh(self, name: str) -> Path:
        """An empty folder; the one of that name before is gone."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    @cache  # noqa: B019 - lives as long as its process
    def stage(self) -> Stage:
        return Stage(self.fresh("kills"), self.new_catalog)

    @cache  # noqa: B019 - as `stage`
    def stage_on_athena(self) -> KillStage:
        return self.new_stage_on_athena()

    def new_stage_on_athena(self) -> KillStage:
        if self.athena is None:
            raise RuntimeError("there is no local Athena")
        name = f"nightly_{os.getpid()}_{next(self.names)}"
        return KillStage(self.athena, self.fresh(name), name)

    def new_catalog(self) -> str | None:
        """The URL of an empty catalogue on PostgreSQL; None where there is no server, for SQLite."""
        return self.server and self.server.create_database(f"lake_{os.getpid()}_{next(self.names)}")


bench: Bench
resources = ExitStack()


def start_process(folder: str, server: Postgres | None, athena: LocalAthena | None) -> None:
    """What every process does once: a folder of its own, and a dbt that is imported once."""
    global bench  # noqa: PLW0603 - a process has one bench
    logging.disable(logging.WARNING)
    Finalize(None, resources.close, exitpriority=1)
    mine = Path(folder) / str(os.getpid())
    mine.mkdir()
    resources.enter_context(shared_dbt())
    bench = Bench(mine, server, athena, count())


def work(name: str) -> Outcome:
    """Run one piece of work in this process; what goes wrong is part of the outcome."""
    global bench  # noqa: PLW0603 - as above
    started, told, problem, counts = time.monotonic(), [], None, (0, 0, 0)
    try:
        kind = next((kind for kind in PLAYS if kind and name.startswith(kind)), "")
        counts = PLAYS[kind](name.removeprefix(kind), told.append)
    except Exception:
        problem = f"{traceback.format_exc()}\nits folder: {bench.folder}"
        # This one is kept for who looks into it.
        bench = replace(bench, folder=Path(tempfile.mkdtemp(dir=bench.folder.parent)))
    return Outcome(name, *counts, time.monotonic() - started, tuple(told), problem)


Played = tuple[int, int, int]
"""How many histories, kills and objects there were."""


def play_world(seed: str, say: Callable[[str], None]) -> Played:
    """Histories over the objects of a seed."""
    world = make_world(seed)
    say(f"{len(world.objects)} objects, {world.kind}, {world.whole}")
    expected = contents(clean_run(world, bench.fresh("lake"), bench.new_catalog()))
    kills = 0
    for number, kill in enumerate(KILLED):
        history = History(world, bench.fresh("lake"), bench.new_catalog(), say)
        history.go(plan(f"{seed} {number}", world, kill=kill))
        history.close(f"{seed} {number}")
        assert_same_contents(expected, contents(history.settings))
        assert_restatements_add_up(history.settings)
        kills += history.kills
    return len(KILLED), kills, 0


def play_objects(seed: str, say: Callable[[str], None]) -> Played:
    """Objects of any kind, each of which is read whole or not at all."""
    say(f"{BATCH} objects of any kind")
    say(str(prove(make_objects(seed, BATCH), bench.fresh("lake"))))
    return 0, 0, BATCH


def play_kill(number: str, say: Callable[[str], None]) -> Played:
    """One of the kills on purpose."""
    point = POINTS[int(number)]
    say(f"{point[0]}, {point[1]}")
    bench.stage().play(point)
    return 0, 1, 0


def play_kill_on_athena(number: str, say: Callable[[str], None]) -> Played:
    """One of the kills on purpose on Athena."""
    point = POINTS_ATHENA[int(number)]
    what = f"{point[0] or 'any step'}, {point[1]}" if isinstance(point, tuple) else str(point)
    say(f"Athena, {what}")
    stage = bench.new_stage_on_athena() if needs_overtaken(point) else bench.stage_on_athena()
    stage.play(point)
    return 0, int(isinstance(point, tuple)), 0


PLAYS: Mapping[str, Callable[[str, Callable[[str], None]], Played]] = {
    KILL: play_kill,
    OBJECTS: play_objects,
    ATHENA: play_kill_on_athena,
    "": play_world,
}
"""What a piece's name begins with, and how it is played."""


def pieces(seed: int, share: float, *, athena: bool) -> list[str]:
    """Everything to do, or an even share of it that depends on the seed."""
    on_athena = _share(seed, share * ATHENA_SHARE, len(POINTS_ATHENA)) if athena else []
    return [
        *(f"{ATHENA}{number}" for number in on_athena),
        *(f"{seed}-{number}" for number in range(max(1, round(WORLDS * share)))),
        *(f"{KILL}{number}" for number in _share(seed, share * KILL_SHARE, len(POINTS))),
        *(f"{OBJECTS}{seed}-{number}" for number in range(max(1, round(BATCHES * share)))),
    ]


def _share(seed: int, share: float, among: int) -> list[int]:
    return sorted({int((seed + index / share) % among) for index in range(max(1, round(among * share)))})


def has_athena() -> bool:
    """Whether a local Athena can be started here; where it cannot, that is said, and CI fails."""
    try:
        installation()
    except MissingPartError as error:
        if os.environ.get("CI"):
            raise
        say(f"nothing is played on Athena: {error}")
        return False
    return True


def play_all(names: Sequence[str], jobs: int, folder: Path, server: Postgres | None) -> Iterator[Outcome]:
    """Run everything; the local Athena is up for what needs it, and no longer."""
    on_athena = [name for name in names if name.startswith(ATHENA)]
    if on_athena:
        with local_athena(folder) as athena:
            os.environ.update(athena.environment)
            # A service fails for everybody who uses it.
            alone = [name for name in on_athena if isinstance(POINTS_ATHENA[int(name.removeprefix(ATHENA))], Failure)]
            for together, processes in (([name for name in on_athena if name not in alone], jobs), (alone, 1)):
                if together:
                    yield from run(together, processes, folder, server, athena)
        for name in athena.environment:
            del os.environ[name]
    if others := [name for name in names if name not in on_athena]:
        yield from run(others, jobs, folder, server, None)


def run(
    names: Sequence[str], jobs: int, folder: Path, server: Postgres | None, athena: LocalAthena | None
) -> Iterator[Outcome]:
    with ProcessPoolExecutor(jobs, initializer=start_process, initargs=(str(folder), server, athena)) as pool:
        futures = [pool.submit(work, name) for name in names]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> int:
    """Run everything, or what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="make nightly")
    parser.add_argument("--seed", type=int, default=int(f"{datetime.now(UTC):%Y%m%d}"))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--catalog", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    with_athena = given.catalog == "sqlite" and not given.only and has_athena()
    names = given.only.split(",") if given.only else pieces(given.seed, given.share, athena=with_athena)
    folder = Path(tempfile.mkdtemp(prefix="flowlake-nightly-"))
    say(f"SEED={given.seed} SHARE={given.share:g} CATALOG={given.catalog}: {len(names)} pieces of work")
    with ExitStack() as stack:
        server = stack.enter_context(start_postgres(folder)) if given.catalog == "postgresql" else None
        if server:
            os.environ.update(server.environment)
        if not report(play_all(names, given.jobs, folder, server), len(names), given.catalog):
            return 1
    shutil.rmtree(folder)
    return 0


def report(outcomes: Iterator[Outcome], expected: int, catalog: str) -> bool:
    """Say how each piece ended; whether none ended badly."""
    started, histories, kills, objects, failed = time.monotonic(), 0, 0, 0, []
    for number, outcome in enumerate(outcomes, start=1):
        say(f"[{number}/{expected}] {outcome.name}: {outcome.told[0]} ({outcome.seconds:.0f} s)")
        if outcome.problem:
            again = f"make nightly ONLY={outcome.name} CATALOG={catalog}"
            say("\n".join([*(f"  {line}" for line in outcome.told), outcome.problem, f"to see it again: {again}"]))
            failed.append(outcome.name)
            continue
        histories, kills = histories + outcome.histories, kills + outcome.kills
        objects += outcome.objects
    say(f"{histories} histories and {kills} kills as clean runs leave them, in {time.monotonic() - started:.0f} s")
    say(f"{objects} objects read whole or not at all")
    if failed:
        say(f"{len(failed)} of {expected} pieces failed: {','.join(failed)}")
    return not failed


def say(line: str) -> None:
    """Its output is what it is for."""
    print(line, flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    sys.exit(main())
