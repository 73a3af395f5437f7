"""What tests of several folders share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest

from local_athena.parts import MissingPartError, installation
from local_athena.server import LocalAthena, local_athena
from postgres import Postgres, find_binaries, start_postgres

ON_ATHENA = ("athena", "tests/deploy/", "tests/dialect/", "tests/parity/")
"""What is in the paths of tests that need the local Athena: they run in one process, where it is started once."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, for they share the servers that they start; those on Athena likewise."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "athena" if any(part in path for part in ON_ATHENA) else path

    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: looking for garbage passes it by."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real PostgreSQL, started for the first test that wants one; each test makes its own databases in it."""
    try:
        find_binaries()
    except FileNotFoundError as error:
        # CI must not be green over what it did not try.
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with start_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def athena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAthena]:
    """An Athena on this machine, started for the first test that wants one; each test makes its own databases in it."""
    try:
        installation()
    except MissingPartError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with local_athena(tmp_path_factory.mktemp("athena")) as local:
        yield local
