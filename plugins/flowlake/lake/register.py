"""Register a window: which objects arrived, what each holds, and what staging is to read.

For every arrival hour of the window this writes the ledger (`raw.objects`) and the manifests, and the formats that were
met; all of it is replaced when the window is registered again. An object that cannot be read is a row with its reason
and stops nothing. A source that cannot be listed stops everything, before anything is written.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flowlake.errors import FlowlakeError
from flowlake.lake.footers import FOOTER_STEP, footer_length, inspect_parquet, parse_footer
from flowlake.lake.gzips import FIRST_LINES_LIMIT, first_lines, inspect_text, unpack_start
from flowlake.lake.layouts import folder_moment, stem
from flowlake.lake.manifests import (
    manifest_paths,
    read_objects,
    read_uris,
    write_format,
    write_manifests,
    write_objects,
)
from flowlake.lake.objects import Kind, ListedObject, ObjectProblem, ObjectRow, Reason, Status, count_of, shown
from flowlake.lake.overtaken import OvertakenHour, record, widened
from flowlake.lake.restatements import note_corrected
from flowlake.lake.spool import AthenaSpool, Spool, open_spool
from flowlake.lake.storage import (
    S3ClientFactory,
    SourceError,
    SourceMistake,
    Store,
    list_source,
    open_store,
    opened_problem,
    source_key,
)
from flowlake.lake.windows import Window
from flowlake.records.formats import KNOWN_FORMATS, Format, format_named, format_of, parse_header
from flowlake.records.inference import guess_format
from flowlake.settings import Settings, Source, Target

if TYPE_CHECKING:
    from flowlake.lake.glue import GlueTables

log = logging.getLogger(__name__)

_R = TypeVar("_R")

Progress = Callable[[int, int], None]
"""Told how many objects are done, and of how many."""

HEADERS_IN_FULL = 1000
"""Up to how many objects a plan reads every header; beyond, HEADERS_PER_FLOW_LOG of each flow log."""

HEADERS_PER_FLOW_LOG = 4

EXCERPT = 200
"""How many characters a plan shows of a line."""

EXCERPT_LINES = 3
"""How many lines a plan shows of an object whose format or wrapping has to be said."""

_EACH_ITS_OWN = re.compile(r"[0-9]+(?:( [a-z]+?)s?\b)?| \(the first is [^)]*\)")
"""What differs in the details of objects that are read in the same way: numbers, also in their nouns, and examples."""

_S3_THREADS = 8

_CLOCKS_DIFFER_BY = timedelta(hours=1)
"""How long before the time in its name an object may arrive: the name and the store go by different clocks."""


class RegisterError(FlowlakeError):
    """A window that cannot be registered; nothing was changed."""


@dataclass(frozen=True)
class RegisterReport:
    """What a registration found. `bytes` are those of the stored objects, `lines` count headers and blanks too.

    `window` is what was registered: the one that was asked for, or its hull with the hours that held objects before
    they were overwritten (`overtaken`). `new_formats` are those that the lake met for the first time, AWS' defaults
    apart; `missing` counts the objects whose rows are dropped because they are gone; `problems` are lines for people.
    """

    window: Window
    overtaken: tuple[str, ...]
    objects: int
    readable: int
    unreadable: int
    bytes: int
    unpacked_bytes: int
    lines: int
    new_formats: tuple[str, ...]
    unknown_fields: tuple[str, ...]
    missing: int
    problems: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class UnusualText:
    """Text that is not as AWS delivers it to a bucket: without a header, or wrapped in something.

    How many there are of the objects that were looked into, and what the first of them is: the `wrapping`, if any, and
    the first `lines` in it, escaped and cut at EXCERPT characters. `format` is what they are taken for, None when
    nobody can say; `how` tells how sure that is, and why.
    """

    objects: int
    uri: str
    wrapping: str | None
    lines: tuple[str, ...]
    format: str | None
    how: str


@dataclass(frozen=True)
class PlannedFlowLog:
    """What a window would read of one flow log. `headers_read` says how many of the objects were looked into."""

    source: str
    account_id: str
    region: str
    flow_log_id: str
    layouts: tuple[str, ...]
    objects: int
    bytes: int
    first_named_at: datetime
    last_named_at: datetime
    headers_read: int
    formats: tuple[str, ...]
    unknown_fields: tuple[str, ...]
    unusual: tuple[UnusualText, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a window would read, by flow log, and what looks wrong beyond them (foreign objects, empty sources)."""

    window: Window
    flow_logs: tuple[PlannedFlowLog, ...]
    problems: tuple[str, ...]
    objects: int
    bytes: int


def register(
    settings: Settings,
    window: Window,
    *,
    s3_client: S3ClientFactory | None = None,
    accept_missing: bool = False,
    widen: Callable[[Window], None] = lambda window: None,
    progress: Progress | None = None,
) -> RegisterReport:
    """Register the objects that arrived in the window, replacing what was registered of it.

    Where objects were overwritten after they were registered, that is written down (`lake.overtaken`), and the hours
    that held them before are registered with the window; `widen` is called with the window that they make.

    Raises SourceError when a source cannot be listed or read at all, and RegisterError when objects registered earlier
    are gone from their source and `accept_missing` is not set, for the rows read from them could not be made again.
    """
    started = time.monotonic()
    with _file_errors():
        window, found, earlier, overtaken = _settle(
            settings, window, s3_client, accept_missing=accept_missing, widen=widen
        )
        gone = found.gone(earlier)
        tables = _tables(settings)
        rows, formats = _inspect_all(settings, found, tables, progress)
        _check_access(settings, rows)
        gone |= earlier & {row.uri for row in rows if row.reason == Reason.VANISHED}
        _guard(gone, accept_missing=accept_missing)
        if earlier and (corrected := _corrected_hours(settings, window, rows)):
            note_corrected(settings, corrected)
        new_formats = _write(settings, window, rows, formats, tables)
    unknown = sorted({name for row in rows for name in row.unknown_fields})
    report = RegisterReport(
        window=window,
        overtaken=tuple(hour.arrival_hour for hour in overtaken),
        objects=len(rows),
        readable=sum(row.is_readable for row in rows),
        unreadable=sum(not row.is_readable for row in rows),
        bytes=sum(row.size for row in rows),
        unpacked_bytes=sum(row.unpacked_bytes or 0 for row in rows),
        lines=sum(row.line_count or 0 for row in rows),
        new_formats=new_formats,
        unknown_fields=tuple(unknown),
        missing=len(gone),
        problems=(*found.problems, *_overtaken_problems(overtaken, window), *_problems(rows), *_gone_problem(gone)),
        seconds=time.monotonic() - started,
    )
    log.info(
        "registered %s: %d objects (%d unreadable), %d lines, %d bytes (%d unpacked) in %.1f s",
        window,
        report.objects,
        report.unreadable,
        report.lines,
        report.bytes,
        report.unpacked_bytes,
        report.seconds,
    )
    for problem in report.problems:
        log.warning("%s", problem)
    return report


def plan(settings: Settings, window: Window, *, s3_client: S3ClientFactory | None = None) -> Plan:
    """What `register` would find, from listing and from the objects' headers alone; writes nothing.

    Beyond HEADERS_IN_FULL objects only the first, the last and some headers between are read of each flow log.
    """
    with _file_errors():
        found = _find(settings, window, s3_client)
    groups: dict[tuple[str, str, str, str], list[_Item]] = defaultdict(list)
    for item in found.items:
        name = item.listed.name
        if name is not None:
            groups[item.listed.source, name.account_id, name.region, name.flow_log_id].append(item)
    is_full = len(found.items) <= HEADERS_IN_FULL
    chosen = [item for items in groups.values() for item in (items if is_full else _spread(items))]
    with ThreadPoolExecutor(_threads(settings)) as pool:
        peeks = dict(zip((item.listed.uri for item in chosen), pool.map(_peek, chosen), strict=True))
    others = [_row(item.listed, item.listed.reason) for item in found.items if item.listed.name is None]
    return Plan(
        window=window,
        flow_logs=tuple(_planned(items, peeks) for _, items in sorted(groups.items())),
        problems=(*found.problems, *_problems(others)),
        objects=len(found.items),
        bytes=sum(item.listed.size for item in found.items),
    )


def list_window(
    settings: Settings, window: Window, *, s3_client: S3ClientFactory | None = None
) -> tuple[tuple[ListedObject, ...], Mapping[str, str]]:
    """What the sources list of a window: its objects, and the arrival hour of each object that was met on the way.

    Raises SourceError as `register` does; nothing is read or written.
    """
    with _file_errors():
        found = _find(settings, window, s3_client)
    return tuple(item.listed for item in found.items), found.hours


# --- finding ---


@dataclass(frozen=True)
class _Item:
    """An object, with what is needed to read it."""

    listed: ListedObject
    source: Source
    store: Store


@dataclass(frozen=True)
class _Finding:
    """The window's objects; `hours` has the arrival hour of each that was listed on the way, by its uri.

    `deliveries` likewise, by the uri without its ending: an object may have been packed anew, or unpacked, and removed.
    """

    items: tuple[_Item, ...]
    hours: Mapping[str, str]
    deliveries: Mapping[str, str]
    problems: tuple[str, ...]

    def hour_of(self, uri: str) -> str | None:
        """The hour in which an object that was registered under this uri arrived as it is now; None when it is gone."""
        return self.hours.get(uri) or self.deliveries.get(stem(uri))

    def gone(self, uris: Iterable[str]) -> set[str]:
        """Those of the uris whose objects are no longer there, under whatever ending."""
        return {uri for uri in uris if self.hour_of(uri) is None}


def _find(settings: Settings, window: Window, s3_client: S3ClientFactory | None) -> _Finding:
    items: list[_Item] = []
    owners: dict[str, Source] = {}
    hours: dict[str, str] = {}
    deliveries: dict[str, str] = {}
    problems = []
    for source in settings.sources:
        store = open_store(settings, source, s3_client)
        key = source_key(settings, source)
        listing = list_source(store, source, window, key=key)
        if not listing.trees:
            problems.append(f"{key}: there is no folder AWSLogs in {shown(source.uri)} yet")
        for listed in listing.arrived:
            if listed.uri in owners:
                other = source_key(settings, owners[listed.uri])
                message = f"{key} and {other} both hold {shown(listed.uri)}: sources must not overlap"
                raise SourceMistake(message)
            owners[listed.uri] = source
            items.append(_Item(listed, source, store))
        hours |= listing.hours
        deliveries |= listing.deliveries
    return _Finding(tuple(items), hours, deliveries, tuple(problems))


def _settle(
    settings: Settings,
    window: Window,
    s3_client: S3ClientFactory | None,
    *,
    accept_missing: bool,
    widen: Callable[[Window], None],
) -> tuple[Window, _Finding, set[str], tuple[OvertakenHour, ...]]:
    """The window that has to be registered, what it holds, what earlier registrations of it read, and overtaken hours.

    Overtaken hours are written down before anything else, so that whoever is killed from here on leaves the fact to the
    next run.
    """
    overtaken: tuple[OvertakenHour, ...] = ()
    while True:
        found = _find(settings, window, s3_client)
        hours = (*_hours_before(window, found), *window.hours)
        registered = dict(zip(hours, _each(settings, lambda hour: read_uris(settings, hour), hours), strict=True))
        earlier = {uri for hour in window.hours for uri, is_readable in registered[hour].items() if is_readable}
        _guard(found.gone(earlier), accept_missing=accept_missing)
        held = {hour: _overtaken_uris(uris, hour, window, found) for hour, uris in registered.items()}
        now = tuple(OvertakenHour(hour, len(uris), min(uris)) for hour, uris in sorted(held.items()) if uris)
        if now and now != overtaken:
            record(settings, window, now)
        hull = widened(window, [hour.arrival_hour for hour in now])
        if hull == window:
            return window, found, earlier, now
        widen(hull)
        window, overtaken = hull, now


def _hours_before(window: Window, found: _Finding) -> tuple[str, ...]:
    """The hours before the window in which one of its objects can have been registered.

    None lies before the time in the object's name, but for the clocks' difference, and none before the days listed.
    """
    first = min((_first_hour(item, window) for item in found.items), default=window.start)
    return Window(first, window.start).hours if first < window.start else ()


def _first_hour(item: _Item, window: Window) -> datetime:
    listed = item.listed
    first_day = datetime.combine(window.days[0], datetime.min.time(), UTC) - timedelta(days=item.source.lookback_days)
    named_at = listed.name.named_at if listed.name else folder_moment(listed.key) or first_day
    # A name may say the year 1, before which there is no time.
    named_at = max(named_at, first_day + _CLOCKS_DIFFER_BY)
    return (named_at - _CLOCKS_DIFFER_BY).replace(minute=0, second=0, microsecond=0)


def _overtaken_uris(registered: Iterable[str], hour: str, window: Window, found: _Finding) -> list[str]:
    """Those of the objects registered in an hour that have left it for the window, or left the window."""
    hours = frozenset(window.hours)
    return [
        uri for uri in registered if (now := found.hour_of(uri) or hour) != hour and (hour in hours or now in hours)
    ]


def _corrected_hours(settings: Settings, window: Window, rows: Sequence[ObjectRow]) -> list[str]:
    """The hours of the window that have read an object which is there no longer as it was: overwritten, or removed."""
    there = {(row.arrival_hour, row.uri, row.size, row.etag) for row in rows if row.reason != Reason.VANISHED}
    ledgers = _each(settings, lambda hour: read_objects(settings, hour), window.hours)
    return [
        hour
        for hour, known in zip(window.hours, ledgers, strict=True)
        if any(row.is_readable and (hour, row.uri, row.size, row.etag) not in there for row in known or ())
    ]


def _guard(gone: set[str], *, accept_missing: bool) -> None:
    if gone and not accept_missing:
        message = (
            f"{count_of(len(gone), 'object')} registered earlier {'is' if len(gone) == 1 else 'are'} gone, for example "
            f"{shown(min(gone))}: restore them, or run with --accept-missing to drop their rows"
        )
        raise RegisterError(message)


def _check_access(settings: Settings, rows: Sequence[ObjectRow]) -> None:
    """One forbidden object is a finding; a source of nothing else is a source that cannot be read."""
    for source in settings.sources:
        of_source = [row for row in rows if row.source == source.name]
        denied = [row for row in of_source if row.reason == Reason.ACCESS_DENIED]
        if denied and not any(row.is_readable for row in of_source):
            what = "s3:GetObject on them (and kms:Decrypt on their key)" if source.is_s3 else "this user to read them"
            message = (
                f"{source_key(settings, source)}: its objects can be listed but not read, for example "
                f"{shown(denied[0].uri)}: allow {what}"
            )
            raise SourceError(message)


# --- reading ---


def _tables(settings: Settings) -> GlueTables | None:
    """The external tables over what is written here, made or brought up to this version; None where there are none."""
    if settings.target is not Target.ATHENA:
        return None
    from flowlake.lake.glue import GlueTables

    tables = GlueTables(settings)
    tables.ensure()
    return tables


def _inspect_all(
    settings: Settings, found: _Finding, tables: GlueTables | None, progress: Progress | None
) -> tuple[list[ObjectRow], dict[str, Format]]:
    rows: list[ObjectRow] = []
    formats = {known.format_id: known for known in _known_formats()}
    columns = tables.columns("parquet_records") if tables else {}
    with open_spool(settings, columns) as spool, ThreadPoolExecutor(_threads(settings)) as pool:
        for row, format_ in pool.map(lambda item: _inspect(spool, item), found.items):
            rows.append(row)
            if format_ is not None:
                formats[format_.format_id] = format_
            if progress is not None:
                progress(len(rows), len(found.items))
        if tables is not None and isinstance(spool, AthenaSpool):
            seen = spool.columns.all()
            tables.add_columns("parquet_records", {name: seen[name] for name in sorted(seen.keys() - columns.keys())})
    return rows, formats


def _known_formats() -> Iterator[Format]:
    # Always there, so that raw.formats can be read before the first object came.
    return (format_of(tuple(header.split(" "))) for header in KNOWN_FORMATS)


def _threads(settings: Settings) -> int:
    cores = os.cpu_count() or 1
    return max(cores, _S3_THREADS) if any(source.is_s3 for source in settings.sources) else cores


def _inspect(spool: Spool, item: _Item) -> tuple[ObjectRow, Format | None]:
    """The row of an object, and the format of a text object."""
    listed = item.listed
    if listed.reason is not None or listed.name is None:
        return _row(listed, listed.reason, listed.detail), None
    kind = listed.name.kind
    path = None
    try:
        path = spool.obtain(item.source, item.store, listed, kind)
        with opened_problem():
            if kind is Kind.TEXT:
                row, format_ = _text_row(spool, item, path)
            else:
                row, format_ = _parquet_row(spool, listed, path), None
        if not item.source.is_s3:
            spool.obtain(item.source, item.store, listed, kind)  # still the file that was listed?
    except ObjectProblem as problem:
        if path is not None:
            spool.drop([path])
        return _row(listed, problem.reason, problem.detail), None
    finally:
        if path is not None:
            spool.passed(path)
    return row, format_


def _text_row(spool: Spool, item: _Item, path: Path) -> tuple[ObjectRow, Format]:
    listed = item.listed
    facts = inspect_text(path)
    if facts.unpacked_bytes == 0:
        raise _empty(facts.wrapping)
    found = _text_format(item.source, facts.first_lines)
    format_ = found.format
    notes = [f"read from a plain copy: {facts.copy_reason}"] if facts.copy_reason else []
    if found.origin is _Origin.INFERRED:
        notes.append(f"without a header: {found.how}")
    row = replace(
        _row(listed, None, "; ".join(notes) or None),
        format_id=format_.format_id,
        read_path=spool.readable(listed, Kind.TEXT, path, needs_copy=facts.copy_reason is not None),
        line_count=facts.line_count,
        empty_line_count=facts.empty_line_count,
        line_bytes=facts.line_bytes,
        unpacked_bytes=facts.unpacked_bytes,
        unknown_fields=format_.unknown_fields,
    )
    return row, format_


class _Origin(StrEnum):
    """Where the format of a text object comes from."""

    HEADER = "header"
    DECLARED = "declared"
    INFERRED = "inferred"


@dataclass(frozen=True)
class _TextFormat:
    """The format of a text object, and `how` it is known."""

    format: Format
    origin: _Origin
    how: str


def _empty(wrapping: str | None) -> ObjectProblem:
    return ObjectProblem(Reason.EMPTY, wrapping or "it unpacks to no bytes")


def _text_format(source: Source, lines: Sequence[bytes]) -> _TextFormat:
    """The format that an object's first lines are in. Raises ObjectProblem when nobody can say."""
    if not lines:
        raise ObjectProblem(Reason.NO_HEADER, "it starts with: blank lines, or one that does not end")
    header = parse_header(lines[0])
    if header is not None:
        return _TextFormat(header, _Origin.HEADER, "named in its header")
    declared = format_named(source.format) if source.format else None
    if declared is not None:
        width = len(declared.fields)
        # Something else altogether, such as JSON, would be an object of nothing but malformed lines.
        if any(line.count(b" ") + 1 == width for line in lines):
            return _TextFormat(declared, _Origin.DECLARED, f"declared, {declared.format_id}, by sources[].format")
        why = f"none of its first lines has the {width} fields of sources[].format"
    else:
        guess = guess_format(lines)
        if guess.is_sure:
            how = f"inferred, {guess.format.format_id}, {guess.agreeing} of {count_of(guess.lines, 'line')}"
            return _TextFormat(guess.format, _Origin.INFERRED, how)
        why = f"{guess.reason}; set sources[].format"
    detail = f"it starts with: {_excerpt(lines[0], 80)} ({why})"
    raise ObjectProblem(Reason.NO_HEADER, detail)


def _excerpt(line: bytes, length: int) -> str:
    """The start of a hostile line, printable."""
    return shown(line[:length].decode("latin-1"))[:length]


def _parquet_row(spool: Spool, listed: ListedObject, path: Path) -> ObjectRow:
    from flowlake.lake.plain_parquet import copy_reason

    facts = inspect_parquet(path)
    reason = copy_reason(path)
    return replace(
        _row(listed, None, reason),
        read_path=spool.readable(listed, Kind.PARQUET, path, needs_copy=reason is not None),
        line_count=facts.rows,
        empty_line_count=0,
        unpacked_bytes=facts.unpacked_bytes,
        unknown_fields=facts.unknown_fields,
    )


def _row(listed: ListedObject, reason: Reason | None, detail: str | None = None) -> ObjectRow:
    name = listed.name
    return ObjectRow(
        uri=listed.uri,
        source=listed.source,
        size=listed.size,
        etag=listed.etag,
        last_modified=listed.last_modified.replace(tzinfo=None),
        account_id=name.account_id if name else None,
        region=name.region if name else None,
        flow_log_id=name.flow_log_id if name else None,
        layout=name.layout.value if name else None,
        kind=name.kind.value if name else None,
        format_id=None,
        arrival_hour=listed.arrival_hour,
        named_at=name.named_at.replace(tzinfo=None) if name else None,
        read_path=None,
        status=(Status.READABLE if reason is None else Status.UNREADABLE).value,
        reason=reason.value if reason else None,
        detail=detail,
        line_count=None,
        empty_line_count=None,
        line_bytes=None,
        unpacked_bytes=None,
    )


# --- writing ---


def _write(
    settings: Settings,
    window: Window,
    rows: Sequence[ObjectRow],
    formats: dict[str, Format],
    tables: GlueTables | None,
) -> tuple[str, ...]:
    """Write formats, then manifests, then the ledger: each file whole, and all of them again by a rerun.

    The ledger comes last because it is what says that an hour was registered. A table's partition is there before its
    first file and goes after its last one, so none is ever overlooked.
    """
    new = [format_id for format_id, format_ in sorted(formats.items()) if write_format(settings, format_)]
    known = tables.add_partitions(window.hours, manifest_paths(rows)) if tables else None
    write_manifests(settings, window.hours, rows, known)
    if tables and known:
        tables.remove_partitions(known)
    by_hour: dict[str, list[ObjectRow]] = defaultdict(list)
    for row in rows:
        by_hour[row.arrival_hour].append(row)

    def write(hour: str) -> None:
        write_objects(settings, hour, sorted(by_hour[hour], key=lambda row: row.uri))

    list(_each(settings, write, window.hours))
    return tuple(format_id for format_id in new if format_id not in KNOWN_FORMATS.values())


def _each(settings: Settings, work: Callable[[str], _R], hours: Sequence[str]) -> Iterator[_R]:
    """Do something for each hour, in order; where files are far away, several at a time."""
    if settings.target is not Target.ATHENA:
        yield from map(work, hours)
        return
    with ThreadPoolExecutor(_S3_THREADS) as pool:
        yield from pool.map(work, hours)


@contextmanager
def _file_errors() -> Iterator[None]:
    """Say in one line which file could not be read or written (a full disk, a folder that is not ours)."""
    try:
        yield
    except OSError as error:
        message = f"cannot read or write {shown(str(error.filename or 'a file'))}: {error.strerror or error}"
        raise RegisterError(message) from error


# --- planning ---


@dataclass(frozen=True)
class _Peek:
    """What the start of a text object, or the end of a Parquet one, says."""

    format_name: str | None
    unknown_fields: tuple[str, ...]
    row: ObjectRow
    unusual: UnusualText | None = None


def _peek(item: _Item) -> _Peek:
    listed = item.listed
    try:
        if listed.reason is not None or listed.name is None:
            return _Peek(None, (), _row(listed, listed.reason))
        if listed.name.kind is Kind.PARQUET:
            tail = item.store.read_range(listed, start=None, length=FOOTER_STEP)
            length = footer_length(tail)
            if length > len(tail):
                tail = item.store.read_range(listed, start=None, length=min(length, listed.size))
            return _Peek("parquet", parse_footer(tail[-length:]).unknown_fields, _row(listed, None))
        data = item.store.read_range(listed, start=0, length=FIRST_LINES_LIMIT)
        start = unpack_start(data, is_whole=len(data) == listed.size)
        if start.is_whole and not start.head:
            raise _empty(f"it is {start.wrapping}" if start.wrapping else None)
        return _peeked_text(item, first_lines(start.head, is_whole=start.is_whole), start.wrapping)
    except ObjectProblem as problem:
        return _Peek(None, (), _row(listed, problem.reason, problem.detail))


def _peeked_text(item: _Item, lines: Sequence[bytes], wrapping: str | None) -> _Peek:
    excerpt = tuple(_excerpt(line, EXCERPT) for line in lines[:EXCERPT_LINES])
    unusual = UnusualText(1, item.listed.uri, wrapping, excerpt, None, "")
    try:
        found = _text_format(item.source, lines)
    except ObjectProblem as problem:
        row = _row(item.listed, problem.reason, problem.detail)
        return _Peek(None, (), row, replace(unusual, how=problem.detail or ""))
    format_ = found.format
    is_usual = wrapping is None and found.origin is _Origin.HEADER
    unusual = replace(unusual, format=format_.format_id, how=found.how)
    return _Peek(format_.format_id, format_.unknown_fields, _row(item.listed, None), None if is_usual else unusual)


def _spread(items: Sequence[_Item]) -> list[_Item]:
    """A few objects of a flow log, the first and the last among them."""
    last = len(items) - 1
    steps = HEADERS_PER_FLOW_LOG - 1
    return [items[index] for index in sorted({round(last * step / steps) for step in range(steps + 1)})]


def _planned(items: Sequence[_Item], peeks: dict[str, _Peek]) -> PlannedFlowLog:
    names = [item.listed.name for item in items if item.listed.name is not None]
    seen = [peeks[item.listed.uri] for item in items if item.listed.uri in peeks]
    return PlannedFlowLog(
        source=items[0].listed.source,
        account_id=names[0].account_id,
        region=names[0].region,
        flow_log_id=names[0].flow_log_id,
        layouts=tuple(sorted({name.layout.value for name in names})),
        objects=len(items),
        bytes=sum(item.listed.size for item in items),
        first_named_at=min(name.named_at for name in names),
        last_named_at=max(name.named_at for name in names),
        headers_read=len(seen),
        formats=tuple(sorted({peek.format_name for peek in seen if peek.format_name})),
        unknown_fields=tuple(sorted({name for peek in seen for name in peek.unknown_fields})),
        unusual=_unusual([peek.unusual for peek in seen if peek.unusual]),
        problems=tuple(_problems([peek.row for peek in seen])),
    )


def _unusual(found: Sequence[UnusualText]) -> tuple[UnusualText, ...]:
    """One for all that came in the same way, preferably of those that nobody can read."""
    ways: dict[str, list[UnusualText]] = defaultdict(list)
    for each in found:
        ways[each.wrapping or ""].append(each)
    firsts = [(min(alike, key=lambda each: (each.format is not None, each.uri)), alike) for alike in ways.values()]
    return tuple(replace(first, objects=len(alike)) for first, alike in sorted(firsts, key=lambda pair: pair[0].uri))


# --- words ---


def _problems(rows: Iterable[ObjectRow]) -> list[str]:
    """A line per reason, or way of reading, with how many objects and one of them; and one for unknown fields."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    by_way: dict[str, list[ObjectRow]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    for row in rows:
        if row.reason is not None:
            by_reason[row.reason].append(row.uri)
        elif row.detail is not None:
            by_way[_EACH_ITS_OWN.sub(r"\1", row.detail)].append(row)
        unknown.update(row.unknown_fields)
    problems = [
        f"{count_of(len(uris), 'object')} not read: {reason}, {Reason(reason).meaning} (for example {shown(min(uris))})"
        for reason, uris in sorted(by_reason.items())
    ]
    for _, alike in sorted(by_way.items()):
        example = min(alike, key=lambda row: row.uri)
        problems.append(f"{count_of(len(alike), 'object')} {example.detail} (for example {shown(example.uri)})")
    if unknown:
        names = ", ".join(f"{shown(name)} ({count_of(count, 'object')})" for name, count in sorted(unknown.items()))
        problems.append(f"unknown fields, kept aside: {names}")
    return problems


def _overtaken_problems(overtaken: Sequence[OvertakenHour], window: Window) -> list[str]:
    return [
        f"{count_of(hour.objects, 'object')} of {hour.arrival_hour} overwritten since, for example "
        f"{shown(hour.example)}: the hour is run again with {window}"
        for hour in overtaken
    ]


def _gone_problem(gone: set[str]) -> list[str]:
    if not gone:
        return []
    objects = count_of(len(gone), "object")
    return [f"{objects} registered earlier and gone: rows dropped (for example {shown(min(gone))})"]
