"""A lake on the local Athena."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowlake.lake.athena import AthenaLake
from flowlake.settings import AthenaSettings, LakeSettings, Settings, Target
from local_athena.queries import Database
from local_athena.server import LocalAthena

numbers = itertools.count()


@pytest.fixture
def surroundings(athena: LocalAthena, monkeypatch: pytest.MonkeyPatch) -> LocalAthena:
    """The local Athena, where flowlake and dbt look for the real one."""
    for name, value in athena.environment.items():
        monkeypatch.setenv(name, value)
    return athena


@pytest.fixture
def settings(surroundings: LocalAthena, tmp_path: Path) -> Settings:
    """An empty lake's settings."""
    name = f"lake_{next(numbers)}"
    location = f"s3://{surroundings.bucket}/{name}"
    return Settings(
        sources=(),
        lake=LakeSettings(tmp_path),
        target=Target.ATHENA,
        athena=AthenaSettings(location, name, surroundings.work_group),
    )


@pytest.fixture
def core(surroundings: LocalAthena, settings: Settings) -> Iterator[Database]:
    """The database `core` of that lake, with a table `t` of one column and no rows."""
    assert settings.athena is not None
    database = Database(surroundings, settings.athena.schema("core"))
    AthenaLake(settings).ensure_databases(["core", "ops"])
    database.create_table("t", "select 1 as x where false")
    yield database
    surroundings.clear_faults()
