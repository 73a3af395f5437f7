"""From a text object's header to its format: which field stands in which position.

The header, not the path, says what an object holds: VPC and Transit Gateway logs share the bucket layout.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from flowlake.records.fields import FIELDS_BY_NAME, TGW_DEFAULT_HEADER, V2_DEFAULT_HEADER

LONGEST_NAME = 64
"""Of a field; AWS's have 26 characters at most. Each becomes SQL several times over."""

_TOKEN = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{LONGEST_NAME - 1}}}")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8: no part of the line that it stands before."""

KNOWN_FORMATS = {V2_DEFAULT_HEADER: "v2-default", TGW_DEFAULT_HEADER: "tgw-default"}


@dataclass(frozen=True)
class Format:
    """An ordered list of field names under an id that is the same in every lake.

    The id is a readable name for the formats that AWS calls default, else `f-` and the first 12 hex digits of the
    header's SHA-256: a path segment made of nothing but `[a-z0-9-]`.
    """

    format_id: str
    fields: tuple[str, ...]

    @property
    def header(self) -> str:
        """The header line of the format, without byte order mark or line end."""
        return " ".join(self.fields)

    @property
    def columns(self) -> tuple[str | None, ...]:
        """The column of each field, None for a field that nobody knows yet."""
        return tuple(FIELDS_BY_NAME[name].column if name in FIELDS_BY_NAME else None for name in self.fields)

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """The fields that nobody knows yet, in the order of the header."""
        return tuple(name for name in self.fields if name not in FIELDS_BY_NAME)


def format_of(fields: tuple[str, ...]) -> Format:
    """The format with these fields in this order."""
    header = " ".join(fields)
    format_id = KNOWN_FORMATS.get(header) or f"f-{hashlib.sha256(header.encode()).hexdigest()[:12]}"
    return Format(format_id, fields)


def format_named(text: str) -> Format | None:
    """The format that settings name: by its id where it is a known one, else by its header line; None if it is none."""
    headers = {format_id: header for header, format_id in KNOWN_FORMATS.items()}
    return parse_header(headers.get(text, text).encode())


def parse_header(line: bytes) -> Format | None:
    """The format that a line announces, or None when the line is no header.

    A header is tokens of up to 64 lower-case letters, digits and dashes, separated by blanks, none twice, at least half
    of them names of known fields. A record can never pass: it holds upper case, dots or a lone dash, or no field name
    at all.
    """
    try:
        text = line.removeprefix(BYTE_ORDER_MARK).strip(b" \r\n").decode("ascii")
    except UnicodeDecodeError:
        return None
    fields = tuple(text.split(" "))
    if len(set(fields)) != len(fields) or not all(_TOKEN.fullmatch(name) for name in fields):
        return None
    known = sum(name in FIELDS_BY_NAME for name in fields)
    return format_of(fields) if 2 * known >= len(fields) else None
