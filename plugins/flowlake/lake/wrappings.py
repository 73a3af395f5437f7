"""What records come wrapped in past CloudWatch Logs, Firehose or a spreadsheet, and the plain lines that are in it.

A wrapping is known by how the text starts, never by the object's name. What comes out are the lines of an ordinary
flow-log object, one for each message or row: the header first where the wrapping names the fields; else its format is
found as that of any text without a header (docs/adr/0026-wrapped-records.md).

What machines wrap is whole messages or it is broken, and then none of the object is read. What people made in a
spreadsheet is read row by row: a row that is no record stays as it stands, and becomes a malformed line.
"""

from __future__ import annotations

import csv
import json
import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

from flowlake.lake.objects import MAX_LINE_BYTES, ObjectProblem, Reason, count_of
from flowlake.records.formats import Format, parse_header

DOCUMENT_LIMIT = 16 * 1024 * 1024
"""The longest JSON document that is held in memory, in characters. CloudWatch Logs sends a megabyte at once, packed."""

ROW_LIMIT = 128 * 1024
"""The longest row of a CSV file that is taken apart, in bytes; of a message it is the limit of Python's csv."""

_BLOCK = 64 * 1024
_EVENT_TIME = re.compile(rb"(?<![^\r\n])[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z ")
"""What an export of CloudWatch Logs puts before each line; no field of a record looks like it."""
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*\{[ \t\r\n]*["}]')
_BLANKS = re.compile(r"[ \t\r\n]*")
_TIMESTAMP = re.compile(r"[0-9]{13}|[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z?")
_TIMESTAMP_AND_MESSAGE = ["timestamp", "message"]
_SCIENTIFIC = re.compile(rb"-?[0-9](?:[.,][0-9]+)?E[+-][0-9]+")
"""A long number as a spreadsheet shows and saves it. AWS writes no such text: in tags a plus is %2B."""
_ACCOUNT_DIGITS = 12
_EVENT_TRIES = 8


class Wrapping(Protocol):
    """One object's wrapping. `name` completes "an object in ..."; `note` is known when all was unwrapped."""

    @property
    def name(self) -> str:
        """What it is."""
        ...

    @property
    def note(self) -> str:
        """What was in it, and what was made of that."""
        ...

    def unwrap(self, blocks: Iterator[bytes], *, is_cut: bool = False) -> Iterator[bytes]:
        """The lines in a text that comes in pieces, in pieces. Of a text that is cut, those that are whole.

        Raises ObjectProblem when the wrapping is broken, or would have to be held in memory beyond reason.
        """
        ...


def find_wrapping(start: bytes) -> Wrapping | None:
    """The wrapping of a text that starts so; None for ordinary lines."""
    if _EVENT_TIME.match(start.lstrip(b"\r\n")):
        return _Export()
    if _JSON.match(start):
        return _Json()
    line = _first_filled_line(start).removeprefix(BOM_UTF8)
    cells = _cells(line)
    if cells is None or any(b" " in cell for cell in cells):
        return None
    if [cell.decode("latin-1").removeprefix("@") for cell in cells] == _TIMESTAMP_AND_MESSAGE:
        return _Messages(line)
    header = parse_header(b" ".join(cell.replace(b"_", b"-") for cell in cells))
    return _Table(line, header) if header and len(header.fields) == len(cells) > 1 else None


def in_blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of 64 KiB or more, but for the last one: small ones would cost more than they hold."""
    pending = bytearray()
    for piece in pieces:
        if not pending and len(piece) >= _BLOCK:
            yield piece
            continue
        pending += piece
        if len(pending) >= _BLOCK:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)


def _first_filled_line(start: bytes) -> bytes:
    begin = len(start) - len(start.lstrip())
    begin = max(start.rfind(b"\n", 0, begin), start.rfind(b"\r", 0, begin)) + 1
    return start[begin:].partition(b"\n")[0].partition(b"\r")[0]


def _whole_lines(blocks: Iterable[bytes], *, is_cut: bool) -> Iterator[bytes]:
    """Whole lines, many at a time, so that none is cut in two."""
    rest = b""
    for block in blocks:
        rest += block
        # A lone \r ends a line too; the last byte may be the first half of an end.
        end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, -1)) + 1
        if end:
            yield rest[:end]
        rest = rest[end:]
        if len(rest) > 2 * MAX_LINE_BYTES:
            detail = f"a line has more than {MAX_LINE_BYTES} bytes"
            raise ObjectProblem(Reason.LINE_TOO_LONG, detail)
    if rest and not is_cut:
        yield rest


def _broken(detail: str) -> ObjectProblem:
    return ObjectProblem(Reason.BROKEN_WRAPPING, detail)


class _Export:
    """An export of CloudWatch Logs: the time of the event before each line."""

    name = "an export of CloudWatch Logs"
    note = "the time that CloudWatch Logs put before each line is left out of it, and of its bytes"

    def unwrap(self, blocks: Iterator[bytes], *, is_cut: bool = False) -> Iterator[bytes]:
        return (_EVENT_TIME.sub(b"", lines) for lines in _whole_lines(blocks, is_cut=is_cut))


class _Lines:
    """Messages as lines. One stays one line, whatever it holds: a line end inside it is written as a word."""

    def __init__(self) -> None:
        self.messages = 0
        self._split = 0

    def line(self, text: str) -> str:
        self.messages += 1
        text = text.rstrip("\r\n")
        if "\n" in text or "\r" in text:
            self._split += 1
            text = text.replace("\r", "\\r").replace("\n", "\\n")
        return text

    @property
    def note(self) -> str:
        messages = count_of(self._split, "message")
        return f", {messages} with line ends inside, written as \\n or \\r" if self._split else ""


# --- JSON ---


class _Json:
    """JSON documents one after another: a subscription's, of many events each, or Firehose's, of a message each."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._senders: set[str] = set()
        self._documents = 0
        self._controls = 0

    @property
    def name(self) -> str:
        return f"JSON of {' and of '.join(sorted(self._senders))}" if self._senders else "JSON"

    @property
    def note(self) -> str:
        messages, documents = count_of(self._lines.messages, "message"), count_of(self._documents, "document")
        controls = f", {self._controls} of them CONTROL_MESSAGE" if self._controls else ""
        return f"it is {self.name}: {messages} in {documents}{controls}{self._lines.note}"

    def unwrap(self, blocks: Iterator[bytes], *, is_cut: bool = False) -> Iterator[bytes]:
        documents = _documents(blocks, is_cut=is_cut)
        texts = (text for document in documents for text in self._texts(document))
        # An escape may stand for half of a character, which no UTF-8 has.
        return in_blocks(f"{self._lines.line(text)}\n".encode("utf-8", "surrogatepass") for text in texts)

    def _texts(self, document: Any) -> list[Any]:
        self._documents += 1
        found = document if isinstance(document, dict) else {}
        kind, events = found.get("messageType"), found.get("logEvents")
        if kind in ("DATA_MESSAGE", "CONTROL_MESSAGE") and isinstance(events, list):
            self._senders.add("a subscription")
            if kind == "CONTROL_MESSAGE":
                self._controls += 1
                return []
            texts = [event.get("message") if isinstance(event, dict) else None for event in events]
        elif "messageType" not in found and "message" in found:
            self._senders.add("Firehose")
            texts = [found["message"]]
        else:
            raise _broken(f"document {self._documents} is neither of a subscription nor of Firehose")
        if not all(isinstance(text, str) for text in texts):
            raise _broken(f"document {self._documents} has an event whose message is no text")
        return texts


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _broken("a document has the same key twice")
    return found


# A number of thousands of digits is an error as an integer.
_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=float)


def _documents(blocks: Iterator[bytes], *, is_cut: bool) -> Iterator[Any]:
    """JSON documents with blanks or nothing between them. One that is not whole is tried again at twice its length."""
    decode = getincrementaldecoder("utf-8-sig")().decode
    rest, enough, number, problem = "", 0, 1, ""
    for block in chain(blocks, [b""]):
        try:
            rest += decode(block, final=not block and not is_cut)
        except UnicodeDecodeError:
            raise _broken("it is no UTF-8") from None
        if block and len(rest) < enough:
            continue
        position, enough = _skip_blanks(rest, 0), 0
        while position < len(rest):
            try:
                document, end = _DECODER.raw_decode(rest, position)
            except RecursionError:
                raise _broken(f"document {number} is nested too deeply") from None
            except json.JSONDecodeError as error:
                problem, enough = error.msg, min(2 * (len(rest) - position), DOCUMENT_LIMIT + 1)
                break
            yield document
            position, number = _skip_blanks(rest, end), number + 1
        rest = rest[position:]
        if len(rest) > DOCUMENT_LIMIT:
            raise _broken(f"document {number} has more than {DOCUMENT_LIMIT} characters, or is none: {problem}")
    if rest and is_cut:
        yield from _whole_events(rest)
    elif rest:
        raise _broken(f"document {number} breaks off, or is no JSON: {problem}")


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _whole_events(text: str) -> Iterator[Any]:
    """Of a subscription's document only the start of which is there, the document up to its last whole event."""
    end = len(text)
    for _ in range(_EVENT_TRIES):
        end = text.rfind("}", 0, max(end, 0))
        try:
            document, _ = _DECODER.raw_decode(f"{text[: end + 1]}]}}")
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(document, dict) and "logEvents" in document:
            yield {"messageType": "DATA_MESSAGE", **document}
        return


# --- CSV ---


def _cells(row: bytes) -> list[bytes] | None:
    """The cells of one line of a CSV file; None when its quotes do not match, or it is too long to be a row."""
    if len(row) > ROW_LIMIT:
        return None
    if b'"' not in row:
        return row.split(b",")
    try:
        (cells,) = csv.reader([row.decode("latin-1")], strict=True)
    except csv.Error:
        return None
    return [cell.encode("latin-1") for cell in cells]


class _Messages:
    """What the console of CloudWatch Logs saves: rows of a time and a message, under a header that says so."""

    name = "CSV of CloudWatch's console"

    def __init__(self, header: bytes) -> None:
        self._marked_header = BOM_UTF8 + header
        self._lines = _Lines()

    @property
    def note(self) -> str:
        return f"it is {self.name}: {count_of(self._lines.messages, 'message')}{self._lines.note}"

    def unwrap(self, blocks: Iterator[bytes], *, is_cut: bool = False) -> Iterator[bytes]:
        return in_blocks(f"{text}\n".encode("latin-1") for text in self._texts(blocks, is_cut=is_cut))

    def _texts(self, blocks: Iterator[bytes], *, is_cut: bool) -> Iterator[str]:
        parts = (part.splitlines(keepends=True) for part in _whole_lines(blocks, is_cut=is_cut))
        # A quoted message may go on over line ends, and only up to the limit of a cell.
        reader = csv.reader(map(self._unmarked, chain.from_iterable(parts)), strict=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                if is_cut:
                    return
                raise _broken(f"line {reader.line_num}: {error}") from None
            if row is None:
                return
            if not any(cell.strip() for cell in row):
                yield ""
            elif len(row) == len(_TIMESTAMP_AND_MESSAGE) and _TIMESTAMP.fullmatch(row[0]):
                yield self._lines.line(row[1])
            elif [cell.removeprefix("@") for cell in row] != _TIMESTAMP_AND_MESSAGE:
                raise _broken(f"line {reader.line_num} is no time and message")

    def _unmarked(self, line: bytes) -> str:
        """Before a quote the mark of UTF-8 would be a cell's first characters, and the quote another."""
        # The parser bounds a cell, not how many a row has.
        if len(line) > 2 * ROW_LIMIT:
            raise _broken(f"a line has more than {2 * ROW_LIMIT} bytes")
        return (line.removeprefix(BOM_UTF8) if line.startswith(self._marked_header) else line).decode("latin-1")


class _Table:
    """A spreadsheet's rows under a header of field names, or those of a query."""

    name = "CSV"

    def __init__(self, header: bytes, format_: Format) -> None:
        self._header = header
        self._format = format_
        self._accounts = [index for index, name in enumerate(format_.fields) if name.endswith("account-id")]
        self._row = self._rows = self._left = self._empty_cells = 0
        self._problem = ""

    @property
    def note(self) -> str:
        note = f"it is CSV: {count_of(self._rows, 'row')} under a header"
        if self._empty_cells:
            note += f", {count_of(self._empty_cells, 'empty cell')} read as -"
        if self._left:
            note += f", {self._left} of them left as they stand, for they make no record (the first is {self._problem})"
        return note

    def unwrap(self, blocks: Iterator[bytes], *, is_cut: bool = False) -> Iterator[bytes]:
        return (
            b"".join(self._line(row) + b"\n" for row in rows.splitlines())
            for rows in _whole_lines(blocks, is_cut=is_cut)
        )

    def _line(self, row: bytes) -> bytes:
        self._row += 1
        if row.removeprefix(BOM_UTF8) == self._header:
            return self._format.header.encode()
        if not row.strip(b" "):
            return row
        cells = _cells(row)
        if cells is not None and not any(cells):
            return b""
        self._rows += 1
        problem = self._find_problem(cells)
        if cells is None or problem:
            self._left += 1
            self._problem = self._problem or f"row {self._row}: {problem}"
            # By chance it may have as many words as a record: one more makes it none.
            return row + b" " if row.count(b" ") + 1 == len(self._format.fields) else row
        if b"" in cells:
            self._empty_cells += cells.count(b"")
            cells = [cell or b"-" for cell in cells]
        return b" ".join(cells)

    def _find_problem(self, cells: Sequence[bytes] | None) -> str | None:
        """What keeps cells from being the fields of a record; what each field allows is for staging to say."""
        if cells is None:
            return "its quotes do not match, or it is too long"
        fields = self._format.fields
        if len(cells) != len(fields):
            return f"{count_of(len(cells), 'cell')} instead of {len(fields)}"
        text = b",".join(cells)
        if b" " in text or b"E+" in text or b"E-" in text:
            for name, cell in zip(fields, cells, strict=True):
                if b" " in cell:
                    return f"a blank in {name}"
                if _SCIENTIFIC.fullmatch(cell):
                    return f"{name} as a spreadsheet rounds it"
        for index in self._accounts:
            if cells[index].isdigit() and len(cells[index]) != _ACCOUNT_DIGITS:
                return f"{fields[index]} is not of {_ACCOUNT_DIGITS} digits"
        return None
