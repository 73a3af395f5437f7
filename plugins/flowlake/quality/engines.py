"""Where a gate's statements run: the tables of a layer on DuckDB and on Athena, behind one small face.

Checks name tables as `@fct_edges`; an engine knows what a query says instead (`names`). What both engines take as it is
stands in the checks once; only how a statement is run and how rows are kept differs, and that is here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Protocol
from urllib.parse import urlencode

from flowlake.lake.athena import AthenaLake
from flowlake.lake.aws import client
from flowlake.lake.duck import (
    attach,
    bound_memory,
    columns_of,
    database_config,
    install_extensions,
    lake_exists,
    literal,
)
from flowlake.lake.manifests import NotRegistered, require_registered
from flowlake.lake.windows import Window, format_hour
from flowlake.quality.report import GateError, Layer
from flowlake.quality.suites import REPORT_TOTALS, TABLES, VOLUME_HISTORY, ReportTotals
from flowlake.settings import Settings, Target

POLL_SECONDS = 0.2
"""How often Athena is asked whether a statement has ended; PyAthena's own second would be most of a gate's time."""

_LISTINGS = 16
"""Hours whose objects are looked for at the same time."""


@dataclass(frozen=True)
class Rows:
    """What a query returned."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_complete: bool = False
    """Whether it is known that there are no others."""


class Engine(Protocol):
    """The tables of a layer, and statements on them."""

    url: str
    """The SQLAlchemy URL under which Great Expectations finds the tables; it holds no secret."""
    names: Mapping[str, str]
    """What a query calls each table."""
    databases: Mapping[str, str]
    """The database of each table, where they are in several."""
    threads: int
    """How many statements run side by side; 1: each uses the whole machine."""

    def query(self, statement: str) -> Rows:
        """Run a query."""

    def keep(self, query: str, limit: int, file: Path) -> Rows:
        """Write the first rows of a query to a Parquet file, and return those that had to be fetched: one or all."""


@contextmanager
def open_engine(settings: Settings, window: Window, layer: Layer) -> Iterator[Engine]:
    """The engine of the settings' target, with all that the layer's checks read.

    Raises GateError when a table is missing or an hour was never registered.
    """
    opened = _open_athena if settings.target is Target.ATHENA else _open_duckdb
    with opened(settings, window, layer) as engine:
        yield engine


def _tables(layer: Layer) -> Mapping[str, str]:
    totals: Sequence[ReportTotals] = REPORT_TOTALS if layer is Layer.MARTS else ()
    return {**TABLES[layer], **{total.table: total.schema for total in totals}}


def _no_table(schema: str, table: str) -> GateError:
    return GateError(
        f"the lake has no table {schema}.{table}: run the step that builds it (build_staging, build_marts)"
    )


def _never_registered(hour: str) -> GateError:
    return GateError(f"the hour {hour} was never registered: run the step register first")


def _sql(template: str, **parts: str) -> str:
    """SQL from this package's own words; paths stand in it as literals, values of rows never do."""
    return Template(template).substitute(parts)


class DuckTables:
    """Views of one plain name each, in a database of this process."""

    threads = 1

    def __init__(self, url: str, connection: Any, tables: Sequence[str]) -> None:
        """`connection` is DuckDB's own."""
        self.url = url
        self.names: Mapping[str, str] = {table: table for table in tables}
        self.databases: Mapping[str, str] = {}
        self._connection = connection

    def query(self, statement: str) -> Rows:
        """See `Engine`."""
        result = self._connection.execute(statement)
        columns = tuple(str(column[0]) for column in result.description)
        return Rows(columns, tuple(result.fetchall()))

    def keep(self, query: str, limit: int, file: Path) -> Rows:
        """See `Engine`."""
        self._connection.execute(
            _sql(
                "copy ($query\nlimit $limit) to $file (format parquet)",
                query=query,
                limit=str(limit),
                file=literal(str(file)),
            )
        )
        # Not from the file: Parquet has no integers as large as DuckDB's sums.
        return self.query(_sql("$query\nlimit 1", query=query))


@contextmanager
def _open_duckdb(settings: Settings, window: Window, layer: Layer) -> Iterator[Engine]:
    """A database of this process with a view for each table that the layer's checks read.

    A named in-memory database is one for every connection of the process, so Great Expectations' own connections see
    the attached lake. Both must come from duckdb-engine: DuckDB shares a database only among equal configurations.
    Views give each table one plain name: duckdb-engine cannot reflect the columns of another catalogue's tables.
    """
    import sqlalchemy  # nothing that imports this module should pay for it

    if not lake_exists(settings):
        message = f"there is no lake at {settings.lake.path}: run the steps register and build_staging first"
        raise GateError(message)
    url = f"duckdb:///:memory:gate_{uuid.uuid4().hex}?{urlencode(database_config(settings))}"
    engine = sqlalchemy.create_engine(url)
    pooled = engine.raw_connection()
    connection: Any = pooled.dbapi_connection
    try:
        install_extensions()
        attach(connection, settings)
        bound_memory(connection, settings)
        tables = _tables(layer)
        for table, schema in tables.items():
            _add_view(connection, table, schema)
        if layer is Layer.STAGING:
            _add_objects(connection, settings.lake.raw, window)
            _keep_coverage(connection, window)
        yield DuckTables(url, connection, [*tables, "objects"])
    finally:
        pooled.close()
        engine.dispose()


def _add_view(connection: Any, table: str, schema: str) -> None:
    if not columns_of(connection, f"{schema}.{table}"):
        raise _no_table(schema, table)
    connection.execute(_sql("create view $table as select * from lake.$schema.$table", table=table, schema=schema))


def _add_objects(connection: Any, raw: Path, window: Window) -> None:
    files = {hour: raw / "objects" / f"arrival_hour={hour}" / "objects.parquet" for hour in window.hours}
    missing = [hour for hour, file in files.items() if not file.exists()]
    if missing:
        raise _never_registered(missing[0])
    found = ", ".join(literal(str(file)) for file in files.values())
    options = "union_by_name = true, hive_partitioning = true, hive_types = {'arrival_hour': varchar}"
    connection.execute(
        _sql("create view objects as select * from read_parquet([$files], $options)", files=found, options=options)
    )


def _keep_coverage(connection: Any, window: Window) -> None:
    """Compute once what the view of coverage says of the hours that checks look at: it reads all hours to say it."""
    since = format_hour(window.start - VOLUME_HISTORY)
    connection.execute(
        _sql(
            "create table coverage as from int_coverage__expected where arrival_hour >= $since and arrival_hour < $end",
            since=literal(since),
            end=literal(format_hour(window.end)),
        )
    )
    connection.execute("create or replace view int_coverage__expected as from coverage")


class AthenaTables:
    """The tables where they are: nothing is made in Glue for a gate."""

    def __init__(self, url: str, connection: Any, databases: Mapping[str, str], threads: int) -> None:
        """`connection` is PyAthena's; its client serves several threads at a time."""
        self.url = url
        self.names: Mapping[str, str] = {table: f'"{database}"."{table}"' for table, database in databases.items()}
        self.databases = databases
        self.threads = threads
        self._connection = connection

    def query(self, statement: str) -> Rows:
        """See `Engine`."""
        columns, _, rows = self._fetch(statement)
        return Rows(columns, rows)

    def keep(self, query: str, limit: int, file: Path) -> Rows:
        """See `Engine`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # At the end of the query itself: Trino does not keep the order of a subquery.
        columns, types, rows = self._fetch(_sql("$query\nlimit $limit", query=query, limit=str(limit)))
        arrays = [
            pa.array([_plain(row[place]) for row in rows], _arrow_type(pa, type_)) for place, type_ in enumerate(types)
        ]
        pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), file)
        return Rows(columns, rows, is_complete=len(rows) < limit)

    def _fetch(self, statement: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[Any, ...], ...]]:
        from pyathena.error import Error

        try:
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(statement)
                columns = tuple(str(column[0]) for column in cursor.description)
                types = tuple(str(column[1]) for column in cursor.description)
                return columns, types, tuple(cursor.fetchall())
        except Error as error:
            raise GateError(f"Athena: {' '.join(str(error).split())}") from error


@contextmanager
def _open_athena(settings: Settings, window: Window, layer: Layer) -> Iterator[Engine]:
    import sqlalchemy

    lake = AthenaLake(settings)
    tables = _tables(layer)
    for table, schema in tables.items():
        if lake.glue_table(schema, table) is None:
            raise _no_table(schema, table)
    if layer is Layer.STAGING:
        try:
            require_registered(settings, window)
        except NotRegistered as error:
            raise GateError(str(error)) from None
        tables = {**tables, "objects": "raw"}
    # Credentials, and the endpoint, come from the environment: the URL is in logs.
    region = client("athena").meta.region_name
    url = sqlalchemy.URL.create(
        "awsathena+rest",
        host=f"athena.{region}.amazonaws.com",
        port=443,
        database=lake.settings.schema("core"),
        query={
            "s3_staging_dir": lake.settings.results,
            "work_group": lake.settings.work_group,
            "poll_interval": str(POLL_SECONDS),
        },
    )
    engine = sqlalchemy.create_engine(url)
    with _one_loader(lake.settings.results):
        pooled = engine.raw_connection()
        try:
            databases = {table: lake.settings.schema(schema) for table, schema in tables.items()}
            yield AthenaTables(str(url), pooled.dbapi_connection, databases, lake.settings.threads)
        finally:
            pooled.close()
            engine.dispose()


@contextmanager
def _one_loader(results: str) -> Iterator[None]:
    """Have all connections of a gate to Athena, by where its results go, read the descriptions of AWS's services once.

    PyAthena makes a session for each connection, and each session reads megabytes of JSON: a second of a gate. Great
    Expectations makes an engine of its own from the URL, so every engine of the process is listened to.
    """
    import boto3
    import botocore.session
    import sqlalchemy

    loader = botocore.session.get_session().get_component("data_loader")

    def connect(dialect: Any, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        if dialect.name == "awsathena" and options.get("s3_staging_dir") == results and "session" not in options:
            session = botocore.session.get_session()
            session.register_component("data_loader", loader)
            options["session"] = boto3.session.Session(botocore_session=session, region_name=options["region_name"])

    sqlalchemy.event.listen(sqlalchemy.Engine, "do_connect", connect)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "do_connect", connect)


def _arrow_type(pa: Any, athena_type: str) -> Any:
    known = {
        "tinyint": pa.int32(),
        "smallint": pa.int32(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "float": pa.float32(),
        "real": pa.float32(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("us"),
        "date": pa.date32(),
    }
    # Lists and maps as text: what Athena says of them cannot be taken apart again without doubt.
    return known.get(athena_type, pa.string())


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value
