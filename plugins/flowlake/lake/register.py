"""Register a window: which objects arrived, what each holds, and what staging is to read.

For every arrival hour of the window this writes the ledger (`raw.objects`) and the manifests, and the formats that were
met; all of it is replaced when the window is registered again. An object that cannot be read is a row with its reason
and stops nothing. A source that cannot be listed stops everything, before anything is written.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flowlake.errors import FlowlakeError
from flowlake.lake.contracts import Met, changes, difference, first_of, hold, read_contract, write_contract
from flowlake.lake.copies import Content, Copies, content_id, find_copies, reach, read_contents, write_contents
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
    CLOCKS_DIFFER_BY,
    S3ClientFactory,
    SourceError,
    SourceMistake,
    Store,
    is_listed,
    list_source,
    open_store,
    opened_problem,
    source_key,
)
from flowlake.lake.windows import Window, format_hour, parse_hour
from flowlake.records.formats import KNOWN_FORMATS, Format, format_named, format_of, parse_header
from flowlake.records.inference import guess_format
from flowlake.settings import FormatChanges, Settings, Source, Target

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

_HOUR = timedelta(hours=1)

_APPEARS_WITHIN = timedelta(days=1)
"""How far back objects are looked for that arrived in an hour and were not to be seen when it was registered."""

_DENIED = (Reason.ACCESS_DENIED, Reason.SEALED, Reason.ARCHIVED)
"""Of an object that was read before: its rows could not be made again."""

_OF_BYTES = frozenset(
    {
        Reason.NOT_GZIP,
        Reason.TRUNCATED,
        Reason.BAD_CHECKSUM,
        Reason.CORRUPT,
        Reason.TRAILING_GARBAGE,
        Reason.LINE_TOO_LONG,
        Reason.BROKEN_WRAPPING,
        Reason.NO_HEADER,
        Reason.MIXED_FORMATS,
        Reason.BROKEN_PARQUET,
        Reason.FORMAT_CHANGED,
    }
)
"""Said of what was read: whoever can say so may read."""


class RegisterError(FlowlakeError):
    """A window that cannot be registered; nothing was changed."""


@dataclass(frozen=True)
class RegisterReport:
    """What a registration found. `bytes` are those of the stored objects, `lines` count headers and blanks too.

    `window` is what was registered: the one that was asked for, or its hull with the hours that held objects before
    they were overwritten, or that count copies otherwise than they should by now (`overtaken`). `new_formats` are those
    that the lake met for the first time, AWS' defaults apart; `missing` counts the objects whose rows are dropped
    because they are gone; `problems` are lines for people.
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

    Where objects were overwritten after they were registered, or came in another hour as well (`lake.copies`), that is
    written down (`lake.overtaken`), and the hours that held them before are registered with the window; `widen` is
    called with the window that they make.

    Raises SourceError when a source cannot be listed or read at all, and RegisterError when objects registered earlier
    are gone from their source, or may not be read any more, and `accept_missing` is not set: the rows that were read
    from them could not be made again.
    """
    started = time.monotonic()
    with _file_errors():
        asked, tables = window, _tables(settings)
        known: dict[ListedObject, _Inspected] = {}
        restated: dict[str, OvertakenHour] = {}
        others: dict[str, OvertakenHour] = {}
        overwritten: dict[str, OvertakenHour] = {}
        new_formats: list[str] = []
        while True:
            window, found, earlier, overtaken = _settle(settings, window, s3_client, widen)
            # Of a second pass the ledgers are those that the first one wrote, which know nothing of it any more.
            overwritten |= {hour.arrival_hour: hour for hour in overtaken}
            _inspect_all(settings, found, tables, progress, known)
            inspected = {item.listed.uri: known[item.listed] for item in found.items}
            contracts = _contracts(settings, inspected)
            inspected = {uri: _held_to(contracts, one) for uri, one in inspected.items()}
            contents = _Contents(settings, window, found, inspected)
            copies = contents.judge()
            restated |= _as_overtaken(copies.stale)
            others |= _as_overtaken(copies.origins)
            if copies.stale:
                widen(window := widened(window, list(copies.stale)))
                continue
            rows = [_counted(one.row, copies) for one in inspected.values()]
            _check_access(settings, [known[item.listed].row for item in found.items])
            denied = earlier & {row.uri for row in rows if row.reason in _DENIED}
            vanished = earlier & {row.uri for row in rows if row.reason == Reason.VANISHED}
            left = found.gone(earlier) | vanished | denied
            gone = left - contents.live_elsewhere(left)
            _guard(gone, denied, accept_missing=accept_missing)
            others |= _as_overtaken(_unread_again(earlier, rows, copies))
            if again := others | restated | overwritten:
                record(settings, asked, list(again.values()))
            if earlier and (corrected := _corrected_hours(settings, window, rows)):
                note_corrected(settings, corrected)
            formats = {one.format.format_id: one.format for one in inspected.values() if one.format}
            contents.write(rows, left)
            for flow_log_id, (before, contract) in contracts.items():
                if contract != before:
                    write_contract(settings, flow_log_id, contract)
            new_formats += _write(settings, window, rows, formats, tables)
            # Beside this run another one may have registered a copy: whoever has written last sees both.
            if settings.lake.catalog is None or contents.judge() == copies:
                break
        _drop_spooled(settings, [known[item.listed].row for item in found.items], rows)
        unseen = _unseen(settings, window, found)
    unknown = sorted({name for row in rows for name in row.unknown_fields})
    report = RegisterReport(
        window=window,
        overtaken=tuple(sorted(again)),
        objects=len(rows),
        readable=sum(row.is_readable for row in rows),
        unreadable=sum(not row.is_readable for row in rows),
        bytes=sum(row.size for row in rows),
        unpacked_bytes=sum(row.unpacked_bytes or 0 for row in rows),
        lines=sum(row.line_count or 0 for row in rows),
        new_formats=tuple(new_formats),
        unknown_fields=tuple(unknown),
        missing=len(gone),
        problems=(
            *found.problems,
            *_overtaken_problems(overwritten.values(), "overwritten since", window),
            *_overtaken_problems(restated.values(), "counted otherwise since a copy is known", window),
            *_changed_formats(contracts, window),
            *_problems(rows, {uri for uri, one in inspected.items() if _is_news(contracts, window, one)}),
            *_gone_problem(gone),
            *_unseen_problem(unseen),
        ),
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
        problems=(*found.problems, *_problems(others), *_same_names(found.items)),
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
    widen: Callable[[Window], None],
) -> tuple[Window, _Finding, set[str], tuple[OvertakenHour, ...]]:
    """The window to register, what it holds, what earlier registrations of it read, and overtaken hours."""
    while True:
        found = _find(settings, window, s3_client)
        hours = (*_hours_before(window, found), *window.hours)
        registered = {hour: uris or {} for hour, uris in _registered(settings, hours).items()}
        earlier = {uri for hour in window.hours for uri, is_readable in registered[hour].items() if is_readable}
        held = {hour: _overtaken_uris(uris, hour, window, found) for hour, uris in registered.items()}
        now = tuple(OvertakenHour(hour, len(uris), min(uris)) for hour, uris in sorted(held.items()) if uris)
        hull = widened(window, [hour.arrival_hour for hour in now])
        if hull == window:
            return window, found, earlier, now
        widen(hull)
        window = hull


def _registered(settings: Settings, hours: Sequence[str]) -> Mapping[str, Mapping[str, bool] | None]:
    return dict(zip(hours, _each(settings, lambda hour: read_uris(settings, hour), hours), strict=True))


def _hours_before(window: Window, found: _Finding) -> tuple[str, ...]:
    """The hours before the window in which one of its objects can have been registered.

    None lies before the time in the object's name, but for the clocks' difference, and none before the days listed.
    """
    first = min((_first_hour(item, window) for item in found.items), default=window.start)
    return Window(first, window.start).hours if first < window.start else ()


def _unseen(settings: Settings, window: Window, found: _Finding) -> Mapping[str, Sequence[str]]:
    """The objects of hours before the window that are listed now, and were not when their hours were registered.

    A replica, an upload in parts and a file that keeps its time have a `LastModified` of before they can be seen; so
    has whatever comes late of a source that goes by names. Looks back for a day.
    """
    start, end = (format_hour(moment) for moment in (window.start - _APPEARS_WITHIN, window.start))
    listed: dict[str, list[str]] = defaultdict(list)
    for uri, hour in found.hours.items():
        if start <= hour < end:
            listed[hour].append(uri)
    registered = _registered(settings, sorted(listed))
    unseen = {
        hour: [uri for uri in listed[hour] if uri not in known]
        for hour, known in registered.items()
        if known is not None
    }
    return {hour: uris for hour, uris in unseen.items() if uris}


def _first_hour(item: _Item, window: Window) -> datetime:
    listed = item.listed
    first_day = datetime.combine(window.days[0], datetime.min.time(), UTC) - timedelta(days=item.source.lookback_days)
    named_at = listed.name.named_at if listed.name else folder_moment(listed.key) or first_day
    # A name may say the year 1, before which there is no time.
    named_at = max(named_at, first_day + CLOCKS_DIFFER_BY)
    return (named_at - CLOCKS_DIFFER_BY).replace(minute=0, second=0, microsecond=0)


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


def _unread_again(earlier: Collection[str], rows: Sequence[ObjectRow], copies: Copies) -> Mapping[str, Sequence[str]]:
    """The objects of the window that were read before and are not to be any more, by hour: tables still hold them.

    With each copy the one that counts in its place, where that was not read before: their hours belong together.
    """
    hours = {row.uri: row.arrival_hour for row in rows}
    unread: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if not row.is_readable and row.uri in earlier:
            unread[row.arrival_hour].append(row.uri)
            original = row.uri
            while original in copies.originals:
                original = copies.originals[original]
            if original in hours and original not in earlier:
                unread[hours[original]].append(original)
    return unread


def _guard(gone: set[str], denied: Collection[str], *, accept_missing: bool) -> None:
    if gone and not accept_missing:
        state = "is gone" if len(gone) == 1 else "are gone"
        if gone.issubset(denied):
            state = "may not be read any more"
        message = (
            f"{count_of(len(gone), 'object')} registered earlier {state}, for example {shown(min(gone))}: "
            "restore them, or run with --accept-missing to drop their rows"
        )
        raise RegisterError(message)


def _check_access(settings: Settings, rows: Sequence[ObjectRow]) -> None:
    """One forbidden object is a finding; a source of nothing else is a source that cannot be read."""
    for source in settings.sources:
        of_source = [row for row in rows if row.source == source.name]
        denied = [row for row in of_source if row.reason == Reason.ACCESS_DENIED]
        if denied and not any(row.is_readable or row.reason in _OF_BYTES for row in of_source):
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


@dataclass(frozen=True)
class _Inspected:
    """The row of an object and the format of a text object.

    Of an object that can be read: what it holds where that can be told from others (`lake.copies`), and its format in
    the words of a contract (`lake.contracts`).
    """

    row: ObjectRow
    format: Format | None = None
    content_id: str | None = None
    shape: str | None = None


def _inspect_all(
    settings: Settings,
    found: _Finding,
    tables: GlueTables | None,
    progress: Progress | None,
    known: dict[ListedObject, _Inspected],
) -> None:
    """Inspect the objects that are not `known` yet, and make them known."""
    columns = tables.columns("parquet_records") if tables else {}
    new = [item for item in found.items if item.listed not in known]
    with open_spool(settings, columns) as spool, ThreadPoolExecutor(_threads(settings)) as pool:
        for number, (item, inspected) in enumerate(zip(new, pool.map(partial(_inspect, spool), new), strict=True), 1):
            known[item.listed] = inspected
            if progress is not None:
                progress(number, len(new))
        if tables is not None and isinstance(spool, AthenaSpool):
            seen = spool.columns.all()
            tables.add_columns("parquet_records", {name: seen[name] for name in sorted(seen.keys() - columns.keys())})


def _known_formats() -> Iterator[Format]:
    return (format_of(tuple(header.split(" "))) for header in KNOWN_FORMATS)


def _threads(settings: Settings) -> int:
    cores = os.cpu_count() or 1
    return max(cores, _S3_THREADS) if any(source.is_s3 for source in settings.sources) else cores


def _inspect(spool: Spool, item: _Item) -> _Inspected:
    listed = item.listed
    if listed.reason is not None or listed.name is None:
        return _Inspected(_row(listed, listed.reason, listed.detail))
    kind = listed.name.kind
    path = None
    try:
        path = spool.obtain(item.source, item.store, listed, kind)
        # The spool's own errors are not the object's fault.
        with opened_problem(path):
            inspected = _text_row(spool, item, path) if kind is Kind.TEXT else _parquet_row(spool, listed, path)
        if not item.source.is_s3:
            spool.obtain(item.source, item.store, listed, kind)  # still the file that was listed?
    except ObjectProblem as problem:
        if path is not None:
            spool.drop([path])
        return _Inspected(_row(listed, problem.reason, problem.detail))
    finally:
        if path is not None:
            spool.passed(path)
    return inspected


def _text_row(spool: Spool, item: _Item, path: Path) -> _Inspected:
    listed = item.listed
    facts = inspect_text(path)
    if facts.unpacked_bytes == 0:
        raise _empty(facts.wrapping)
    found = _text_format(item.source, facts.first_lines)
    format_ = found.format
    if others := [other for other in facts.formats if _is_another(other, format_)]:
        # What follows such a line would have its values in the wrong columns.
        detail = f"a line in it announces {_excerpt(others[0].header.encode(), 200)}"
        raise ObjectProblem(Reason.MIXED_FORMATS, detail)
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
    records = facts.line_count - facts.empty_line_count - (found.origin is _Origin.HEADER)
    return _Inspected(row, format_, _content_id(row, facts.digest, records, format_.columns), format_.header)


def _is_another(format_: Format, own: Format) -> bool:
    """Whether a line further on announces another format. One name may stand in any odd line."""
    known = len(format_.fields) - len(format_.unknown_fields)
    return format_.fields != own.fields and known >= min(2, len(own.fields))


def _content_id(row: ObjectRow, digest: bytes, records: int, columns: Collection[str | None]) -> str | None:
    """Of an object without records there is nothing to count twice."""
    if records < 1 or row.flow_log_id is None:
        return None
    is_told_apart = "start" in columns and any(name in columns for name in ("interface_id", "tgw_attachment_id"))
    return content_id(row.flow_log_id, row.uri, digest, is_told_apart=is_told_apart)


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


def _parquet_row(spool: Spool, listed: ListedObject, path: Path) -> _Inspected:
    from flowlake.lake.plain_parquet import copy_reason

    facts = inspect_parquet(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    reason = copy_reason(path)
    row = replace(
        _row(listed, None, reason),
        read_path=spool.readable(listed, Kind.PARQUET, path, needs_copy=reason is not None),
        line_count=facts.rows,
        empty_line_count=0,
        unpacked_bytes=facts.unpacked_bytes,
        unknown_fields=facts.unknown_fields,
    )
    return _Inspected(row, None, _content_id(row, digest, facts.rows, facts.columns), facts.format)


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


# --- contracts ---

_Contracts = Mapping[str, tuple[Sequence[Met], Sequence[Met]]]
"""The formats of each flow log as they were known, and with those that the window's objects have."""


def _contracts(settings: Settings, inspected: Mapping[str, _Inspected]) -> _Contracts:
    sources = {source.name: source for source in settings.sources}
    found: dict[str, list[Met]] = defaultdict(list)
    for uri, one in inspected.items():
        if one.shape and one.row.flow_log_id and one.row.named_at:
            met = Met(one.shape, f"{one.row.named_at:%Y-%m-%dT%H:%M}", uri, one.row.arrival_hour)
            found[one.row.flow_log_id].append(met)

    def accepts(uri: str) -> bool:
        return sources[inspected[uri].row.source].format_changes is FormatChanges.ACCEPT

    flow_logs = sorted(found)
    known = _each(settings, lambda flow_log_id: read_contract(settings, flow_log_id), flow_logs)
    return {
        flow_log_id: (before, hold(before, found[flow_log_id], accepts))
        for flow_log_id, before in zip(flow_logs, known, strict=True)
    }


def _held_to(contracts: _Contracts, one: _Inspected) -> _Inspected:
    """The object as it is, or kept aside because its format is not accepted for its flow log."""
    flow_log_id = one.row.flow_log_id
    if one.shape is None or flow_log_id is None:
        return one
    _, contract = contracts[flow_log_id]
    if any(met.is_accepted for met in contract if met.format == one.shape):
        return one
    return _Inspected(_unread(one.row, Reason.FORMAT_CHANGED, difference(first_of(contract).format, one.shape)))


def _changed_formats(contracts: _Contracts, window: Window) -> list[str]:
    return [
        line
        for flow_log_id, (before, contract) in contracts.items()
        for line in changes(flow_log_id, before, contract, window.hours)
    ]


def _is_news(contracts: _Contracts, window: Window, one: _Inspected) -> bool:
    """Whether an object's unknown fields are told: as its format is met, and by each run of the first that has it."""
    if one.shape is None or one.row.flow_log_id is None:
        return False
    before, contract = contracts[one.row.flow_log_id]
    first = next(met for met in contract if met.format == one.shape)
    was_read = any(met.format == one.shape and met.is_accepted for met in before)
    return not was_read or first.arrival_hour in window.hours


# --- copies ---


@dataclass(frozen=True)
class _Contents:
    """What the objects of a window hold, beside what the hours around it hold."""

    settings: Settings
    window: Window
    found: _Finding
    inspected: Mapping[str, _Inspected]

    def judge(self) -> Copies:
        """Which objects are copies, by what is recorded of the hours around the window now."""
        return find_copies(
            self._of(one.row for one in self.inspected.values()),
            self._around(),
            reach=reach(self.settings),
            end=format_hour(self.window.end),
            lies_there=self._lies_there,
        )

    def live_elsewhere(self, gone: Collection[str]) -> set[str]:
        """Those of the objects registered before and gone of which a copy is there."""
        if not gone:
            return set()
        lying = {one.content_id for one in self.inspected.values()}
        lying |= {item.content_id for item in self._around() if self._lies_there(item)}
        return {item.uri for item in self._before() if item.uri in gone and item.content_id in lying}

    def write(self, rows: Iterable[ObjectRow], left: Collection[str]) -> None:
        """Write what the rows of the window hold; and what has left held, for as long as the ledger names it.

        Who is killed before the ledger is written leaves a row of which the next run has to know that a copy is there.
        """
        by_hour: dict[str, list[Content]] = defaultdict(list)
        for item in (*self._of(rows), *(item for item in self._before() if item.uri in left)):
            by_hour[item.arrival_hour].append(item)
        list(_each(self.settings, lambda hour: write_contents(self.settings, hour, by_hour[hour]), self.window.hours))

    def _of(self, rows: Iterable[ObjectRow]) -> Iterator[Content]:
        for row in rows:
            if found := self.inspected[row.uri].content_id:
                yield Content(row.uri, row.source, found, row.last_modified, row.arrival_hour, row.is_readable)

    def _before(self) -> list[Content]:
        found = _each(self.settings, lambda hour: read_contents(self.settings, hour), self.window.hours)
        return [item for items in found for item in items]

    def _around(self) -> list[Content]:
        """What the hours around the window hold of what it holds now, or held when it was last registered."""
        ids = {one.content_id for one in self.inspected.values() if one.content_id}
        ids |= {item.content_id for item in self._before()}
        if not ids:
            return []
        apart, this_hour = reach(self.settings), datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        end = max(self.window.end, min(self.window.end + apart, this_hour))
        hours = sorted({*Window(self.window.start - apart, end).hours} - {*self.window.hours})
        found = _each(self.settings, lambda hour: read_contents(self.settings, hour, ids), hours)
        return [item for items in found for item in items]

    def _lies_there(self, item: Content) -> bool:
        """Whether an object of an hour around the window is still what was registered of that hour.

        One that is not listed for the window, because it is of another day, is taken to be.
        """
        hour = self.found.hours.get(item.uri)
        if hour is not None:
            return hour == item.arrival_hour
        sources = (source for source in self.settings.sources if source.name == item.source)
        return not any(is_listed(item.uri, self.window, source) for source in sources)


def _as_overtaken(hours: Mapping[str, Sequence[str]]) -> dict[str, OvertakenHour]:
    return {hour: OvertakenHour(hour, len(uris), min(uris)) for hour, uris in hours.items()}


def _counted(row: ObjectRow, copies: Copies) -> ObjectRow:
    """The row as it is, or that of a copy: nothing of it is read or counted."""
    original = copies.originals.get(row.uri)
    return row if original is None else _unread(row, Reason.COPY, f"it holds what {shown(original)} holds")


def _unread(row: ObjectRow, reason: Reason, detail: str) -> ObjectRow:
    """The row of an object that could be read and is not to be."""
    return replace(
        row,
        format_id=None,
        read_path=None,
        status=Status.UNREADABLE.value,
        reason=reason.value,
        detail=detail,
        line_count=None,
        empty_line_count=None,
        line_bytes=None,
        unpacked_bytes=None,
        unknown_fields=(),
    )


def _drop_spooled(settings: Settings, inspected: Iterable[ObjectRow], rows: Iterable[ObjectRow]) -> None:
    """Drop what was put into the spool of objects that could be read and are not to be."""
    if settings.target is not Target.ATHENA:
        unread = {row.uri for row in rows if not row.is_readable}
        paths = (row.read_path for row in inspected if row.uri in unread)
        Spool(settings.lake.spool).drop(Path(path) for path in paths if path)


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
    # The known ones are always there, so that raw.formats can be read before the first object came.
    formats = {known.format_id: known for known in _known_formats()} | formats
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


def _problems(rows: Iterable[ObjectRow], news: Collection[str] | None = None) -> list[str]:
    """A line per reason, or way of reading, with how many objects and one of them; and one for unknown fields.

    `news`: the objects whose unknown fields are told; None stands for all.
    """
    by_reason: dict[str, list[str]] = defaultdict(list)
    by_way: dict[str, list[ObjectRow]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    for row in rows:
        if row.reason is not None:
            by_reason[row.reason].append(row.uri)
        elif row.detail is not None:
            by_way[_EACH_ITS_OWN.sub(r"\1", row.detail)].append(row)
        if news is None or row.uri in news:
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


def _same_names(items: Iterable[_Item]) -> list[str]:
    """A line about objects that may be copies: what they hold is only known when they are unpacked."""
    folders: dict[str, set[str]] = defaultdict(set)
    more: list[str] = []
    for item in items:
        if item.listed.name is not None and item.listed.reason is None:
            folder, _, name = stem(item.listed.uri).rpartition("/")
            more += [item.listed.uri] if folders[name] else []
            folders[name].add(folder)
    if not more:
        return []
    have, they = ("has", "it holds") if len(more) == 1 else ("have", "they hold")
    return [
        f"{count_of(len(more), 'object')} {have} the name of an object in another folder, and count once if {they} the "
        f"same (for example {shown(min(more))})"
    ]


def _overtaken_problems(overtaken: Iterable[OvertakenHour], what: str, window: Window) -> list[str]:
    return [
        f"{count_of(hour.objects, 'object')} of {hour.arrival_hour} {what}, for example "
        f"{shown(hour.example)}: the hour is run again with {window}"
        for hour in overtaken
    ]


def _gone_problem(gone: set[str]) -> list[str]:
    if not gone:
        return []
    objects = count_of(len(gone), "object")
    return [f"{objects} registered earlier and gone or denied: rows dropped (for example {shown(min(gone))})"]


def _unseen_problem(unseen: Mapping[str, Sequence[str]]) -> list[str]:
    if not unseen:
        return []
    objects = count_of(sum(map(len, unseen.values())), "object")
    first, end = min(unseen), format_hour(parse_hour(max(unseen)) + _HOUR)
    return [
        f"{objects} of hours before could not be seen when these were registered, for example "
        f"{shown(min(unseen[first]))}: flowlake backfill --from {first} --to {end} reads them"
    ]
