"""A real PostgreSQL for tests: the machine's own binaries, a cluster of its own, gone when the block ends.

Passwords are asked for (scram), as a team's server asks: a test that forgets PGPASSWORD fails.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

PASSWORD = "a password of tests"  # noqa: S105 - of a server that lives as long as a test
START_SECONDS = 60.0


@dataclass(frozen=True)
class Postgres:
    """A running server, and the one user that it has: a superuser."""

    host: str
    port: int
    user: str
    password: str
    binaries: Path

    @property
    def environment(self) -> dict[str, str]:
        """What libpq reads by itself; with it, a URL needs no password."""
        return {"PGPASSWORD": self.password}

    def url(self, database: str) -> str:
        """The address of a database, without the password."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        self.rows(f'create database "{name}"')
        return self.url(name)

    def rows(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement answers, outside of a transaction."""
        connection = psycopg2.connect(self.url(database), password=self.password)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def find_binaries() -> Path:
    """Where `initdb` and `postgres` are: on the PATH, else the newest that Debian keeps aside."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise FileNotFoundError("there is no PostgreSQL server: install it (Debian: apt-get install postgresql)")
    return versions[-1].parent


@contextlib.contextmanager
def start_postgres(folder: Path, user: str = "flowlake") -> Iterator[Postgres]:
    """Start a server for the length of a `with` block; its log is `folder/postgres.log`, `user` its superuser.

    Its data lie in a folder below the system's own for temporary files: it refuses root, and other users cannot look
    into pytest's folders.
    """
    binaries = find_binaries()
    identity = _unprivileged()
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="flowlake-postgres-"))
    try:
        secret = data / "password"
        secret.write_text(PASSWORD)
        if identity:
            for path in (data, secret):
                os.chown(path, identity["user"], identity["group"])
        cluster = data / "cluster"
        with (folder / "postgres.log").open("ab") as log:
            options: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT, "cwd": data, **identity}
            initialise = ["-A", "scram-sha-256", "-U", user, "--pwfile", secret, "-E", "UTF8", "--no-sync"]
            subprocess.run([binaries / "initdb", "-D", cluster, *initialise], check=True, **options)
            port = _free_port()
            # Nothing here has to survive a power cut.
            settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": data, "fsync": "off"}
            arguments = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
            process = subprocess.Popen([binaries / "postgres", "-D", cluster, *arguments], **options)
        try:
            server = Postgres("127.0.0.1", port, user, PASSWORD, binaries)
            _wait(server, process, folder)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nobody needs what it would still write
            process.wait(timeout=30)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _unprivileged() -> dict[str, Any]:
    """Whom to be in root's place, as `subprocess` wants it; empty for everybody else."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise LookupError("PostgreSQL refuses root, and there is neither a user postgres nor nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: Postgres, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.rows("select 1")
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "postgres.log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL did not start: {log[-2000:]}") from None
            time.sleep(0.05)
        else:
            return
