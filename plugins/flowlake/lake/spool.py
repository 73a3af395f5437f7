"""The spool: local files that stand for objects which DuckDB cannot read where they are.

These are objects of a bucket (fetched once, verified while they are there), local files whose paths DuckDB would take
for a pattern (a link), and what DuckDB refuses though nothing is wrong with it (a plain copy: of text, or of Parquet
whose columns have odd types). A name in the spool is the hash of the object's uri and etag, so nothing of a hostile key
becomes a path and no file is ever stale.

Athena reads objects where they are: there the spool only holds each while it is looked into. What Athena cannot read
it finds as a plain copy below the lake's location, under the same name.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from flowlake.errors import FlowlakeError
from flowlake.lake.files import Files, open_files
from flowlake.lake.gzips import write_readable_copy
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import Kind, ListedObject, ObjectProblem, ObjectRow, Reason, shown
from flowlake.lake.storage import S3ClientFactory, Store, file_etag, open_store, opened_problem
from flowlake.lake.windows import Window
from flowlake.settings import Settings, Source, Target

log = logging.getLogger(__name__)

_COPY = "-copy"
_EXTENSIONS = {Kind.TEXT: ".log.gz", Kind.PARQUET: ".log.parquet"}
_PATTERN_CHARACTERS = frozenset("*?[")

COPIES = "raw/copies"
"""Where the plain copies for Athena lie, below its location."""

_PLAIN_KEY = re.compile(r"(?:[A-Za-z0-9=+@-][A-Za-z0-9_.=+@-]*/)*[A-Za-z0-9_.=+@-]+")
"""Keys that mean the same to every reader of a manifest: no blanks, escapes or patterns, no hidden or empty folders."""

_LEFT_BEHIND_SECONDS = 24 * 3600
_LISTING_THREADS = 16


class SpoolError(FlowlakeError):
    """An object that was registered and cannot be fetched again."""


class Spool:
    """The spool of one lake."""

    def __init__(self, folder: Path) -> None:
        """`folder` is created when something is put into it."""
        self.folder = folder

    def obtain(self, source: Source, store: Store, item: ListedObject, kind: Kind) -> Path:
        """The file that holds an object as it was listed, fetched if need be. Raises ObjectProblem."""
        if not source.is_s3:
            path = Path(f"/{item.key}")
            with opened_problem():
                if file_etag(path.stat()) != item.etag:
                    raise ObjectProblem(Reason.CHANGED)
            return path
        path = self._path(item.uri, item.etag, kind)
        if not (path.is_file() and path.stat().st_size == item.size):
            self.folder.mkdir(parents=True, exist_ok=True)
            store.fetch(item, path)
        return path

    def link(self, item: ListedObject, kind: Kind, path: Path) -> Path:
        """A path of the file that DuckDB does not take for a pattern."""
        if not _PATTERN_CHARACTERS & set(str(path)):
            return path
        link = self._path(item.uri, item.etag, kind)
        if not (link.is_symlink() and link.readlink() == path):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = link.with_name(f".{link.name}.tmp")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(path)
            temporary.replace(link)
        return link

    def copy(self, item: ListedObject, kind: Kind, path: Path) -> Path:
        """A plain copy of an object that DuckDB would refuse; what was fetched for it is dropped."""
        copy = self._path(item.uri, item.etag, kind, _COPY)
        if not copy.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            if kind is Kind.TEXT:
                write_readable_copy(path, copy)
            else:
                from flowlake.lake.plain_parquet import write_united_parquet

                write_united_parquet(path, copy)
        self.drop([path])
        return copy

    def readable(self, item: ListedObject, kind: Kind, path: Path, *, needs_copy: bool) -> str:
        """What the engine reads in the place of an object that was obtained as `path`."""
        return str(self.copy(item, kind, path) if needs_copy else self.link(item, kind, path))

    def was_copied(self, row: ObjectRow) -> bool:
        """Whether a registered object is read from a plain copy that `readable` made."""
        return self.is_copy(Path(str(row.read_path)))

    def passed(self, path: Path) -> None:
        """Say that an object was looked into: it stays, for the engine to read."""

    def close(self) -> None:
        """Nothing to give back."""

    def holds(self, path: Path) -> bool:
        """Whether a path lies in the spool."""
        return path.parent == self.folder

    def is_copy(self, path: Path) -> bool:
        """Whether a path is that of a plain copy, which lasts whatever becomes of its object."""
        return self.holds(path) and path.name.endswith(tuple(f"{_COPY}{ending}" for ending in _EXTENSIONS.values()))

    def drop(self, paths: Iterable[Path]) -> int:
        """Remove those of the paths that lie in the spool; how many there were."""
        count = 0
        for path in paths:
            if self.holds(path) and (path.is_symlink() or path.exists()):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _path(self, uri: str, etag: str, kind: Kind, suffix: str = "") -> Path:
        digest = hashlib.sha256(f"{uri}\n{etag}".encode()).hexdigest()
        return self.folder / f"{digest}{suffix}{_EXTENSIONS[kind]}"


class AthenaSpool(Spool):
    """A folder of its own that holds each object while it is looked into, and plain copies for Athena."""

    def __init__(self, folder: Path, files: Files, columns: Mapping[str, str]) -> None:
        """`folder` is the spool; `columns` are those of `raw.parquet_records`, name -> type."""
        from flowlake.lake.plain_parquet import RecordColumns

        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(Path(mkdtemp(dir=folder)))
        self._files = files
        self.columns = RecordColumns(columns)

    def readable(self, item: ListedObject, kind: Kind, path: Path, *, needs_copy: bool) -> str:
        """The object's uri, or that of a plain copy."""
        from flowlake.lake.plain_parquet import column_types, is_plain, write_plain_parquet

        source = path
        copy = self._path(item.uri, item.etag, kind, _COPY)
        if kind is Kind.PARQUET:
            found = column_types(path)
            types = self.columns.types(found)
            if not is_plain(types, found):
                write_plain_parquet(path, copy, types, found)
                source = copy
        elif needs_copy:
            write_readable_copy(path, copy)
            source = copy
        # Athena unpacks by the ending of the name.
        is_named_plainly = _PLAIN_KEY.fullmatch(item.key) and (kind is Kind.PARQUET or item.key.endswith(".gz"))
        if source is path and is_named_plainly:
            return item.uri
        try:
            self._files.take(f"{COPIES}/{copy.name}", source)
        finally:
            self.drop([copy])
        return self._files.uri(f"{COPIES}/{copy.name}")

    def was_copied(self, row: ObjectRow) -> bool:
        """Whether it may have been: `detail` says what was remarkable, and a copy that need not be does no harm."""
        return row.detail is not None

    def passed(self, path: Path) -> None:
        """Drop an object that was looked into."""
        self.drop([path])

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def open_spool(settings: Settings, columns: Mapping[str, str] | None = None) -> Iterator[Spool]:
    """The spool for as long as objects are looked into; `columns` as for `AthenaSpool`."""
    if settings.target is Target.ATHENA:
        spool: Spool = AthenaSpool(settings.lake.spool, open_files(settings), columns or {})
    else:
        spool = Spool(settings.lake.spool)
    try:
        yield spool
    finally:
        spool.close()


def ensure_spooled(settings: Settings, window: Window, s3_client: S3ClientFactory | None = None) -> int:
    """Bring back what the window's manifests read from the spool and is missing there; how many objects that were.

    On Athena: the plain copies. Raises SpoolError when an object is no longer what was registered: the window must be
    registered again.
    """
    if settings.target is Target.ATHENA:
        rows = _missing_copies(settings, window)
        if not rows:
            return 0
        from flowlake.lake.glue import GlueTables

        columns = GlueTables(settings).columns("parquet_records")
    else:
        spool = Spool(settings.lake.spool)
        rows = [row for row in _spooled(settings, window, spool) if not Path(str(row.read_path)).exists()]
        columns = {}
    stores = _Stores(settings, s3_client)
    with open_spool(settings, columns) as spool:
        for row in rows:
            _restore(spool, *stores.of(row), row)
    if rows:
        log.info("fetched %d objects again into the spool", len(rows))
    return len(rows)


class _Stores:
    """The stores of registered objects, each opened once."""

    def __init__(self, settings: Settings, s3_client: S3ClientFactory | None) -> None:
        self._settings = settings
        self._s3_client = s3_client
        self._sources = {source.name: source for source in settings.sources}
        self._stores: dict[str, Store] = {}

    def of(self, row: ObjectRow) -> tuple[Source, Store]:
        source = self._sources.get(row.source)
        if source is None:
            message = f"source {row.source!r} is no longer in the settings, but {shown(row.uri)} was registered from it"
            raise SpoolError(message)
        if source.name not in self._stores:
            self._stores[source.name] = open_store(self._settings, source, self._s3_client)
        return source, self._stores[source.name]


@contextmanager
def unchanged(settings: Settings, window: Window, s3_client: S3ClientFactory | None = None) -> Iterator[None]:
    """Make sure that what the engine reads where it lies is what was registered, before and after.

    DuckDB reads local files so, Athena the objects of buckets. What the spool holds, and a copy, cannot change: it is
    named by its etag. Raises SpoolError, also in the place of an error that a change has caused inside.
    """
    rows = (row for hour in window.hours for row in read_objects(settings, hour) or ())
    read = [row for row in rows if row.read_path is not None]
    if settings.target is Target.ATHENA:
        in_place = [row for row in read if row.read_path == row.uri]
        stores = _Stores(settings, s3_client)

        def require() -> None:
            _require_same_objects(stores, in_place)
    else:
        spool = Spool(settings.lake.spool)
        local = [(row, Path(str(row.read_path))) for row in read if not row.uri.startswith("s3://")]
        files = [(row, path) for row, path in local if not spool.is_copy(path)]

        def require() -> None:
            _require_registered(files)

    require()
    try:
        yield
    except FlowlakeError:
        require()
        raise
    require()


def _require_same_objects(stores: _Stores, rows: Iterable[ObjectRow]) -> None:
    """Compare objects of buckets with what was registered, by listing their folders."""
    folders: dict[tuple[str, str], list[ObjectRow]] = defaultdict(list)
    for row in rows:
        stores.of(row)
        folders[row.source, row.uri.split("/", 3)[3].rpartition("/")[0] + "/"].append(row)

    def check(folder: tuple[tuple[str, str], list[ObjectRow]]) -> tuple[ObjectRow, Reason] | None:
        (_, prefix), registered = folder
        _, store = stores.of(registered[0])
        etags = {store.uri(found.key): found.etag for found in store.objects(prefix)}
        for row in registered:
            if etags.get(row.uri) != row.etag:
                return row, Reason.CHANGED if row.uri in etags else Reason.VANISHED
        return None

    with ThreadPoolExecutor(_LISTING_THREADS) as pool:
        for problem in pool.map(check, sorted(folders.items())):
            if problem is not None:
                row, reason = problem
                raise _not_as_registered(row, ObjectProblem(reason))


def _require_registered(files: Iterable[tuple[ObjectRow, Path]]) -> None:
    for row, path in files:
        try:
            with opened_problem():
                if file_etag(path.stat()) != row.etag:
                    raise ObjectProblem(Reason.CHANGED)
        except ObjectProblem as problem:
            raise _not_as_registered(row, problem) from None


def _not_as_registered(row: ObjectRow, problem: ObjectProblem) -> SpoolError:
    what = {Reason.CHANGED: "it was overwritten", Reason.VANISHED: "it was deleted"}.get(problem.reason)
    happened = f"{what} after it was registered" if what else problem.reason.meaning
    return SpoolError(f"{shown(row.uri)}: {happened}: run {row.arrival_hour} again, from register")


def clear_spool(settings: Settings, window: Window) -> int:
    """Remove the window's files from the spool; how many there were. `ensure_spooled` brings them back.

    On Athena, whose spool is empty behind every step: what killed runs have left there.
    """
    if settings.target is Target.ATHENA:
        return _clear_left_behind(settings.lake.spool)
    spool = Spool(settings.lake.spool)
    return spool.drop(Path(str(row.read_path)) for row in _spooled(settings, window, spool))


def _clear_left_behind(folder: Path) -> int:
    count = 0
    before = time.time() - _LEFT_BEHIND_SECONDS
    for place in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            if place.is_dir() and place.stat().st_mtime < before:
                shutil.rmtree(place, ignore_errors=True)
                count += 1
    return count


def _missing_copies(settings: Settings, window: Window) -> list[ObjectRow]:
    files = open_files(settings)
    rows = (row for hour in window.hours for row in read_objects(settings, hour) or ())
    copied = [row for row in rows if row.read_path is not None and row.read_path != row.uri]
    paths = [f"{COPIES}/{str(row.read_path).rpartition('/')[2]}" for row in copied]
    with ThreadPoolExecutor(_LISTING_THREADS) as pool:
        return [row for row, is_there in zip(copied, pool.map(files.holds, paths), strict=True) if not is_there]


def _spooled(settings: Settings, window: Window, spool: Spool) -> list[ObjectRow]:
    rows = (row for hour in window.hours for row in read_objects(settings, hour) or ())
    return [row for row in rows if row.read_path is not None and spool.holds(Path(row.read_path))]


def _restore(spool: Spool, source: Source, store: Store, row: ObjectRow) -> None:
    item = ListedObject(
        source=row.source,
        key=row.uri.split("/", 3)[3] if source.is_s3 else row.uri.removeprefix("/"),
        uri=row.uri,
        size=row.size,
        etag=row.etag,
        last_modified=row.last_modified,
        arrival_hour=row.arrival_hour,
        name=None,
    )
    kind = Kind(str(row.kind))
    try:
        path = spool.obtain(source, store, item, kind)
        spool.readable(item, kind, path, needs_copy=spool.was_copied(row))
        spool.passed(path)
    except ObjectProblem as problem:
        raise _not_as_registered(row, problem) from None
