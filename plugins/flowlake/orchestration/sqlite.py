"""Connection arguments that make SQLite bear a whole local Airflow.

Airflow refuses to create a backfill while the scheduler writes ("Database is locked. Backfill creation is not supported
on SQLite under concurrent access"). The reason: a savepoint opens a transaction that has only read so far, and when it
wants to write, and someone else wrote in between, SQLite fails it at once, without waiting. A transaction that asks for
the write lock when it begins waits for its turn instead, which is all that is needed. Used by the local Airflow alone
(`AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS`); a server's metadata belongs into PostgreSQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

TIMEOUT_SECONDS = 60.0
"""How long a writer waits for its turn."""


class PatientCursor(sqlite3.Cursor):
    """A cursor whose savepoints begin with the write lock."""

    def execute(self, sql: str, parameters: Any = (), /) -> PatientCursor:
        """As sqlite3's, after `begin immediate` where a savepoint would open a transaction."""
        if sql.startswith("SAVEPOINT") and not self.connection.in_transaction:
            super().execute("BEGIN IMMEDIATE")
        super().execute(sql, parameters)
        return self


class PatientConnection(sqlite3.Connection):
    """A connection that hands out patient cursors."""

    def cursor(self, factory: Any = PatientCursor) -> Any:
        """As sqlite3's."""
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As sqlite3's."""
        cursor: PatientCursor = self.cursor()
        return cursor.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """As sqlite3's."""
        cursor: PatientCursor = self.cursor()
        cursor.executemany(sql, parameters)
        return cursor


CONNECT_ARGS: dict[str, Any] = {
    "timeout": TIMEOUT_SECONDS,
    "isolation_level": "IMMEDIATE",
    "factory": PatientConnection,
}
"""What Airflow passes on to `sqlite3.connect`."""
