from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from isal import igzip

from flowlake.lake import gzips, wrappings
from flowlake.lake.gzips import first_lines, inspect_text, unpack_start, write_readable_copy
from flowlake.lake.objects import MAX_LINE_BYTES, ObjectProblem, Reason
from flowlake.records.formats import parse_header

LINES = b"version account-id\n2 3\n"


def read_by_duckdb(path: Path) -> tuple[int, int]:
    """Lines that are not empty and their bytes, as staging's reader sees them."""
    row = duckdb.execute(
        """
        select count(line), coalesce(sum(length(line)), 0)
        from read_csv([?], columns = {'line': 'varchar'}, header = false, auto_detect = false, delim = chr(9246),
            quote = '', escape = '', comment = '', strict_mode = false, new_line = '\\n',
            max_line_size = 16777216, buffer_size = 33554432, compression = 'gzip', filename = 'read_path')
        """,
        [str(path)],
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def packed(folder: Path, data: bytes) -> Path:
    path = folder / "object.log.gz"
    path.write_bytes(gzip.compress(data, compresslevel=1, mtime=0))
    return path


def member(data: bytes, flags: int, extra: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + extra + body + struct.pack("<II", zlib.crc32(data), len(data))


def zstd(data: bytes) -> bytes:
    """One frame of zstd."""
    packed: bytes = pa.compress(data, "zstd", asbytes=True)
    return packed


def summed(frame: bytes, checksum: bytes) -> bytes:
    """The frame with a content checksum: what the zstd command writes."""
    return frame[:4] + bytes([frame[4] | 0x04]) + frame[5:] + checksum


def readable(folder: Path, path: Path) -> Path:
    """What staging reads: the object, or the plain copy of it that registering makes."""
    if inspect_text(path).copy_reason is None:
        return path
    copy = folder / "copy.log.gz"
    write_readable_copy(path, copy)
    return copy


@pytest.mark.parametrize(
    ("data", "lines", "empty", "line_bytes"),
    [
        (b"a\nbb\n", 2, 0, 3),
        (b"a\nbb", 2, 0, 3),
        (b"a\r\nb\rc\n", 3, 0, 3),
        (b"a\r\r\nb", 3, 1, 2),
        (b"a\n\r\nb\r", 3, 1, 2),
        (b"\n", 1, 1, 0),
        (b"\n\n\r\n", 3, 3, 0),
        (b" \n\t\n", 2, 0, 2),
        (b"a\0b\n\0\n", 2, 0, 4),
        (b"\xef\xbb\xbfa\n", 1, 0, 4),
    ],
)
def test_lines_and_their_bytes_are_counted(
    tmp_path: Path, data: bytes, lines: int, empty: int, line_bytes: int
) -> None:
    facts = inspect_text(packed(tmp_path, data))
    assert (facts.line_count, facts.empty_line_count, facts.line_bytes) == (lines, empty, line_bytes)
    assert facts.unpacked_bytes == len(data)


_PIECES = st.sampled_from(
    [
        *(b"\r", b"\n", b"\r\n", b"\0", b"\xff", b"\x85", b"\x1f\x1f\x1f", b"\xef\xbb\xbf", b"\xe2\x90\x9e", b"a "),
        *(b"srcaddr dstaddr", b"vpc_id", b" end start\n", b"2 eni-1 -"),
    ]
)
_BYTES = st.lists(st.one_of(_PIECES, st.binary(max_size=6)), max_size=30).map(b"".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=_BYTES, step=st.integers(1, 7), cut=st.integers(0, 40))
def test_counts_agree_with_duckdb_and_with_the_definition(tmp_path: Path, data: bytes, step: int, cut: int) -> None:
    """For any bytes, any gzip members and any chunks that they are unpacked in."""
    path = tmp_path / "object.log.gz"
    path.write_bytes(gzip.compress(data[:cut], mtime=0) + gzip.compress(data[cut:], mtime=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzips, "_OUTPUT_STEP", step)
        patch.setattr(gzips, "_INPUT_STEP", step)
        facts = inspect_text(path)
    lines = re.findall(rb"([^\r\n]*)(\r\n|\n|\r)|([^\r\n]+)$", data)
    bodies = [body + rest for body, _, rest in lines]
    assert facts.line_count == len(bodies)
    assert facts.empty_line_count == bodies.count(b"")
    assert facts.line_bytes == sum(map(len, bodies))
    headers = [parse_header(body.replace(b"_", b"-")) for body in bodies]
    assert set(facts.formats) == {header for header in headers if header}
    expected = (facts.line_count - facts.empty_line_count, facts.line_bytes)
    assert read_by_duckdb(readable(tmp_path, path)) == expected


GOOD = gzip.compress(LINES, mtime=0)
ZSTD = zstd(LINES)
SKIPPED = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 5) + b"notes"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04", Reason.NOT_GZIP),
        (LINES + b"\0", Reason.NOT_GZIP),
        (LINES + b"\xff\xfe", Reason.NOT_GZIP),
        (b"\x1b[31m" + LINES, Reason.NOT_GZIP),
        (LINES.decode().encode("utf-16"), Reason.NOT_GZIP),
        (b"\0", Reason.NOT_GZIP),
        (b"BZh91AY&SY" + bytes(10), Reason.NOT_GZIP),
        (ZSTD[:-1], Reason.TRUNCATED),
        (ZSTD[:4], Reason.TRUNCATED),
        (ZSTD + ZSTD[:-1], Reason.TRUNCATED),
        (ZSTD + LINES, Reason.TRAILING_GARBAGE),
        (summed(ZSTD, bytes(4)), Reason.BAD_CHECKSUM),
        (ZSTD[:4] + b"\x00\xff\x01\x00\x00", Reason.CORRUPT),
        (b"\x1f", Reason.TRUNCATED),
        (GOOD[:9], Reason.TRUNCATED),
        (GOOD[:-1], Reason.TRUNCATED),
        (GOOD[:-9], Reason.TRUNCATED),
        (GOOD + GOOD[:-1], Reason.TRUNCATED),
        (GOOD + GOOD[:5], Reason.TRUNCATED),
        (GOOD[:-8] + bytes(4) + GOOD[-4:], Reason.BAD_CHECKSUM),
        (GOOD[:-4] + bytes(4), Reason.BAD_CHECKSUM),
        (GOOD[:10] + b"\xff" * 40, Reason.CORRUPT),
        (GOOD + b"x", Reason.TRAILING_GARBAGE),
        (GOOD + b"garbage beyond ten bytes", Reason.TRAILING_GARBAGE),
        (GOOD + bytes(3) + GOOD, Reason.TRAILING_GARBAGE),
    ],
)
def test_broken_objects_are_found_with_their_reason(tmp_path: Path, data: bytes, reason: Reason) -> None:
    path = tmp_path / "object.log.gz"
    path.write_bytes(data)
    with pytest.raises(ObjectProblem) as caught:
        inspect_text(path)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        GOOD + GOOD,
        gzip.compress(b"", mtime=0) + GOOD + gzip.compress(b"", mtime=0),
        GOOD + bytes(512),
        LINES,
        LINES[:-1],
        b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"),
        b"\n\n" + LINES * 70_000,
        "é".encode() * 511 + b"xy\xc3\xa9\n",
        b"x",
        b"\n",
        ZSTD,
        ZSTD + ZSTD,
        zstd(b"") + ZSTD + SKIPPED + ZSTD,
        SKIPPED + ZSTD,
        zstd(b"caf\xc3\x80\n" + LINES * 70_000),
        member(LINES, 0x08, b"name.log\0"),
        member(LINES, 0x04, b"\x02\x00ab"),
        member(LINES, 0x0C, b"\x02\x00abname.log\0"),
        member(LINES, 0x0C, b"\xff\xff" + bytes(65_535) + b"name.log\0"),
        GOOD + member(LINES, 0x14, b"\xff\xff" + bytes(65_535) + b"comment\0"),
        member(LINES, 0x08, b"n" * 40_000 + b"\0"),
        GOOD + member(LINES, 0x18, b"n" * 40_000 + b"\0comment\0") + GOOD,
        b"".join(member(b"%d\n" % (number**9), 0x08, b"n" * (number % 300) + b"\0") for number in range(2000)),
        member(LINES, 0x10, b"comment\0"),
        member(LINES, 0x01, b""),
        GOOD + member(LINES, 0x10, b"comment\0"),
        gzip.compress(b"caf\xc3\x80\n\x80\x9f\n", mtime=0),
        gzip.compress(b"one\n" * 3_000_000, mtime=0),
        gzip.compress(b"one\r\n\r\n" * 1_000_000, mtime=0),
    ],
)
def test_duckdb_reads_whatever_is_registered_as_readable(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "object.log.gz"
    path.write_bytes(data)
    facts = inspect_text(path)
    expected = (facts.line_count - facts.empty_line_count, facts.line_bytes)
    assert read_by_duckdb(readable(tmp_path, path)) == expected


def test_an_object_of_more_than_two_gigabytes_is_counted_as_duckdb_reads_it(tmp_path: Path) -> None:
    line = b"2 123456789012 eni-0a1b2c3d 10.0.0.1 10.0.0.2 50000 443 6 10 1000 1795176000 1795176060 ACCEPT OK\n"
    block, blocks = line * 100_000, 230
    path = tmp_path / "object.log.gz"
    with igzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(blocks):
            file.write(block)
    facts = inspect_text(path)
    assert facts.unpacked_bytes == len(block) * blocks > 2**31
    assert facts.copy_reason is None
    assert read_by_duckdb(path) == (facts.line_count, facts.line_bytes) == (23_000_000, 23_000_000 * (len(line) - 1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (GOOD, None),
        (LINES, "it is plain text, unpacked on the way"),
        (b"\xef\xbb\xbf" + LINES, "it is plain text, unpacked on the way; 3 bytes beyond ASCII are read as one"),
        (ZSTD, "it is packed with zstd"),
    ],
)
def test_what_is_not_gzip_is_read_from_a_copy_that_says_why(tmp_path: Path, data: bytes, reason: str | None) -> None:
    path = tmp_path / "object.log.gz"
    path.write_bytes(data)
    found = inspect_text(path).copy_reason
    assert found == reason or (reason is not None and str(found).startswith(reason))


@pytest.mark.parametrize("step", [40, 64, 1024 * 1024])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_export_loses_the_time_before_each_line_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes], step: int, end: bytes
) -> None:
    time = b"2024-12-14T16:25:12.000Z "
    lines = [b"2 - %d" % number for number in range(50)] + [b"", b"x", b"it was " + time + b"then", b"", time + b"y"]
    stamped = end.join([b"", *(time + line if line else line for line in lines[:-1]), b"no time", time + lines[-1]])
    path = tmp_path / "object.log.gz"
    path.write_bytes(pack(stamped))
    monkeypatch.setattr(gzips, "_OUTPUT_STEP", step)
    monkeypatch.setattr(wrappings, "_BLOCK", step)
    facts = inspect_text(path)
    text = end.join([b"", *lines[:-1], b"no time", lines[-1]])
    assert (facts.line_count, facts.unpacked_bytes) == (len(lines) + 2, len(text))
    assert facts.first_lines[:2] == (b"2 - 0", b"2 - 1")
    assert str(facts.copy_reason).endswith("CloudWatch Logs put before each line is left out of it, and of its bytes")
    copy = tmp_path / "copy.log.gz"
    write_readable_copy(path, copy)
    assert gzip.decompress(copy.read_bytes()) == text
    assert unpack_start(path.read_bytes(), is_whole=True).head == text


@pytest.mark.parametrize(
    "text",
    [
        b"2 - 2024-12-14T16:25:12.000Z x\n",
        b"2024-12-14T16:25:12.000Z\n",
        b"2024-12-14 16:25:12 x\n",
        b" 2024-12-14T16:25:12.000Z x\n",
        b"srcaddr\n2024-12-14T16:25:12.000Z x\n",
    ],
)
def test_other_text_with_times_is_no_export(tmp_path: Path, text: bytes) -> None:
    facts = inspect_text(packed(tmp_path, text))
    assert (facts.copy_reason, facts.unpacked_bytes) == (None, len(text))


def test_an_export_whose_line_does_not_end_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrappings, "MAX_LINE_BYTES", 1_000_000)
    with pytest.raises(ObjectProblem) as caught:
        inspect_text(packed(tmp_path, b"2024-12-14T16:25:12.000Z " + b"x" * 9_000_000))
    assert caught.value.reason is Reason.LINE_TOO_LONG


def test_members_beyond_the_buffer_of_duckdb_are_read_from_one(tmp_path: Path) -> None:
    """DuckDB takes a member that ends with its buffer (32 KiB behind the first head) for the last one."""
    path = tmp_path / "object.log.gz"
    path.write_bytes(GOOD + GOOD)
    assert inspect_text(path).copy_reason is None
    first = gzip.compress(b"a line\n" * 4675, compresslevel=0, mtime=0)
    for length in range(32):
        path.write_bytes(first + member(LINES, 0x08, b"n" * length + b"\0") + GOOD)
        facts = inspect_text(path)
        assert facts.copy_reason == "its gzip members are put into one"
        assert read_by_duckdb(readable(tmp_path, path)) == (facts.line_count, facts.line_bytes)


def test_bytes_beyond_ascii_are_said_and_become_one_character_each(tmp_path: Path) -> None:
    data = b"caf\xc3\x80\xe9\n"
    path = packed(tmp_path, data)
    assert inspect_text(path).copy_reason == "3 bytes beyond ASCII are read as one character each (latin-1)"
    copy = tmp_path / "copy.log.gz"
    write_readable_copy(path, copy)
    assert gzip.decompress(copy.read_bytes()).decode().encode("latin-1") == data
    assert sorted(item.name for item in tmp_path.iterdir()) == ["copy.log.gz", "object.log.gz"]


@pytest.mark.parametrize("filler", [b"a", b"\xe9"])
def test_the_longest_line_is_what_duckdb_reads(tmp_path: Path, filler: bytes) -> None:
    longest = MAX_LINE_BYTES // len(filler.decode("latin-1").encode())
    path = packed(tmp_path, b"x\n" + filler * longest + b"\r\nx\n")
    facts = inspect_text(path)
    assert (facts.line_count, facts.line_bytes) == (3, longest + 2)
    assert read_by_duckdb(readable(tmp_path, path)) == (3, longest + 2)
    with pytest.raises(ObjectProblem) as caught:
        inspect_text(packed(tmp_path, b"x\n" + filler * (longest + 1) + b"\r\nx\n"))
    assert caught.value.reason is Reason.LINE_TOO_LONG


def test_a_message_is_as_long_as_a_line_may_be(tmp_path: Path) -> None:
    """It comes in one piece behind the others, and so in the middle of what is counted."""
    path = tmp_path / "object.log.gz"

    def put(length: int) -> None:
        texts = ["srcaddr bytes", "é" * length, "10.0.0.1 1"]
        path.write_bytes(b"".join(json.dumps({"message": text}, ensure_ascii=False).encode() for text in texts))

    longest = MAX_LINE_BYTES // 4  # two bytes, of each of which DuckDB makes two
    put(longest)
    facts = inspect_text(path)
    assert facts.line_count == 3
    assert read_by_duckdb(readable(tmp_path, path)) == (3, facts.line_bytes)
    put(longest + 1)
    with pytest.raises(ObjectProblem) as caught:
        inspect_text(path)
    assert caught.value.reason is Reason.LINE_TOO_LONG


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_a_file_that_becomes_shorter_while_it_is_read_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    """The system ends a process that reads such a file from a mapping."""
    path = tmp_path / "object.log.gz"
    text = random.Random(1).randbytes(4_000_000).hex()  # noqa: S311 - a seed, not a secret
    path.write_bytes(pack(b"version\n" + text.encode()))
    count = gzips._LineCounter.update

    def shorten(counter: gzips._LineCounter, chunk: bytes) -> None:
        os.truncate(path, 100_000)
        count(counter, chunk)

    monkeypatch.setattr(gzips._LineCounter, "update", shorten)
    with pytest.raises(ObjectProblem) as caught:
        inspect_text(path)
    assert caught.value.reason is Reason.CHANGED


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_packed_flood_is_unpacked_in_small_pieces(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "object.log.gz"
    path.write_bytes(pack((b"0" * 999 + b"\n") * 60_000))
    assert path.stat().st_size < 1_000_000
    facts = inspect_text(path)
    assert (facts.line_count, facts.unpacked_bytes) == (60_000, 60_000_000)


@pytest.mark.parametrize(
    ("head", "is_whole", "lines"),
    [
        (b"a b\nc", False, (b"a b",)),
        (b"a b\nc", True, (b"a b", b"c")),
        (b"\r\n \na b\r\nc\rd\n", False, (b"a b", b"c", b"d")),
        (b"a b", True, (b"a b",)),
        (b"a b", False, ()),
        (b"\n\n", True, ()),
        (b"", True, ()),
    ],
)
def test_the_first_lines_that_are_not_blank_are_found(head: bytes, is_whole: bool, lines: tuple[bytes, ...]) -> None:
    assert first_lines(head, is_whole=is_whole) == lines


def test_the_start_of_an_object_is_enough_for_its_header() -> None:
    data = gzip.compress(b"srcaddr dstaddr\n" + bytes(range(256)) * 1000, compresslevel=0)
    assert unpack_start(data[:5000], is_whole=False).head.startswith(b"srcaddr dstaddr\n")
    with pytest.raises(ObjectProblem, match="truncated"):
        unpack_start(data[:5000], is_whole=True)


def test_the_start_of_what_is_not_gzip_is_enough_too() -> None:
    digests = (hashlib.sha256(b"%d" % line).hexdigest()[:20] for line in range(10_000))
    text = b"srcaddr dstaddr\n" + b"".join(f"10.0.0.1 10.0.0.2 {digest} ACCEPT OK\n".encode() for digest in digests)
    for data in (text, zstd(text)):
        assert len(data) > 65_536
        assert unpack_start(data[:65_536], is_whole=False).head == text[:65_536]
