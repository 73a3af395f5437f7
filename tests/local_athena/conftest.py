"""A database of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from local_athena.queries import Database
from local_athena.server import LocalAthena

numbers = itertools.count()


@pytest.fixture
def database(athena: LocalAthena) -> Iterator[Database]:
    database = Database(athena, f"db_{next(numbers)}")
    athena.client("glue").create_database(DatabaseInput={"Name": database.name})
    yield database
    athena.clear_faults()
