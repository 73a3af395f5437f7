"""What a lake must make of an object: by the rules in words (ADR 0004 and 0026, the fields' manual), in plain Python.

Nothing of register, of its counting or of dbt is used here. Bytes are unpacked by zlib, a line is taken apart as AWS
documents it, and every value is found by its field's name.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from flowlake.records.fields import FIELDS, FieldType
from objects.making import BOM, PARQUET_CHANGES, Made

HEADER_WITHIN = 64 * 1024
"""How far into the text a header is looked for, in bytes: up to its line's end."""

ZSTANDARD = b"\x28\xb5\x2f\xfd"

COLUMNS = tuple({"start": "start_at", "end": "end_at"}.get(field.name, field.column) for field in FIELDS)

_DAMAGES = {change.__name__.strip("_") for change in PARQUET_CHANGES}
_KNOWN = {field.name: field for field in FIELDS}
_ADDRESSES = ("srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_EPOCH = datetime(1970, 1, 1)

Row = tuple[Any, ...]
"""Of a line that is staged: (kind, bytes, what) where `what` is a malformed line's text, or a record's event hour, its
values in the order of COLUMNS and its unknown fields."""


@dataclass(frozen=True)
class Expected:
    """What the ledger and staging must hold of an object.

    `is_readable`: None where readers of gzip or of damaged Parquet differ, and either will do, as long as all is read
    or nothing. `rows` is None where only their number (`lines`) is known: Parquet of types that no flow log has.
    """

    is_readable: bool | None
    lines: int = 0
    empty_lines: int = 0
    line_bytes: int = 0
    unpacked_bytes: int = 0
    rows: Counter[Row] | None = None


UNREADABLE = Expected(is_readable=False)


def expect(made: Made, named_at: datetime) -> Expected:
    """What must come of an object whose name says this time (UTC, naive)."""
    if made.extension != "parquet":
        return _expect_text(made.content, named_at)
    expected = _expect_parquet(made.content, named_at)
    # Of a page's damaged head one reader makes something, and the other says that it is damaged.
    return replace(expected, is_readable=None) if expected.is_readable and _DAMAGES & set(made.how) else expected


# --- text ---


def _expect_text(content: bytes, named_at: datetime) -> Expected:
    text, is_certain = unpack(content)
    text = unwrap(text) if text else None
    fields = find_header(text) if text else None
    if text is None or fields is None:
        return UNREADABLE
    lines = split_lines(text)
    if any(announces_another(line, fields) for line in lines):
        return UNREADABLE
    filled = [line for line in lines if line]
    return Expected(
        is_readable=True if is_certain else None,
        lines=len(lines),
        empty_lines=len(lines) - len(filled),
        line_bytes=sum(map(len, lines)),
        unpacked_bytes=len(text),
        rows=Counter(_text_row(line, fields, named_at) for line in filled),
    )


def unpack(content: bytes) -> tuple[bytes | None, bool]:
    """The text of an object, None when there is none to read; and whether every reader of gzip would say so."""
    if not content.startswith(b"\x1f\x8b"):
        start = content[:1024].translate(None, b"\t\r\n")
        # Of what is no plain text at its start the lake may say that it is none.
        is_plain = content.startswith(ZSTANDARD) or (start.isascii() and start.decode().isprintable())
        return _unpack_other(content), is_plain
    strict, lenient = _members(content), _python(content)
    if strict == lenient:
        return strict or None, True
    # A reserved flag, a checksum of the head, a member behind zeros: what one takes the other refuses.
    return strict or lenient or None, False


def _unpack_other(content: bytes) -> bytes | None:
    if content.startswith(ZSTANDARD):
        try:
            return pa.input_stream(io.BytesIO(content), compression="zstd").read() or None
        except OSError:
            return None
    return content or None


def _members(content: bytes) -> bytes | None:
    """By zlib: members up to the end, or up to zeros that go on to the end."""
    text, position = bytearray(), 0
    while position < len(content):
        if content[position] == 0:
            return None if content[position:].strip(b"\0") else bytes(text)
        stream = zlib.decompressobj(wbits=31)
        while not stream.eof:
            packed = content[position : position + 65_536]
            if not packed:
                return None
            try:
                text += stream.decompress(packed)
            except zlib.error:
                return None
            position += len(packed)
        position -= len(stream.unused_data)
    return bytes(text)


def _python(content: bytes) -> bytes | None:
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(content)).read()
    except (OSError, EOFError, zlib.error):
        return None


# --- what it is wrapped in ---


def unwrap(text: bytes) -> bytes | None:
    """The plain lines of a text; itself when it is not wrapped, None when what it is wrapped in is broken."""
    start = text[:HEADER_WITHIN]
    first = _first_line(text)
    first = first.removeprefix(BOM) if first is not None else b""
    if _EXPORT.match(start.lstrip(b"\r\n")):
        return _EXPORT.sub(b"", text)
    if re.match(rb'(\xef\xbb\xbf)?[ \t\r\n]*\{[ \t\r\n]*["}]', start):
        return _from_json(text)
    names = _cells(first) if b" " not in first else None
    if names and [name.removeprefix("@") for name in names] == ["timestamp", "message"]:
        return _from_console(text, first)
    fields = find_header(" ".join(names).replace("_", "-").encode("latin-1")) if names else None
    if names and fields and len(names) == len(fields) > 1:
        return b"".join(_from_row(line, first, fields) + b"\n" for line in split_lines(text))
    return text


_EXPORT = re.compile(rb"(?<![^\r\n])[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z ")


def _one_line(text: str) -> str:
    return text.rstrip("\r\n").replace("\r", "\\r").replace("\n", "\\n")


def _from_json(text: bytes) -> bytes | None:
    try:
        messages = [_one_line(message) for message in _messages(text.decode("utf-8-sig"))]
    except ValueError:
        return None
    return b"".join(f"{message}\n".encode("utf-8", "surrogatepass") for message in messages)


def _messages(text: str) -> Iterator[str]:
    """Those of the documents that follow each other. Raises ValueError where anything else does."""
    text = text.lstrip(" \t\r\n")
    while text:
        document, end = json.JSONDecoder(object_pairs_hook=_each_key_once).raw_decode(text)
        if not isinstance(document, dict):
            raise ValueError(document)
        events = document.get("logEvents")
        if document.get("messageType") == "CONTROL_MESSAGE" and isinstance(events, list):
            events = []
        elif "messageType" not in document and "message" in document:
            events = [document]
        elif document.get("messageType") != "DATA_MESSAGE" or not isinstance(events, list):
            raise ValueError(document)
        for event in events:
            if not isinstance(event, dict) or not isinstance(event.get("message"), str):
                raise ValueError(event)
            yield event["message"]
        text = text[end:].lstrip(" \t\r\n")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError(pairs)
    return dict(pairs)


def _from_console(text: bytes, header: bytes) -> bytes | None:
    marked = re.compile(rb"(?<![^\r\n])" + re.escape(BOM + header))
    lines = io.StringIO(marked.sub(lambda _: header, text).decode("latin-1"), newline="")
    physical = (part for line in lines for part in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", line))
    messages = []
    try:
        for row in csv.reader(physical, strict=True):
            if not any(cell.strip() for cell in row):
                messages.append("")
            elif len(row) == 2 and _TIME.fullmatch(row[0]):
                messages.append(_one_line(row[1]))
            elif [name.removeprefix("@") for name in row] != ["timestamp", "message"]:
                return None
    except csv.Error:
        return None
    return b"".join(message.encode("latin-1") + b"\n" for message in messages)


_TIME = re.compile(r"[0-9]{13}|[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z?")


def _cells(line: bytes) -> list[str] | None:
    """The cells of a row of up to 128 KiB; None when its quotes do not match."""
    try:
        rows = list(csv.reader([line.decode("latin-1")], strict=True)) if len(line) <= 128 * 1024 else []
    except csv.Error:
        return None
    return rows[0] if rows else None


def _from_row(line: bytes, header: bytes, fields: Sequence[str]) -> bytes:
    """A row as a record, or as it stands when it is none, with a blank more where it would have as many words."""
    if line.removeprefix(BOM) == header:
        return " ".join(fields).encode()
    cells = _cells(line)
    if not line.strip(b" "):
        return line
    if cells and not any(cells):
        return b""
    if cells and len(cells) == len(fields) and not any(map(_is_spoilt, fields, cells)):
        return " ".join(cell or "-" for cell in cells).encode("latin-1")
    return line + b" " * (line.count(b" ") + 1 == len(fields))


def _is_spoilt(name: str, cell: str) -> bool:
    """What a spreadsheet rounds to `1.2E+11`, an account without its zeros, and what would be two words."""
    is_number = cell.isascii() and cell.isdigit()
    return (
        " " in cell
        or re.fullmatch(r"-?[0-9]([.,][0-9]+)?E[+-][0-9]+", cell) is not None
        or (name.endswith("account-id") and is_number and len(cell) != 12)
    )


def split_lines(text: bytes) -> list[bytes]:
    """The lines without their ends, of which there are three; what follows the last end is a line if there is any."""
    lines = re.split(rb"\r\n|\n|\r", text)
    return lines if lines[-1] else lines[:-1]


def find_header(text: bytes) -> list[str] | None:
    """The names of the fields, by the first line that is not blank; None when it is no header."""
    line = _first_line(text)
    return None if line is None else names_of(line)


def names_of(line: bytes) -> list[str] | None:
    """The names of the fields that a line announces; None when it is no header."""
    names = line.removeprefix(BOM).strip(b" ").decode("latin-1").split(" ")
    is_header = (
        all(_NAME.fullmatch(name) for name in names)
        and len(set(names)) == len(names)
        and 2 * sum(name in _KNOWN for name in names) >= len(names)
    )
    return names if is_header else None


def announces_another(line: bytes, fields: Sequence[str]) -> bool:
    """Whether a line is a header of other fields: what follows it would be read with values in the wrong columns."""
    names = names_of(line.replace(b"_", b"-")) if len(line) <= HEADER_WITHIN else None
    return names not in (None, fields) and sum(name in _KNOWN for name in names or ()) >= min(2, len(fields))


def _first_line(text: bytes) -> bytes | None:
    """The first one that is not blank; None when it does not end where it would be looked for."""
    start = re.match(rb"(?:[ \t\x0b\x0c]*(?:\r\n|\n|\r))*", text)
    line = re.match(rb"[^\r\n]*", text[start.end() if start else 0 :])
    if start is None or line is None or not line[0].strip():
        return None
    end = start.end() + len(line[0])
    if end > HEADER_WITHIN or (end == HEADER_WITHIN and len(text) > HEADER_WITHIN):
        return None
    return line[0]


def _text_row(line: bytes, names: Sequence[str], named_at: datetime) -> Row:
    header = " ".join(names).encode()
    text = line.decode("latin-1")
    unmarked = line.removeprefix(BOM)
    if unmarked.strip(b" ") == header:
        return "header", len(line), None
    if not unmarked.strip(b" "):
        return "blank", len(line), None
    tokens = unmarked.decode("latin-1").split(" ")
    if len(tokens) != len(names):
        return "malformed", len(line), text
    values = dict(zip(names, tokens, strict=True))
    unknown = {name: value for name, value in values.items() if name not in _KNOWN}
    has_addresses = "srcaddr" in values or "pkt-srcaddr" in values
    return _row(values, len(line), text, unknown, named_at, has_addresses=has_addresses, names=names)


# --- Parquet ---


def _expect_parquet(content: bytes, named_at: datetime) -> Expected:
    try:
        file = parquet.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        names = file.schema_arrow.names
        table = file.read() if len(set(names)) == len(names) else None
        if table is not None:
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        return UNREADABLE
    if (
        table is None
        or len({name.lower() for name in names}) != len(names)
        or 2 * sum(name in COLUMN_NAMES for name in names) < max(len(names), 1)
        or any(len(name) > 64 for name in names)
    ):
        return UNREADABLE
    is_plain = all(any(is_kind(kind) for is_kind in _PLAIN) for kind in table.schema.types)
    rows = Counter(_parquet_row(record, named_at) for record in table.to_pylist()) if is_plain else None
    return Expected(is_readable=True, lines=table.num_rows, rows=rows)


_PLAIN = (pa.types.is_string, pa.types.is_large_string, pa.types.is_signed_integer, pa.types.is_null)

COLUMN_NAMES = {field.column: field.name for field in FIELDS}


def _parquet_row(record: Mapping[str, str | int | None], named_at: datetime) -> Row:
    # Upper case is no other column.
    cells = {name.lower(): value for name, value in record.items()}
    values = {
        COLUMN_NAMES[name]: "-" if cell is None else str(cell) for name, cell in cells.items() if name in COLUMN_NAMES
    }
    # A column that staging adds itself has no place for another one of its name: the ledger names it.
    kept = cells.keys() - COLUMN_NAMES.keys() - {"read_path"}
    unknown = {name: str(cells[name]) for name in kept if cells[name] is not None}
    written = [f"{name}={cells[column]}" for column, name in COLUMN_NAMES.items() if cells.get(column) is not None]
    # A missing column is as one without a value: only what has no status and no traffic is told by its addresses.
    has_addresses = all(values.get(name, "-") == "-" for name in ("log-status", "packets", "bytes"))
    return _row(values, 0, " ".join(written), unknown, named_at, has_addresses=has_addresses)


# --- a record ---


def _row(
    values: Mapping[str, str],
    length: int,
    text: str,
    unknown: Mapping[str, str],
    named_at: datetime,
    *,
    has_addresses: bool,
    names: Collection[str] = (),
) -> Row:
    """The row of values that stand beside each other's names; a dash stands for no value. `names`: of its format."""
    given = {name: value for name, value in values.items() if name in _KNOWN and value != "-"}
    if "\0" in text or not is_record(given, has_addresses=has_addresses):
        return "malformed", length, text
    typed: dict[str, object] = dict(given)
    typed.update({name: _EPOCH + timedelta(seconds=int(given[name])) for name in ("start", "end") if name in given})
    for name, value in given.items():
        if name not in ("start", "end") and _KNOWN[name].type is not FieldType.STRING:
            typed[name] = int(value)
    if any(name.startswith(("tgw-", "packets-lost-")) for name in {*given, *names} & _KNOWN.keys()):
        typed.setdefault("resource-type", "TransitGateway")
    moment = typed.get("start", typed.get("end", named_at))
    assert isinstance(moment, datetime)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    kind = "gap" if is_gap(given, has_addresses=has_addresses) else "record"
    what = (hour, tuple(typed.get(field.name) for field in FIELDS), tuple(sorted(unknown.items())) or None)
    return kind, length, what


def is_gap(given: Mapping[str, str], *, has_addresses: bool) -> bool:
    """NODATA or SKIPDATA, or neither a status nor any of the addresses that the format has."""
    if "log-status" in given:
        return given["log-status"] != "OK"
    return has_addresses and not any(name in given for name in _ADDRESSES)


def is_record(given: Mapping[str, str], *, has_addresses: bool) -> bool:
    """Whether every value is what its field allows."""
    if not all(map(_is_allowed, given, given.values())):
        return False
    if "start" in given and "end" in given and int(given["end"]) < int(given["start"]):
        return False
    is_lost = given.get("log-status") == "OK" and has_addresses and not any(name in given for name in _ADDRESSES)
    return not is_lost


_MOST_DIGITS = {FieldType.INT32: 9, FieldType.INT64: 15}
_GREATEST = {"srcport": 65_535, "dstport": 65_535, "protocol": 255}
_WORDS = {"log-status": ("OK", "NODATA", "SKIPDATA"), "action": ("ACCEPT", "REJECT")}


def _is_allowed(name: str, value: str) -> bool:
    kind = _KNOWN[name].type
    if name in _WORDS:
        return value in _WORDS[name]
    if name in _ADDRESSES:
        return 2 <= len(value) <= 45 and set(value) <= set("0123456789abcdefABCDEF:.")
    if kind is FieldType.STRING:
        return True
    most = 10 if name in ("start", "end") else _MOST_DIGITS[kind]
    is_number = 1 <= len(value) <= most and set(value) <= set("0123456789")
    return is_number and int(value) <= _GREATEST.get(name, int(value))
