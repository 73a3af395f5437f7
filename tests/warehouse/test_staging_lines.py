"""What staging makes of real lines: every line of every object has a kind, a reason if it is malformed, and its bytes.

One lake over hand-made objects and over the real-shaped samples; each object is a flow log of its own.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake.duck import connect
from flowlake.records.fields import TGW_DEFAULT_HEADER, V2_DEFAULT_HEADER
from wrapped_logs import CONTROL, console, firehose, subscription

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
"""Examples from AWS's documentation and from OpenTelemetry's tests, under their own licences: not part of this project,
read where they lie beside it."""

HEADER = V2_DEFAULT_HEADER.encode()
FIELDS = V2_DEFAULT_HEADER.split(" ")
GOOD = b"2 123456789012 eni-0a 10.0.0.1 10.0.0.2 50000 443 6 10 1000 1795176000 1795176060 ACCEPT OK"


def record(**changes: str | bytes) -> bytes:
    """A good line of the default format, with other values for some fields."""
    values: dict[str, str | bytes] = dict(zip(FIELDS, GOOD.split(b" "), strict=True))
    values.update({name.replace("_", "-"): value for name, value in changes.items()})
    return b" ".join(value if isinstance(value, bytes) else value.encode() for value in values.values())


def quiet(status: str) -> bytes:
    """A record without traffic."""
    return f"2 123456789012 eni-0a - - - - - - - 1795176000 1795176060 - {status}".encode()


@dataclass(frozen=True)
class Written:
    """A text object, and the kind (or the malformed line's reason) of each of its lines that are not empty.

    `extension` is the ending of its name: of all but `log.gz` the `packed` bytes are written, by default the text.
    """

    flow_log: str
    data: bytes
    kinds: tuple[str, ...]
    extension: str = "log.gz"
    packed: bytes | None = None

    @property
    def lines(self) -> list[bytes]:
        """Its lines by the rule of three line ends; what follows the last end is a line if there is any of it."""
        lines = re.split(rb"\r\n|\n|\r", self.data)
        return lines if lines[-1] else lines[:-1]


def written(flow_log: str, *lines: tuple[bytes, str], end: bytes = b"\n", header: bytes = HEADER) -> Written:
    """An object of a header and lines with their expected kinds; empty lines have none."""
    data = end.join([header, *(line for line, _ in lines), b""])
    return Written(f"fl-{flow_log}", data, ("header", *(kind for _, kind in lines if kind)))


BOM = b"\xef\xbb\xbf"
OK = "record"

HOSTILE = [
    b"{{config(materialized='table')}}",
    b"{%endraw%}",
    b"'",
    b'"',
    b"''';drop",
    b"--",
    b"/*",
    b"$(reboot)",
    b"`id`",
    b"../../etc/passwd",
    b"\\",
    b"\\n",
    b"%s",
    b"%00",
    b"\x1b[31m",
    b"\x7f",
    b"<script>",
    b"#",
    b",",
    b"|",
    b"\xe2\x90\x9e",
    b"\xff\xfe",
    bytes(range(0x80, 0x100)),
]
"""Names that are syntax somewhere, and nowhere here."""

OBJECTS = [
    written("headerTwice", (GOOD, OK), (HEADER, "header"), (GOOD, OK)),
    written("byteOrderMark", (GOOD, OK), (BOM + HEADER, "header"), header=BOM + HEADER),
    written("crlf", (GOOD, OK), (b"", ""), (record(log_status="BAD"), "bad_field: log-status"), end=b"\r\n"),
    Written("fl-noFinalNewline", HEADER + b"\n" + GOOD, ("header", OK)),
    Written("fl-headerOnly", HEADER, ("header",)),
    Written("fl-emptyLinesFirst", b"\n\n" + HEADER + b"\n\n\n" + GOOD + b"\n\n", ("header", OK)),
    written(
        "blanks",
        (b" ", "blank"),
        (b"      ", "blank"),
        (b" \xa0", "field_count: 2 instead of 14"),
        (b"\xa0 ", "field_count: 2 instead of 14"),
        (b"", ""),
        (GOOD, OK),
        (b"\t \t", "field_count: 2 instead of 14"),
    ),
    written(
        "fieldCounts",
        (GOOD.rsplit(b" ", 1)[0], "field_count: 13 instead of 14"),
        (GOOD + b" more", "field_count: 15 instead of 14"),
        (b"2", "field_count: 1 instead of 14"),
        (b" " + GOOD, "field_count: 15 instead of 14"),
        (GOOD + b" ", "field_count: 15 instead of 14"),
        (record(srcport=" 7"), "field_count: 15 instead of 14"),
        (GOOD.replace(b" ", b"\t"), "field_count: 1 instead of 14"),
        (GOOD.replace(b" ", b","), "field_count: 1 instead of 14"),
        (b'"' + GOOD + b'"', "bad_field: version"),
        (GOOD * 300, "field_count: 3901 instead of 14"),
    ),
    written(
        "numbers",
        *((record(srcport=text), "bad_field: srcport") for text in ("1.5", "1e3", "+5", "-5", "0x1F", "1_000", "")),
        *((record(srcport=text), "bad_field: srcport") for text in ("4294967296", "65536", "999999999", "\u0663")),
        *((record(srcport=text), OK) for text in ("0", "65535", "007", "-")),
        (record(bytes="99999999999999999999"), "bad_field: bytes"),
        (record(bytes="1000000000000000"), "bad_field: bytes"),
        (record(bytes="999999999999999"), OK),
        (record(packets="inf"), "bad_field: packets"),
        (record(packets="NaN"), "bad_field: packets"),
        (record(protocol="256"), "bad_field: protocol"),
        (record(protocol="255"), OK),
        (record(version="two"), "bad_field: version"),
        (record(start="17951760000"), "bad_field: start"),
        # Short as a text, beyond every timestamp as a number: it must not stop the others of its hour.
        *((record(start=text), "bad_field: start") for text in ("9e17", "-9e17", "1e13", "99999999999999999999")),
        (b"1e18 " * 11 + b"1e18", "field_count: 12 instead of 14"),
        (record(start="1795176061"), "bad_field: end"),
        (record(end="2026-11-20T12:00:00Z"), "bad_field: end"),
        (record(start="-", end="-"), OK),
    ),
    written(
        "verbs",
        *((record(action=text), "bad_field: action") for text in ("accept", "DROP", "ACCEPT;", "NULL")),
        (record(action="-"), OK),
        (record(action="REJECT"), OK),
        *((record(log_status=text), "bad_field: log-status") for text in ("ok", "BAD", "OK;")),
    ),
    written(
        "addresses",
        *(
            (record(srcaddr=text), "bad_field: srcaddr")
            for text in ("localhost", "<b>10.0.0.1</b>", "10.0.0.1;", "fe80::1%eth0", "1" * 46, "7", "10.0.0.1/8")
        ),
        (record(dstaddr="'"), "bad_field: dstaddr"),
        (record(srcaddr="2001:db8:1234:a100:8d6e:3477:df66:f105", dstaddr="::"), OK),
        (record(srcaddr="-", dstaddr="-"), "no_endpoints: log-status OK without an address"),
        (record(srcaddr="-"), OK),
    ),
    written("gaps", (quiet("NODATA"), "gap"), (quiet("SKIPDATA"), "gap"), (GOOD, OK)),
    written(
        "noStatus",
        (b"eni-0a - -", "gap"),
        (b"eni-0a 10.0.0.1 10.0.0.2", OK),
        (b"- - -", "gap"),
        header=b"interface-id srcaddr dstaddr",
    ),
    written(
        "unknownField",
        (GOOD + b" it's{{7*7}}", OK),
        (GOOD + b" -", OK),
        header=HEADER + b" field-of-2027",
    ),
    written(
        "gateway",
        (
            b"6 TransitGateway 123456789012 tgw-1 tgw-attach-1 1 2 vpc-1 vpc-2 s-1 s-2 eni-1 eni-2 use1-az1 use1-az2 "
            b"tgw-attach-2 10.77.0.1 10.77.0.2 50000 443 6 10 1000 1795176000 1795176060 OK IPv4 1 2 3 4 2 us-east-1 "
            b"ingress - -",
            OK,
        ),
        header=TGW_DEFAULT_HEADER.encode(),
    ),
    written(
        "gatewayWithoutItsType",
        (b"6 tgw-1 10.77.0.3 10.77.0.4 10 1000 1795176000 1795176060 OK", OK),
        header=b"version tgw-id srcaddr dstaddr packets bytes start end log-status",
    ),
    written(
        "gatewayOfNothing",
        (b"6 - 10.77.0.5 10.77.0.6 10 1000 1795176000 1795176060 OK", OK),
        header=b"version tgw-src-vpc-id srcaddr dstaddr packets bytes start end log-status",
    ),
    written(
        "hostileNames",
        *((record(interface_id=text), OK) for text in HOSTILE),
    ),
    written(
        "hostileFields",
        (record(account_id=b"';\x80\xff{{1}}"), OK),
        *(
            (record(**{name.replace("-", "_"): b"';\x80\xff{{1}}"}), f"bad_field: {name}")
            for name in FIELDS
            if name not in ("account-id", "interface-id")
        ),
    ),
    written(
        "nul",
        (record(interface_id=b"\x00"), "bad_byte: NUL"),
        (record(account_id=b"a\x00b"), "bad_byte: NUL"),
        (GOOD + b"\x00", "bad_byte: NUL"),
        (b"\x00", "field_count: 1 instead of 14"),
    ),
    written(
        "highBytes", (bytes(range(0x80, 0x100)), "field_count: 1 instead of 14"), (b"\x85" + GOOD, "bad_field: version")
    ),
]

FULL = record(interface_id="eni-0a1b2c3d4e5f60718")
ODD_LINES = BOM + HEADER + b"\r\n\r\n" + GOOD + b"\r\n" + HEADER + b"\r\n \r\ncaf\xc3\xa9\r\n" + GOOD
ODD_KINDS = ("header", OK, "header", "blank", "field_count: 1 instead of 14", OK)
FRAMES = b"".join(pa.compress(part, "zstd", asbytes=True) for part in (ODD_LINES[:200], b"", ODD_LINES[200:]))
IDLE = quiet("NODATA").replace(b"eni-0a", b"eni-0a1b2c3d4e5f60718")
EXPORT = b"".join(b"2026-11-20T12:00:00.000Z " + line + b"\n" for line in (FULL, IDLE, FULL))
OBJECTS += [
    # What is accounted for are the lines of the copy, without the times.
    Written(
        "fl-export",
        FULL + b"\n" + IDLE + b"\n" + FULL + b"\n",
        (OK, "gap", OK),
        "txt",
        gzip.compress(EXPORT),
    ),
    Written("fl-unpacked", ODD_LINES, ODD_KINDS, "log"),
    Written("fl-unpackedAscii", HEADER + b"\n" + GOOD, ("header", OK), "txt"),
    Written("fl-zstd", ODD_LINES, ODD_KINDS, "log.zst", FRAMES),
    Written("fl-headerless", FULL + b"\n\n" + HEADER + b"\n" + FULL, (OK, "header", OK)),
    Written("fl-headerlessUnpacked", FULL + b"\r\n" + FULL, (OK, OK), "log"),
    Written("fl-renamed", ODD_LINES, ODD_KINDS, "txt", gzip.compress(ODD_LINES)),
]

TEXT_FULL = FULL.decode()
ROUNDED = record(account_id="1.23457E+11", interface_id="eni-0a1b2c3d4e5f60718").replace(b" ", b",")
QUOTED = b",".join(b'"%s"' % cell for cell in FULL.split(b" "))
TABLE = [
    BOM + HEADER.replace(b" ", b",").replace(b"-", b"_"),
    FULL.replace(b" ", b","),
    QUOTED,
    ROUNDED,
    FULL.replace(b" ", b",").replace(b"10.0.0.1", b"10.0.0.1 or so"),
    QUOTED[:-1],
    record(packets="1.2").replace(b" ", b","),
    b"," * 13,
    IDLE.replace(b"-", b"").replace(b"eni", b"eni-").replace(b" ", b","),
]
WRAPPED = [
    # What is accounted for are the lines that were in it: a line a message, whatever it holds.
    Written(
        "fl-subscription",
        b"\n".join([HEADER, FULL, b"no record", FULL + b"\\n" + FULL, "café".encode(), b"", FULL, b""]),
        ("header", OK, *(f"field_count: {count} instead of 14" for count in (2, 27, 1)), OK),
        "json",
        "\n".join(
            [
                subscription(HEADER.decode(), TEXT_FULL, "no record"),
                CONTROL,
                subscription(f"{TEXT_FULL}\n{TEXT_FULL}", "café", "", extractedFields={"version": "2"}),
                firehose(f"{TEXT_FULL}\n"),
            ]
        ).encode(),
    ),
    Written(
        "fl-subscriptionInferred",
        FULL + b"\n" + IDLE + b"\n",
        (OK, "gap"),
        "json.gz",
        gzip.compress(subscription(TEXT_FULL).encode()) + gzip.compress(subscription(IDLE.decode()).encode()),
    ),
    Written(
        "fl-firehose",
        FULL + b"\n" + IDLE + b"\n",
        (OK, "gap"),
        "json.gz",
        gzip.compress(firehose(TEXT_FULL, IDLE.decode()).encode()),
    ),
    Written("fl-console", FULL + b"\n" + IDLE + b"\n", (OK, "gap"), "csv", console(TEXT_FULL, IDLE.decode()).encode()),
    Written(
        "fl-table",
        b"\n".join([HEADER, FULL, FULL, *TABLE[3:6], record(packets="1.2"), b"", IDLE, b""]),
        (
            "header",
            OK,
            OK,
            *(f"field_count: {count} instead of 14" for count in (1, 3, 1)),
            "bad_field: packets",
            "gap",
        ),
        "csv",
        b"\r\n".join(TABLE),
    ),
]
OBJECTS += WRAPPED

# Per sample: how many lines of each kind, by reading it.
needs_samples = pytest.mark.skipif(not SAMPLES.exists(), reason="the shared samples do not lie beside this checkout")


def present_samples() -> list[str]:
    return list(SAMPLE_KINDS) if SAMPLES.exists() else []


SAMPLE_KINDS: dict[str, dict[str, int] | None] = {
    "aws-docs/encryption-status-no-version.log": {"header": 1, OK: 8},
    "aws-docs/no-version-nat-gateway.log": {"header": 1, OK: 6},
    "aws-docs/synthetic-v11-all-54-fields.log": {"header": 1, OK: 3, "gap": 1},
    "aws-docs/v2-default.log": {"header": 1, OK: 5, "gap": 2},
    "aws-docs/v3-custom-tcp-flags.log": {"header": 1, OK: 8},
    "aws-docs/v3-custom-transit-gateway-eni.log": {"header": 1, OK: 4},
    "aws-docs/v5-custom-order.log": {"header": 1, OK: 2},
    "aws-docs/v9-regional-nat-gateway.log": {"header": 1, OK: 6},
    "otel/otel_valid_tgw_flow_log.log": {"header": 1, OK: 1},
    "otel/otel_valid_vpc_flow_log_ecs.log": {"header": 1, OK: 1},
    "otel/otel_vpc_flow_log_too_few_fields.log": {"header": 1, "field_count: 13 instead of 14": 1},
    "otel/otel_vpc_flow_log_too_many_fields.log": {"header": 1, "field_count: 15 instead of 14": 1},
    "otel/otel_valid_vpc_flow_cw.json": {OK: 2},
    # A custom format, which a subscription does not name: recorded with a reason, not read.
    "otel/otel_valid_vpc_flow_cw_custom.json": None,
}


def sample_lines(name: str) -> list[bytes]:
    """The lines of a sample; of a subscription's document, its messages."""
    data = (SAMPLES / name).read_bytes()
    if name.endswith(".json"):
        return [event["message"].encode() for event in json.loads(data)["logEvents"]]
    return data.splitlines()


def sample_flow_log(name: str) -> str:
    return f"fl-sample{sorted(SAMPLE_KINDS).index(name)}"


def parquet_object(**columns: pa.Array) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


ODD = 'odd "column"; --'
PARQUET = {
    # As documented: dashes or nulls in strings, nulls in numbers.
    "fl-parquetPlain": parquet_object(
        interface_id=pa.array(["eni-p", "eni-p", "eni-p", "eni-p"]),
        srcaddr=pa.array(["10.88.0.1", "-", None, "nonsense"]),
        dstaddr=pa.array(["10.88.0.2", "-", None, "10.88.0.2"]),
        srcport=pa.array([50000, None, None, 1], pa.int32()),
        bytes=pa.array([1000, None, None, 2], pa.int64()),
        start=pa.array([1795176000] * 4, pa.int64()),
        log_status=pa.array(["OK", "NODATA", "SKIPDATA", "OK"]),
    ),
    # Ports wider and times narrower than documented, another order, most columns missing and two that nobody knows.
    "fl-parquetDrift": parquet_object(
        **{ODD: pa.array(["x", None])},
        dstaddr=pa.array(["10.88.0.4", "10.88.0.4"]),
        srcaddr=pa.array(["10.88.0.3", "10.88.0.3"]),
        srcport=pa.array([70000, 443], pa.int64()),
        start=pa.array([1795176000] * 2, pa.int32()),
        later=pa.array(["y", "y"]),
    ),
    # Types that no flow log has, each beside a column of the same name in another object; and a name in upper case.
    "fl-parquetOdd": parquet_object(
        SRCADDR=pa.array(["10.88.0.5"]),
        dstaddr=pa.array(["10.88.0.6"]),
        srcport=pa.array([443.0]),
        interface_id=pa.array([["eni-p"]]),
        log_status=pa.array(["OK"]).dictionary_encode(),
        start=pa.array([1795176000], pa.timestamp("s")),
        read_path=pa.array(["/etc/passwd"]),
    ),
    # No addresses, beside objects that have them.
    "fl-parquetBytes": parquet_object(
        interface_id=pa.array(["eni-q", "eni-q"]),
        bytes=pa.array([7, 8], pa.int64()),
        log_status=pa.array(["OK", "NODATA"]),
    ),
    # Text that is not UTF-8.
    "fl-parquetBytesAsText": parquet_object(srcaddr=pa.array([b"\xff\xfe"]).view(pa.string())),
}


@dataclass(frozen=True)
class Reader:
    """The built lake, over one connection for all tests."""

    connection: duckdb.DuckDBPyConnection

    def rows(self, query: str, parameters: list[object] | None = None) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, parameters).fetchall()


@pytest.fixture(scope="module")
def lake(handmade_lake: Callable[..., Any]) -> Iterator[Reader]:
    made = handmade_lake()
    for item in OBJECTS:
        made.write(item.packed or item.data, item.flow_log, extension=item.extension)
    for name in present_samples():
        made.write((SAMPLES / name).read_bytes(), sample_flow_log(name))
    for flow_log, data in PARQUET.items():
        made.write(data, flow_log, extension="log.parquet")
    made.build("2026-11-20T12", "2026-11-20T13")
    with connect(made.settings) as connection:
        yield Reader(connection)


def kinds(lake: Reader, flow_log: str) -> Counter[str]:
    rows = lake.rows(
        "select coalesce(malformed_reason, line_kind) from lake.staging.stg_flow_logs__lines where flow_log_id = ?",
        [flow_log],
    )
    return Counter(kind for (kind,) in rows)


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item.flow_log)
def test_every_line_has_its_kind(lake: Reader, item: Written) -> None:
    assert kinds(lake, item.flow_log) == Counter(item.kinds)


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item.flow_log)
def test_lines_and_bytes_of_an_object_add_up(lake: Reader, item: Written) -> None:
    ((lines, line_bytes, empty, read, read_bytes, of_a_kind),) = lake.rows(
        "select registered_lines, registered_line_bytes, empty_lines, read_lines, read_line_bytes, "
        "records + malformed + nodata_gaps + skipdata_gaps + headers + blanks "
        "from lake.intermediate.int_objects__accounted where flow_log_id = ?",
        [item.flow_log],
    )

    assert lines == len(item.lines)
    assert empty == item.lines.count(b"")
    assert read == of_a_kind == lines - empty
    assert line_bytes == read_bytes == sum(len(line) for line in item.lines)


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item.flow_log)
def test_malformed_lines_are_kept_byte_by_byte(lake: Reader, item: Written) -> None:
    kept = lake.rows(
        "select raw_line from lake.staging.stg_flow_logs__malformed where flow_log_id = ?", [item.flow_log]
    )
    filled = [line for line in item.lines if line]
    malformed = [line for line, kind in zip(filled, item.kinds, strict=True) if ":" in kind]

    # A byte is a character of its own: nothing is lost, whatever the encoding was.
    assert Counter(line.encode("latin-1") for (line,) in kept) == Counter(malformed)


@needs_samples
@pytest.mark.parametrize("name", SAMPLE_KINDS)
def test_every_line_of_a_sample_is_accounted_for(lake: Reader, name: str) -> None:
    expected = SAMPLE_KINDS[name]
    ((status, reason, lines, line_bytes, read, read_bytes),) = lake.rows(
        "select status, reason, registered_lines, registered_line_bytes, read_lines, read_line_bytes "
        "from lake.intermediate.int_objects__accounted where flow_log_id = ?",
        [sample_flow_log(name)],
    )

    assert kinds(lake, sample_flow_log(name)) == Counter(expected or {})
    if expected is None:
        assert (status, reason, lines) == ("unreadable", "no_header", 0)
    else:
        text = sample_lines(name)
        assert (status, lines, read) == ("readable", len(text), len(text))
        assert line_bytes == read_bytes == sum(map(len, text))


@needs_samples
def test_every_sample_is_tested() -> None:
    assert {f"{path.parent.name}/{path.name}" for path in SAMPLES.glob("*/*")} == set(SAMPLE_KINDS)


def test_hostile_names_are_kept_byte_by_byte(lake: Reader) -> None:
    rows = lake.rows(
        "select interface_id from lake.staging.stg_flow_logs__records where flow_log_id = 'fl-hostileNames'"
    )

    assert Counter(name.encode("latin-1") for (name,) in rows) == Counter(HOSTILE)


def test_hostile_names_reach_the_marts_as_they_are(lake: Reader) -> None:
    rows = lake.rows("select interface_id from lake.core.dim_interfaces")

    assert {name.encode("latin-1") for (name,) in rows} >= set(HOSTILE)


def test_a_good_line_becomes_typed_columns(lake: Reader) -> None:
    (row,) = lake.rows(
        "select version, account_id, interface_id, srcaddr, dstaddr, srcport, dstport, protocol, packets, bytes, "
        "start_at, end_at, action, log_status, event_hour, line_bytes, arrival_hour, format_id, extra_fields "
        "from lake.staging.stg_flow_logs__lines where flow_log_id = 'fl-noFinalNewline' and line_kind = 'record'"
    )
    noon = datetime(2026, 11, 20, 12)

    assert row == (
        *(2, "123456789012", "eni-0a", "10.0.0.1", "10.0.0.2", 50000, 443, 6, 10, 1000),
        *(noon, noon.replace(minute=1), "ACCEPT", "OK", noon, len(GOOD), "2026-11-20T12", "v2-default", None),
    )


@pytest.mark.parametrize("item", WRAPPED, ids=lambda item: item.flow_log)
def test_a_record_that_was_wrapped_becomes_the_same_columns(lake: Reader, item: Written) -> None:
    columns = ", ".join(FIELDS).replace("-", "_").replace("start, end", "start_at, end_at")
    (plain,) = lake.rows(
        f"select {columns} from lake.staging.stg_flow_logs__records where flow_log_id = 'fl-headerlessUnpacked' limit 1"
    )
    rows = lake.rows(
        f"select {columns} from lake.staging.stg_flow_logs__records where flow_log_id = ?", [item.flow_log]
    )

    assert rows == [plain] * item.kinds.count(OK)


def test_unknown_fields_are_kept_aside(lake: Reader) -> None:
    rows = lake.rows(
        "select extra_fields['field-of-2027'] from lake.staging.stg_flow_logs__records "
        "where flow_log_id = 'fl-unknownField' order by 1"
    )

    assert rows == [("-",), ("it's{{7*7}}",)]


@needs_samples
def test_tags_stay_as_they_were_written(lake: Reader) -> None:
    rows = lake.rows(
        "select instance_tag, instance_tag_2, interface_tag, interface_tag_2, asg_tag, traffic_path, "
        "next_hop_interface_id from lake.staging.stg_flow_logs__records where flow_log_id = ? and asg_tag is not null",
        [sample_flow_log("aws-docs/synthetic-v11-all-54-fields.log")],
    )

    tags = ("my%2Dapp", "team%20blue%2Fpayments", "%E6%9D%B1%E4%BA%AC", None, "web%2Dasg")
    assert rows == [(*tags, 1, "eni-0fedcba9876543210")]


@pytest.mark.parametrize(
    "flow_log",
    [
        "fl-gateway",
        "fl-gatewayWithoutItsType",
        "fl-gatewayOfNothing",
        pytest.param(sample_flow_log("otel/otel_valid_tgw_flow_log.log"), marks=needs_samples),
    ],
)
def test_a_transit_gateways_records_are_staged_and_in_no_edge(lake: Reader, flow_log: str) -> None:
    """What a gateway forwards was already logged by the interfaces at either end."""
    staged = lake.rows(
        "select resource_type from lake.staging.stg_flow_logs__records where flow_log_id = ?", [flow_log]
    )
    edges = lake.rows("select * from lake.intermediate.int_edges__partials where flow_log_id = ?", [flow_log])
    covered = lake.rows("select * from lake.intermediate.int_coverage__partials where flow_log_id = ?", [flow_log])

    assert staged == [("TransitGateway",)]
    assert edges == covered == []


def test_parquet_records_are_read_by_name_with_dashes_and_nulls(lake: Reader) -> None:
    rows = lake.rows(
        "select coalesce(malformed_reason, line_kind), log_status, srcaddr, srcport, bytes, line_bytes, resource_type "
        "from lake.staging.stg_flow_logs__lines where flow_log_id = 'fl-parquetPlain' order by bytes desc, log_status"
    )

    assert sorted(rows, key=str) == [
        ("bad_field: srcaddr", "OK", "nonsense", 1, 2, 0, None),
        ("gap", "NODATA", None, None, None, 0, None),
        ("gap", "SKIPDATA", None, None, None, 0, None),
        (OK, "OK", "10.88.0.1", 50000, 1000, 0, None),
    ]


def test_parquet_columns_that_drift_are_read_and_unknown_ones_kept(lake: Reader) -> None:
    rows = lake.rows(
        "select coalesce(malformed_reason, line_kind), srcport, log_status, start_at, extra_fields[?] "
        "from lake.staging.stg_flow_logs__lines where flow_log_id = 'fl-parquetDrift' order by srcport",
        [ODD],
    )
    noon = datetime(2026, 11, 20, 12)

    assert rows == [(OK, 443, None, noon, None), ("bad_field: srcport", 70000, None, noon, "x")]


def test_the_order_of_unknown_fields_is_not_that_of_any_object(lake: Reader) -> None:
    """A map is another one when its keys come in another order, and DuckDB's is that of the window's first object."""
    [(names,)] = lake.rows(
        "select map_keys(extra_fields) from lake.staging.stg_flow_logs__lines "
        "where flow_log_id = 'fl-parquetDrift' and srcport = 70000"
    )
    assert names == ["later", ODD]


def test_a_parquet_object_of_odd_types_harms_itself_alone(lake: Reader) -> None:
    """DuckDB unites the columns of a window's objects: a double in one must not make '443.0' of another's '443'."""
    staged = lake.rows(
        "select flow_log_id, coalesce(malformed_reason, line_kind), raw_line, srcaddr, bytes "
        "from lake.staging.stg_flow_logs__lines where flow_log_id in ('fl-parquetOdd', 'fl-parquetBytes') order by all"
    )
    ledger = lake.rows(
        "select flow_log_id, status, reason from lake.intermediate.int_objects__accounted "
        "where flow_log_id like 'fl-parquet%' order by 1"
    )

    text = (
        "interface-id=[eni-p] srcaddr=10.88.0.5 dstaddr=10.88.0.6 srcport=443.0 start=2026-11-20 12:00:00 log-status=OK"
    )
    assert staged == [
        ("fl-parquetBytes", "gap", None, None, 8),
        ("fl-parquetBytes", OK, None, None, 7),
        ("fl-parquetOdd", "bad_field: srcport", text, "10.88.0.5", None),
    ]
    assert ledger == [
        ("fl-parquetBytes", "readable", None),
        ("fl-parquetBytesAsText", "unreadable", "broken_parquet"),
        ("fl-parquetDrift", "readable", None),
        ("fl-parquetOdd", "readable", None),
        ("fl-parquetPlain", "readable", None),
    ]


def test_nothing_that_was_read_belongs_to_no_object(lake: Reader) -> None:
    ((staged,),) = lake.rows("select count(*) from lake.staging.stg_flow_logs__lines")
    ((accounted, objects),) = lake.rows(
        "select sum(read_lines), count(*) from lake.intermediate.int_objects__accounted"
    )

    assert staged == accounted
    assert objects == len(OBJECTS) + len(present_samples()) + len(PARQUET)


def test_an_hour_without_text_is_built(handmade_lake: Callable[..., Any]) -> None:
    """Nothing arrived in one hour, Parquet alone in the next: no text lends the columns its types."""
    made = handmade_lake()
    made.build("2026-11-20T12", "2026-11-20T13", "register", "build_staging")
    made.write(PARQUET["fl-parquetPlain"], "fl-parquetPlain", named="20261120T1305", extension="log.parquet")
    made.build("2026-11-20T13", "2026-11-20T14", "register", "build_staging")

    assert made.rows(
        "select arrival_hour, line_kind, count(*) from lake.staging.stg_flow_logs__lines group by all order by all"
    ) == [("2026-11-20T13", "gap", 2), ("2026-11-20T13", "malformed", 1), ("2026-11-20T13", "record", 1)]
