"""Which known format lines without a header are in, and how sure that is. Pure: no I/O.

A format cannot be seen from its records: addresses look alike whichever stands first. So nothing is inferred but AWS'
defaults, from lines every one of which has the right number of fields and in each field what belongs there; whoever
takes such a format says so, and `sources[].format` overrules it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flowlake.records.fields import FIELDS_BY_NAME, FieldType
from flowlake.records.formats import BYTE_ORDER_MARK, KNOWN_FORMATS, Format, format_of, parse_header

NOT_APPLICABLE = "-"


@dataclass(frozen=True)
class Guess:
    """How many of some lines, headers apart, are records of a format; `problem` is what the first other one has."""

    format: Format
    lines: int
    agreeing: int
    problem: str | None

    @property
    def is_sure(self) -> bool:
        """Whether there are lines, and all of them agree."""
        return 0 < self.lines == self.agreeing

    @property
    def reason(self) -> str:
        """Why it is sure or not, in words."""
        if self.is_sure:
            return f"{self.agreeing} of {self.lines} lines are records of {self.format.format_id}"
        agreeing = f"{self.agreeing} of {self.lines} lines are records of {self.format.format_id}"
        return f"{agreeing}, {self.problem}" if self.problem else agreeing


def guess_format(lines: Sequence[bytes]) -> Guess:
    """The known format that most of the lines are records of; of two, the one that is AWS' default for VPCs."""
    guesses = [_guess(lines, format_of(tuple(header.split(" ")))) for header in KNOWN_FORMATS]
    return max(guesses, key=lambda guess: guess.agreeing)


def _guess(lines: Sequence[bytes], format_: Format) -> Guess:
    records = [line for line in lines if parse_header(line) != format_]
    problems = [_problem(line, format_) for line in records]
    number, problem = next(((number, found) for number, found in enumerate(problems, 1) if found), (0, None))
    return Guess(
        format_,
        len(records),
        sum(found is None for found in problems),
        f"line {number} has {problem}" if problem else None,
    )


def _problem(line: bytes, format_: Format) -> str | None:
    """What keeps a line from being a record of the format."""
    texts = line.removeprefix(BYTE_ORDER_MARK).decode("latin-1").split(" ")
    if len(texts) != len(format_.fields):
        return f"{len(texts)} fields instead of {len(format_.fields)}"
    record = dict(zip(format_.fields, texts, strict=True))
    if record["version"] != _VERSIONS[format_.format_id]:
        return f"another version than {_VERSIONS[format_.format_id]}"
    for name, text in record.items():
        if not _is_valid(name, text):
            return f"no {name} where it belongs"
    for less, more in (("start", "end"), ("packets", "bytes")):
        if NOT_APPLICABLE not in (record[less], record[more]) and int(record[less]) > int(record[more]):
            return f"more in {less} than in {more}"
    return None


def _is_valid(name: str, text: str) -> bool:
    check = _CHECKS.get(name)
    if check is not None:
        return check(text)
    if FIELDS_BY_NAME[name].type is FieldType.STRING:
        return text != "" and text.isascii() and text.isprintable()
    return text == NOT_APPLICABLE or re.fullmatch("[0-9]{1,15}", text) is not None


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _up_to(limit: int) -> Callable[[str], bool]:
    is_number = _pattern("[0-9]{1,5}")
    return lambda text: text == NOT_APPLICABLE or (is_number(text) and int(text) <= limit)


def _is_address(text: str) -> bool:
    if text == NOT_APPLICABLE:
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


_VERSIONS = {"v2-default": "2", "tgw-default": "6"}
_SECONDS = _pattern("[0-9]{10}")

_CHECKS: Mapping[str, Callable[[str], bool]] = {
    # An interface that an AWS service made may have an unknown owner.
    "account-id": _pattern("[0-9]{12}|unknown"),
    "interface-id": _pattern("eni-[0-9a-f]{8,17}"),
    "srcaddr": _is_address,
    "dstaddr": _is_address,
    "srcport": _up_to(65535),
    "dstport": _up_to(65535),
    "protocol": _up_to(255),
    "start": _SECONDS,
    "end": _SECONDS,
    "action": _pattern("ACCEPT|REJECT|-"),
    "log-status": _pattern("OK|NODATA|SKIPDATA"),
    "resource-type": _pattern("TransitGateway"),
    "tgw-id": _pattern("tgw-[0-9a-f]{8,17}"),
    "tgw-attachment-id": _pattern("tgw-attach-[0-9a-f]{8,17}"),
    "type": _pattern("IPv4|IPv6|-"),
    "flow-direction": _pattern("ingress|egress|-"),
}
