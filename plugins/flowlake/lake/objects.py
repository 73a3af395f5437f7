"""What the ledger `raw.objects` says of an object, and the words that it uses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LINE_BYTES = 16 * 1024 * 1024 - 2
"""The longest line, as UTF-8 and without its end, that DuckDB reads at `max_line_size=16777216`.

Beyond it DuckDB 1.5.5 fails, or (bytes above 0x7f, two each once decoded) returns no rows without a word.
"""


class Kind(StrEnum):
    """How an object is encoded."""

    TEXT = "text"
    PARQUET = "parquet"


class Layout(StrEnum):
    """How the folders of a flow log are named; `any`: in none of the documented ways."""

    PLAIN = "plain"
    HOURLY = "hourly"
    HIVE = "hive"
    HIVE_HOURLY = "hive_hourly"
    ANY = "any"


class Status(StrEnum):
    """Whether staging reads an object."""

    READABLE = "readable"
    UNREADABLE = "unreadable"


class Reason(StrEnum):
    """Why an object is not read."""

    DIRECTORY_MARKER = "directory_marker"
    UNSAFE_NAME = "unsafe_name"
    NOT_A_FLOW_LOG = "not_a_flow_log"
    DUPLICATE = "duplicate"
    COPY = "copy"
    OUTSIDE_SOURCE = "outside_source"
    EMPTY = "empty"
    NOT_GZIP = "not_gzip"
    TRUNCATED = "truncated"
    BAD_CHECKSUM = "bad_checksum"
    CORRUPT = "corrupt"
    TRAILING_GARBAGE = "trailing_garbage"
    LINE_TOO_LONG = "line_too_long"
    BROKEN_WRAPPING = "broken_wrapping"
    NO_HEADER = "no_header"
    MIXED_FORMATS = "mixed_formats"
    BROKEN_PARQUET = "broken_parquet"
    FORMAT_CHANGED = "format_changed"
    VANISHED = "vanished"
    CHANGED = "changed"
    ACCESS_DENIED = "access_denied"
    SEALED = "sealed"
    ARCHIVED = "archived"

    @property
    def meaning(self) -> str:
        """The reason in words."""
        return _MEANINGS[self]


_MEANINGS = {
    Reason.DIRECTORY_MARKER: "a directory marker, no data",
    Reason.UNSAFE_NAME: "its name holds control characters or bytes that are not text",
    Reason.NOT_A_FLOW_LOG: "its name is not that of a flow-log object",
    Reason.DUPLICATE: "another object of the same name but for its ending arrived before it",
    Reason.COPY: "another object of its flow log that holds the same arrived before it",
    Reason.OUTSIDE_SOURCE: "a link that leads out of the source's folder",
    Reason.EMPTY: "it holds nothing",
    Reason.NOT_GZIP: "it is neither gzip nor zstd, nor text that was unpacked",
    Reason.TRUNCATED: "what is packed in it is cut off",
    Reason.BAD_CHECKSUM: "its checksum or length is wrong",
    Reason.CORRUPT: "what is packed in it is damaged",
    Reason.TRAILING_GARBAGE: "something else follows what is packed in it",
    Reason.LINE_TOO_LONG: "a line is longer than the engine reads (16 MiB), or a Parquet record (16 KiB)",
    Reason.BROKEN_WRAPPING: "the JSON or CSV that its records are wrapped in is cut off, damaged or of another kind",
    Reason.NO_HEADER: "its first line is no flow-log header: if it has none, set sources[].format",
    Reason.MIXED_FORMATS: "it was joined of objects of several formats: put each format into an object of its own",
    Reason.BROKEN_PARQUET: "it is named .parquet and is not readable as Parquet",
    Reason.FORMAT_CHANGED: "its flow log had another format before: see sources[].format_changes",
    Reason.VANISHED: "it was deleted between listing and reading",
    Reason.CHANGED: "it was overwritten between listing and reading",
    Reason.ACCESS_DENIED: "reading it is not allowed",
    Reason.SEALED: "it is encrypted with a key that is disabled or gone, or that only its owner has",
    Reason.ARCHIVED: "it is in an archive storage class and must be restored first",
}


class ObjectProblem(Exception):
    """An object that cannot be read: recorded with its reason, and no hindrance to the others."""

    def __init__(self, reason: Reason, detail: str | None = None) -> None:
        """Name the reason, and what was seen of it."""
        super().__init__(f"{reason}: {detail or reason.meaning}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class ObjectName:
    """What an object's key says: the documented layouts of the S3 destination."""

    account_id: str
    region: str
    flow_log_id: str
    layout: Layout
    named_at: datetime
    kind: Kind


@dataclass(frozen=True)
class ListedObject:
    """An object as listing saw it: `source` is the source's name, `size` is in bytes, times are aware UTC.

    `reason` is set when listing alone shows that the object cannot be read.
    """

    source: str
    key: str
    uri: str
    size: int
    etag: str
    last_modified: datetime
    arrival_hour: str
    name: ObjectName | None
    reason: Reason | None = None
    detail: str | None = None


@dataclass(frozen=True)
class ObjectRow:
    """A row of `raw.objects`; the fields are its columns, in their order. Times are naive UTC."""

    uri: str
    source: str
    size: int
    etag: str
    last_modified: datetime
    account_id: str | None
    region: str | None
    flow_log_id: str | None
    layout: str | None
    kind: str | None
    format_id: str | None
    arrival_hour: str
    named_at: datetime | None
    read_path: str | None
    status: str
    reason: str | None
    detail: str | None
    line_count: int | None
    empty_line_count: int | None
    line_bytes: int | None
    unpacked_bytes: int | None
    unknown_fields: tuple[str, ...] = ()

    @property
    def is_readable(self) -> bool:
        """Whether staging reads the object."""
        return self.status == Status.READABLE


def objects_schema() -> pa.Schema:
    """The schema of `raw.objects`, the same for an hour in which nothing came."""
    import pyarrow as pa

    moment = pa.timestamp("us")
    types = {
        "size": pa.int64(),
        "last_modified": moment,
        "named_at": moment,
        "line_count": pa.int64(),
        "empty_line_count": pa.int64(),
        "line_bytes": pa.int64(),
        "unpacked_bytes": pa.int64(),
        "unknown_fields": pa.list_(pa.string()),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in ObjectRow.__dataclass_fields__])


def shown(text: str) -> str:
    """Hostile text on one printable line, for messages and logs."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def one_line(error: object) -> str:
    """What somebody else's error says, likewise."""
    return shown(" ".join(str(error).split()))


def count_of(number: int, noun: str) -> str:
    """A number with its noun, which may be one of many."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
