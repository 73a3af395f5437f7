"""Trino: the engine that Athena v3 was made from, with Glue as its catalog, and its protocol for statements.

Both catalogs read the same Glue databases and hand each other what is theirs: `awsdatacatalog` holds Iceberg tables and
views, `hive` all others, and a name in one finds a table of the other. So statements need no rewriting for names.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from local_athena.children import child, free_port
from local_athena.parts import Installation, java

ENGINE_KEY = "engine"
"""The access key of the engine, by which its calls of Glue and S3 are known (`gate.py`)."""

ICEBERG_CATALOG = "awsdatacatalog"
HIVE_CATALOG = "hive"
USER = "athena"
START_SECONDS = 120.0
CANCEL_SECONDS = 60.0
LOOK = "200ms"
"""How long Trino may keep a question for the next page: a statement is looked at, and stopped, that often."""

PARSE_LOOKS = 2
"""After so many looks, what is still queued is queued for want of a place."""

PARTITIONS_PER_WRITE = 100
"""Athena's limit. Trino has it for each writer; with one writer a statement (below) it is the statement's."""

JAVA_OPTIONS = (
    "-Xmx2G",
    # Two cores have other work than collecting garbage side by side.
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    # Trino's launcher passes these; it needs a script and a configuration tree that a test server does not.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Duser.timezone=UTC",
)

SERVER = {
    "coordinator": "true",
    "node-scheduler.include-coordinator": "true",
    "node.internal-address": "127.0.0.1",
    "node.bind-ip": "127.0.0.1",  # else it answers the whole network, and asks nobody who they are
    "catalog.management": "static",
    "query.max-memory": "1GB",
    "query.max-memory-per-node": "1GB",
    "query.max-concurrent-queries": "20",  # what waits behind them is QUEUED, as in an account of one's own
    # The types of a query are asked for with the query in a header, escaped.
    "http-server.max-request-header-size": "4MB",
    "query.max-length": "2000000",
    "query.max-history": "100",
    "query.min-expire-age": "1m",
    # Five times a second Trino looks through all tasks that it remembers: a quarter of an hour of them, else.
    "task.info.max-age": "10s",
    "http-server.log.enabled": "false",
    # One writer a statement, so that PARTITIONS_PER_WRITE counts all partitions of it.
    "task.min-writer-count": "1",
    "task.max-writer-count": "1",
    "task.scale-writers.enabled": "false",
    "scale-writers": "false",
    "use-preferred-write-partitioning": "false",
    "optimizer.push-table-write-through-union": "false",
}


class TrinoError(Exception):
    """A statement that Trino refused, in its own terms: `name` is an error code such as TABLE_NOT_FOUND."""

    def __init__(self, name: str, kind: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.kind = kind


@dataclass(frozen=True)
class Column:
    """A column of a result; `signature` is Trino's description of its type."""

    name: str
    signature: Mapping[str, Any]

    @property
    def type_name(self) -> str:
        """The type without its parameters: `decimal`, `timestamp with time zone`."""
        return str(self.signature["rawType"])


@dataclass
class Outcome:
    """What a statement has answered so far; `Engine.run` fills it while the statement runs."""

    query_id: str = ""
    state: str = "QUEUED"
    columns: tuple[Column, ...] = ()
    rows: list[list[Any]] = field(default_factory=list)
    update_count: int | None = None
    scanned_bytes: int = 0
    queued_millis: int = 0
    planning_millis: int = 0


@dataclass(frozen=True)
class Engine:
    """A running Trino."""

    url: str
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=32), repr=False)

    def start(
        self, sql: str, schema: str | None = None, session: Mapping[str, str] | None = None, prepared: str | None = None
    ) -> Statement:
        """Hand over a statement; Trino has not parsed it yet when this returns."""
        headers = {
            "X-Trino-User": USER,
            "X-Trino-Source": "local-athena",
            "X-Trino-Catalog": ICEBERG_CATALOG,
            "X-Trino-Time-Zone": "UTC",
            # Otherwise every timestamp comes with three digits.
            "X-Trino-Client-Capabilities": "PARAMETRIC_DATETIME",
        }
        if schema:
            headers["X-Trino-Schema"] = schema
        if session:
            headers["X-Trino-Session"] = ",".join(f"{name}={urllib.parse.quote(v)}" for name, v in session.items())
        if prepared:
            headers["X-Trino-Prepared-Statement"] = f"statement={urllib.parse.quote(prepared)}"
        statement = Statement(self)
        statement.take(self.call("POST", f"{self.url}/v1/statement", sql, headers))
        return statement

    def run(self, sql: str, schema: str | None = None) -> Outcome:
        """Run a statement to its end."""
        statement = self.start(sql, schema)
        while statement.advance():
            pass
        return statement.outcome

    def output_types(self, query: str, schema: str | None) -> dict[str, str]:
        """The columns that a query would have and their full types, without running it."""
        statement = self.start("describe output statement", schema, prepared=query)
        while statement.advance():
            pass
        return {str(row[0]): str(row[4]) for row in statement.outcome.rows}

    def state_of(self, query_id: str) -> str | None:
        """The state that Trino has a statement in; None when it has forgotten it."""
        url = f"{self.url}/v1/query/{query_id}?pruned=true"
        answer = self.pool.request("GET", url, headers={"X-Trino-User": USER}, retries=False, timeout=60.0)
        return str(answer.json()["state"]) if answer.status == 200 else None

    def call(self, method: str, url: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """One request; Trino answers 503 or 429 when it wants the same again, 204 to a cancellation."""
        while True:
            answer = self.pool.request(
                method, url, body=None if body is None else body.encode(), headers=headers, retries=False, timeout=60.0
            )
            if answer.status in (429, 502, 503):
                time.sleep(0.05)
            elif answer.status == 200:
                return json.loads(answer.data)
            elif answer.status == 204:
                return {}
            else:
                raise TrinoError("GENERIC_INTERNAL_ERROR", "INTERNAL_ERROR", f"{answer.status}: {answer.data[:500]!r}")


class Statement:
    """A statement on its way through Trino; `advance` it until it is done."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outcome = Outcome()
        self.next: str | None = None
        self.looks = 0

    @property
    def is_parsed(self) -> bool:
        """Whether Trino has taken it as SQL, which it does before it queues it; analysis comes later."""
        return self.next is None or "/queued/" not in self.next or self.looks > PARSE_LOOKS

    def advance(self) -> bool:
        """Take the next page; whether there is another one. Raises TrinoError when the statement failed."""
        if self.next is not None:
            self.take(self.engine.call("GET", f"{self.next}?maxWait={LOOK}"))
            self.looks += 1
        return self.next is not None

    def cancel(self) -> bool:
        """Ask Trino to stop, and wait for it; whether it did: what was being committed may be done instead."""
        if self.next is not None:
            self.engine.call("DELETE", self.next)
        deadline = time.monotonic() + CANCEL_SECONDS
        while (state := self.engine.state_of(self.outcome.query_id)) not in ("FAILED", "FINISHED", None):
            if time.monotonic() > deadline:
                raise TrinoError("GENERIC_INTERNAL_ERROR", "INTERNAL_ERROR", f"cannot be stopped: {state}")
            time.sleep(0.02)
        return state != "FINISHED"

    def take(self, page: Mapping[str, Any]) -> None:
        stats, outcome = page["stats"], self.outcome
        outcome.query_id = page["id"]
        outcome.state = stats["state"]
        outcome.scanned_bytes = stats.get("physicalInputBytes", 0)
        outcome.queued_millis = stats.get("queuedTimeMillis", 0)
        outcome.planning_millis = stats.get("planningTimeMillis", 0)
        self.next = page.get("nextUri")
        if error := page.get("error"):
            raise TrinoError(error["errorName"], error["errorType"], error["message"])
        if "columns" in page and not outcome.columns:
            outcome.columns = tuple(Column(column["name"], column["typeSignature"]) for column in page["columns"])
        outcome.rows += page.get("data") or []
        outcome.update_count = page.get("updateCount", outcome.update_count)


@contextlib.contextmanager
def start_trino(parts: Installation, folder: Path, aws: str, region: str) -> Iterator[Engine]:
    """Run Trino for the length of a `with` block, over the S3 and Glue at `aws`; its log is `folder/trino.log`."""
    port = free_port()
    engine = Engine(f"http://127.0.0.1:{port}")
    etc = folder / "trino"
    catalogs = etc / "catalog"
    catalogs.mkdir(parents=True)
    for name, properties in {ICEBERG_CATALOG: iceberg_catalog(), HIVE_CATALOG: hive_catalog()}.items():
        write_properties(catalogs / f"{name}.properties", properties | storage(aws, region))
    write_properties(
        etc / "config.properties",
        SERVER
        | {
            "http-server.http.port": str(port),
            "discovery.uri": engine.url,
            "catalog.config-dir": str(catalogs),
            "plugin.dir": str(parts.plugins),
        },
    )
    name = f"local_{uuid.uuid4().hex}"
    settings = {"config": etc / "config.properties", "node.environment": name, "node.id": "local"}
    settings["node.data-dir"] = etc
    command: list[str | Path] = [
        java(),
        *JAVA_OPTIONS,
        *(f"-D{name}={value}" for name, value in settings.items()),
        *("-cp", f"{parts.library}/*", "io.trino.server.TrinoServer"),
    ]
    log = folder / "trino.log"
    with child(command, log, folder=etc) as process:
        wait_for(engine, name, process, log)
        yield engine


def iceberg_catalog() -> dict[str, str]:
    """Iceberg tables, and the views of all."""
    return {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "glue",
        "iceberg.hive-catalog-name": HIVE_CATALOG,
        "iceberg.unique-table-location": "false",
        "iceberg.max-partitions-per-writer": str(PARTITIONS_PER_WRITE),
        # The properties vacuum_* and optimize_* are Athena's; Trino only carries them.
        "iceberg.allowed-extra-properties": "*",
        "iceberg.extended-statistics.collect-on-write": "false",
        # VACUUM says by itself how old things must be; Trino would not go below a week.
        "iceberg.expire-snapshots.min-retention": "0s",
        "iceberg.remove-orphan-files.min-retention": "0s",
    }


def hive_catalog() -> dict[str, str]:
    """All tables that are not Iceberg's."""
    return {
        "connector.name": "hive",
        "hive.metastore": "glue",
        "hive.iceberg-catalog-name": ICEBERG_CATALOG,
        "hive.collect-column-statistics-on-write": "false",
        "hive.non-managed-table-writes-enabled": "true",
        "hive.max-partitions-per-writers": str(PARTITIONS_PER_WRITE),
        "hive.recursive-directories": "true",  # as Athena reads a location
    }


def storage(aws: str, region: str) -> dict[str, str]:
    """Where both catalogs find Glue and S3, and how they read."""
    return {
        # Trino reads a small file whole, and what lies less than 1 MB apart in one piece; tables of tests would cost
        # as if none had columns. So what is scanned is the columns' own bytes, and 48 KB at each file's end.
        "parquet.small-file-threshold": "0B",
        "parquet.max-merge-distance": "1kB",
        "hive.metastore.glue.region": region,
        "hive.metastore.glue.endpoint-url": aws,
        "hive.metastore.glue.aws-access-key": ENGINE_KEY,
        "hive.metastore.glue.aws-secret-key": "local",
        "fs.native-s3.enabled": "true",
        "s3.endpoint": aws,
        "s3.region": region,
        "s3.path-style-access": "true",
        "s3.aws-access-key": ENGINE_KEY,
        "s3.aws-secret-key": "local",
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """A Java properties file."""
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def wait_for(engine: Engine, environment: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until statements are answered, by this server: another one may have taken the port that was free."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(urllib3.exceptions.HTTPError, ValueError):
            info = engine.pool.request("GET", f"{engine.url}/v1/info", retries=False).json()
            if info["environment"] == environment and not info["starting"]:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Trino did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
