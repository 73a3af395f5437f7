"""Objects that hold what another object holds: which of them counts, and which hours must be run again because of that.

Beside the ledger of an hour lies what its objects hold, as one digest each (`raw/contents`). `register` holds those of
its window against the hours around it, so the cost does not grow with history, and nothing is remembered that the hours
themselves do not say (docs/adr/0028-copies.md).
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowlake.lake.files import open_files
from flowlake.lake.manifests import read_uris
from flowlake.lake.windows import parse_hour

if TYPE_CHECKING:
    from flowlake.settings import Settings

CONTENTS = "raw/contents"

LONGEST_REACH = timedelta(days=8)
"""How far apart copies are looked for at most: as many ledgers are read for every window."""


@dataclass(frozen=True)
class Content:
    """What an object holds: `content_id` is that of its copies, and of no other object. `last_modified` is naive UTC.

    `is_read` says whether the object counts, as its hour's ledger has it.
    """

    uri: str
    source: str
    content_id: str
    last_modified: datetime
    arrival_hour: str
    is_read: bool

    @property
    def order(self) -> tuple[str, datetime, str]:
        """The first in this order counts: it depends on the objects alone."""
        return self.arrival_hour, self.last_modified, self.uri


@dataclass(frozen=True)
class Copies:
    """Which objects of a window are copies, each with the one that counts; and what has to run again beyond the window.

    `originals` names of each copy the one that arrived before it. `stale` are the objects, by their arrival hour
    outside the window, that count there and should not, or the reverse. `origins` are the window's objects that count
    in the place of stale ones behind it, by hour: those hours belong together until both are validated.
    """

    originals: Mapping[str, str] = field(default_factory=dict)
    stale: Mapping[str, Sequence[str]] = field(default_factory=dict)
    origins: Mapping[str, Sequence[str]] = field(default_factory=dict)


def content_id(flow_log_id: str, uri: str, digest: bytes, *, is_told_apart: bool) -> str:
    """What is the same for an object and for its copies alone.

    Equal bytes of one flow log are the same delivery when each record says when it was and who logged it. Where it does
    not, hosts that do the same every minute write equal objects too: then the file's name, which AWS never repeats, has
    to be equal as well.
    """
    name = "" if is_told_apart else uri.rpartition("/")[2].partition(".")[0]
    return hashlib.sha256(f"{flow_log_id}/{name}/".encode() + digest).hexdigest()


def reach(settings: Settings) -> timedelta:
    """How far apart objects may arrive and still be held against each other.

    As far as two of one day can: no window lists an object later.
    """
    lookback = max((source.lookback_days for source in settings.sources), default=0)
    return min(timedelta(days=lookback + 1), LONGEST_REACH)


def find_copies(
    fresh: Iterable[Content],
    around: Iterable[Content],
    *,
    reach: timedelta,
    end: str,
    lies_there: Callable[[Content], bool],
) -> Copies:
    """Tell which of a window's objects count, and what follows for the hours around it.

    `fresh` are the window's objects, `around` what is recorded of hours outside it, `end` the first hour behind it.
    `lies_there` says whether a recorded object is still in its hour. An object is a copy when another one arrived less
    than `reach` before it, be that one a copy itself.
    """
    groups: dict[str, list[Content]] = defaultdict(list)
    left: list[Content] = []
    fresh = tuple(fresh)
    here = frozenset(item.uri for item in fresh)
    for item in (*fresh, *around):
        if item.uri in here or lies_there(item):
            groups[item.content_id].append(item)
        elif item.is_read:
            left.append(item)
    originals: dict[str, str] = {}
    stale: dict[str, list[str]] = defaultdict(list)
    origins: dict[str, list[str]] = defaultdict(list)
    for alike in groups.values():
        alike.sort(key=lambda item: item.order)
        original = before = alike[0]
        for item in alike:
            is_copy = item is not before and _apart(before, item) < reach
            if item.uri in here:
                # The nearest one: the first of a long row may lie where only a larger window looks.
                originals |= {item.uri: before.uri} if is_copy else {}
            elif item.arrival_hour >= end and item.is_read is is_copy:
                stale[item.arrival_hour].append(item.uri)
                if is_copy and original.uri in here:
                    origins[original.arrival_hour].append(original.uri)
            original, before = (original if is_copy else item), item
    for item in left:
        # What was moved counts where it lies now; what is merely gone is for its own hour to find.
        if any(one.uri in here and one.uri not in originals for one in groups[item.content_id]):
            stale[item.arrival_hour].append(item.uri)
    return Copies(originals, stale, origins)


def _apart(one: Content, other: Content) -> timedelta:
    return parse_hour(other.arrival_hour) - parse_hour(one.arrival_hour)


# --- files ---


def contents_path(hour: str) -> str:
    """Where the contents of an arrival hour's objects lie."""
    return f"{CONTENTS}/arrival_hour={hour}/contents.parquet"


def read_contents(settings: Settings, hour: str, ids: Collection[str] | None = None) -> list[Content]:
    """What the objects of an arrival hour hold, or those of them that hold one of `ids`.

    Nothing of an hour that was never registered to its end, nor of one that was before there was such a file.
    """
    import pyarrow as pa
    from pyarrow import compute, parquet

    content = open_files(settings).read(contents_path(hour))
    if content is None:
        return []
    table = parquet.ParquetFile(io.BytesIO(content)).read(use_threads=False)
    if ids is not None:
        table = table.filter(compute.is_in(table.column("content_id"), pa.array(sorted(ids), pa.string())))
    # Which of them count is written in one place alone, so no killed run leaves two that differ.
    ledger = (read_uris(settings, hour) if table.num_rows else None) or {}
    return [
        Content(**row, arrival_hour=hour, is_read=ledger[row["uri"]])
        for row in table.to_pylist()
        if row["uri"] in ledger
    ]


def write_contents(settings: Settings, hour: str, contents: Iterable[Content]) -> None:
    """Write what the objects of an arrival hour hold."""
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.string()
    columns = {"uri": text, "source": text, "content_id": text, "last_modified": pa.timestamp("us")}
    rows = [asdict(item) for item in sorted(contents, key=lambda item: item.uri)]
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), sink, compression="zstd")
    open_files(settings).write(contents_path(hour), sink.getvalue(), alone=True)
