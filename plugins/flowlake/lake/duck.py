"""DuckDB on the DuckLake: one way to open it, for readers and for flowlake's own writes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowlake.errors import FlowlakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from flowlake.settings import Settings

EXTENSIONS = ("ducklake", "sqlite_scanner", "inet")
"""Installed from pinned packages: nothing is downloaded at run time. dbt's profile loads the same ones."""


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


def literal(text: str) -> str:
    """Quote text for a statement that takes no parameters (ATTACH, CREATE VIEW)."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def connect(settings: Settings, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the lake as catalogue `lake`, with the published schema first in the search path if there is one.

    Readers never block the writer and never wait for it (SQLite's write-ahead log). One writer at a time is what
    `flowlake.lake.lock` is for.

    Raises:
        LakeError: there is no lake yet (read_only), or its files cannot be opened.
    """
    import duckdb

    path = settings.lake.path
    catalog = path / "catalog.sqlite"
    if read_only and not catalog.exists():
        raise LakeError(f"there is no lake at {path} yet; make one with `flowlake run --from … --to …`")
    if not read_only:
        path.mkdir(parents=True, exist_ok=True)
    install_extensions()
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    try:
        for name in EXTENSIONS:
            connection.load_extension(name)
        connection.execute("set TimeZone = 'UTC'")
        mode = ", read_only" if read_only else ""
        try:
            connection.execute(
                f"attach {literal(f'ducklake:sqlite:{catalog}')} as lake "
                f"(data_path {literal(f'{path}/data/')}, meta_journal_mode 'WAL'{mode})"
            )
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise LakeError(f"the lake at {path} cannot be opened: {reason}") from error
        schemas = connection.execute("select schema_name from duckdb_schemas() where database_name = 'lake'").fetchall()
        connection.execute("use lake.flowlake" if ("flowlake",) in schemas else "use lake")
        yield connection
    finally:
        connection.close()
