"""Kills on purpose: each step, and between any two things that a step writes.

All start from the same lake: its first hour is published; some of its objects were overwritten since, and belong to
the hours that come. The run over those is killed. What readers see must be published; a normal run must then leave what
one clean run over all leaves.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flowlake.sample import SampleSpec
from flowlake.settings import Settings
from flowlake.steps import RunContext, run_window
from histories.history import Arrive, History, HistoryError, NewCatalog, Run, clean_run
from histories.killing import Kill, run_and_kill
from histories.lakes import (
    Contents,
    assert_restatements_add_up,
    assert_same_contents,
    contents,
    published_state,
    write_settings,
)
from histories.world import FIRST_DAY, World, sampled_world

MODELS_STAGING = ("stg_flow_logs__lines", "int_objects__accounted", "int_coverage__delivered")
MODELS_MARTS = (
    "fct_coverage",
    "int_flow_logs__merged",
    "int_hours__touched",
    "int_interfaces__observed",
    "int_addresses__merged",
    "int_edges__partials",
    "int_interfaces__merged",
    "dim_devices",
    "int_hours__restated",
    "fct_interface_hours",
    "fct_edges",
    "rpt_pairs_hourly",
    "rpt_talkers_hourly",
)
"""Those that remember, those that others are computed from, and what follows the edges."""
MODELS = (*MODELS_STAGING, *MODELS_MARTS)


def begins(model: str) -> str:
    """The line in which dbt says that it begins a model."""
    return rf"START sql \w+ model \w+\.{model} "


def ended(model: str) -> str:
    return rf"OK created sql \w+ model \w+\.{model} "


def _points() -> Mapping[str, tuple[Kill, ...]]:
    """By step. What a run calls several times has a count: the second mark of hours is that of the marts' gate."""
    return {
        "register": (
            Kill(target="flowlake.lake.register:register"),
            Kill(target="flowlake.lake.register:record"),
            Kill(target="flowlake.lake.register:record", after=True),
            Kill(target="flowlake.lake.register:_inspect", count=7, after=True),
            Kill(target="flowlake.lake.spool:write_readable_copy"),
            Kill(target="flowlake.lake.register:write_manifests"),
            Kill(target="flowlake.lake.files:Path.replace", count=3),
            Kill(target="flowlake.lake.register:write_objects"),
            Kill(target="flowlake.lake.register:write_objects", after=True),
        ),
        "build_staging": (
            Kill(target="flowlake.lake.ledger:mark_staging"),
            Kill(target="flowlake.dbt:build"),
            Kill(line=begins(MODELS_STAGING[0]), group=False),
            *(Kill(line=ended(model)) for model in MODELS_STAGING),
            Kill(target="flowlake.dbt:build", after=True),
        ),
        "validate_staging": (
            Kill(target="flowlake.quality.great:Evaluation.publish"),
            Kill(target="flowlake.quality.runner:validate", after=True),
            Kill(target="flowlake.lake.ledger:mark_staging", count=2, after=True),
        ),
        "build_marts": (
            Kill(target="flowlake.lake.ledger:mark_hours"),
            Kill(target="flowlake.lake.ledger:mark_hours", after=True),
            Kill(target="flowlake.dbt:build", count=2),
            *(Kill(line=ended(model)) for model in MODELS_MARTS),
            Kill(line=begins("fct_edges")),
            Kill(line=begins("fct_edges"), group=False),
            Kill(target="flowlake.dbt:build", count=2, after=True),
        ),
        "validate_marts": (
            Kill(target="flowlake.quality.runner:validate", count=2, after=True),
            Kill(target="flowlake.lake.restatements:note_restated", after=True),
            Kill(target="flowlake.lake.ledger:mark_hours", count=2, after=True),
            Kill(target="flowlake.lake.ledger:forget_pending_restatements", after=True),
            Kill(target="flowlake.lake.overtaken:advance", count=4, after=True),
        ),
        "publish": (
            Kill(target="flowlake.lake.publish:publish"),
            Kill(target="flowlake.lake.publish:_execute", item=2),
            Kill(target="flowlake.lake.publish:_execute", item=20),
            Kill(target="flowlake.lake.publish:_execute", after=True),
            Kill(target="flowlake.lake.publish:publish", after=True),
        ),
    }


_HELD = (
    Kill(target="flowlake.lake.ledger:mark_staging", count=2),
    Kill(target="flowlake.lake.ledger:mark_staging", count=2, after=True),
)
"""Around the mark that holds hours back, where their staging gate fails."""

Point = tuple[str, Kill, bool]
"""The step that is to be killed, how, and whether its staging gate is to fail."""

POINTS: tuple[Point, ...] = (
    *((step, kill, False) for step, kills in _points().items() for kill in kills),
    *(("validate_staging", kill, True) for kill in _HELD),
)


STRICT = {"gates": {"max_malformed_share": 0.0, "warn_malformed_share": 0.0, "silent_flow_log": "warn"}}


def _with_foreign_bytes(world: World) -> World:
    """The same world, with a line in one object of the later hours for which `register` has to make a readable copy."""
    later = world.hours[1]
    index, item = next(
        (index, item)
        for index, item in enumerate(world.objects)
        if item.hour >= later and item.earlier is None and item.key.endswith(".log.gz") and _is_whole(item.content)
    )
    content = gzip.compress(gzip.decompress(item.content) + b"caf\xe9 \xff\n", mtime=0)
    objects = (*world.objects[:index], replace(item, content=content), *world.objects[index + 1 :])
    return replace(world, objects=objects)


def _is_whole(content: bytes) -> bool:
    try:
        return bool(gzip.decompress(content))
    except (OSError, EOFError, zlib.error):
        return False


class Stage:
    """The lake that every kill starts from, and what it must come to."""

    def __init__(self, folder: Path, new_catalog: NewCatalog = lambda: None) -> None:
        """Make both, by a run each. Only a lake on SQLite can be put back by copying files."""
        self.world = _with_foreign_bytes(
            sampled_world(
                SampleSpec(seed=5, start=FIRST_DAY.replace(hour=22), hours=2, scale=0.003, random_logging=True)
            )
        )
        self.later = self.world.window(1, len(self.world.hours))
        self.folder, self.kept, self.new_catalog = folder / "lake", folder / "kept", new_catalog
        self.expected: Contents = contents(clean_run(self.world, self._empty(), new_catalog()))
        if self._begin().settings.lake.catalog is None:
            shutil.copytree(self.folder, self.kept, symlinks=True)

    def play(self, *points: Point) -> None:
        """Kill a run at each of the points, one after the other, look as a reader, and run once more undisturbed.

        Raises:
            HistoryError: a point was not reached in its step, or readers saw what was not published.
            DifferentLakesError: the last run left other rows than the clean one.
        """
        lenient = self._restore()
        before = published_state(lenient)
        if before[0] is None:
            raise HistoryError("readers have nothing to lose: the first hour was not published")
        for step, kill, is_held in points:
            settings = self._settings(STRICT, lenient.lake.catalog) if is_held else lenient
            killed = run_and_kill(settings, self.later, kill)
            if not killed.was_killed or killed.step != step:
                ended = f"was killed in {killed.step}" if killed.was_killed else f"ended with {killed.code}"
                raise HistoryError(f"{kill}, in {step}: instead the run {ended}: {killed.output[-1500:]}")
            after = published_state(lenient)
            if after != before and not (step == "publish" and kill.after):
                raise HistoryError(f"{kill}: readers saw {after}, published was {before}")
            self._settings(self.world.settings, lenient.lake.catalog)
        run_window(RunContext(lenient, self.later, "after the kill"))
        assert_same_contents(self.expected, contents(lenient))
        assert_restatements_add_up(lenient)

    def _begin(self) -> History:
        history = History(self.world, self._empty(), self.new_catalog())
        first = tuple(item.earlier or item for item in self.world.objects)
        history.go([Arrive(first), Run(self.world.window(0, 1)), Arrive(self.world.objects)])
        return history

    def _empty(self) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        return self.folder

    def _restore(self) -> Settings:
        if not self.kept.exists():
            return self._begin().settings
        shutil.copytree(self.kept, self._empty(), symlinks=True)
        return self._settings(self.world.settings, None)

    def _settings(self, extra: Mapping[str, object], catalog: str | None) -> Settings:
        return write_settings(self.folder, self.folder / "logs", extra, catalog)
