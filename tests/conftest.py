"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from postgres import Postgres, start_postgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real PostgreSQL, started for the first test that wants one; each test makes its own databases in it."""
    with start_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server
