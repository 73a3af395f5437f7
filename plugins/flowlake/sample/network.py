"""The sample's network: two accounts, their hosts and interfaces, and the world outside.

Account 1 (production): load balancer, web, application, database, cache and resolver tiers in two zones, each zone with
a NAT gateway, a bastion and two more public hosts. Account 2 (shared services, another region): monitoring, CI, a VPN
host and a NAT gateway. Which flow log an interface is in follows from its subnet, as people set it up:

| flow log | format | layout | interfaces |
|---|---|---|---|
| A | version 2 default, text | plain | public subnet and web tier: load balancer, NAT gateway in zone a, web hosts |
| B | version 5 custom order, text | hourly | zone b: load balancer, NAT gateway; application tier; interface endpoint |
| C | version 5, Parquet | Hive hourly | database and resolver tiers, batch host b |
| D | version 11, all fields, text | plain, below an organisation | account 2 |
| E | version 3 custom order, text, REJECT only | Hive | bastion and public hosts |
| none | | | cache tier, one application host, batch host a |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address

import numpy as np

from flowlake.sample.arrays import Bools, Ints, ints
from flowlake.sample.formats import (
    V2_DEFAULT,
    V3_CUSTOM,
    V5_ALL,
    V5_CUSTOM_ORDER,
    V11_ALL,
    FileFormat,
    FlowLog,
    Layout,
    TrafficType,
)
from flowlake.sample.objects import digest
from flowlake.sample.spec import SampleSpec

PRODUCTION_ACCOUNT = "111122223333"
SHARED_ACCOUNT = "444455556666"
ORGANIZATION = "o-a1b2c3d4e5"
PRODUCTION_REGION = "us-east-1"
SHARED_REGION = "us-west-2"
INTERNET = 0
PRODUCTION = 1
SHARED = 2

# Client addresses outside: the benchmarking block stands for the public internet (RFC 2544), because the three
# documentation blocks have only 762 addresses; servers and scanners come from the documentation blocks.
MAX_CLIENTS = 120_000


@dataclass(frozen=True)
class Interface:
    """An ENI. `flow_log` is the index of its flow log, None when it is in none."""

    interface_id: str
    name: str
    role: str
    vpc: int
    zone: str
    subnet_id: str
    instance_id: str
    account_id: str
    address: int
    address_v6: int | None
    flow_log: int | None
    interface_type: str = "-"
    is_nat: bool = False


@dataclass(frozen=True)
class Network:
    """The hosts, by address index. `groups` holds the address indexes that traffic patterns draw from."""

    addresses: tuple[str, ...]
    services: tuple[str, ...]
    interfaces: tuple[Interface, ...]
    flow_logs: tuple[FlowLog, ...]
    groups: Mapping[str, Ints]
    interface_of: Ints
    place_of: Ints
    nat_of: Ints
    vpc_ids: tuple[str, ...]
    subnets: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def flow_log_of(self) -> Ints:
        """Flow log index by interface, -1 for none; one more entry (also -1) for "no interface" (index -1)."""
        logs = [-1 if eni.flow_log is None else eni.flow_log for eni in self.interfaces]
        return ints([*logs, -1])

    def logs(self, verdict: str) -> Bools:
        """Whether each interface's flow log logs this verdict; last entry: no interface."""
        wanted = {TrafficType.ALL.value, verdict}
        logged = [log.traffic.value in wanted for log in self.flow_logs]
        return np.asarray([index >= 0 and logged[index] for index in self.flow_log_of], dtype=np.bool_)

    @cached_property
    def logs_accept(self) -> Bools:
        """Whether each interface's flow log logs ACCEPT."""
        return self.logs("ACCEPT")

    @cached_property
    def logs_reject(self) -> Bools:
        """Whether each interface's flow log logs REJECT."""
        return self.logs("REJECT")

    @cached_property
    def has_packet_addresses(self) -> Bools:
        """Whether each interface's records carry pkt-srcaddr and pkt-dstaddr."""
        return np.asarray(
            [index >= 0 and self.flow_logs[index].has_packet_addresses for index in self.flow_log_of], dtype=np.bool_
        )

    @cached_property
    def own_address(self) -> Ints:
        """IPv4 address index by interface."""
        return ints([eni.address for eni in self.interfaces])

    @cached_property
    def is_nat_address(self) -> Bools:
        """Whether each address is a NAT gateway's own."""
        flags = np.zeros(len(self.addresses), dtype=np.bool_)
        flags[[eni.address for eni in self.interfaces if eni.is_nat]] = True
        return flags

    @cached_property
    def is_v6(self) -> Bools:
        """Whether each address is an IPv6 address."""
        return np.asarray([":" in address for address in self.addresses], dtype=np.bool_)


class _Builder:
    """Collects addresses and interfaces while the network is laid out."""

    def __init__(self, spec: SampleSpec, flow_logs: tuple[FlowLog, ...]) -> None:
        self.spec = spec
        self.flow_logs = flow_logs
        self.addresses: list[str] = []
        self.services: list[str] = []
        self.places: list[int] = []
        self.owners: list[int] = []
        self.interfaces: list[Interface] = []
        self.groups: dict[str, list[int]] = {}
        self.subnets: dict[str, str] = {}
        self.rng = np.random.default_rng([spec.seed, 1])

    def identifier(self, kind: str, name: str) -> str:
        """Return an AWS-like resource id: kind and 17 hex digits."""
        return f"{kind}-{digest(self.spec.seed, kind, name):016x}{digest(name, kind) % 16:x}"

    def address(self, text: str, place: int, owner: int = -1, service: str = "-") -> int:
        """Add an address and return its index. IPv6 is written as records have it, shortened (RFC 5952)."""
        self.addresses.append(str(ip_address(text)) if ":" in text else text)
        self.places.append(place)
        self.owners.append(owner)
        self.services.append(service)
        return len(self.addresses) - 1

    def outside(self, group: str, texts: Sequence[str], service: str = "-") -> None:
        """Add addresses of the internet as a group."""
        self.groups.setdefault(group, []).extend(self.address(text, INTERNET, service=service) for text in texts)

    def host(
        self,
        group: str,
        name: str,
        address: str,
        zone: str,
        log: str,
        *,
        dual_stack: bool = False,
        role: str = "instance",
    ) -> None:
        """Add a host with one interface to its group (and its IPv6 address to the group's `-v6` twin)."""
        shared = group.startswith("shared") or name == "nat-c"
        vpc = SHARED if shared else PRODUCTION
        index = len(self.interfaces)
        subnet = f"{group}-{zone}"
        self.subnets.setdefault(subnet, self.identifier("subnet", subnet))
        v4 = self.address(address, vpc, index)
        v6 = None
        if dual_stack:
            tail = ":".join(f"{int(part):x}" for part in address.split(".")[1:])
            v6 = self.address(f"2600:1f18:7a20:{vpc}00:{tail}:{index + 1:x}", vpc, index)
            self.groups.setdefault(f"{group}-v6", []).append(v6)
        self.groups.setdefault(group, []).append(v4)
        account = SHARED_ACCOUNT if shared else PRODUCTION_ACCOUNT
        self.interfaces.append(
            Interface(
                interface_id=self.identifier("eni", name),
                name=name,
                role=role,
                vpc=vpc,
                zone=zone,
                subnet_id=self.subnets[subnet],
                instance_id=self.identifier("i", name) if role == "instance" else "-",
                account_id="unknown" if role == "vpc_endpoint" else account,
                address=v4,
                address_v6=v6,
                flow_log=self.flow_log(log, vpc),
                interface_type=role if role in {"nat_gateway", "vpc_endpoint"} else "-",
                is_nat=role == "nat_gateway",
            )
        )

    def flow_log(self, letter: str, vpc: int) -> int | None:
        """Return the index of the interface's flow log: as its subnet says, or dealt by chance."""
        letters = "".join(log.letter for log in self.flow_logs)
        if self.spec.random_logging:
            choices = "ABBCCE--" if vpc == PRODUCTION else "DDD-"
            letter = choices[int(self.rng.integers(len(choices)))]
        return None if letter == "-" else letters.index(letter)


def sample_flow_logs(seed: int) -> tuple[FlowLog, ...]:
    """Return the five flow logs A to E of the module's table."""

    def identifier(letter: str) -> str:
        return f"fl-{digest(seed, 'fl', letter):016x}{digest(letter) % 16:x}"

    def production(
        letter: str, names: tuple[str, ...], version: int, layout: Layout, file_format: FileFormat = FileFormat.TEXT
    ) -> FlowLog:
        return FlowLog(
            letter=letter,
            flow_log_id=identifier(letter),
            account_id=PRODUCTION_ACCOUNT,
            region=PRODUCTION_REGION,
            fields=names,
            version=version,
            layout=layout,
            file_format=file_format,
            traffic=TrafficType.REJECT if letter == "E" else TrafficType.ALL,
        )

    return (
        production("A", V2_DEFAULT, 2, Layout.PLAIN),
        production("B", V5_CUSTOM_ORDER, 5, Layout.HOURLY),
        production("C", V5_ALL, 5, Layout.HIVE_HOURLY, FileFormat.PARQUET),
        FlowLog(
            letter="D",
            flow_log_id=identifier("D"),
            account_id=SHARED_ACCOUNT,
            region=SHARED_REGION,
            fields=V11_ALL,
            version=11,
            layout=Layout.PLAIN,
            file_format=FileFormat.TEXT,
            organization_id=ORGANIZATION,
        ),
        production("E", V3_CUSTOM, 3, Layout.HIVE),
    )


def build_network(spec: SampleSpec) -> Network:
    """Lay out the network of a spec: tiers grow with the scale, their sizes vary a little with the seed."""
    flow_logs = sample_flow_logs(spec.seed)
    build = _Builder(spec, flow_logs)
    growth = max(1.0, spec.scale**0.35)

    def size(base: int) -> int:
        return int(min(240, round((base + int(build.rng.integers(0, 3))) * growth)))

    zones = ("a", "b")
    for number, zone in enumerate(zones):
        build.host("lb", f"lb-{zone}", f"10.20.{number}.20", zone, "AB"[number], dual_stack=True, role="load_balancer")
        build.host("nat", f"nat-{zone}", f"10.20.{number}.220", zone, "AB"[number], role="nat_gateway")
    for tier, third, log, base, dual in (
        ("web", 10, "A", 4, True),
        ("app", 20, "B", 4, True),
        ("db", 30, "C", 2, False),
    ):
        for number in range(size(base)):
            zone = zones[number % 2]
            address = f"10.20.{third + number % 2}.{10 + number // 2}"
            build.host(tier, f"{tier}-{number + 1}", address, zone, log, dual_stack=dual)
    build.host("app", "app-legacy", "10.20.21.240", "b", "-")
    build.host("batch", "batch-1", "10.20.22.10", "a", "-")
    build.host("batch", "batch-2", "10.20.23.10", "b", "C")
    for number, zone in enumerate(zones):
        build.host("cache", f"cache-{number + 1}", f"10.20.{40 + number}.10", zone, "-", role="elasticache")
        build.host("dns", f"dns-{number + 1}", f"10.20.{50 + number}.53", zone, "C")
    build.host("bastion", "bastion-1", "10.20.2.10", "a", "E")
    build.host("edge", "mail-1", "10.20.2.25", "a", "E")
    build.host("edge", "files-1", "10.20.2.21", "a", "E")
    build.host("vpce", "vpce-kms", "10.20.20.250", "a", "B", role="vpc_endpoint")
    build.host("idle", "spare-1", "10.20.10.250", "a", "A")
    build.host("nat", "nat-c", "10.60.0.220", "a", "D", role="nat_gateway")
    for number in range(2):
        build.host("shared-mon", f"mon-{number + 1}", f"10.60.1.{10 + number}", "a", "D")
        build.host("shared-ci", f"ci-{number + 1}", f"10.60.2.{10 + number}", "a", "D")
    build.host("shared-vpn", "vpn-1", "10.60.0.50", "a", "D")

    clients = min(MAX_CLIENTS, int(2000 * max(0.05, spec.scale) ** 0.75))
    build.outside("clients", [f"198.{18 + i // 65536}.{i // 256 % 256}.{i % 256}" for i in range(1, clients + 1)])
    build.outside("clients-v6", [f"2001:db8:{i // 16:x}:{i % 16:x}::{i + 1:x}" for i in range(1, clients // 6 + 2)])
    build.outside("scanners", [f"203.0.113.{i}" for i in range(1, min(250, int(60 * growth)))])
    build.outside("office", ["192.0.2.10", "192.0.2.11"])
    build.outside("vpn-peer", ["192.0.2.200"])
    build.outside("time", ["192.0.2.123", "192.0.2.124"])
    build.outside("api", [f"198.51.100.{i}" for i in range(10, 22)])
    build.outside("s3", [f"198.51.100.{i}" for i in range(120, 128)], "S3")
    build.outside("dynamodb", ["198.51.100.200", "198.51.100.201"], "DYNAMODB")

    groups = {name: ints(members) for name, members in build.groups.items()}
    nat_by = {eni.name: number for number, eni in enumerate(build.interfaces) if eni.is_nat}
    nat_of = []
    for owner in build.owners:
        eni = build.interfaces[owner] if owner >= 0 else None
        is_private = eni is not None and eni.role == "instance" and eni.subnet_id
        gateway = "" if eni is None else "nat-c" if eni.vpc == SHARED else f"nat-{eni.zone}"
        nat_of.append(nat_by[gateway] if is_private else -1)
    return Network(
        addresses=tuple(build.addresses),
        services=tuple(build.services),
        interfaces=tuple(build.interfaces),
        flow_logs=flow_logs,
        groups=groups,
        interface_of=ints(build.owners),
        place_of=ints(build.places),
        nat_of=ints(nat_of),
        vpc_ids=("-", build.identifier("vpc", "production"), build.identifier("vpc", "shared")),
        subnets=build.subnets,
    )


def capture_windows(spec: SampleSpec, network: Network) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the capture sequences: (interface, phase, period) by sequence, and the first sequence by interface.

    A window k of a sequence is [phase + k * period, phase + (k + 1) * period), seconds. Interfaces have one sequence,
    NAT gateways three (several capture hosts behind one ENI, hence overlapping windows). Every one has its own phase.
    """
    rng = np.random.default_rng([spec.seed, 2])
    owner: list[int] = []
    period: list[int] = []
    first: list[int] = []
    for number, eni in enumerate(network.interfaces):
        first.append(len(owner))
        count = 3 if eni.is_nat else 1
        owner += [number] * count
        base = int(rng.choice([30, 45, 52, 57, 58, 59, 60, 60]))
        period += [600] if spec.slow_interface and eni.name == "db-1" else [base] * count
    phase = ints([int(rng.integers(0, p)) for p in period])
    return ints(owner), phase + math.floor(spec.begin / 3600) * 3600, ints(period), ints(first)
