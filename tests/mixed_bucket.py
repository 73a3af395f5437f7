"""A bucket as they grow: flow logs of every format, in every layout, late, broken, copied, and other people's objects.

What must come of each object is said where it is made, by hand: its reason, or how many lines of which kind it holds.
Each flow log has a network of its own, so that what its hosts said to each other is known too.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from pyarrow import parquet

from flowlake.records.fields import TGW_DEFAULT_HEADER, V2_DEFAULT_HEADER, VPC_FIELDS
from histories.world import HOUR, LogObject
from wrapped_logs import CONTROL, comma, console, firehose, subscription

ACCOUNT, OTHER_ACCOUNT, REGION = "123456789012", "210987654321", "eu-central-1"
ORGANISATION = "o-a1b2c3d4e5"

ALL_HEADER = " ".join(reversed([item.name for item in VPC_FIELDS]))
"""Every field of versions 2 to 11, the last one first."""

NO_VERSION_HEADER = "interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
NEXT_HEADER = f"{V2_DEFAULT_HEADER} field-of-2027"

BOM = b"\xef\xbb\xbf"
HOSTILE = "<script>alert(1)</script>{{7*7}}$(touch${IFS}pwned)`id`';drop--../../x\u202e\x1b[2J"
"""One word that is syntax to a page, a template, a shell, an engine, a path and a terminal."""


@dataclass(frozen=True)
class Placed:
    """An object and its place in the ledger: why it is not read, or how many lines of which kind are read of it.

    Empty lines are counted and not staged; of the lines that are, `kinds` has the names of `line_kind`.
    """

    object: LogObject
    reason: str | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    flow_log: str | None = None


@dataclass(frozen=True)
class Said:
    """What one host of a network said to the other in one record."""

    network: int
    packets: int
    start: int
    port: int

    @property
    def bytes(self) -> int:
        return self.packets * 100

    def values(self) -> dict[str, str]:
        """The fields of its record that any flow log may have, as its sender logs it."""
        return {
            "version": "2",
            "account-id": ACCOUNT,
            "interface-id": interface(self.network),
            "srcaddr": f"10.{self.network}.0.1",
            "dstaddr": f"198.51.100.{self.network}",
            "srcport": str(self.port),
            "dstport": "443",
            "protocol": "6",
            "packets": str(self.packets),
            "bytes": str(self.bytes),
            "start": str(self.start),
            "end": str(self.start + 59),
            "action": "ACCEPT",
            "log-status": "OK",
        }

    def line(self, header: str = V2_DEFAULT_HEADER) -> str:
        values = self.values()
        return " ".join(values.get(name, "-") for name in header.split(" "))


def interface(network: int) -> str:
    return f"eni-{network:017x}"


def quiet(network: int, status: str, start: int, header: str = V2_DEFAULT_HEADER) -> str:
    """What an interface logs without traffic."""
    values = {"version": "2", "account-id": ACCOUNT, "interface-id": interface(network), "log-status": status}
    values |= {"start": str(start), "end": str(start + 59)}
    return " ".join(values.get(name, "-") for name in header.split(" "))


class MixedBucket:
    """The objects of two hours, counted since 1970: the bucket's first hour and the one after it."""

    def __init__(self, first_hour: int) -> None:
        """All objects, in `placed`."""
        self.first_hour = first_hour
        self.said: list[Said] = []
        self.placed: list[Placed] = [
            *self._formats(),
            *self._wrapped(),
            *self._late(),
            *self._faults(),
            *self._others(),
        ]

    @property
    def objects(self) -> list[LogObject]:
        return [placed.object for placed in self.placed]

    def truth(self) -> dict[str, tuple[int, int, int]]:
        """Of each sender: flows, packets and bytes, each packet once."""
        sums: dict[str, Counter[str]] = {}
        for said in self.said:
            sums.setdefault(f"10.{said.network}.0.1", Counter()).update(flows=1, packets=said.packets, bytes=said.bytes)
        return {sender: (found["flows"], found["packets"], found["bytes"]) for sender, found in sums.items()}

    # --- what is whole ---

    def _formats(self) -> Iterator[Placed]:
        lines = [said.line() for said in self._talk(1, 5)]
        odd = [quiet(1, "NODATA", self._start()), quiet(1, "SKIPDATA", self._start()), HOSTILE, ""]
        kinds = {"header": 1, "record": 5, "gap": 2, "malformed": 1}
        yield self._text(1, [V2_DEFAULT_HEADER, *lines, *odd], kinds)

        lines = [said.line(ALL_HEADER) for said in self._talk(2, 4)]
        yield self._text(2, [ALL_HEADER, *lines], {"header": 1, "record": 4}, layout="hourly")

        lines = [said.line(NO_VERSION_HEADER) for said in self._talk(3, 3)]
        placed = self._text(3, [NO_VERSION_HEADER, *lines], {"header": 1, "record": 3}, layout="hive")
        yield placed
        # The same delivery below another prefix, an hour later.
        copied = placed.object.key.replace("prefix/", "backup/")
        copy = LogObject(copied, placed.object.content, placed.object.arrived + HOUR)
        yield Placed(copy, "copy", flow_log=placed.flow_log)

        yield self._object(4, self._parquet(4), {"record": 3, "gap": 2}, layout="hive-hourly", ending="log.parquet")

        # A Transit Gateway's, beside a VPC's: the header tells them apart.
        gateway = {
            **{"version": "6", "resource-type": "TransitGateway", "account-id": ACCOUNT, "log-status": "OK"},
            **{"tgw-id": "tgw-0123456789abcdef0", "tgw-attachment-id": "tgw-attach-0123456789abcdef0"},
            **{"srcaddr": "10.5.0.1", "dstaddr": "10.5.0.2", "srcport": "40000", "dstport": "443", "protocol": "6"},
            **{"packets": "7", "bytes": "700", "start": str(self._start()), "end": str(self._start() + 59)},
            **{"type": "IPv4", "flow-direction": "ingress", "region": REGION},
        }
        line = " ".join(gateway.get(name, "-") for name in TGW_DEFAULT_HEADER.split(" "))
        yield self._text(5, [TGW_DEFAULT_HEADER, line], {"header": 1, "record": 1})

        # Tomorrow's field, and all that text may go through: members of gzip, line ends, a mark, headers in between.
        lines = [f"{said.line()} it's{{{{7*7}}}}" for said in self._talk(6, 4)]
        text = BOM + "\r\n".join([NEXT_HEADER, *lines[:2], "", " ", NEXT_HEADER, *lines[2:]]).encode()
        packed = b"".join(gzip.compress(text[at : at + 100], mtime=0) for at in range(0, len(text), 100))
        kinds = {"header": 2, "record": 4, "blank": 1, "empty": 1}
        yield self._object(6, packed, kinds, layout="plain in an organisation")

    def _wrapped(self) -> Iterator[Placed]:
        lines = [said.line() for said in self._talk(7, 3)]
        exported = "".join(f"2026-11-20T12:00:00.000Z {line}\n" for line in lines)
        yield self._object(7, gzip.compress(exported.encode(), mtime=0), {"record": 3}, ending="txt.gz")

        lines = [said.line() for said in self._talk(8, 3)]
        packed = pa.compress("\n".join(lines).encode(), "zstd", asbytes=True)
        yield self._object(8, packed, {"record": 3}, ending="log.zst")

        lines = [said.line() for said in self._talk(11, 3)]
        document = subscription(*lines[:2]) + CONTROL + subscription(lines[2])
        yield self._object(11, gzip.compress(document.encode(), mtime=0), {"record": 3}, ending="json.gz")

        lines = [said.line() for said in self._talk(12, 2)]
        yield self._object(12, firehose(*lines).encode(), {"record": 2}, ending="jsonl")

        # A spreadsheet's, whose account it rounded in one row.
        lines = [said.line() for said in self._talk(13, 2)]
        rows = comma(*lines, lines[0].replace(ACCOUNT, "1.23457E+11"), end="\r\n")
        yield self._object(13, rows.encode(), {"header": 1, "record": 2, "malformed": 1}, ending="csv")

        lines = [said.line() for said in self._talk(14, 2)]
        yield self._object(14, console(*lines).encode(), {"record": 2}, ending="csv")

    def _late(self) -> Iterator[Placed]:
        # A second subscription to what network 1 says: the same records again, of which each packet counts once.
        first = [said for said in self.said if said.network == 1]
        lines = [said.line(NO_VERSION_HEADER) for said in first]
        yield self._text(9, [NO_VERSION_HEADER, *lines], {"header": 1, "record": 5}, arrived=HOUR + 600)

        # Comes an hour late, in another layout than before.
        lines = [said.line() for said in self._talk(2, 2, port=50000)]
        kinds = {"header": 1, "record": 2}
        yield self._text(2, [V2_DEFAULT_HEADER, *lines], kinds, layout="hive", arrived=HOUR + 900)

        lines = [said.line() for said in self._talk(10, 2, start=HOUR)]
        kinds = {"header": 1, "record": 2}
        yield self._text(10, [V2_DEFAULT_HEADER, *lines], kinds, named=HOUR + 300, arrived=HOUR + 900)

    # --- what is not ---

    def _faults(self) -> Iterator[Placed]:
        whole = gzip.compress("\n".join([V2_DEFAULT_HEADER, quiet(1, "NODATA", self._start())]).encode(), mtime=0)
        flipped = bytearray(whole)
        flipped[-6] ^= 1
        for number, (content, reason) in enumerate(
            [
                (b"", "empty"),
                (b"\x00", "not_gzip"),
                (whole[:-9], "truncated"),
                (bytes(flipped), "bad_checksum"),
                (whole + b"garbage", "trailing_garbage"),
                (gzip.compress(f"{HOSTILE}\n".encode(), mtime=0), "no_header"),
                (gzip.compress(b"x" * (16 * 1024 * 1024) + b"\n", mtime=0), "line_too_long"),
                (firehose(quiet(1, "NODATA", self._start()))[:-9].encode(), "broken_wrapping"),
            ]
        ):
            yield self._object(1, content, reason=reason, tail=f"bad{number}")
        yield self._object(4, b"PAR1 nothing else", reason="broken_parquet", ending="log.parquet", tail="bad")
        lines = [V2_DEFAULT_HEADER, quiet(1, "NODATA", self._start())]
        yield self._object(10, "\n".join(lines).encode(), {"header": 1, "gap": 1}, ending="log", tail="twice")
        yield self._object(10, whole, reason="duplicate", tail="twice", arrived=1500)

    def _others(self) -> Iterator[Placed]:
        folder = f"AWSLogs/{ACCOUNT}/vpcflowlogs/{REGION}/{self._moment(0):%Y/%m/%d}"
        for name, reason in [
            ("readme.txt", "not_a_flow_log"),
            ("<script>alert(2)</script>{{7*7}}$(touch pwned).log.gz", "not_a_flow_log"),
            ("\u202e\x1b[2J.log.gz", "unsafe_name"),
        ]:
            key = f"prefix/{folder}/{name}"
            yield Placed(LogObject(key, HOSTILE.encode(), self.first_hour * HOUR + 1200), reason)

    # --- how ---

    def _start(self, offset: int = 0) -> int:
        return self.first_hour * HOUR + 60 + offset

    def _moment(self, offset: int) -> datetime:
        return datetime.fromtimestamp(self.first_hour * HOUR + offset, UTC)

    def _talk(self, network: int, count: int, *, start: int = 0, port: int = 40000) -> list[Said]:
        said = [Said(network, 3 + index, self._start(start), port + index) for index in range(count)]
        self.said += said
        return said

    def _parquet(self, network: int) -> bytes:
        """Dashes and nulls, ports wider than documented, one column that nobody knows and most others missing."""
        said = [each.values() for each in self._talk(network, 3)]
        text = {name: [each[name] for each in said] for name in ("interface-id", "srcaddr", "dstaddr", "log-status")}
        numbers = {name: [int(each[name]) for each in said] for name in ("srcport", "dstport", "packets", "bytes")}
        times = [self._start()] * 5
        columns = {
            "interface_id": pa.array([*text["interface-id"], interface(network), interface(network)]),
            "srcaddr": pa.array([*text["srcaddr"], "-", None]),
            "dstaddr": pa.array([*text["dstaddr"], "-", None]),
            "srcport": pa.array([*numbers["srcport"], None, None], pa.int64()),
            "dstport": pa.array([*numbers["dstport"], None, None], pa.int32()),
            "protocol": pa.array([6, 6, 6, None, None], pa.int32()),
            "packets": pa.array([*numbers["packets"], None, None], pa.int64()),
            "bytes": pa.array([*numbers["bytes"], None, None], pa.int64()),
            "start": pa.array(times, pa.int64()),
            "end": pa.array([time + 59 for time in times], pa.int64()),
            "action": pa.array(["ACCEPT"] * 3 + ["-", None]),
            "log_status": pa.array([*text["log-status"], "NODATA", "SKIPDATA"]),
            "field_of_2027": pa.array(["x", None, HOSTILE, None, None]),
        }
        sink = io.BytesIO()
        parquet.write_table(pa.table(columns), sink)
        return sink.getvalue()

    def _text(self, number: int, lines: Sequence[str], kinds: Mapping[str, int], **place: object) -> Placed:
        content = gzip.compress("\n".join(lines).encode(), mtime=0)
        return self._object(number, content, kinds, **place)  # type: ignore[arg-type]

    def _object(
        self,
        number: int,
        content: bytes,
        kinds: Mapping[str, int] | None = None,
        *,
        reason: str | None = None,
        layout: str = "plain",
        ending: str = "log.gz",
        tail: str = "0",
        named: int = 300,
        arrived: int = 900,
    ) -> Placed:
        """An object of a flow log; `named` and `arrived` are seconds since the first hour began."""
        flow_log = f"fl-mixed{number:02d}"
        at = self._moment(named)
        account = OTHER_ACCOUNT if number % 3 == 0 else ACCOUNT
        plain = f"{account}/vpcflowlogs/{REGION}/{at:%Y/%m/%d}"
        hive = (
            f"aws-account-id={account}/aws-service=vpcflowlogs/aws-region={REGION}/"
            f"year={at:%Y}/month={at:%m}/day={at:%d}"
        )
        folder = {
            "plain": plain,
            "hourly": f"{plain}/{at:%H}",
            "hive": hive,
            "hive-hourly": f"{hive}/hour={at:%H}",
            "plain in an organisation": f"{ORGANISATION}/{plain}",
        }[layout]
        name = f"{account}_vpcflowlogs_{REGION}_{flow_log}_{at:%Y%m%dT%H%M}Z_0{tail}.{ending}"
        item = LogObject(f"prefix/AWSLogs/{folder}/{name}", content, self.first_hour * HOUR + arrived)
        return Placed(item, reason, kinds or {}, flow_log)
