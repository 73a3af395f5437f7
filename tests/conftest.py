"""What tests of several folders share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local_athena.parts import MissingPartError, installation
from local_athena.server import LocalAthena, local_athena
from postgres import Postgres, find_binaries, start_postgres

ATHENA = "athena"
"""Tests that need the local Athena run in one process, so that it is started once and warms up once."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, for they share the servers that they start; those on Athena likewise."""
    # Whoever asks for the fixture by itself, as it runs, says so by the mark.
    marked = {item.path for item in items if any(ATHENA in mark.args for mark in item.iter_markers("xdist_group"))}
    on_athena = marked | {item.path for item in items if ATHENA in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(ATHENA if item.path in on_athena else item.nodeid.partition("::")[0]))


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
