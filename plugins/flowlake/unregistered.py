"""`flowlake unregistered`: what lies in the sources and is in no ledger, why, and how to have it read; writes nothing.

An hour lists a few days' folders, so that its cost does not grow with history. What comes into others is seen by no
run. This lists the sources whole instead: a request for 1,000 objects, and a file of the lake for each hour.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.text import Text

from flowlake.lake.manifests import read_uris
from flowlake.lake.storage import day_of, is_like_a_flow_log, is_listed, list_all, open_store
from flowlake.lake.windows import Window, format_hour, parse_hour
from flowlake.terminal import counted, human_bytes, human_count, make_table, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from flowlake.lake.objects import ListedObject
    from flowlake.lake.storage import S3ClientFactory
    from flowlake.settings import Settings, Source

_HOUR = timedelta(hours=1)

_HOURS_AT_ONCE = 1000
"""Hours whose objects are kept in memory: those of a region are listed day by day, and then those of the next."""


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
        said = _MEANS[self.why].format(first=self.first, end=end, days=self.days, source=self.source)
        return f"{counted(self.objects, 'object')} of {self.source}: {said}"


def find_unregistered(settings: Settings, *, s3_client: S3ClientFactory | None = None) -> list[Unregistered]:
    """List all sources whole, and tell what no run has registered, by source and reason.

    Raises:
        SourceError: a source cannot be listed.
        AwsError: the lake's own files cannot be read.
    """

    @lru_cache(maxsize=_HOURS_AT_ONCE)
    def registered(hour: str) -> Collection[str] | None:
        return read_uris(settings, hour)

    found: dict[tuple[str, Why], Unregistered] = {}
    for source in settings.sources:
        for listed in list_all(open_store(settings, source, s3_client), source):
            hour = listed.arrival_hour
            known = registered(hour)
            if known is not None and listed.uri in known:
                continue
            why = _why(listed, source, was_run=known is not None)
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


def _why(listed: ListedObject, source: Source, *, was_run: bool) -> Why:
    start = parse_hour(listed.arrival_hour)
    if is_listed(listed.key, Window(start, start + _HOUR), source):
        return Why.UNSEEN if was_run else Why.NOT_RUN
    if not is_like_a_flow_log(listed.key):
        return Why.FOREIGN
    return Why.OUTSIDE if day_of(listed.key, source) is None else Why.OLD_FOLDER


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
