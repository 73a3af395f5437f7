"""DuckDB on the DuckLake: one way to open it, for readers and for flowlake's own writes."""

from __future__ import annotations

import logging
import os
import random
import shutil
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from flowlake.errors import FlowlakeError
from flowlake.lake.files import open_files
from flowlake.settings import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from flowlake.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

EXTENSIONS = ("ducklake", "sqlite_scanner", "postgres_scanner", "inet")
"""Installed from pinned packages: nothing is downloaded at run time. dbt's profile loads the same ones."""

CATALOG = "__ducklake_metadata_lake"
"""DuckDB's name for the catalogue's own tables, on whatever database they lie."""

_OVERTAKEN = ("Transaction conflict", "Exceeded the maximum retry count", "already exists")
"""What DuckDB says where another writer's commit came first: nothing was written, the same work can be done again. The
last one is the first runs' on an empty lake: each finds no table, and makes it."""

_checked: dict[str, tuple[str, int, int, int]] = {}
"""By extension whose signature DuckDB has checked for this process: its file, and what tells that from another one."""

ATTEMPTS = 10
"""How often a small transaction is tried. Others commit in between each time, so somebody always gets on."""


class LakeError(FlowlakeError):
    """The lake is missing, or cannot be opened."""


def install_extensions() -> None:
    """Put the packaged extensions where any DuckDB of this version finds them (DuckDB's extension folder)."""
    import duckdb
    from duckdb_extensions import import_extension

    connection = duckdb.connect()
    for name in EXTENSIONS:
        import_extension(name, con=connection)
    connection.close()


def database_config(settings: Settings) -> dict[str, str]:
    """The configuration of a database in memory that `attach` is to attach a lake to.

    DuckDB hashes the whole of an extension for its signature whenever a database loads it: 0.3 s for the 70 MB of a
    lake's two, in every database that a step opens. The first one of a process has it done; later ones take the same
    files, while those have not changed, as checked.
    """
    checked = {name: _checked.get(name) for name in _needed_extensions(settings)}
    if not all(found and found == _file_facts(found[0]) for found in checked.values()):
        return {}
    return {"allow_unsigned_extensions": "true"}


def _needed_extensions(settings: Settings) -> tuple[str, str, str]:
    return ("inet", "ducklake", "postgres_scanner" if settings.lake.catalog else "sqlite_scanner")


def _load_extensions(connection: Any, settings: Settings) -> None:
    names = _needed_extensions(settings)
    for name in names:
        connection.load_extension(name)
    query = (
        "select extension_name, install_path from duckdb_extensions() where extension_name in (select unnest(?)) "
        "and current_setting('allow_unsigned_extensions')::varchar <> 'true'"
    )
    for name, path in connection.execute(query, [list(names)]).fetchall():
        if facts := _file_facts(path):
            _checked[name] = facts


def _file_facts(path: str) -> tuple[str, int, int, int] | None:
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    return path, facts.st_ino, facts.st_size, facts.st_mtime_ns


def literal(text: str) -> str:
    """Quote text for a statement that takes no parameters (ATTACH, CREATE VIEW)."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def attach(
    connection: Any, settings: Settings, alias: str = "lake", *, read_only: bool = True, copy: Path | None = None
) -> None:
    """Attach the lake to a DuckDB connection: the one place that says how.

    dbt's profile says the same again in its own words (dbt_project/profiles.yml). `copy` is a copy of the SQLite
    catalogue to read in its place.

    Raises:
        LakeError: the catalogue cannot be opened.
    """
    import duckdb

    lake = settings.lake
    if lake.catalog is None:
        catalog, options = f"sqlite:{copy or lake.sqlite_catalog}", ["meta_journal_mode 'WAL'"]
    else:
        catalog, options = f"postgres:{lake.catalog}", []
    _load_extensions(connection, settings)
    options = [f"data_path {literal(f'{lake.data}/')}", *options, *(["read_only"] if read_only else [])]
    attaching = f"attach {literal(f'ducklake:{catalog}')} as {alias} ({', '.join(options)})"
    try:
        # Two first runs on an empty database make the catalogue's own tables at the same time, and one of them fails.
        retried(lambda: connection.execute(attaching))
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise LakeError(f"the lake at {_place(settings)} cannot be opened: {reason}") from error


def require_own_catalog(settings: Settings) -> None:
    """Refuse to write below a lake's path with a catalogue of another kind than the one that it began with.

    It would be a second lake in the same folder, and maintenance would take the first one's files for orphans.

    Raises:
        LakeError: the other kind's mark is there.
    """
    lake = settings.lake
    mark = lake.path / "catalog.postgresql"
    if lake.catalog is None:
        other = mark if mark.exists() else None
    else:
        other = lake.sqlite_catalog if lake.sqlite_catalog.exists() else None
        if other is None and not mark.exists():
            lake.path.mkdir(parents=True, exist_ok=True)
            mark.write_text("The catalogue of this lake is on PostgreSQL: lake.catalog in flowlake.yaml.\n")
    if other:
        kind = "PostgreSQL" if lake.catalog is None else "SQLite"
        raise LakeError(
            f"the lake at {lake.path} has its catalogue on {kind} ({other.name}): set lake.catalog accordingly, "
            "or lake.path to a new folder"
        )


def lake_exists(settings: Settings) -> bool:
    """Whether anything was ever written to the lake.

    Raises:
        LakeError, AwsError: the PostgreSQL catalogue, or the bucket, cannot be reached.
    """
    if settings.target is Target.ATHENA:
        from flowlake.lake.ledger import ledger_path

        return open_files(settings).holds(ledger_path("windows"))
    if settings.lake.catalog is None:
        return settings.lake.sqlite_catalog.exists()
    with postgres(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass('public.ducklake_metadata') is not null")
        (exists,) = cursor.fetchone()
        return bool(exists)


@contextmanager
def postgres(settings: Settings, name: str = "flowlake") -> Iterator[Any]:
    """A psycopg2 session with the PostgreSQL catalogue, each statement for itself (autocommit); `name` is what others
    see of it.

    Raises:
        LakeError: the server cannot be reached, or refuses.
    """
    import psycopg2  # type: ignore[import-untyped] # it ships no types

    try:
        connection = psycopg2.connect(
            settings.lake.catalog, application_name=name, keepalives_idle=60, keepalives_interval=10, keepalives_count=6
        )
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())
        raise LakeError(f"the catalogue {settings.lake.catalog} cannot be reached: {reason}") from error
    try:
        connection.autocommit = True
        yield connection
    finally:
        connection.close()


def is_overtaken(message: str) -> bool:
    """Whether an error says that another writer's commit came first."""
    return any(words in message for words in _OVERTAKEN)


def retried(work: Callable[[], T]) -> T:
    """What `work` returns, done again while another writer's commit overtakes its own; it must be whole each time."""
    import duckdb

    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except duckdb.Error as error:
            if not is_overtaken(str(error)):
                raise
            log.info("another run wrote the lake's catalogue first: attempt %d of %d", attempt + 1, ATTEMPTS)
            time.sleep(random.uniform(0.05, 0.2) * attempt)  # noqa: S311 - spreads writers, guards no secret
    return work()


@contextmanager
def connect(settings: Settings, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the lake as catalogue `lake`, with the published schema first in the search path if there is one.

    Readers never block a writer and never wait for one. Who may write when is what `flowlake.lake.lock` is for.

    Raises:
        LakeError: there is no lake yet (read_only), or its files cannot be opened.
    """
    import duckdb

    if settings.target is not Target.DUCKDB:
        raise LakeError("this is for lakes on DuckDB, and target is athena: ask it in SQL by `flowlake query`")
    if read_only and not lake_exists(settings):
        raise LakeError(f"there is no lake at {_place(settings)} yet; make one with `flowlake run --from … --to …`")
    if not read_only:
        settings.lake.path.mkdir(parents=True, exist_ok=True)
    install_extensions()
    with ExitStack() as stack:
        connection = duckdb.connect(config={"autoinstall_known_extensions": "false", **database_config(settings)})
        stack.callback(connection.close)
        connection.execute("set TimeZone = 'UTC'")
        try:
            attach(connection, settings, read_only=read_only)
        except LakeError:
            if not read_only:
                raise
            copy = _copied_catalogue(settings, Path(stack.enter_context(TemporaryDirectory(prefix="flowlake-"))))
            if copy is None:
                raise
            attach(connection, settings, copy=copy)
        schemas = connection.execute("select schema_name from duckdb_schemas() where database_name = 'lake'").fetchall()
        connection.execute("use lake.flowlake" if ("flowlake",) in schemas else "use lake")
        yield connection


def columns_of(connection: Any, table: str) -> tuple[str, ...]:
    """The columns of a table or a view of the attached lake (`ops.windows`); none where it, or what it reads, is not.

    It alone is looked up: DuckDB's own lists of tables and columns load, and bind, all that the catalogue has, which
    takes longer than most of what is asked of them.
    """
    import duckdb

    try:
        described = connection.execute(f"select * from lake.{table} limit 0").description
    except duckdb.CatalogException:
        return ()
    return tuple(str(column[0]) for column in described)


def bound_memory(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Bound DuckDB's memory as dbt's profile does for the models, and have it spill into a folder of its own.

    DuckDB makes that folder when it needs it, and removes it at its end; a killed one's is for `flowlake maintain`.
    """
    connection.execute(f"set memory_limit = {literal(os.environ.get('FLOWLAKE_MEMORY_LIMIT', '4GB'))}")
    connection.execute(f"set temp_directory = {literal(str(settings.lake.dbt / 'spill' / uuid.uuid4().hex))}")


def _copied_catalogue(settings: Settings, folder: Path) -> Path | None:
    """A copy of the SQLite catalogue for a reader that cannot open it; None when it cannot be had.

    Even a reader of SQLite's write-ahead log makes a file beside the catalogue, which a full disk or a folder that is
    not writable refuses. While nobody has the catalogue open it has no log beside it and is whole by itself.
    """
    if settings.lake.catalog is not None:
        return None
    catalog = settings.lake.sqlite_catalog
    log_file = catalog.with_name(f"{catalog.name}-wal")

    def state() -> tuple[int, int]:
        facts = catalog.stat()
        return facts.st_size, facts.st_mtime_ns

    try:
        before = state()
        copy = folder / catalog.name
        shutil.copyfile(catalog, copy)
        is_whole = state() == before and not (log_file.exists() and log_file.stat().st_size)
    except OSError:
        return None
    return copy if is_whole else None


def _place(settings: Settings) -> str:
    lake = settings.lake
    return str(lake.path) if lake.catalog is None else f"{lake.path} (catalogue {lake.catalog})"
