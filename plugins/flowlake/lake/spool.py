"""The spool: local files that stand for objects which DuckDB cannot read where they are.

These are objects of a bucket (fetched once, verified while they are there), local files whose paths DuckDB would take
for a pattern (a link), and text that DuckDB refuses though nothing is wrong with it (a plain copy). A name in the spool
is the hash of the object's uri and etag, so nothing of a hostile key becomes a path and no file is ever stale.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flowlake.errors import FlowlakeError
from flowlake.lake.gzips import write_readable_copy
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import Kind, ListedObject, ObjectProblem, ObjectRow, Reason, shown
from flowlake.lake.storage import S3ClientFactory, Store, file_etag, open_store, opened_problem
from flowlake.lake.windows import Window
from flowlake.settings import Settings, Source

log = logging.getLogger(__name__)

_COPY = "-copy"
_EXTENSIONS = {Kind.TEXT: ".log.gz", Kind.PARQUET: ".log.parquet"}
_PATTERN_CHARACTERS = frozenset("*?[")


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

    def copy(self, item: ListedObject, path: Path) -> Path:
        """A plain copy of a text object that DuckDB would refuse; what was fetched for it is dropped."""
        copy = self._path(item.uri, item.etag, Kind.TEXT, _COPY)
        if not copy.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_readable_copy(path, copy)
        self.drop([path])
        return copy

    def holds(self, path: Path) -> bool:
        """Whether a path lies in the spool."""
        return path.parent == self.folder

    def is_copy(self, path: Path) -> bool:
        """Whether a path is that of a plain copy, which lasts whatever becomes of its object."""
        return self.holds(path) and path.name.endswith(f"{_COPY}{_EXTENSIONS[Kind.TEXT]}")

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


def ensure_spooled(settings: Settings, window: Window, s3_client: S3ClientFactory | None = None) -> int:
    """Bring back what the window's manifests read from the spool and is missing there; how many objects that were.

    Raises SpoolError when an object is no longer what was registered: the window must be registered again.
    """
    spool = Spool(settings.lake.spool)
    rows = [row for row in _spooled(settings, window, spool) if not Path(str(row.read_path)).exists()]
    sources = {source.name: source for source in settings.sources}
    stores: dict[str, Store] = {}
    for row in rows:
        source = sources.get(row.source)
        if source is None:
            message = f"source {row.source!r} is no longer in the settings, but {shown(row.uri)} was registered from it"
            raise SpoolError(message)
        if source.name not in stores:
            stores[source.name] = open_store(settings, source, s3_client)
        _restore(spool, source, stores[source.name], row)
    if rows:
        log.info("fetched %d objects again into the spool", len(rows))
    return len(rows)


@contextmanager
def unchanged(settings: Settings, window: Window) -> Iterator[None]:
    """Make sure that the files which DuckDB reads where they lie are those that were registered, before and after.

    What the spool holds cannot change: it is named by its etag. Raises SpoolError, also in the place of an error that a
    change has caused inside.
    """
    spool = Spool(settings.lake.spool)
    rows = (row for hour in window.hours for row in read_objects(settings, hour) or ())
    read = [row for row in rows if row.read_path is not None and not row.uri.startswith("s3://")]
    in_place = [(row, path) for row in read if not spool.is_copy(path := Path(str(row.read_path)))]
    _require_registered(in_place)
    try:
        yield
    except FlowlakeError:
        _require_registered(in_place)
        raise
    _require_registered(in_place)


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
    """Remove the window's files from the spool; how many there were. `ensure_spooled` brings them back."""
    spool = Spool(settings.lake.spool)
    return spool.drop(Path(str(row.read_path)) for row in _spooled(settings, window, spool))


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
        if spool.is_copy(Path(str(row.read_path))):
            spool.copy(item, path)
        else:
            spool.link(item, kind, path)
    except ObjectProblem as problem:
        raise _not_as_registered(row, problem) from None
