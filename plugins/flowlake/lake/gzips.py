"""Unpack a text object once, to know its lines and bytes before an engine reads them.

DuckDB reads a truncated gzip to its cut without a word and ignores a wrong checksum, so what an object holds has to be
known from elsewhere. Unpacking with isal and counting with numpy costs about a second per gigabyte and core; both
release the interpreter lock, so objects are inspected in parallel. To look for headers takes as long, and holds it.

AWS writes gzip. What was unpacked on the way, or packed anew with zstd, is told by its first bytes, not by its name,
and read from a plain copy. So is what came wrapped in something else (`lake.wrappings`): its lines and bytes are those
of the copy.

A line ends in `\\r\\n`, `\\n` or `\\r`; the last one may lack its end. Bytes of lines are counted without line ends.
"""

from __future__ import annotations

import hashlib
import os
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from isal import isal_zlib

from flowlake.lake.objects import MAX_LINE_BYTES, ObjectProblem, Reason
from flowlake.lake.wrappings import Wrapping, find_wrapping, in_blocks
from flowlake.records.fields import FIELDS_BY_NAME
from flowlake.records.formats import Format, parse_header

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FIRST_LINES_LIMIT = 64 * 1024
"""How far into an object its header, or without one its format, is looked for, in bytes."""

# isal's stubs declare its error as an instance of Exception.
_PackedError = cast("type[Exception]", isal_zlib.IsalError)

_INPUT_STEP = 32 * 1024
_INPUT_STEP_WITH_FIELDS = 128 * 1024
"""isal 1.9 mistakes a member's head whose fields (an extra one of up to 64 KiB, a name) do not come in one piece."""
_OUTPUT_STEP = 1024 * 1024  # also the bound that makes a zip bomb harmless
_LONGEST_STEP = MAX_LINE_BYTES // 2
"""A line of more bytes may be longer than the engine reads: a byte beyond ASCII takes two there."""
_HEADER_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789-_ " + BOM_UTF8
"""All that a header is made of, its names as in Parquet or not. Hardly any record is: it has dots or capitals."""
_NAMES = frozenset(name.encode() for name in FIELDS_BY_NAME)
_SHORTEST_NAME = min(map(len, _NAMES))
_HEADER_SIZE = 10
_GZIP = b"\x1f\x8b\x08"
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""How a zstd frame starts, or one that is to be skipped."""
_START = 16 * FIRST_LINES_LIMIT
"""How much of a text is enough to see how it starts: a subscription says more about its messages than they do."""
_TEXT_START = 1024
"""How many bytes must be text before an object is taken for text."""

# DuckDB 1.5.5 takes gzip members with a file name, refuses those with a comment, a header checksum or the text flag,
# and gives up altogether over a name or an extra field of more than 32 KiB.
_NAME_FLAG = 0x08
_REFUSED_FLAGS = 0xFF & ~_NAME_FLAG
_LONGEST_FILE_NAME = 1024

_SAFE_HEADS = 30 * 1024
"""How far into an object a further member may start. DuckDB 1.5.5 reads 32 KiB at a time, takes a member that ends with
them for the last one, and says nothing."""


@dataclass(frozen=True)
class TextFacts:
    """What a whole text object holds.

    `line_count` counts every line, headers and empty ones included; `line_bytes` excludes line ends. `first_lines`
    are those of the first FIRST_LINES_LIMIT bytes, blank ones and one that goes on apart. `copy_reason` says why DuckDB
    cannot read the object as it is, though nothing is wrong with it: it reads `write_readable_copy` instead. `wrapping`
    says what the records were wrapped in, and how many there were. `digest` is the SHA-256 of the text, however it is
    packed. `formats` are those that any of its lines announces, each once.
    """

    line_count: int
    empty_line_count: int
    line_bytes: int
    unpacked_bytes: int
    first_lines: tuple[bytes, ...]
    copy_reason: str | None = None
    wrapping: str | None = None
    digest: bytes = b""
    formats: tuple[Format, ...] = ()


def inspect_text(path: Path) -> TextFacts:
    """Unpack an object to its end. Raises ObjectProblem with the reason when the engine would not read all of it.

    Several gzip members and zeros after the last one are fine, and so are several zstd frames. OSError is the caller's.
    """
    counter, digest, headers = _LineCounter(), hashlib.sha256(), _Headers()
    with path.open("rb") as file:
        text = _Unwrapped(_packed_text(_File(file)))
        with closing(text.chunks()) as chunks:
            for chunk in chunks:
                counter.update(chunk)
                digest.update(chunk)
                headers.update(chunk)
    reasons = [text.copy_reason, counter.copy_reason]
    return TextFacts(
        line_count=counter.line_count,
        empty_line_count=counter.line_count - counter.filled,
        line_bytes=counter.total - counter.end_bytes,
        unpacked_bytes=counter.total,
        first_lines=first_lines(bytes(counter.head), is_whole=counter.total <= FIRST_LINES_LIMIT),
        copy_reason="; ".join(reason for reason in reasons if reason) or None,
        wrapping=text.wrapping.note if text.wrapping else None,
        digest=digest.digest(),
        formats=headers.formats(),
    )


@dataclass(frozen=True)
class TextStart:
    """Up to FIRST_LINES_LIMIT bytes of a text object's lines; `wrapping` names what they were wrapped in."""

    head: bytes
    is_whole: bool
    wrapping: str | None


def unpack_start(data: bytes, *, is_whole: bool) -> TextStart:
    """How the text starts of an object whose first bytes, or all, are given.

    Raises ObjectProblem when they are no text, or end before what is packed or wrapped does though they are all.
    """
    text = bytearray()
    try:
        for chunk in _packed_text(data).chunks():
            text += chunk
            if len(text) >= _START:
                is_whole = False
                break
    except ObjectProblem as problem:
        if is_whole or problem.reason is not Reason.TRUNCATED:
            raise
    head = bytes(text)
    wrapping = find_wrapping(head[:FIRST_LINES_LIMIT])
    if wrapping is not None:
        head = b"".join(wrapping.unwrap(iter([head]), is_cut=not is_whole))
    is_whole = is_whole and len(head) <= FIRST_LINES_LIMIT
    return TextStart(head[:FIRST_LINES_LIMIT], is_whole, wrapping.name if wrapping else None)


def first_lines(head: bytes, *, is_whole: bool) -> tuple[bytes, ...]:
    """The lines that are not blank, without their ends; unless the head is all, without the last if it may go on."""
    lines = head.splitlines()
    if not is_whole and not head.endswith((b"\r", b"\n")):
        del lines[-1:]
    return tuple(line for line in lines if line.strip())


def write_readable_copy(path: Path, target: Path) -> None:
    """Write the object as one plain gzip member of valid UTF-8, one character for each byte, whole or not at all.

    DuckDB reads UTF-8; its latin-1 decoder refuses the bytes 0x80 to 0x9f. Nothing is lost: a line's text has as many
    characters as it had bytes, and encoding it as latin-1 gives those bytes back.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    packer = isal_zlib.compressobj(level=1, wbits=31)
    with path.open("rb") as file, temporary.open("wb") as out:
        with closing(_Unwrapped(_packed_text(_File(file))).chunks()) as chunks:
            for chunk in chunks:
                out.write(packer.compress(chunk if chunk.isascii() else chunk.decode("latin-1").encode()))
        out.write(packer.flush())
    temporary.replace(target)


class _Bytes(Protocol):
    """What is packed: some bytes, or a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: slice, /) -> bytes: ...


class _File:
    """A file as bytes, each read when it is asked for.

    Of one that became shorter meanwhile it says so; had it been mapped into memory, the system would end the process.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, at: slice, /) -> bytes:
        start, end, _ = at.indices(self._size)
        found = os.pread(self.file.fileno(), end - start, start)
        if len(found) < end - start:
            raise ObjectProblem(Reason.CHANGED)
        return found


class _Text(Protocol):
    """The text of an object. `copy_reason` is known when its chunks were read to their end."""

    @property
    def copy_reason(self) -> str | None: ...

    def chunks(self) -> Generator[bytes]: ...


def _packed_text(data: _Bytes) -> _Text:
    """How to unpack an object, by its first bytes. Raises ObjectProblem when it is no text, packed or not."""
    head = data[:_TEXT_START]
    if head[:3] == _GZIP[: len(head)]:
        return _Members(data)
    if _ZSTD.match(head):
        return _Frames(data)
    if _is_text(head):
        return _Plain(data)
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        detail = "it is text in UTF-16: write it as UTF-8"
    else:
        detail = f"neither gzip, zstd nor text: it starts with the bytes {head[:8].hex(' ')}"
    raise ObjectProblem(Reason.NOT_GZIP, detail)


def _is_text(head: bytes) -> bool:
    """Whether the first bytes are printable text in UTF-8, the last character of which may be cut."""
    try:
        text = getincrementaldecoder("utf-8")().decode(head.removeprefix(BOM_UTF8))
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\t\r\n" for char in text)


class _Unwrapped:
    """Text as plain lines, whatever it came wrapped in."""

    def __init__(self, text: _Text) -> None:
        self._text = text
        self.wrapping: Wrapping | None = None

    @property
    def copy_reason(self) -> str | None:
        reasons = [self._text.copy_reason, self.wrapping.note if self.wrapping else None]
        return "; ".join(reason for reason in reasons if reason) or None

    def chunks(self) -> Generator[bytes]:
        with closing(self._text.chunks()) as chunks:
            blocks = in_blocks(chunks)
            first = next(blocks, b"")
            self.wrapping = find_wrapping(first[:FIRST_LINES_LIMIT])
            text = chain([first] if first else [], blocks)
            yield from self.wrapping.unwrap(text) if self.wrapping else text


class _Plain:
    """Text that is not packed."""

    copy_reason: str | None = "it is plain text, unpacked on the way"

    def __init__(self, data: _Bytes) -> None:
        self._data = data

    def chunks(self) -> Generator[bytes]:
        for position in range(0, len(self._data), _OUTPUT_STEP):
            yield self._data[position : position + _OUTPUT_STEP]


class _Frames:
    """A zstd object, frame after frame. Arrow unpacks a megabyte at a time, in windows of 128 MiB at most."""

    copy_reason: str | None = "it is packed with zstd"

    def __init__(self, data: _Bytes) -> None:
        self._data = data

    def chunks(self) -> Generator[bytes]:
        import pyarrow as pa

        packed = pa.PythonFile(self._data.file, "r") if isinstance(self._data, _File) else pa.BufferReader(self._data)
        stream = pa.CompressedInputStream(packed, "zstd")
        try:
            # What was unpacked before an error is lost with the step that meets it: small steps lose little.
            while chunk := stream.read(_INPUT_STEP):
                yield chunk
        except OSError as error:
            raise _zstd_problem(str(error), len(self._data)) from None


def _zstd_problem(message: str, size: int) -> ObjectProblem:
    if "Truncated" in message:
        return ObjectProblem(Reason.TRUNCATED, f"cut off after {size} packed bytes")
    if "Unknown frame descriptor" in message:
        return ObjectProblem(Reason.TRAILING_GARBAGE, "bytes after its last zstd frame")
    reason = Reason.BAD_CHECKSUM if "checksum" in message else Reason.CORRUPT
    return ObjectProblem(reason, message)


class _Members:
    """A gzip object, member after member."""

    def __init__(self, data: _Bytes) -> None:
        self._data = data
        self._refused: set[str] = set()

    @property
    def copy_reason(self) -> str | None:
        return "; ".join(sorted(self._refused)) or None

    def chunks(self) -> Generator[bytes]:
        data, size, position = self._data, len(self._data), 0
        while position < size:
            if not self._starts_member(position):
                return
            stream = isal_zlib.decompressobj(wbits=31)
            step = _INPUT_STEP if data[position + 3 : position + 4] == b"\0" else _INPUT_STEP_WITH_FIELDS
            while not stream.eof:
                if position >= size:
                    detail = f"cut off after {size} packed bytes"
                    raise ObjectProblem(Reason.TRUNCATED, detail)
                pending = data[position : position + step]
                position += len(pending)
                yield from _inflate(stream, pending, position)
            position -= len(stream.unused_data)

    def _starts_member(self, position: int) -> bool:
        """Whether a member starts here; False when only zeros follow. Raises ObjectProblem for anything else."""
        head = self._data[position : position + _HEADER_SIZE]
        if head[:3] != _GZIP[: len(head)]:
            if self._is_zeros(position):
                self._refused.add("zeros after its gzip stream are left out")
                return False
            detail = f"{len(self._data) - position} bytes after its gzip stream"
            raise ObjectProblem(Reason.TRAILING_GARBAGE, detail)
        if len(head) < _HEADER_SIZE:
            detail = f"cut off after {len(self._data)} packed bytes"
            raise ObjectProblem(Reason.TRUNCATED, detail)
        if head[3] & _REFUSED_FLAGS or (head[3] & _NAME_FLAG and not self._has_short_name(position)):
            self._refused.add("its gzip header is written plainly")
        if position > _SAFE_HEADS:
            self._refused.add("its gzip members are put into one")
        return True

    def _is_zeros(self, position: int) -> bool:
        steps = (self._data[start : start + _OUTPUT_STEP] for start in range(position, len(self._data), _OUTPUT_STEP))
        return all(step.count(b"\0") == len(step) for step in steps)

    def _has_short_name(self, position: int) -> bool:
        start = position + _HEADER_SIZE
        return b"\0" in self._data[start : start + _LONGEST_FILE_NAME]


def _inflate(stream: isal_zlib.Decompress, pending: bytes, position: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = stream.decompress(pending, _OUTPUT_STEP)
        except _PackedError as error:
            reason = Reason.BAD_CHECKSUM if "checksum" in str(error) else Reason.CORRUPT
            detail = f"at or before packed byte {position}"
            raise ObjectProblem(reason, detail) from None
        if chunk:
            yield chunk
        pending = stream.unconsumed_tail
        # A full chunk may leave output behind even when all input is taken.
        if stream.eof or (not pending and len(chunk) < _OUTPUT_STEP):
            return


class _Headers:
    """Finds the lines that are headers, wherever they stand: joined objects may be of several formats.

    Of a chunk without the bytes of headers little is left, and nothing of a header but its end: one pass of C a chunk.
    """

    def __init__(self) -> None:
        self._found: dict[Format, None] = {}
        self._rest = b""

    def update(self, chunk: bytes) -> None:
        text = self._rest + chunk
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        self._look(text[:end])
        # Of a line that is too long for a header enough is kept to see that.
        self._rest = text[end : end + FIRST_LINES_LIMIT + 1]

    def formats(self) -> tuple[Format, ...]:
        if self._rest:
            self._look(self._rest + b"\n")
        self._rest = b""
        return tuple(self._found)

    def _look(self, lines: bytes) -> None:
        """Look at lines, all of them ended."""
        left = lines.translate(None, _HEADER_BYTES)
        if not left.startswith(b"\n") and b"\n\n" not in left and b"\r" not in left:
            return
        import numpy as np

        ends, left_ends = (
            np.flatnonzero((octets == 0x0A) | (octets == 0x0D))
            for octets in (np.frombuffer(lines, dtype=np.uint8), np.frombuffer(left, dtype=np.uint8))
        )
        is_candidate = (np.diff(left_ends, prepend=-1) == 1) & (np.diff(ends, prepend=-1) > _SHORTEST_NAME)
        for index in np.flatnonzero(is_candidate).tolist():
            line = lines[ends[index - 1] + 1 if index else 0 : ends[index]].replace(b"_", b"-")
            # Records of such bytes alone are many; one look into a set is what each may cost.
            if _NAMES.isdisjoint(line.removeprefix(BOM_UTF8).split(b" ")) or len(line) > FIRST_LINES_LIMIT:
                continue
            if format_ := parse_header(line):
                self._found.setdefault(format_)


class _LineCounter:
    """Counts lines and bytes over chunks, by whole-array operations: never a step of Python per line."""

    def __init__(self) -> None:
        self.total = 0
        self.end_bytes = 0
        self.filled = 0
        self.head = bytearray()
        self._ends = 0
        self._open = 0  # decoded length of the line that the last chunk left open
        self._after_end = True
        self._after_cr = False
        self._beyond_ascii = 0

    @property
    def line_count(self) -> int:
        return self._ends + (0 if self._after_end else 1)

    @property
    def copy_reason(self) -> str | None:
        if not self._beyond_ascii:
            return None
        return f"{self._beyond_ascii} bytes beyond ASCII are read as one character each (latin-1)"

    def update(self, chunk: bytes) -> None:
        import numpy as np

        if len(self.head) < FIRST_LINES_LIMIT:
            self.head += chunk[: FIRST_LINES_LIMIT - len(self.head)]
        octets: npt.NDArray[np.uint8] = np.frombuffer(chunk, dtype=np.uint8)
        is_ascii = chunk.isascii()
        if not is_ascii:
            self._beyond_ascii += int(np.count_nonzero(octets >= 0x80))
        is_end = (octets == 0x0A).view(np.uint8)
        ends = int(np.count_nonzero(is_end))
        end_bytes = ends
        first, last = chunk.find(b"\n"), chunk.rfind(b"\n")
        if b"\r" in chunk or self._after_cr:
            is_cr = (octets == 0x0D).view(np.uint8)
            pairs = int(np.count_nonzero(is_end[1:] & is_cr[:-1])) + (self._after_cr and bool(is_end[0]))
            end_bytes += int(np.count_nonzero(is_cr))
            ends = end_bytes - pairs
            is_end |= is_cr
            first = min(found for found in (first, chunk.find(b"\r"), len(chunk)) if found >= 0)
            last = max(last, chunk.rfind(b"\r"))
        # A filled line starts where a byte that ends no line follows one that does.
        self.filled += int(np.count_nonzero(is_end[:-1] > is_end[1:])) + (self._after_end and not is_end[0])
        if len(chunk) > _LONGEST_STEP:
            self._measure(octets, is_end)
        # Follow the lines that cross chunks: a line within a short one cannot reach the limit.
        if last < 0:
            self._grow(octets, is_ascii=is_ascii)
        else:
            self._grow(octets[:first], is_ascii=is_ascii)
            self._open = 0
            self._grow(octets[last + 1 :], is_ascii=is_ascii)
        self.total += len(chunk)
        self.end_bytes += end_bytes
        self._ends += ends
        self._after_end = last == len(chunk) - 1
        self._after_cr = chunk.endswith(b"\r")

    def _measure(self, octets: npt.NDArray[np.uint8], is_end: npt.NDArray[np.uint8]) -> None:
        """Refuse a line between two ends of a chunk: a message of JSON comes in one piece, however long it is."""
        import numpy as np

        decoded = np.cumsum(1 + (octets >= 0x80), dtype=np.int64)
        self._require(int(np.diff(decoded[np.flatnonzero(is_end)], prepend=0).max(initial=0)) - 1)

    def _grow(self, octets: npt.NDArray[np.uint8], *, is_ascii: bool) -> None:
        self._open += len(octets) + (0 if is_ascii else int((octets >= 0x80).sum()))
        self._require(self._open)

    def _require(self, length: int) -> None:
        if length > MAX_LINE_BYTES:
            detail = f"line {self._ends + 1} or a later one has more than {MAX_LINE_BYTES} bytes"
            raise ObjectProblem(Reason.LINE_TOO_LONG, detail)
