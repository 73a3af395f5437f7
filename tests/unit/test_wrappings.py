"""What comes out of each wrapping, and what is refused, for any pieces that a text comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from flowlake.lake import wrappings
from flowlake.lake.objects import ObjectProblem, Reason
from flowlake.lake.wrappings import Wrapping, find_wrapping
from flowlake.records.fields import V2_DEFAULT_HEADER
from wrapped_logs import CONTROL, ONE, TWO, comma, firehose, subscription

BOM = b"\xef\xbb\xbf"


def unwrapped(text: str | bytes, *, step: int | None = None, is_cut: bool = False) -> tuple[bytes, Wrapping]:
    """The lines in a text that comes in pieces of so many bytes, by default in one."""
    data = text.encode() if isinstance(text, str) else text
    wrapping = find_wrapping(data[:65_536])
    assert wrapping is not None
    step = step or len(data)
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    return b"".join(wrapping.unwrap(pieces, is_cut=is_cut)), wrapping


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


@pytest.mark.parametrize("step", [None, 1, 7, 300])
@pytest.mark.parametrize("between", ["", "\n", "\r\n \t"])
def test_a_subscription_holds_its_messages_whatever_stands_between_documents(between: str, step: int | None) -> None:
    documents = [CONTROL, subscription(ONE, TWO, extractedFields={"version": "2", "bytes": "7"}), subscription(ONE)]
    text, wrapping = unwrapped(between.join([*documents, subscription(), ""]), step=step)
    assert text == lines(ONE, TWO, ONE)
    assert wrapping.name == "JSON of a subscription"
    assert wrapping.note == "it is JSON of a subscription: 3 messages in 4 documents, 1 of them CONTROL_MESSAGE"


@pytest.mark.parametrize("step", [None, 1, 300])
@pytest.mark.parametrize("between", ["", "\n"])
def test_firehose_wraps_each_record_in_a_document(between: str, step: int | None) -> None:
    text, wrapping = unwrapped(firehose(ONE, TWO + "\n", "", between=between), step=step)
    assert text == lines(ONE, TWO, "")
    assert wrapping.note == "it is JSON of Firehose: 3 messages in 3 documents"


def test_documents_of_both_kinds_may_lie_in_one_object() -> None:
    text, wrapping = unwrapped(BOM + f" {subscription(ONE)}\n{firehose(TWO)}".encode())
    assert text == lines(ONE, TWO)
    assert wrapping.note == "it is JSON of Firehose and of a subscription: 2 messages in 2 documents"


def test_documents_need_not_lie_within_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is tried again at twice the length, and comes out once."""
    monkeypatch.setattr(wrappings, "_BLOCK", 10)
    messages = [f"{ONE} {number} {'x' * (number % 50 * 100)}é" for number in range(200)]
    text = subscription(*messages) + subscription(*messages[:3]) + firehose(*messages)
    assert unwrapped(text, step=11)[0] == lines(*messages, *messages[:3], *messages)


def test_a_message_is_one_line_whatever_it_holds() -> None:
    texts = [f"{ONE}\n{TWO}", f"{ONE}\r\n", f"\n{ONE}", "a\rb", "\u2028\x85\u00e9\x00", "\ud800", '"\\', " "]
    expected = [f"{ONE}\\n{TWO}".encode(), ONE.encode(), f"\\n{ONE}".encode(), b"a\\rb"]
    expected += ["\u2028\x85\u00e9\x00".encode(), b"\xed\xa0\x80", b'"\\', b" "]
    for text in (subscription(*texts), firehose(*texts)):
        found, wrapping = unwrapped(text)
        assert found == b"".join(line + b"\n" for line in expected)
        assert ": 8 messages in " in wrapping.note
        assert wrapping.note.endswith(", 3 messages with line ends inside, written as \\n or \\r")
    # As bytes, not as escapes: the same.
    assert unwrapped(json.dumps({"message": texts[4]}, ensure_ascii=False))[0] == lines(texts[4])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("header", ["timestamp,message", "@timestamp,@message", '"timestamp","message"'])
@pytest.mark.parametrize("step", [None, 1])
def test_the_consoles_csv_holds_its_messages(header: str, quote: str, end: str, step: int | None) -> None:
    rows = [header, f"1795176000000,{quote}{ONE}{quote}", "", f'"2026-11-20 12:00:00.000",{quote}{TWO}{quote}', header]
    text, wrapping = unwrapped(BOM + end.join(rows).encode(), step=step)
    assert text == lines(ONE, "", TWO)
    assert wrapping.name == "CSV of CloudWatch's console"
    assert wrapping.note == "it is CSV of CloudWatch's console: 2 messages"


def test_a_quoted_message_that_goes_on_over_line_ends_is_one_line() -> None:
    rows = f'timestamp,message\n1795176000000,"{ONE}\n{TWO}\r\n{ONE}"\n1795176000000,"{TWO}\n"\n'
    text, wrapping = unwrapped(rows)
    assert text == lines(f"{ONE}\\n{TWO}\\r\\n{ONE}", TWO)
    assert wrapping.note.endswith(": 2 messages, 1 message with line ends inside, written as \\n or \\r")


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_a_spreadsheets_rows_become_lines_under_their_header(mark: bytes, end: str, step: int | None) -> None:
    table = comma(ONE, TWO, end=end)
    text, wrapping = unwrapped(mark + table.encode(), step=step)
    assert text == lines(V2_DEFAULT_HEADER, ONE, TWO)
    assert wrapping.note == "it is CSV: 2 rows under a header"
    quoted = end.join(",".join(f'"{cell}"' for cell in row.split(",")) for row in table.split(end)[:-1])
    assert unwrapped(mark + quoted.encode(), step=step)[0] == text


def test_rows_are_taken_apart_by_quotes_and_empty_cells_are_dashes() -> None:
    rows = ['"interface-id",srcaddr,dst_tag', 'eni-"1,10.0.0.1,"a"",,b"', ",,", "", ",10.0.0.2,", "  "]
    text, wrapping = unwrapped("\n".join([*rows, rows[0]]))
    header = "interface-id srcaddr dst-tag"
    assert text == lines(header, 'eni-"1 10.0.0.1 a",,b', "", "", "- 10.0.0.2 -", "  ", header)
    assert wrapping.note == "it is CSV: 2 rows under a header, 2 empty cells read as -"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ONE.replace("123456789012", "1.23457E+11"), "account-id as a spreadsheet rounds it"),
        (ONE.replace("123456789012", "6E+11"), "account-id as a spreadsheet rounds it"),
        (ONE.replace("123456789012", "12345678901"), "account-id is not of 12 digits"),
        (ONE.replace("1795176000", "1.8E+09"), "start as a spreadsheet rounds it"),
        (ONE.rpartition(" ")[0], "13 cells instead of 14"),
        (f"{ONE} more", "15 cells instead of 14"),
        ("x", "1 cell instead of 14"),
    ],
)
def test_a_row_that_makes_no_record_stays_as_it_stands(row: str, problem: str) -> None:
    text, wrapping = unwrapped(comma(ONE, row, TWO))
    assert text == lines(V2_DEFAULT_HEADER, ONE, row.replace(" ", ","), TWO)
    left = "3 rows under a header, 1 of them left as they stand, for they make no record"
    assert wrapping.note == f"it is CSV: {left} (the first is row 3: {problem})"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        # As many words as the header has fields, which would be a record in the wrong columns.
        ("a b,10.0.0.1", "a b,10.0.0.1 "),
        ('"a b","10.0.0.1"', '"a b","10.0.0.1" '),
        ("10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2 "),
        ('"10.0.0.1,10.0.0.2', '"10.0.0.1,10.0.0.2'),
        ('"10.0.0.1"x,10.0.0.2', '"10.0.0.1"x,10.0.0.2'),
        ("10.0.0.1,10.0.0.2," + "x" * wrappings.ROW_LIMIT, "10.0.0.1,10.0.0.2," + "x" * wrappings.ROW_LIMIT),
    ],
)
def test_a_row_that_stays_can_never_be_a_record(row: str, line: str) -> None:
    assert unwrapped(f"srcaddr,dstaddr\n{row}\n")[0] == lines("srcaddr dstaddr", line)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (subscription(ONE, TWO)[:-9], "document 1 breaks off, or is no JSON: "),
        (subscription(ONE) + subscription(TWO)[:40], "document 2 breaks off, or is no JSON: "),
        (subscription(ONE) + "x", "document 2 breaks off, or is no JSON: Expecting value"),
        (subscription(ONE) + "7", "document 2 is neither of a subscription nor of Firehose"),
        (subscription(ONE) + "," + subscription(ONE), "document 2 breaks off, or is no JSON: "),
        ('{"a": 1}', "document 1 is neither of a subscription nor of Firehose"),
        ("{}", "document 1 is neither of a subscription nor of Firehose"),
        ('{"message": "a", "messageType": "OTHER"}', "document 1 is neither of a subscription nor of Firehose"),
        ('{"messageType": "DATA_MESSAGE"}', "document 1 is neither of a subscription nor of Firehose"),
        (subscription(ONE, 7), "document 1 has an event whose message is no text"),
        (subscription(None), "document 1 has an event whose message is no text"),
        ('{"messageType": "DATA_MESSAGE", "logEvents": ["x"]}', "document 1 has an event whose message is no text"),
        ('{"message": 7}', "document 1 has an event whose message is no text"),
        ('{"message": "a", "message": "b"}', "a document has the same key twice"),
        ('{"message": ' + "[" * 100_000, "document 1 is nested too deeply"),
        ('{"message": ' + "9" * 10_000 + "}", "document 1 has an event whose message is no text"),
        (b'{"message": "\xff"}', "it is no UTF-8"),
        (b'{"message": "a"}\xc3', "it is no UTF-8"),
        ('{"message": "a\nb"}', "document 1 breaks off, or is no JSON: Invalid control character at"),
        (f"timestamp,message\n1795176000000,{ONE},x\n", "line 2 is no time and message"),
        (f"timestamp,message\n1795176000000,{ONE}\n{ONE}\n", "line 3 is no time and message"),
        (f"timestamp,message\nnoon,{ONE}\n", "line 2 is no time and message"),
        (f'timestamp,message\n1795176000000,"{ONE}\n', "line 2: unexpected end of data"),
        ('timestamp,message\n1795176000000,"' + "x\n" * wrappings.ROW_LIMIT, ": field larger than field limit"),
    ],
)
def test_what_a_machine_wrapped_is_whole_or_broken(text: str | bytes, detail: str) -> None:
    for step in (None, 1000):
        with pytest.raises(ObjectProblem) as caught:
            unwrapped(text, step=step)
        assert caught.value.reason is Reason.BROKEN_WRAPPING
        assert detail in str(caught.value.detail)


@pytest.mark.parametrize("start", [b'{"message": "', b'{"message": 1, "x": [[],', b'{"message": "a"} {"a": "'])
def test_a_document_without_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(wrappings, "DOCUMENT_LIMIT", 1_000_000)
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        yield start
        while True:
            taken += 1
            yield b"[[]," * 25_000 if start.endswith(b",") else b"x" * 100_000

    wrapping = find_wrapping(start)
    assert wrapping is not None
    with pytest.raises(ObjectProblem) as caught:
        b"".join(wrapping.unwrap(pieces()))
    assert caught.value.reason is Reason.BROKEN_WRAPPING
    assert taken < 25


@pytest.mark.parametrize("start", [b"timestamp,message\n", b"srcaddr,dstaddr\n", b"2024-12-14T16:25:12.000Z x\n"])
def test_a_line_without_end_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(wrappings, "MAX_LINE_BYTES", 1_000_000)
    wrapping = find_wrapping(start)
    assert wrapping is not None
    with pytest.raises(ObjectProblem) as caught:
        b"".join(wrapping.unwrap(iter([start, *[b"x" * 100_000] * 30])))
    assert caught.value.reason is Reason.LINE_TOO_LONG


@pytest.mark.parametrize(
    "text",
    [
        V2_DEFAULT_HEADER.encode(),
        BOM + V2_DEFAULT_HEADER.encode(),
        ONE.encode(),
        b"",
        b"\n \n",
        b"{",
        b"{x}",
        b"{1: 2}",
        b'["message"]',
        b'x {"message": "a"}',
        b"\n" * 70_000 + b'{"message": "a"}',
        b"message,timestamp",
        b"timestamp,message,id",
        b"timestamp message",
        b"srcaddr",
        b"srcaddr;dstaddr",
        b"srcaddr, dstaddr",
        b"srcaddr,dstaddr,",
        b"srcaddr,srcaddr",
        b"SRCADDR,DSTADDR",
        b"colour,size",
        b'"srcaddr,dstaddr',
        b"10.0.0.1,10.0.0.2",
        b"x\nsrcaddr,dstaddr",
    ],
)
def test_other_text_is_not_unwrapped(text: bytes) -> None:
    assert find_wrapping(text[:65_536]) is None


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (subscription(ONE) + subscription(ONE, TWO, "} {}"), 1),
        (firehose(ONE, TWO), 0),
        (f'timestamp,message\n1795176000000,"{ONE}"\n1795176000000,"{TWO}"\n', 0),
        (comma(ONE, TWO), 1),
    ],
)
def test_of_a_text_that_is_cut_what_is_whole_is_seen(text: str, whole: int) -> None:
    """What `flowlake inspect` reads is the start of an object."""
    everything = unwrapped(text)[0]
    seen = set()
    for end in range(len(comma()) + 1, len(text)):
        found, _ = unwrapped(text[:end], is_cut=True)
        assert everything.startswith(found)
        assert found.endswith(b"\n") or not found
        seen.add(found.count(b"\n"))
    assert seen >= set(range(whole, everything.count(b"\n") - 1))
    assert unwrapped(text, is_cut=True)[0] == everything


def test_of_a_subscription_whose_type_comes_last_the_start_is_seen() -> None:
    document = json.loads(subscription(ONE, TWO))
    text = json.dumps({"logEvents": document["logEvents"], "messageType": "DATA_MESSAGE"})
    assert unwrapped(text[: text.index(TWO)], is_cut=True)[0] == lines(ONE)
    assert unwrapped(text)[0] == lines(ONE, TWO)
