"""`flowlake unregistered`: what lies in the sources and is in no ledger, why, and how to have it read; writes nothing.

An hour lists a few days' folders, so that its cost does not grow with history. What comes into others is seen by no
run. This lists the sources whole instead: a request for 1,000 objects, and a file of the lake for each hour that was
run, of whose objects it keeps some 100 bytes each in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from rich.text import Text

from flowlake.lake.manifests import read_uris, registered_hours
from flowlake.lake.storage import day_of, is_below_logs, is_like_a_flow_log, is_listed, list_all, open_store
from flowlake.lake.windows import Window, format_hour, parse_hour
from flowlake.settings import LONGEST_LOOKBACK, Layouts
from flowlake.terminal import counted, human_bytes, human_count, make_table, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from flowlake.lake.objects import ListedObject
    from flowlake.lake.storage import S3ClientFactory, Store
    from flowlake.settings import Settings, Source

_HOUR = timedelta(hours=1)

_FILES_AT_ONCE = 16


class Why(StrEnum):
    """Why no run has registered an object."""

    NOT_RUN = "not_run"
    UNSEEN = "unseen"
    OLD_FOLDER = "old_folder"
    OUTSIDE = "outside"
    FOREIGN = "foreign"


_MEANS: Mapping[Why, str] = {
    Why.NOT_RUN: "their arrival hours were not run: flowlake backfill --from {first} --to {end}",
    Why.UNSEEN: "they could not be seen when their hours were run, or came anew since: "
    "flowlake backfill --from {first} --to {end}",
    Why.OLD_FOLDER: "they came up to {days} days after the day of their folder: "
    "set lookback_days of {source} to {days}, then flowlake backfill --from {first} --to {end}",
    Why.OUTSIDE: "named as flow logs are, and outside of the folders that AWS writes: "
    "a source of its own with `layout: any` reads them",
    Why.FOREIGN: "not named as flow logs are, and outside of the folders that AWS writes: they are not read",
}

_LONG_AGO = (
    "they came up to {days} days after the day of their folder, as copies of history do: "
    "a source of its own with `arrival: object_name` reads them by the hours in their names"
)
"""Of an old folder that no lookback_days reaches."""


@dataclass
class Unregistered:
    """The objects of a source that are in no ledger for one reason; `bytes` as delivered, `first` and `last` hours.

    `days`: how many lie at most between the day of an object's folder and its arrival. `example` is an object's uri.
    """

    source: str
    why: Why
    objects: int
    bytes: int
    first: str
    last: str
    days: int
    example: str

    @property
    def advice(self) -> str:
        """What they are, and what reads them."""
        end = format_hour(parse_hour(self.last) + _HOUR)
        means = _LONG_AGO if self.why is Why.OLD_FOLDER and self.days > LONGEST_LOOKBACK else _MEANS[self.why]
        said = means.format(first=self.first, end=end, days=self.days, source=self.source)
        return f"{counted(self.objects, 'object')} of {self.source}: {said}"


def find_unregistered(settings: Settings, *, s3_client: S3ClientFactory | None = None) -> list[Unregistered]:
    """List all sources whole, and tell what no run has registered, by source and reason.

    Raises:
        SourceError: a source cannot be listed.
        AwsError: the lake's own files cannot be read.
    """

    hours = registered_hours(settings)
    known: set[bytes] = set()
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for hour, uris in zip(hours, pool.map(lambda hour: read_uris(settings, hour), hours), strict=True):
            known.update(_digest(hour, uri) for uri in uris or ())
    now = format_hour(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    found: dict[tuple[str, Why], Unregistered] = {}
    for source in settings.sources:
        store = open_store(settings, source, s3_client)
        for listed in list_all(store, source):
            hour = listed.arrival_hour
            # The hour that is not over is nobody's yet.
            if hour >= now or _digest(hour, listed.uri) in known:
                continue
            why = _why(listed, source, store, was_run=hour in hours)
            day = day_of(listed.key, source)
            days = (parse_hour(hour).date() - day).days if day else 0
            so_far = found.get((source.name, why))
            if so_far is None:
                found[source.name, why] = Unregistered(source.name, why, 1, listed.size, hour, hour, days, listed.uri)
                continue
            so_far.objects += 1
            so_far.bytes += listed.size
            so_far.first, so_far.last = min(so_far.first, hour), max(so_far.last, hour)
            so_far.days = max(so_far.days, days)
            so_far.example = min(so_far.example, listed.uri)
    reasons = list(Why)
    return sorted(found.values(), key=lambda one: (one.source, reasons.index(one.why)))


def _digest(hour: str, uri: str) -> bytes:
    return hashlib.blake2b(f"{hour} {uri}".encode(), digest_size=16).digest()


def _why(listed: ListedObject, source: Source, store: Store, *, was_run: bool) -> Why:
    start = parse_hour(listed.arrival_hour)
    if source.layout is not Layouts.ANY and not is_below_logs(listed.key, store):
        return Why.OUTSIDE if is_like_a_flow_log(listed.key) else Why.FOREIGN
    if is_listed(listed.key, Window(start, start + _HOUR), source):
        return Why.UNSEEN if was_run else Why.NOT_RUN
    return Why.OLD_FOLDER if day_of(listed.key, source) is not None else Why.FOREIGN


def as_rows(found: Sequence[Unregistered]) -> list[dict[str, object]]:
    """For programs: a mapping per source and reason."""
    return [{**asdict(one), "advice": one.advice} for one in found]


def show_unregistered(found: Sequence[Unregistered], console: Console) -> None:
    """Print for people what there is, and what reads it."""
    if not found:
        console.print("every object of the sources is registered")
        return
    columns = ["source", "why", "objects", "bytes", "first arrival hour", "last", "for example"]
    rows = [
        (one.source, one.why, human_count(one.objects), human_bytes(one.bytes), one.first, one.last, one.example)
        for one in found
    ]
    print_table(console, make_table(columns, rows, right=("objects", "bytes"), whole=("why", columns[4], "last")))
    for one in found:
        console.print(Text(one.advice), soft_wrap=True)
