"""`make nightly`: random histories and kills, each compared with one clean run over the same objects.

    make nightly                   100 histories, half of them with a killed run, and every kill on purpose
    make nightly SEED=7 SHARE=0.1  a tenth of it, from a seed of one's own (else the day is the seed)
    make nightly ONLY=7-23         one pair of histories again; ONLY=kill-12 one kill on purpose

Each line names what to give ONLY. Ends with 1 at the first that fails, says what to type, and keeps its folder.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from tests.histories.history import History, clean_run, plan
from tests.histories.lakes import assert_same_contents, contents
from tests.histories.points import HELD, POINTS, Stage
from tests.histories.shared_dbt import shared_dbt
from tests.histories.world import make_world

WORLDS = 50
"""Sets of objects. Two histories of each are compared with one clean run: one undisturbed, one with a killed run."""

KILL = "kill-"


@dataclass(frozen=True)
class Outcome:
    """What came of one piece of work. `problem`: why it failed, with the folder that shows it; None when it is well."""

    name: str
    histories: int
    kills: int
    seconds: float
    told: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Bench:
    """Where a process works: always the same folder, so that dbt's parsed project can be shared."""

    folder: Path
    catalog: str | None

    def fresh(self, name: str) -> Path:
        """An empty folder; the one of that name before is gone."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    @cache  # noqa: B019 - lives as long as its process
    def stage(self) -> Stage:
        return Stage(self.fresh("kills"), catalog=self.catalog)


bench: Bench
resources = ExitStack()


def start_process(folder: str, catalog: str | None) -> None:
    """What every process does once: a folder of its own, and a dbt that is imported once."""
    global bench  # noqa: PLW0603 - a process has one bench
    logging.disable(logging.WARNING)
    mine = Path(folder) / str(os.getpid())
    mine.mkdir()
    # The path of a socket has to be short.
    resources.enter_context(shared_dbt(Path(resources.enter_context(tempfile.TemporaryDirectory()))))
    bench = Bench(mine, catalog)


def work(name: str) -> Outcome:
    """Run one piece of work in this process; what goes wrong is part of the outcome."""
    started, told, problem, counts = time.monotonic(), [], None, (0, 0)
    try:
        play = play_kill if name.startswith(KILL) else play_world
        counts = play(name.removeprefix(KILL), told.append)
    except Exception:
        problem = f"{traceback.format_exc()}\nits folder: {bench.folder}"
    return Outcome(name, *counts, time.monotonic() - started, tuple(told), problem)


def play_world(seed: str, say: Callable[[str], None]) -> tuple[int, int]:
    """Two histories over the objects of a seed; how many histories and kills there were."""
    world = make_world(seed)
    say(f"{len(world.objects)} objects, {world.kind}, {world.whole}")
    expected = contents(clean_run(world, bench.fresh("lake"), catalog=bench.catalog))
    kills = 0
    for number, kill in enumerate((False, True)):
        history = History(world, bench.fresh("lake"), catalog=bench.catalog, say=say)
        history.go(plan(f"{seed} {number}", world, kill=kill))
        history.close(f"{seed} {number}")
        assert_same_contents(expected, contents(history.settings))
        kills += history.kills
    return 2, kills


def play_kill(number: str, say: Callable[[str], None]) -> tuple[int, int]:
    """One of the kills on purpose."""
    step, kill, is_held = KILLS[int(number)]
    say(f"{step}, {kill}")
    bench.stage().play(step, kill, strict=is_held)
    return 0, 1


KILLS = [(step, kill, False) for step, kill in POINTS] + [("validate_staging", kill, True) for kill in HELD]


def pieces(seed: int, share: float) -> list[str]:
    """Everything to do, or an even share of it that depends on the seed."""
    worlds = [f"{seed}-{number}" for number in range(max(1, round(WORLDS * share)))]
    chosen = sorted({int((seed + index / share) % len(KILLS)) for index in range(max(1, round(len(KILLS) * share)))})
    return worlds + [f"{KILL}{number}" for number in chosen]


def run(names: Sequence[str], jobs: int, folder: Path, catalog: str | None) -> Iterator[Outcome]:
    with ProcessPoolExecutor(jobs, initializer=start_process, initargs=(str(folder), catalog)) as pool:
        futures = [pool.submit(work, name) for name in names]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make nightly")
    parser.add_argument("--seed", type=int, default=int(f"{datetime.now(UTC):%Y%m%d}"))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--catalog", default=None, help="a catalogue other than SQLite, as in flowlake.yaml")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else pieces(given.seed, given.share)
    folder = Path(tempfile.mkdtemp(prefix="flowlake-nightly-"))
    say = lambda line: print(line, flush=True)  # noqa: E731, T201 - its output is what it is for
    say(f"SEED={given.seed} SHARE={given.share:g}: {len(names)} pieces of work, {given.jobs} at a time")
    started, done, histories, kills = time.monotonic(), 0, 0, 0
    for outcome in run(names, given.jobs, folder, given.catalog):
        done, histories, kills = done + 1, histories + outcome.histories, kills + outcome.kills
        say(f"[{done}/{len(names)}] {outcome.name}: {outcome.told[0]} ({outcome.seconds:.0f} s)")
        if outcome.problem:
            again = f"make nightly ONLY={outcome.name}"
            say("\n".join([*(f"  {line}" for line in outcome.told), outcome.problem, f"to see it again: {again}"]))
            return 1
    shutil.rmtree(folder)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in usage)
    say(f"{histories} histories, {kills} kills: all as clean runs leave them, in {time.monotonic() - started:.0f} s")
    say(f"({cpu:.0f} s of CPU)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
