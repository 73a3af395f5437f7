"""The formats that a flow log's objects were met in: AWS never changes a flow log's format, so a second one is news.

Nothing is ever mis-mapped by a change: each object is read by its own header or its own columns. But whoever leans on a
field should hear that it is gone, or is something else by now (docs/adr/0029-format-contract.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from flowlake.lake.files import open_files
from flowlake.lake.objects import shown

if TYPE_CHECKING:
    from flowlake.settings import Settings

CONTRACTS = "raw/contracts"

_LONGEST = 1000
"""How many characters of a format are told; the header of all 54 fields has 800."""

PARQUET = "parquet: "
"""What the format of a Parquet object begins with; no header line does."""


@dataclass(frozen=True)
class Met:
    """A format that a flow log was met in, and the first object, by the time in its name, that has it.

    `format` is a header line or `parquet_format`; `named_at` is ISO 8601, UTC. What `is_accepted` is read.
    """

    format: str
    named_at: str
    uri: str
    arrival_hour: str
    is_accepted: bool = False

    @property
    def order(self) -> tuple[str, str]:
        """The first in this order says what the others have changed."""
        return self.named_at, self.uri


def parquet_format(types: Iterable[tuple[str, str]]) -> str:
    """The format of Parquet columns, each with what it holds; their order is none of it, for they are read by name."""
    return PARQUET + ", ".join(f"{name} {type_}" for name, type_ in sorted(types))


def hold(known: Sequence[Met], found: Iterable[Met], accepts: Callable[[str], bool]) -> tuple[Met, ...]:
    """The formats of a flow log with those that a window's objects have, in order.

    `accepts` says of an object, by its uri, whether its source takes any format. Where it does not, the first format of
    a flow log is accepted, and what was accepted before.
    """
    met = {one.format: one for one in known}
    for one in sorted(found, key=lambda item: item.order):
        before = met.get(one.format)
        is_accepted = (
            accepts(one.uri)
            or (before is not None and before.is_accepted)
            or not any(other.is_accepted for other in met.values())
        )
        first = one if before is None or one.order <= before.order else before
        met[one.format] = replace(first, is_accepted=is_accepted)
    return tuple(sorted(met.values(), key=lambda item: item.order))


def first_of(contract: Sequence[Met]) -> Met:
    """The format that the others of a flow log are held against: its first accepted one."""
    return next(one for one in contract if one.is_accepted)


def changes(flow_log_id: str, known: Sequence[Met], contract: Sequence[Met], hours: Collection[str]) -> list[str]:
    """A line for each format that is not the flow log's first: as it is met, and by each run of its first object."""
    first, before = first_of(contract), {one.format for one in known}
    is_new_first = bool(before) and first.format not in before
    return [
        f"flow log {flow_log_id} changed its format: {difference(first.format, one.format)}; since {one.named_at} "
        f"({shown(one.uri)}); "
        + ("read by what it says of itself" if one.is_accepted else "not read: see sources[].format_changes")
        for one in contract
        if one is not first and (is_new_first or one.format not in before or one.arrival_hour in hours)
    ]


def difference(old: str, new: str) -> str:
    """What a format has that another one has not, in words; columns of Parquet one by one. Cut at _LONGEST each."""
    if not (old.startswith(PARQUET) and new.startswith(PARQUET)):
        return f"{shown(new)[:_LONGEST]!r} instead of {shown(old)[:_LONGEST]!r}"
    was, now = _columns(old), _columns(new)
    parts = [f"{name} is {now[name]} and was {was[name]}" for name in was if name in now and was[name] != now[name]]
    parts += [f"{name} is gone" for name in was if name not in now]
    parts += [f"{name} is new" for name in now if name not in was]
    return shown(", ".join(parts))[:_LONGEST]


def _columns(format_: str) -> dict[str, str]:
    pairs = (column.rpartition(" ") for column in format_.removeprefix(PARQUET).split(", "))
    return {name: type_ for name, _, type_ in pairs}


def _path(flow_log_id: str) -> str:
    return f"{CONTRACTS}/{flow_log_id}.json"


def read_contract(settings: Settings, flow_log_id: str) -> tuple[Met, ...]:
    """The formats that a flow log was met in, in order; none of one that was never registered."""
    content = open_files(settings).read(_path(flow_log_id))
    return () if content is None else tuple(Met(**one) for one in json.loads(content))


def write_contract(settings: Settings, flow_log_id: str, contract: Iterable[Met]) -> None:
    """Put the formats of a flow log in place."""
    content = json.dumps([asdict(one) for one in contract], indent=1)
    open_files(settings).write(_path(flow_log_id), f"{content}\n".encode())
