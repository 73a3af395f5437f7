from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from flowlake.records import FIELDS, FieldType, FlowLog, parse_header
from flowlake.records.fields import TGW_DEFAULT_HEADER, V2_DEFAULT_HEADER


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
