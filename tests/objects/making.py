"""Objects that nobody would send, and some that everybody does: the same for the same seed.

Text in random field orders, some of it wrapped in JSON or CSV, and Parquet of random columns, their values in part
hostile; then the bytes are cut, flipped, repeated and packed in odd ways. What a lake must make of each is said
elsewhere (`objects.reading`).
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from pyarrow import parquet

from flowlake.records.fields import FIELDS, TGW_DEFAULT_HEADER, V2_DEFAULT_HEADER, FieldType

MOMENT = 1_795_176_000
"""2026-11-20T12:00:00Z: when the records are from."""

ALL_NAMES = tuple(field.name for field in FIELDS)
_TYPES = {field.name: field.type for field in FIELDS}

BOM = b"\xef\xbb\xbf"

HOSTILE = (
    b"{{7*7}}",
    b"{%endraw%}",
    b"{#",
    b"$(reboot)",
    b"`id`",
    b"../../../etc/passwd",
    b"<script>alert(1)</script>",
    b"';drop",
    b'"',
    b"\\",
    b"%s",
    b"--",
    b"#",
    b"|",
    b",",
    b"\t",
    b"\x0b",
    b"\x1b[2J",
    b"\x7f",
    b"\x00",
    b"a\x00b",
    b"\x85",
    b"\xa0",
    b"\xff\xfe",
    b"\xc3\x28",
    "\u202eevil".encode(),
    "\u2028".encode(),
    "\u241e".encode(),
    BOM,
    b"",
    b"-",
    b"--1",
    b"NULL",
    b"nan",
    b"inf",
    b"-inf",
    b"1.5",
    b"1e5",
    b"9e17",
    b"1e400",
    b"0x1F",
    b"+5",
    b"-5",
    b"007",
    b"1_000",
    b"65536",
    b"2147483648",
    b"-2147483649",
    b"999999999",
    b"9999999999",
    b"999999999999999",
    b"9223372036854775808",
    b"18446744073709551616",
    b"9" * 400,
    "\u0663".encode(),
    b"true",
    b"10.0.0.1/8",
    b"::",
    b"....",
    b"fe80::1%eth0",
)
"""What is syntax somewhere, and what is nearly a number or an address."""


@dataclass(frozen=True)
class Made:
    """An object: its bytes, what its name ends in (`gz` or `parquet`), and how it came about, for people."""

    content: bytes
    extension: str
    how: tuple[str, ...]


def make_objects(seed: str, count: int) -> list[Made]:
    """So many objects. A few formats are shared by most of the text, as flow logs share theirs."""
    chance = random.Random(f"objects {seed}")  # noqa: S311 - a seed, not a secret
    headers = [V2_DEFAULT_HEADER, TGW_DEFAULT_HEADER, " ".join(_shuffled(chance, ALL_NAMES))]
    headers += [_random_header(chance) for _ in range(4)]
    return [_parquet(chance) if chance.random() < 0.12 else _text(chance, headers) for _ in range(count)]


def _shuffled(chance: random.Random, names: Sequence[str]) -> list[str]:
    return chance.sample(names, len(names))


def _random_header(chance: random.Random) -> str:
    names = chance.sample(ALL_NAMES, chance.choice([1, 2, 5, 14, 30]))
    unknown = ["field-of-2027", "0", "null", "select", "read-path", "a" * 64]
    names += chance.sample(unknown, min(len(names), chance.choice([0, 0, 1, 3])))
    return " ".join(_shuffled(chance, names))


# --- text ---


def _text(chance: random.Random, headers: Sequence[str]) -> Made:
    header = chance.choice(headers)
    wildness = chance.choice([0.0, 0.02, 0.2])
    lines = [header.encode()]
    for _ in range(chance.choice([0, 1, 3, 8, 20])):
        lines.append(_line(chance, header, wildness))
        if chance.random() < 2 * wildness:
            lines.append(_odd_line(chance, header, headers, lines[-1]))
    end = chance.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r"])
    ends = [end if chance.random() > wildness else chance.choice([b"\n", b"\r\n", b"\r", b"\n\r"]) for _ in lines]
    made = Made(b"".join(line + end for line, end in zip(lines, ends, strict=True)), "gz", ())
    if chance.random() < 0.25:
        wrap = chance.choice(WRAPPINGS)
        made = Made(wrap(chance, lines, ends), "gz", (wrap.__name__.strip("_"),))
    # Half of the objects are what they should be, up to here; the others are spoilt once or more.
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2])):
        made = _changed(chance, made, TEXT_CHANGES)
    made = _changed(chance, made, PACKINGS)
    for _ in range(chance.choice([0, 0, 0, 0, 1, 2])):
        made = _changed(chance, made, PACKED_CHANGES)
    return made


def _changed(chance: random.Random, made: Made, changes: Sequence[Callable[[random.Random, bytes], bytes]]) -> Made:
    change = chance.choice(changes)
    return replace(made, content=change(chance, made.content), how=(*made.how, change.__name__.strip("_")))


def _line(chance: random.Random, header: str, wildness: float) -> bytes:
    status = chance.choices([b"OK", b"NODATA", b"SKIPDATA", b"-"], [20, 1, 1, 1])[0]
    return b" ".join(_token(chance, name, status, wildness) for name in header.split(" "))


def _token(chance: random.Random, name: str, status: bytes, wildness: float) -> bytes:
    if chance.random() < wildness / 4:
        return chance.choice(HOSTILE)
    if name == "log-status":
        return status
    if chance.random() < (0.9 if status in (b"NODATA", b"SKIPDATA") else 0.05):
        return b"-"
    return _value(chance, name).encode()


def _value(chance: random.Random, name: str) -> str:  # noqa: PLR0911 - a kind of field each
    if name in ("srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr"):
        return chance.choice([f"10.0.{chance.randrange(4)}.{chance.randrange(256)}", "2600:1f18::1", "fe80::a.b"])
    if name in ("start", "end"):
        return str(MOMENT + (60 if name == "end" else 0) + chance.choice([0, 1, 59, -3600, 3600, -86400]))
    if name in ("srcport", "dstport"):
        return str(chance.choice([0, 22, 443, 65535, chance.randrange(1024, 65536)]))
    if name == "protocol":
        return str(chance.choice([1, 6, 6, 17, 58, 255]))
    if name == "action":
        return chance.choice(["ACCEPT", "ACCEPT", "REJECT"])
    if _TYPES.get(name) is FieldType.INT32:
        return str(chance.choice([0, 1, 2, 18, 999_999_999]))
    if _TYPES.get(name) is FieldType.INT64:
        return str(chance.choice([0, 1, chance.randrange(10**6), 999_999_999_999_999]))
    # A value that says where it belongs: in another column it would be seen.
    return f"{name}:{chance.randrange(1000)}"


def _odd_line(chance: random.Random, header: str, headers: Sequence[str], before: bytes) -> bytes:
    tokens = before.split(b" ")
    other = chance.choice(headers).encode()
    return chance.choice(
        [
            b"",
            b" ",
            b" " * chance.randrange(1, 200),
            b"\t",
            header.encode(),
            BOM + header.encode(),
            header.encode() + b" ",
            b" " + header.encode(),
            header.upper().encode(),
            other,
            before + b" more",
            before + b" ",
            b" " + before,
            before.replace(b" ", b"  ", 1),
            before.replace(b" ", b"\t"),
            b" ".join(tokens[:-1]),
            b" ".join(tokens[1:]),
            b" ".join(chance.sample(tokens, len(tokens))),
            b" ".join([*tokens, *tokens]),
            chance.randbytes(chance.randrange(1, 200)),
            b" ".join([b"-"] * len(tokens)),
            b" ".join(chance.choice(HOSTILE) for _ in tokens),
            b"x" * chance.choice([1, 100, 10_000]),
            b" ".join([b"9e17"] * chance.choice([1, len(tokens), len(tokens) + 1])),
        ]
    )


def _subscription(chance: random.Random, lines: Sequence[bytes], ends: Sequence[bytes]) -> bytes:
    documents, rest = [], list(lines)
    while rest:
        count = chance.choice([1, 3, 20])
        events = [_event(chance, line) for line in rest[:count]]
        names = {"messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "{{7*7}}", "logEvents": events}
        documents.append(dict(chance.sample(list(names.items()), len(names))))
        del rest[:count]
    control = {"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "Checking health"}]}
    documents.insert(chance.randrange(len(documents) + 1), control)
    return _documents(chance, documents, ends)


def _event(chance: random.Random, line: bytes) -> dict[str, object]:
    message: object = _message(chance, line)
    if chance.random() < 0.01:
        return chance.choice([{}, {"message": None}, {"message": 7}, {"message": ["x"]}])
    return {"id": "0" * 56, "timestamp": MOMENT * 1000, "message": message, "extractedFields": {"message": "no"}}


def _message(chance: random.Random, line: bytes) -> str:
    """A line as a text of JSON: in UTF-8 if it is, else a character a byte; at times with line ends."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    if chance.random() < 0.02:
        text += chance.choice(["\n", "\r\n", f"\n{text}", "\rx", "\ud800"])
    return text


def _firehose(chance: random.Random, lines: Sequence[bytes], ends: Sequence[bytes]) -> bytes:
    return _documents(chance, [{"message": _message(chance, line)} for line in lines], ends)


def _documents(chance: random.Random, documents: Sequence[dict[str, object]], ends: Sequence[bytes]) -> bytes:
    end = chance.choice([b"", b"\n", ends[0]])
    is_ascii = chance.random() < 0.5
    texts = (json.dumps(document, ensure_ascii=is_ascii) for document in documents)
    # Half of a character can only be written as an escape.
    return b"".join(text.encode("utf-8", "backslashreplace") + end for text in texts)


def _console(chance: random.Random, lines: Sequence[bytes], ends: Sequence[bytes]) -> bytes:
    header = chance.choice([b"timestamp,message", b"@timestamp,@message", b'"timestamp","message"'])
    time = chance.choice([b"1795176000000", b'"2026-11-20 12:00:00.000"'])
    is_quoted = chance.random() < 0.5
    rows = [header, *(time + b"," + _cell(line, is_quoted=is_quoted) for line in lines)]
    return b"".join(row + end for row, end in zip(rows, [ends[0], *ends], strict=True))


def _table(chance: random.Random, lines: Sequence[bytes], ends: Sequence[bytes]) -> bytes:
    is_quoted, mangled = chance.random() < 0.3, [b"", b"1.23457E+11", b"1,795,176,000", b"12345678901", b"20 Nov"]
    rows = []
    for line in lines:
        cells = line.replace(b"-", b"_").split(b" ") if line == lines[0] else line.split(b" ")
        if chance.random() < 0.1 and line != lines[0]:
            cells[chance.randrange(len(cells))] = chance.choice(mangled)
        rows.append(b",".join(_cell(cell, is_quoted=is_quoted) for cell in cells))
    return b"".join(row + end for row, end in zip(rows, ends, strict=True))


def _cell(text: bytes, *, is_quoted: bool) -> bytes:
    return b'"' + text.replace(b'"', b'""') + b'"' if is_quoted or b"," in text or b'"' in text else text


def _export(chance: random.Random, lines: Sequence[bytes], ends: Sequence[bytes]) -> bytes:
    times = (b"2026-11-20T12:%02d:00.000Z " % chance.randrange(60) for _ in lines)
    return b"".join(time + line + end for time, line, end in zip(times, lines, ends, strict=True))


WRAPPINGS = (_subscription, _firehose, _console, _table, _export)


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _cut_at_the_start(chance: random.Random, data: bytes) -> bytes:
    return data[chance.randrange(len(data) + 1) :]


def _flipped_bits(chance: random.Random, data: bytes) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8]) if data else 0):
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _inserted(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    what = chance.choice([*HOSTILE, b"\n", b"\r", b"\r\n", b"\n\n\n", b" ", b"\n \n", chance.randbytes(20)])
    return data[:at] + what + data[at:]


def _repeated(chance: random.Random, data: bytes) -> bytes:
    return data * chance.choice([2, 3])


def _blank_start(chance: random.Random, data: bytes) -> bytes:
    # Up to beyond where a header is looked for (64 KiB).
    return chance.choice([b"\n", b"\r\n\r\n", b" \n", b"\t\n", b"\n" * 70_000, b" " * 70_000 + b"\n"]) + data


def _byte_order_mark(_: random.Random, data: bytes) -> bytes:
    return BOM + data


def _without_last_end(_: random.Random, data: bytes) -> bytes:
    return data.rstrip(b"\r\n")


def _long_line(chance: random.Random, data: bytes) -> bytes:
    length = chance.choice([8_191, 65_535, 65_536, 1_000_000])
    return data + chance.choice([b"x", b" ", b"\xff", b"- "]) * length + chance.choice([b"\n", b"", b"\r\n"])


def _many_lines(chance: random.Random, data: bytes) -> bytes:
    """Lines beyond the buffers of those who read them, and hardly to be packed."""
    header, end, _ = data.partition(b"\n")
    count = header.count(b" ") + 1
    lines = (b" ".join(b"%x" % chance.getrandbits(60) for _ in range(count)) for _ in range(4000 // count + 1))
    return header + end + b"\n".join(lines)


def _utf16(_: random.Random, data: bytes) -> bytes:
    return data.decode("latin-1").encode("utf-16")


TEXT_CHANGES = (
    *(_cut, _cut, _cut_at_the_start, _flipped_bits, _flipped_bits, _inserted, _inserted, _inserted, _repeated),
    *(_blank_start, _byte_order_mark, _without_last_end, _without_last_end, _long_line, _many_lines, _utf16),
)


def _one_member(_: random.Random, data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _stored_member(_: random.Random, data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=0, mtime=0)


def _several_members(chance: random.Random, data: bytes) -> bytes:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([1, 2, 5])))
    return b"".join(_member(chance, data[start:end]) for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True))


def _hundreds_of_members(chance: random.Random, data: bytes) -> bytes:
    """So many that some of their heads lie across the buffers of those who read them."""
    step = chance.choice([1, 7, 40])
    count = min(len(data) // step + 1, 4000)
    parts = [data[index * step : (index + 1) * step] for index in range(count)] + [data[count * step :]]
    return b"".join(_member(chance, part) for part in parts)


def _member_with_a_head(chance: random.Random, data: bytes) -> bytes:
    return _member(chance, data, flags=chance.randrange(32))


def _reserved_flags(chance: random.Random, data: bytes) -> bytes:
    return _member(chance, data, flags=chance.choice([0x20, 0x40, 0x80, 0xE0]))


def _member(chance: random.Random, data: bytes, flags: int | None = None) -> bytes:
    """A gzip member (RFC 1952) with these flags; without: with none, or a file's name as most programs write it."""
    longest = 1 if flags is None else 40_000
    flags = chance.choice([0, 0, 8]) if flags is None else flags
    head = struct.pack("<3sBIBB", b"\x1f\x8b\x08", flags, chance.getrandbits(32), 0, 255)
    if flags & 4:
        extra = chance.randbytes(chance.choice([0, 4, 40, 65_535]))
        head += struct.pack("<H", len(extra)) + extra
    if flags & 8:
        head += chance.choice([b"", b"flow.log", b"<b>" * 300, b"../../x", b"\xff", b"n" * longest]) + b"\0"
    if flags & 16:
        head += chance.choice([b"", b"said", b"{{7*7}}"]) + b"\0"
    if flags & 2:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    packer = zlib.compressobj(chance.choice([1, 6, 9]), zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    return head + packed + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def _packed_twice(_: random.Random, data: bytes) -> bytes:
    return gzip.compress(gzip.compress(data, mtime=0), mtime=0)


def _unpacked(_: random.Random, data: bytes) -> bytes:
    return data


def _zstandard(_: random.Random, data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data))


def _zlib_stream(_: random.Random, data: bytes) -> bytes:
    return zlib.compress(data)


PACKINGS = (
    *([_one_member] * 8),
    *(_stored_member, _several_members, _several_members, _hundreds_of_members, _member_with_a_head),
    *(_reserved_flags, _packed_twice, _unpacked, _zstandard, _zlib_stream),
)


def _trailing_zeros(chance: random.Random, data: bytes) -> bytes:
    return data + bytes(chance.choice([1, 9, 512, 70_000]))


def _trailing_garbage(chance: random.Random, data: bytes) -> bytes:
    return data + chance.choice([b"x", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08", b"\n", data[:9], chance.randbytes(30)])


def _member_after_zeros(_: random.Random, data: bytes) -> bytes:
    return data + bytes(3) + data


def _empty_members(chance: random.Random, data: bytes) -> bytes:
    return gzip.compress(b"", mtime=0) * chance.choice([1, 3]) + data + gzip.compress(b"", mtime=0)


def _nothing(_: random.Random, __: bytes) -> bytes:
    return b""


def _one_byte(chance: random.Random, _: bytes) -> bytes:
    return chance.randbytes(1)


def _noise(chance: random.Random, _: bytes) -> bytes:
    return chance.choice([b"", b"\x1f\x8b\x08\x00", b"PAR1"]) + chance.randbytes(chance.randrange(1, 3000))


def _flipped_bits_of_the_head(chance: random.Random, data: bytes) -> bytes:
    return _flipped_bits(chance, data[:10]) + data[10:]


def _flipped_bits_of_the_end(chance: random.Random, data: bytes) -> bytes:
    return data[:-8] + _flipped_bits(chance, data[-8:])


PACKED_CHANGES = (
    *(_cut, _cut, _flipped_bits, _flipped_bits, _flipped_bits_of_the_head, _flipped_bits_of_the_end, _inserted),
    *(_trailing_zeros, _trailing_zeros, _trailing_garbage, _trailing_garbage, _member_after_zeros, _empty_members),
    *(_repeated, _cut_at_the_start, _nothing, _one_byte, _noise),
)


# --- Parquet ---


def _parquet(chance: random.Random) -> Made:
    names = chance.sample(ALL_NAMES, chance.choice([1, 5, 14, 14, 30]))
    rows = chance.choice([0, 1, 5, 20])
    wildness = chance.choice([0.0, 0.0, 0.05])
    columns = {name.replace("-", "_"): _column(chance, name, rows, wildness) for name in names}
    how: tuple[str, ...] = ()
    for _ in range(chance.choice([0, 0, 1])):
        how += (_spoil(chance, columns, rows),)
    sink = io.BytesIO()
    options = {
        "compression": chance.choice(["snappy", "snappy", "none", "gzip", "zstd", "brotli", "lz4"]),
        "version": chance.choice(["1.0", "2.6"]),
        "data_page_version": chance.choice(["1.0", "2.0"]),
        "use_dictionary": chance.random() < 0.5,
        "row_group_size": chance.choice([1, 1000]),
    }
    # Two columns may have one name: not by a mapping.
    table = pa.Table.from_arrays(list(columns.values()), names=[name.removesuffix("\0") for name in columns])
    parquet.write_table(table, sink, **options)
    made = Made(sink.getvalue(), "parquet", (*how, *(f"{name}={value}" for name, value in options.items())))
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        made = _changed(chance, made, PARQUET_CHANGES)
    return made


def _column(chance: random.Random, name: str, rows: int, wildness: float) -> pa.Array:
    def cell() -> str | None:
        if name == "log-status":
            return chance.choice(["OK", "OK", "OK", "NODATA", "SKIPDATA", "-", None])
        return _value(chance, name) if chance.random() > 0.1 else chance.choice([None, "-"])

    cells = [cell() for _ in range(rows)]
    kind = {FieldType.INT32: pa.int32(), FieldType.INT64: pa.int64()}.get(_TYPES[name])
    if kind is not None:
        numbers = [None if text in (None, "-") else int(text) for text in cells]
        odd = [-1, 0, 2**31 - 1, 65_536, -(2**31)]
        return pa.array([chance.choice(odd) if chance.random() < wildness else number for number in numbers], kind)
    texts = [text.decode("latin-1") for text in HOSTILE]
    return pa.array([chance.choice(texts) if chance.random() < wildness else text for text in cells], pa.string())


UNKNOWN_COLUMNS = ("field_of_2027", 'odd "column"; --', "{{7*7}}", "<script>", "read_path", "a\nb", "\u202e", "a" * 64)

ODD_COLUMNS: tuple[Callable[[random.Random, int], pa.Array], ...] = (
    lambda chance, rows: pa.array([chance.choice([0.0, 1.5, 443.0, float("nan"), 1e300, None]) for _ in range(rows)]),
    lambda chance, rows: pa.array([chance.random() < 0.5 for _ in range(rows)], pa.bool_()),
    lambda chance, rows: pa.array([MOMENT] * rows, pa.timestamp("s")),
    lambda chance, rows: pa.array([20_000] * rows, pa.date32()),
    lambda chance, rows: pa.array([[1, 2]] * rows, pa.list_(pa.int32())),
    lambda chance, rows: pa.array([{"a": 1}] * rows, pa.struct([("a", pa.int32())])),
    lambda chance, rows: pa.array([[("a", 1)]] * rows, pa.map_(pa.string(), pa.int32())),
    lambda chance, rows: pa.array([chance.randbytes(4) for _ in range(rows)], pa.binary()),
    lambda chance, rows: pa.array([chance.randbytes(4) for _ in range(rows)], pa.binary(4)),
    lambda chance, rows: pa.array([None] * rows, pa.null()),
    lambda chance, rows: pa.array([7] * rows, pa.decimal128(10, 2)),
    lambda chance, rows: pa.array([7] * rows, pa.decimal256(60, 2)),
    lambda chance, rows: pa.array([2**64 - 1] * rows, pa.uint64()),
    lambda chance, rows: pa.array(["x"] * rows, pa.large_string()),
    lambda chance, rows: pa.array([1.5] * rows, pa.float32()).cast(pa.float16()),
    # Text that is not UTF-8: who writes Parquet need not look.
    lambda chance, rows: pa.array([b"\xff\xfe"] * rows, pa.binary()).view(pa.string()),
)


def _spoil(chance: random.Random, columns: dict[str, pa.Array], rows: int) -> str:
    """Change the columns of a table; how."""
    name = chance.choice(list(columns))
    way = chance.randrange(6)
    if way == 0:
        columns[chance.choice(UNKNOWN_COLUMNS)] = pa.array(["x"] * rows, pa.string())
        return "unknown_column"
    if way == 1:
        columns[f"{name}\0"] = columns[name]
        return "column_twice"
    if way == 2:
        columns[name.upper()] = columns.pop(name)
        return "upper_case"
    if way == 3:
        columns[name] = columns[name].cast(pa.string())
        return "all_text"
    which = chance.randrange(len(ODD_COLUMNS))
    columns[name] = ODD_COLUMNS[which](chance, rows)
    return f"odd_type_{which}"


PARQUET_CHANGES = (
    *(_cut, _flipped_bits, _flipped_bits, _flipped_bits_of_the_end, _inserted, _trailing_garbage, _cut_at_the_start),
    *(_nothing, _one_byte, _noise, _one_member, _repeated),
)
