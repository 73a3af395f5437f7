from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from flowlake.records import FIELDS, FieldType, FlowLog, parse_header
from flowlake.records.fields import TGW_DEFAULT_HEADER, V2_DEFAULT_HEADER
from flowlake.records.formats import format_named
from flowlake.records.inference import guess_format


def test_there_are_54_vpc_fields_and_18_of_transit_gateways() -> None:
    vpc = [field for field in FIELDS if field.flow_log is FlowLog.VPC]
    assert (len(vpc), len(FIELDS) - len(vpc)) == (54, 18)
    assert {field.version for field in vpc} == {2, 3, 4, 5, 7, 8, 9, 10, 11}
    assert {field.version for field in FIELDS if field not in vpc} == {6}
    assert len({field.column for field in FIELDS}) == 72


def test_types_are_those_of_the_documentation() -> None:
    types = {field.name: field.type for field in FIELDS}
    assert [name for name, kind in types.items() if kind is FieldType.INT64] == [
        "packets",
        "bytes",
        "start",
        "end",
        "packets-lost-no-route",
        "packets-lost-blackhole",
        "packets-lost-mtu-exceeded",
        "packets-lost-ttl-expired",
    ]
    assert [name for name, kind in types.items() if kind is FieldType.INT32] == [
        "version",
        "srcport",
        "dstport",
        "protocol",
        "tcp-flags",
        "traffic-path",
        "encryption-status",
    ]


def test_default_formats_have_names() -> None:
    v2, tgw = parse_header(V2_DEFAULT_HEADER.encode()), parse_header(TGW_DEFAULT_HEADER.encode())
    assert v2 is not None
    assert tgw is not None
    assert (v2.format_id, len(v2.fields)) == ("v2-default", 14)
    assert (tgw.format_id, len(tgw.fields)) == ("tgw-default", 36)
    assert v2.columns[2] == "interface_id"
    assert v2.header == V2_DEFAULT_HEADER


def test_other_formats_are_named_by_their_fields_in_order() -> None:
    one, other = parse_header(b"srcaddr dstaddr\r\n"), parse_header(b"dstaddr srcaddr")
    assert one is not None
    assert other is not None
    assert one.format_id == f"f-{hashlib.sha256(b'srcaddr dstaddr').hexdigest()[:12]}"
    assert one.format_id != other.format_id


@pytest.mark.parametrize("line", [b"\xef\xbb\xbfsrcaddr dstaddr", b"srcaddr dstaddr \r\n", b"srcaddr dstaddr\r"])
def test_marks_and_line_ends_change_nothing(line: bytes) -> None:
    assert parse_header(line) == parse_header(b"srcaddr dstaddr")


def test_unknown_fields_are_kept_up_to_half() -> None:
    format_ = parse_header(b"srcaddr next-big-thing")
    assert format_ is not None
    assert format_.unknown_fields == ("next-big-thing",)
    assert format_.columns == ("srcaddr", None)
    assert parse_header(b"srcaddr next-big-thing another-one") is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"2 123456789010 eni-1235b8ca 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK",
        b"2 123456789010 eni-1235b8ca - - - - - - - 1431280876 1431280934 - NODATA",
        b"srcaddr srcaddr",
        b"srcaddr  dstaddr",
        b"srcaddr\tdstaddr",
        b"srcaddr dstaddr \xff",
        b"SRCADDR DSTADDR",
        b"srcaddr -dstaddr",
        b"srcaddr,dstaddr",
        b"srcaddr dstaddr " + b"x" * 65,
        "srcaddr dstaddr\u0663".encode(),
    ],
)
def test_what_is_no_header_is_refused(line: bytes) -> None:
    assert parse_header(line) is None


@pytest.mark.parametrize("text", ["v2-default", V2_DEFAULT_HEADER, f" {V2_DEFAULT_HEADER}\n"])
def test_a_format_is_named_by_its_id_or_its_header(text: str) -> None:
    assert format_named(text) == parse_header(V2_DEFAULT_HEADER.encode())


@pytest.mark.parametrize("text", ["", "v3-default", "srcaddr,dstaddr", "f-0123456789ab", "2 123456789010", "é"])
def test_what_names_no_format_is_refused(text: str) -> None:
    assert format_named(text) is None


RECORD = (
    "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"
)
GATEWAY_RECORD = (
    "6 TransitGateway 123456789010 tgw-0fb8421e2da853bf tgw-attach-0bbb1c4b0ea08f5a3 1 2 vpc-1 vpc-2 subnet-1 subnet-2 "
    "eni-1 eni-2 use1-az1 use1-az2 tgw-attach-1 10.0.0.1 10.0.0.2 1 2 6 10 1000 1418530010 1418530070 OK IPv4 "
    "0 0 0 0 2 us-east-1 ingress - -"
)


@pytest.mark.parametrize(
    ("lines", "format_id"),
    [
        ([RECORD], "v2-default"),
        ([RECORD, V2_DEFAULT_HEADER, RECORD.replace("123456789010", "unknown")], "v2-default"),
        (["2 123456789010 eni-1235b8ca - - - - - - - 1431280876 1431280934 - NODATA"], "v2-default"),
        ([RECORD.replace("172.31.16.139", "2001:db8::1")], "v2-default"),
        ([GATEWAY_RECORD] * 3, "tgw-default"),
    ],
)
def test_records_of_a_default_format_are_known_without_a_header(lines: list[str], format_id: str) -> None:
    guess = guess_format([line.encode() for line in lines])
    assert guess.is_sure
    assert guess.format.format_id == format_id
    records = len([line for line in lines if line != V2_DEFAULT_HEADER])
    assert guess.reason == f"{records} of {records} lines are records of {format_id}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("OK", "OK more"), "15 fields instead of 14"),
        (("2 123456789010", "3 123456789010"), "another version than 2"),
        (("123456789010", "12345678901"), "no account-id where it belongs"),
        (("123456789010", "123456789010\u0663"), "no account-id where it belongs"),
        (("eni-1235b8ca123456789", "tgw-1235b8ca123456789"), "no interface-id where it belongs"),
        (("172.31.16.139", "172.31.16.256"), "no srcaddr where it belongs"),
        (("172.31.16.21", "172.31.16.0/24"), "no dstaddr where it belongs"),
        (("20641", "65536"), "no srcport where it belongs"),
        (("20641", "-1"), "no srcport where it belongs"),
        (("22 6", "22 256"), "no protocol where it belongs"),
        (("20 4249", "1.5 4249"), "no packets where it belongs"),
        (("20 4249", "4249 20"), "more in packets than in bytes"),
        (("1418530010 1418530070", "1418530070 1418530010"), "more in start than in end"),
        (("1418530010", "141853001"), "no start where it belongs"),
        (("ACCEPT OK", "OK ACCEPT"), "no action where it belongs"),
        (("ACCEPT OK", "ACCEPT ok"), "no log-status where it belongs"),
    ],
)
def test_one_line_that_differs_is_enough_to_infer_nothing(change: tuple[str, str], problem: str) -> None:
    guess = guess_format([RECORD.encode(), RECORD.replace(*change).encode()])
    assert not guess.is_sure
    assert guess.reason == f"1 of 2 lines are records of v2-default, line 2 has {problem}"


@pytest.mark.parametrize("lines", [[], [V2_DEFAULT_HEADER.encode()], [b'{"version":2}'], [b"", b"\xff" * 99]])
def test_other_lines_are_no_records(lines: list[bytes]) -> None:
    assert not guess_format(lines).is_sure


def test_the_generated_tables_cover_the_fields() -> None:
    """Staging must have a column for every field: a new field is added in both places or in none."""
    staging = Path(__file__).parents[2] / "dbt_project" / "models" / "staging"
    text = "\n".join(path.read_text(encoding="utf-8") for path in staging.rglob("*.yml"))
    renamed = {"start": "start_at", "end": "end_at"}
    missing = [field.column for field in FIELDS if f"name: {renamed.get(field.column, field.column)}\n" not in text]
    assert missing == []


def test_dbt_parses_the_same_fields() -> None:
    macro = (Path(__file__).parents[2] / "dbt_project" / "macros" / "flow_log_fields.sql").read_text()
    lists = {
        name: re.findall(r'"([^"]+)"', body) for name, body in re.findall(r"set (\w+) = \[(.*?)\]", macro, re.DOTALL)
    }
    assert lists["names"] == [field.name for field in FIELDS]
    assert lists["integers"] == [field.name for field in FIELDS if field.type is FieldType.INT32]
    assert sorted(lists["bigints"]) == sorted(field.name for field in FIELDS if field.type is FieldType.INT64)
