"""Who may write to the lake at the same time (docs/adr/0011-postgresql-catalogue.md).

On the SQLite catalogue there is one writer at a time, whatever it writes: a file lock. On PostgreSQL runs of different
arrival hours go side by side: advisory locks of the catalogue's own database, so that they hold for every machine.
Either lock is given back by the kernel or by the server when its last holder is gone: a killed run leaves nothing
behind. Child processes inherit it, and hold it with their parent and after it: nobody writes beside a dbt that outlived
its killed run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.duck import postgres, require_own_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlake.lake.windows import Window
    from flowlake.settings import Settings

log = logging.getLogger(__name__)

_IN_QUEUE_SECONDS = 20.0
"""How long a waiting run stays in PostgreSQL's queue, deaf to a signal, before it looks up."""

_APPLICATION_NAME_BYTES = 63
"""PostgreSQL cuts an application name here (NAMEDATALEN)."""


class LockError(FlowlakeError):
    """Another run held the lake for longer than this one was willing to wait, or the lock was lost."""


class Scope(Enum):
    """What a writer needs for itself. On SQLite it is always the whole lake."""

    STAGING = auto()
    """The window's arrival hours; other hours may be written meanwhile."""
    MARTS = auto()
    """The window's arrival hours and the marts, which all hours share."""
    LAKE = auto()
    """Everything: maintenance."""


class RunLock:
    """A lock that is held. This one is the SQLite catalogue's, which leaves nothing more to take."""

    @contextmanager
    def marts(self) -> Iterator[None]:
        """Hold the marts as well."""
        yield

    @contextmanager
    def hours(self, window: Window) -> Iterator[None]:
        """Hold more arrival hours, none of which may lie after those that are held."""
        yield

    def check(self) -> None:
        """Raise LockError when the lock was lost."""


@contextmanager
def run_lock(
    settings: Settings, purpose: str, *, scope: Scope, window: Window | None = None, poll: float = 0.5
) -> Iterator[RunLock]:
    """Hold the lake, or a part of it, for writing; wait for whoever holds it, and say for whom. Not re-entrant.

    `window` is needed for every scope but LAKE. `purpose` is what those who wait are told; `poll` (seconds) is how
    often a waiting run looks whether it may go on, or was told to end.

    Raises:
        LockError: after `lake.wait_minutes`, or when the connection that held the lock was lost.
        LakeError: the PostgreSQL catalogue cannot be reached, or the lake began with one of the other kind.
    """
    require_own_catalog(settings)
    waiting = _Waiting(settings, poll)
    if settings.lake.catalog is None:
        with _file_lock(settings, purpose, waiting):
            yield RunLock()
        return
    with _session(settings, purpose, waiting) as lock:
        lock.take("lake", shared=scope is not Scope.LAKE)
        if scope is not Scope.LAKE:
            if window is None:
                raise ValueError("a window is needed to lock a part of the lake")
            lock.take_hours(window)
        if scope is Scope.MARTS:
            lock.take("marts")
        yield lock
        lock.check()


@contextmanager
def build_lock(settings: Settings, purpose: str, *, alone: bool) -> Iterator[None]:
    """Build tables beside others who do, or alone, below a `run_lock`.

    Two runs that replace rows of one table overtake each other's commits, and the longer one would do so for ever.
    On SQLite a run is alone anyhow.

    Raises:
        LockError: after `lake.wait_minutes`, or when the connection that held the lock was lost.
    """
    if settings.lake.catalog is None:
        yield
        return
    with _session(settings, purpose, _Waiting(settings, 0.5)) as lock:
        lock.take("builds", shared=not alone)
        yield


@contextmanager
def _session(settings: Settings, purpose: str, waiting: _Waiting) -> Iterator[_AdvisoryLock]:
    holder = f"{os.getpid()}@{socket.gethostname().split('.')[0][:16]} {purpose}"
    with postgres(settings, holder[:_APPLICATION_NAME_BYTES]) as connection:
        # dbt inherits the socket (flowlake.dbt); the server keeps the session, and its locks, until the last one ends.
        os.set_inheritable(connection.fileno(), True)
        yield _AdvisoryLock(connection, waiting)


class _Waiting:
    """One run's patience, and what it says while it waits."""

    def __init__(self, settings: Settings, poll: float) -> None:
        self.place = settings.lake.path
        self.poll = poll
        self.minutes = settings.lake.wait_minutes
        self.told = False
        self.deadline = 0.0

    def begin(self) -> None:
        """Start the clock for one lock."""
        self.deadline = time.monotonic() + self.minutes * 60
        self.told = False

    def tell(self, holder: str) -> None:
        """Say once for whom; LockError when patience is at its end."""
        if time.monotonic() >= self.deadline:
            raise LockError(
                f"the lake {self.place} is being written by {holder}; gave up after {self.minutes:g} min "
                "(lake.wait_minutes). Run again when it has ended, or stop it."
            )
        if not self.told:
            log.warning("waiting for %s to release the lake %s", holder, self.place)
            self.told = True


class _AdvisoryLock(RunLock):
    """Session-level advisory locks of PostgreSQL.

    Everyone takes them in one order, so that no two runs wait for each other: the lake, the hours from the latest to
    the earliest (a run that finds that it needs earlier hours as well goes on in that order), the marts, the builds.
    """

    def __init__(self, connection: Any, waiting: _Waiting) -> None:
        self._connection, self._waiting = connection, waiting
        self._hours: set[str] = set()
        # A machine that lost its power cannot say that it is gone; its locks go after two minutes, not after two hours.
        self._execute("set tcp_keepalives_idle = 60")
        self._execute("set tcp_keepalives_interval = 10")
        self._execute("set tcp_keepalives_count = 6")

    @contextmanager
    def marts(self) -> Iterator[None]:
        self.take("marts")
        yield
        self._execute("select pg_advisory_unlock(%s)", [_key("marts")])

    @contextmanager
    def hours(self, window: Window) -> Iterator[None]:
        before = set(self._hours)
        self.take_hours(window)
        yield
        for hour in self._hours - before:
            self._execute("select pg_advisory_unlock(%s)", [_key(hour)])
        self._hours = before

    def check(self) -> None:
        self._execute("select 1")

    def take_hours(self, window: Window) -> None:
        """Take the window's hours that are not held yet."""
        for hour in sorted(set(window.hours) - self._hours, reverse=True):
            self.take(hour)
            self._hours.add(hour)

    def take(self, name: str, *, shared: bool = False) -> None:
        """Take one lock, or raise LockError after the time that the settings give."""
        from psycopg2.errors import LockNotAvailable  # type: ignore[import-untyped] # it ships no types

        self._waiting.begin()
        patience = self._waiting.poll
        function = "pg_advisory_lock_shared" if shared else "pg_advisory_lock"
        while True:
            self._execute("select set_config('lock_timeout', %s, false)", [str(max(1, round(patience * 1000)))])
            try:
                self._execute(f"select {function}(%s)", [_key(name)])
                return
            except LockNotAvailable:
                self._waiting.tell(self._holder(name))
            # Whoever looks up leaves PostgreSQL's queue and comes back at its end: seldom, once it is said for whom.
            patience = max(self._waiting.poll, min(_IN_QUEUE_SECONDS, self._waiting.deadline - time.monotonic()))

    def _holder(self, name: str) -> str:
        unsigned = _key(name) % 2**64
        rows = self._execute(
            "select activity.application_name, activity.backend_start from pg_locks "
            "inner join pg_stat_activity as activity using (pid) "
            "where locktype = 'advisory' and granted and objsubid = 1 and pid <> pg_backend_pid() "
            "and database = (select oid from pg_database where datname = current_database()) "
            "and classid::bigint = %s and objid::bigint = %s order by 2 limit 1",
            [unsigned >> 32, unsigned % 2**32],
        )
        if not rows:
            return "another run"
        text, since = rows[0]
        process, _, purpose = text.partition(" ")
        pid, _, host = process.partition("@")
        started = since.astimezone(UTC).isoformat(timespec="seconds") if since else "?"
        return f"{purpose} (process {pid} on {host}, since {started})" if purpose else text

    def _execute(self, statement: str, parameters: list[Any] | None = None) -> list[Any]:
        import psycopg2  # type: ignore[import-untyped] # it ships no types
        from psycopg2.errors import LockNotAvailable, OutOfMemory

        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
        except LockNotAvailable:
            raise
        except OutOfMemory as error:
            raise LockError(
                "the catalogue's server has no room for a lock for each hour of the window: "
                "run it in smaller windows, or raise its max_locks_per_transaction"
            ) from error
        except psycopg2.Error as error:
            reason = " ".join(str(error).split())
            raise LockError(f"lost the lock of the lake {self._waiting.place}: {reason}; run again") from error


def _key(name: str) -> int:
    """A lock's number. PostgreSQL keeps them apart by database, and a database holds one lake."""
    return int.from_bytes(hashlib.sha256(f"flowlake {name}".encode()).digest()[:8], "big", signed=True)


@contextmanager
def _file_lock(settings: Settings, purpose: str, waiting: _Waiting) -> Iterator[None]:
    settings.lake.path.mkdir(parents=True, exist_ok=True)
    with settings.lake.run_lock.open("a+") as file:
        os.set_inheritable(file.fileno(), True)
        waiting.begin()
        is_new = True
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                text = file.read()
                if text or not is_new:
                    waiting.tell(_describe(text))
                # The holder writes its name right after it took the lock: give it a moment.
                time.sleep(waiting.poll if not is_new else min(waiting.poll, 0.1))
                is_new = False
        file.seek(0)
        file.truncate()
        json.dump(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "purpose": purpose,
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            file,
        )
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()
            fcntl.flock(file, fcntl.LOCK_UN)


def _describe(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"{holder['purpose']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return "another run"
