"""Imperfections on purpose. None of them takes away a record that the truth counts: bad lines are additional lines, and
broken objects, like the one that was unpacked on the way, hold nothing but NODATA lines of an idle interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from isal import igzip

from flowlake.sample.arrays import ints
from flowlake.sample.capture import NO_ACTION, NO_DIRECTION, NODATA, Records
from flowlake.sample.formats import FileFormat, FlowLog
from flowlake.sample.network import Network
from flowlake.sample.objects import SLOT_SECONDS, digest, folder, object_name
from flowlake.sample.render import Renderer
from flowlake.sample.spec import FaultKind, SampleSpec

IDLE_INTERFACE = "spare-1"
IDLE_LINES = 400
GZIP_LEVEL = 1
README = b"These folders are written by the flow log service. Please do not put files here.\n"


@dataclass(frozen=True)
class Extra:
    """An additional file: its key below the logs folder, the slot that its arrival follows, and its content.

    `gaps` is how many NODATA lines can be read in it.
    """

    key: str
    slot: int
    content: bytes
    kind: FaultKind
    gaps: int = 0


def spoil(
    text: bytes, header: bytes, spec: SampleSpec, flow_log: FlowLog, slot: int
) -> tuple[bytes, dict[FaultKind, int]]:
    """Return a text object's content with its share of bad lines, and how many of each kind it got.

    In every hour and text flow log, one object has malformed lines, and one blank lines and a repeated header (as
    concatenated objects have); one in eight has no newline at its end.
    """
    hour = slot // 3600
    turn = slot % 3600 // SLOT_SECONDS
    counts: dict[FaultKind, int] = {}
    where = digest(spec.seed, "where", flow_log.letter, slot)
    has_malformed = digest(spec.seed, "malformed", flow_log.letter, hour) % 12 == turn
    has_blanks = digest(spec.seed, "blank", flow_log.letter, hour) % 12 == turn
    lines = text.splitlines(keepends=True) if has_malformed or has_blanks else [text]
    if has_malformed and len(lines) > 1:
        bad = malformed_lines(lines[1 + where % (len(lines) - 1)].decode().split(), flow_log)
        place = 1 + where % len(lines)
        lines[place:place] = [(line + "\n").encode() for line in bad]
        counts[FaultKind.MALFORMED_LINES] = len(bad)
    if has_blanks:
        place = 1 + (where >> 8) % len(lines)
        lines[place:place] = [b"\n", header, b"   \n"]
        counts[FaultKind.BLANK_AND_HEADER_LINES] = 3
    content = b"".join(lines)
    if where % 8 == 0:
        content = content.removesuffix(b"\n")
        counts[FaultKind.NO_FINAL_NEWLINE] = 1
    return content, counts


def malformed_lines(tokens: list[str], flow_log: FlowLog) -> list[str]:
    """Return lines that look like the given record and are none: too few fields, too many, bad numbers."""
    broken_number = list(tokens)
    broken_number[flow_log.fields.index("packets")] = "12x4"
    broken_time = list(tokens)
    broken_time[flow_log.fields.index("start")] = "yesterday"
    lines = [tokens[:-2], [*tokens, "extra"], broken_number, broken_time]
    return [" ".join(line) for line in lines]


def compress(text: bytes | memoryview, members: int = 1) -> bytes:
    """Return the text as gzip, without a time stamp in it, in one or more members."""
    cuts = [len(text) * number // members for number in range(members + 1)]
    return b"".join(igzip.compress(text[begin:end], GZIP_LEVEL, mtime=0) for begin, end in pairwise(cuts))


def extra_files(spec: SampleSpec, network: Network, renderers: Mapping[str, Renderer]) -> list[Extra]:
    """Return the broken objects, the unpacked one, the foreign file and the directory marker, spread over the hours."""
    by_letter = {flow_log.letter: flow_log for flow_log in network.flow_logs}
    kinds: list[tuple[FaultKind, str, Callable[[Renderer, Records], bytes]]] = [
        (FaultKind.TRUNCATED_GZIP, "A", lambda renderer, idle: _cut(compress(_text(renderer, idle)))),
        (FaultKind.WRONG_CHECKSUM, "B", lambda renderer, idle: _wrong_checksum(compress(_text(renderer, idle)))),
        (FaultKind.UNPACKED, "A", _text),
        (FaultKind.TRUNCATED_PARQUET, "C", lambda renderer, idle: _cut(renderer.parquet(idle))),
        (FaultKind.EMPTY_OBJECT, "A", lambda renderer, idle: b""),
        (FaultKind.NO_HEADER, "D", lambda renderer, idle: compress(_text(renderer, idle).split(b"\n", 1)[1])),
    ]
    extras = []
    for number, (kind, letter, content) in enumerate(kinds):
        slot = spec.begin + SLOT_SECONDS * ((5 + 7 * number) % (12 * spec.hours))
        flow_log = by_letter[letter]
        key = folder(flow_log, slot, spec.prefix) / object_name(flow_log, slot, spec.seed, kind.value)
        gaps = IDLE_LINES if kind is FaultKind.UNPACKED else 0
        extras.append(Extra(str(key), slot, content(renderers[letter], _idle_records(network, slot)), kind, gaps))
    day = folder(by_letter["A"], spec.begin, spec.prefix)
    extras.append(Extra(str(day / "README.txt"), spec.begin, README, FaultKind.FOREIGN_FILE))
    extras.append(Extra(str(day / "archive_$folder$"), spec.begin, b"", FaultKind.DIRECTORY_MARKER))
    return extras


def several_members(spec: SampleSpec, flow_log: FlowLog, slot: int) -> bool:
    """Whether this object is gzip in several members: one in twelve."""
    return digest(spec.seed, "members", flow_log.letter, slot) % 12 == 0


def is_spoilable(flow_log: FlowLog) -> bool:
    """Whether lines can be added to the flow log's objects: text only."""
    return flow_log.file_format is FileFormat.TEXT


def _text(renderer: Renderer, records: Records) -> bytes:
    data, places = renderer.lines(records)
    return renderer.header + bytes(data[: int(places[-1])])


def _cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def _wrong_checksum(content: bytes) -> bytes:
    return content[:-8] + bytes([content[-8] ^ 0xFF]) + content[-7:]


def _idle_records(network: Network, slot: int) -> Records:
    """Return NODATA records of the interface that never has traffic."""
    index = next(number for number, eni in enumerate(network.interfaces) if eni.name == IDLE_INTERFACE)
    none = np.full(IDLE_LINES, -1, dtype=np.int64)
    last = slot + ints(range(IDLE_LINES)) % SLOT_SECONDS
    columns = dict.fromkeys(Records.__dataclass_fields__, none)
    fixed = {"interface": index, "action": NO_ACTION, "direction": NO_DIRECTION, "path": 0, "status": NODATA}
    return Records(
        **(columns | {name: none + 1 + value for name, value in fixed.items()} | {"start": last - 59, "end": last})
    )
