"""What crossed Transit Gateways, and how they log it: by each attachment, where it came in and where it went out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from flowlake.records.fields import TGW_DEFAULT_HEADER

GATEWAY = "tgw-0123456789abcdef0"
ATTACHMENTS = ("tgw-attach-a", "tgw-attach-b", "tgw-attach-c")
DIRECTIONS = ("ingress", "egress")
LOSSES = ("packets-lost-no-route", "packets-lost-blackhole", "packets-lost-mtu-exceeded", "packets-lost-ttl-expired")

UNDIRECTED_HEADER = (
    "tgw-attachment-id tgw-pair-attachment-id srcaddr dstaddr srcport dstport protocol packets bytes start end "
    "log-status"
)
"""A custom format: two attachments, and nobody knows which one the packets came in by."""


@dataclass(frozen=True)
class Crossing:
    """Packets of one minute that came in by `source` and went out by `target`, or were lost (a field of `LOSSES`)."""

    source: str
    target: str | None
    loss: str | None
    start: int
    client_port: int
    packets: int
    bytes: int

    def logged_by(self, direction: str) -> str | None:
        """The attachment that logs this direction of it, if any does."""
        return self.source if direction == "ingress" else self.target

    def line(self, direction: str, header: str = TGW_DEFAULT_HEADER) -> str:
        """The record of one of its directions. Fields that do not apply are dashes."""
        own, other = (self.source, self.target) if direction == "ingress" else (self.target, self.source)
        record = {
            "version": "6",
            "resource-type": "TransitGateway",
            "account-id": "111122223333",
            "tgw-id": GATEWAY,
            "tgw-attachment-id": own,
            "tgw-pair-attachment-id": other,
            "tgw-src-vpc-id": f"vpc-of-{self.source}",
            "tgw-dst-vpc-id": f"vpc-of-{self.target}" if self.target else None,
            "tgw-src-vpc-account-id": "111122223333",
            "tgw-dst-vpc-account-id": "444455556666" if self.target else None,
            "srcaddr": f"10.{ATTACHMENTS.index(self.source)}.0.1",
            "dstaddr": f"10.{ATTACHMENTS.index(self.target)}.0.1" if self.target else "10.99.0.1",
            "srcport": str(self.client_port),
            "dstport": "443",
            "protocol": "6",
            "packets": str(self.packets),
            "bytes": str(self.bytes),
            "start": str(self.start),
            "end": str(self.start + 59),
            "log-status": "OK",
            "type": "IPv4",
            **{loss: str(self.packets if loss == self.loss else 0) for loss in LOSSES},
            "tcp-flags": "0",
            "region": "us-east-1",
            "flow-direction": direction,
        }
        return " ".join(record.get(name) or "-" for name in header.split(" "))


def crossings(chance: random.Random, starts: range, count: int) -> Iterator[Crossing]:
    """Some crossings that begin in some of these seconds; one in five is lost."""
    for _ in range(count):
        source, target = chance.sample(ATTACHMENTS, 2)
        loss = chance.choice(LOSSES) if chance.random() < 0.2 else None
        yield Crossing(
            source=source,
            target=None if loss else target,
            loss=loss,
            start=chance.choice(starts),
            client_port=chance.choice([40000, 50000]),
            packets=chance.randint(1, 50),
            bytes=chance.randint(40, 60000),
        )


def quiet_line(attachment: str, status: str, start: int, header: str = TGW_DEFAULT_HEADER) -> str:
    """What an attachment logs where there was no traffic (NODATA), or some of it was left out (SKIPDATA)."""
    record = {
        "version": "6",
        "resource-type": "TransitGateway",
        "tgw-id": GATEWAY,
        "tgw-attachment-id": attachment,
        "start": str(start),
        "end": str(start + 59),
        "log-status": status,
    }
    return " ".join(record.get(name, "-") for name in header.split(" "))
