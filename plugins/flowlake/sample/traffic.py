"""Conversations and their bursts: what really moves, before any interface looks at it.

A burst is some packets of one conversation in one direction in one second: the finest grain of the generator. Every
capture window contains a burst whole or not at all, which is why sums over records can be compared with the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from flowlake.sample.arrays import Bools, Columns, Ints, ints
from flowlake.sample.network import Network
from flowlake.sample.spec import SampleSpec

ICMP, TCP, UDP, ESP, ICMPV6 = 1, 6, 17, 50, 58
FIN, SYN, RST, SYN_ACK = 1, 2, 4, 18
EPHEMERAL = (32768, 61000)
LOW_EPHEMERAL = (1025, 5001)
ANY_HIGH = (1024, 65536)


class Verdict(Enum):
    """Who lets a conversation's packets through."""

    ALLOWED = "allowed"
    STOPPED_AT_RECEIVER = "stopped at the receiver"
    STOPPED_AT_SENDER = "stopped at the sender"
    IGNORED = "let in and never answered"


@dataclass(frozen=True)
class Load:
    """Packets per burst (mean of a log-normal with spread sigma) and bytes per packet (uniform)."""

    packets: float
    packet_bytes: tuple[int, int]
    sigma: float = 0.6


@dataclass(frozen=True)
class Pattern:
    """A kind of conversation: who starts it, with whom, how often (per hour at scale 1), how long and how much."""

    name: str
    clients: tuple[str, ...]
    servers: tuple[str, ...]
    ports: tuple[int, ...]
    per_hour: float
    protocol: int = TCP
    seconds: tuple[int, int] = (0, 0)
    gap: int = 0
    up: Load = Load(4, (60, 420))
    down: Load = Load(5, (80, 1400))
    verdict: Verdict = Verdict.ALLOWED
    through_nat: bool = False
    client_ports: tuple[int, int] = EPHEMERAL
    skew: float = 1.0


SYN_ONLY = Load(1, (40, 61), 0.0)
PING = Load(1, (84, 85), 0.0)
QUERY = Load(1, (60, 92), 0.2)
ANSWER = Load(1, (90, 420), 0.2)
PAGE = Load(9, (400, 1480), 1.0)
BULK_UP = Load(280, (1100, 1480), 0.5)
BULK_DOWN = Load(100, (52, 60), 0.4)
ADMIN_PORTS = (22, 22, 22, 23, 23, 3389, 3389, 445, 445, 3306, 1433, 5900, 6379, 8080, 9200, 27017, 2323, 5432)
PRIVATE = ("web", "app", "db", "batch")
PUBLIC = ("bastion", "edge", "lb")

PATTERNS: tuple[Pattern, ...] = (
    Pattern("https", ("clients",), ("lb",), (443,), 3000, seconds=(0, 90), gap=25, down=PAGE, skew=3),
    Pattern("http", ("clients",), ("lb",), (80,), 250, down=PAGE),
    Pattern("https old stacks", ("clients",), ("lb",), (443,), 90, down=PAGE, client_ports=LOW_EPHEMERAL),
    Pattern("https v6", ("clients-v6",), ("lb-v6",), (443,), 450, seconds=(0, 60), gap=25, down=PAGE, skew=2),
    Pattern("lb to web", ("lb",), ("web",), (8080,), 3400, seconds=(0, 60), gap=30, down=PAGE),
    Pattern("lb to web v6", ("lb-v6",), ("web-v6",), (8080,), 250, down=PAGE),
    Pattern("web to app", ("web",), ("app",), (8443,), 2600, seconds=(0, 40), gap=30),
    Pattern("web to app v6", ("web-v6",), ("app-v6",), (8443,), 500),
    Pattern("app to db", ("app",), ("db",), (5432,), 1100, seconds=(0, 30), gap=20, down=PAGE),
    Pattern("app to db, pooled", ("app",), ("db",), (5432,), 8, seconds=(3000, 7000), gap=20, down=PAGE),
    Pattern("db replication", ("db",), ("db",), (5432,), 2, seconds=(3600, 7000), gap=10, up=Load(20, (300, 1400))),
    Pattern("app to cache", ("app",), ("cache",), (6379,), 1500, up=QUERY, down=Load(2, (100, 900))),
    Pattern("dns", (*PRIVATE, "edge"), ("dns",), (53,), 2600, UDP, up=QUERY, down=ANSWER),
    Pattern("dns over tcp", ("app", "web"), ("dns",), (53,), 60, down=ANSWER),
    Pattern(
        "time", (*PRIVATE, "cache"), ("dns",), (123,), 160, UDP, up=Load(1, (76, 77), 0), down=Load(1, (76, 77), 0)
    ),
    Pattern("time outside", ("dns",), ("time",), (123,), 40, UDP, up=QUERY, down=QUERY, through_nat=True),
    Pattern("api", ("app", "batch", "shared-ci"), ("api",), (443,), 900, seconds=(0, 60), gap=20, through_nat=True),
    Pattern("updates", ("web", "app"), ("api",), (80,), 90, down=PAGE, through_nat=True),
    Pattern("s3", ("app", "batch", "web"), ("s3",), (443,), 300, up=Load(30, (900, 1460), 1), through_nat=True),
    Pattern("dynamodb", ("app",), ("dynamodb",), (443,), 120, through_nat=True),
    Pattern("backup", ("db",), ("s3",), (443,), 2, TCP, (1200, 5000), 10, BULK_UP, BULK_DOWN, through_nat=True),
    Pattern(
        "build pulls",
        ("shared-ci",),
        ("api", "s3"),
        (443,),
        40,
        TCP,
        (20, 400),
        10,
        BULK_DOWN,
        BULK_UP,
        through_nat=True,
    ),
    Pattern("ping outside", ("shared-mon", "dns"), ("api",), (0,), 60, ICMP, up=PING, down=PING, through_nat=True),
    Pattern("kms", ("app",), ("vpce",), (443,), 250),
    Pattern("mail relay", ("app", "batch"), ("edge",), (25,), 90),
    Pattern("mail out", ("edge",), ("api",), (443,), 40),
    Pattern("office ssh", ("office",), ("bastion",), (22,), 5, seconds=(600, 5400), gap=15),
    Pattern("bastion ssh", ("bastion",), (*PRIVATE, "dns"), (22,), 9, seconds=(300, 5400), gap=15),
    Pattern("scrape", ("shared-mon",), ("web", "app", "db", "dns"), (9100,), 700, down=PAGE),
    Pattern("ping", ("shared-mon",), ("web", "app", "db"), (0,), 240, ICMP, (0, 120), 30, PING, PING),
    Pattern("ping outside in", ("clients",), ("lb",), (0,), 60, ICMP, up=PING, down=PING),
    Pattern("ping v6", ("web-v6",), ("app-v6",), (0,), 50, ICMPV6, up=PING, down=PING),
    Pattern("vpn", ("shared-vpn",), ("vpn-peer",), (0,), 2, ESP, (1800, 7000), 20, PAGE, PAGE),
    Pattern("vpn keys", ("vpn-peer",), ("shared-vpn",), (500,), 12, UDP, up=QUERY, down=QUERY),
    Pattern("media", ("app",), ("web",), (), 60, UDP, (0, 120), 20, Load(40, (160, 220)), Load(40, (160, 220))),
    Pattern("scan", ("scanners",), PUBLIC, ADMIN_PORTS, 2200, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_RECEIVER, skew=2),
    Pattern(
        "port sweep",
        ("scanners",),
        ("edge",),
        tuple(range(1, 1024)),
        400,
        up=SYN_ONLY,
        verdict=Verdict.STOPPED_AT_RECEIVER,
        skew=6,
    ),
    Pattern(
        "scan udp",
        ("scanners",),
        PUBLIC,
        (161, 389, 1900, 11211),
        150,
        UDP,
        up=SYN_ONLY,
        verdict=Verdict.STOPPED_AT_RECEIVER,
    ),
    Pattern("scan nat", ("scanners",), ("nat",), (22, 23, 3389), 120, up=SYN_ONLY, verdict=Verdict.IGNORED),
    Pattern("scan https", ("scanners",), ("lb",), (443,), 60),
    Pattern("scan icmp", ("scanners",), PUBLIC, (0,), 40, ICMP, up=PING, verdict=Verdict.STOPPED_AT_RECEIVER),
    Pattern("web to db", ("web",), ("db",), (3306, 22), 70, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_RECEIVER),
    Pattern("app to cache admin", ("app",), ("cache",), (22,), 40, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_RECEIVER),
    Pattern("batch to app", ("batch",), ("app",), (445,), 40, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_RECEIVER),
    Pattern("ci to db", ("shared-ci",), ("db",), (5432,), 40, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_RECEIVER),
    Pattern("app to edge", ("app",), ("edge",), (21,), 40, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_RECEIVER),
    Pattern("db out", ("db",), ("api",), (443,), 50, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_SENDER, through_nat=True),
    Pattern("app to dns tls", ("app",), ("dns",), (853,), 40, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_SENDER),
    Pattern("edge out", ("edge",), ("clients",), (25,), 40, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_SENDER),
    Pattern("batch out", ("batch",), ("scanners",), (3333,), 20, up=SYN_ONLY, verdict=Verdict.STOPPED_AT_SENDER),
)


@dataclass(frozen=True)
class Conversations(Columns):
    """One row per conversation. `nat` is the gateway's interface or -1; ports are 0 where there are none.

    `wire_port` is the server port as records print it: ICMP's type leaks into it now and then (observed: `0 8`).
    """

    client: Ints
    server: Ints
    client_port: Ints
    server_port: Ints
    wire_port: Ints
    protocol: Ints
    nat: Ints
    nat_port: Ints
    sender_accepts: Ints
    receiver_accepts: Ints
    number: Ints


@dataclass(frozen=True)
class Bursts(Columns):
    """One row per burst: conversation (row of Conversations), direction (0 from the client), second, sums, flags."""

    conversation: Ints
    direction: Ints
    at: Ints
    packets: Ints
    bytes: Ints
    flags: Ints


def generate_traffic(
    spec: SampleSpec, network: Network, *, chunk: int, begin: int, seconds: int, first_number: int
) -> tuple[Conversations, Bursts]:
    """Return the conversations that begin in [begin, begin + seconds), with all of their bursts, however late."""
    conversations: list[Conversations] = [Conversations.empty()]
    bursts: list[Bursts] = [Bursts.empty()]
    rows = 0
    for number, pattern in enumerate(PATTERNS):
        rng = np.random.default_rng([spec.seed, 3, chunk, number])
        count = int(rng.poisson(pattern.per_hour * spec.scale * seconds / 3600))
        if not count:
            continue
        some = _conversations(rng, spec, network, pattern, count=count, first_number=first_number + rows)
        starts = begin + rng.integers(0, seconds, len(some))
        conversations.append(some)
        bursts.append(_bursts(rng, spec, pattern, some, starts=starts, first_row=rows))
        rows += len(some)
    return Conversations.concat(conversations), Bursts.concat(bursts)


def _conversations(
    rng: np.random.Generator, spec: SampleSpec, network: Network, pattern: Pattern, *, count: int, first_number: int
) -> Conversations:
    client = _draw(rng, network, pattern.clients, count, pattern.skew)
    server = _draw(rng, network, pattern.servers, count, 1.0)
    differs = client != server
    client, server = client[differs], server[differs]
    count = len(client)
    zero = np.zeros(count, dtype=np.int64)
    if pattern.protocol in {TCP, UDP}:
        client_port = ints(rng.integers(*pattern.client_ports, count))
        server_port = ints(rng.choice(ints(pattern.ports), count) if pattern.ports else rng.integers(*EPHEMERAL, count))
        wire_port = server_port
    else:
        client_port = server_port = zero
        wire_port = np.where(rng.random(count) < 0.2, 8, 0) if pattern.protocol == ICMP else zero
    nat = network.nat_of[client] if pattern.through_nat else zero - 1
    nat_port = ints(rng.integers(*ANY_HIGH, count)) if pattern.protocol in {TCP, UDP} else zero
    sender_accepts = zero + (pattern.verdict is not Verdict.STOPPED_AT_SENDER)
    receiver_accepts = zero + (pattern.verdict not in {Verdict.STOPPED_AT_SENDER, Verdict.STOPPED_AT_RECEIVER})
    if not spec.ambiguous_rejects:
        receiver_accepts = np.where(
            _counted_twice(network, client, server, sender_accepts, receiver_accepts), 1, receiver_accepts
        )
    return Conversations(
        client=client,
        server=server,
        client_port=client_port,
        server_port=server_port,
        wire_port=ints(wire_port),
        protocol=zero + pattern.protocol,
        nat=nat,
        nat_port=nat_port,
        sender_accepts=sender_accepts,
        receiver_accepts=receiver_accepts,
        number=first_number + np.arange(count, dtype=np.int64),
    )


def _counted_twice(network: Network, client: Ints, server: Ints, sender_accepts: Ints, receiver_accepts: Ints) -> Bools:
    """Whether a receiver whose flow log has REJECT only stops what the sender's flow log has as ACCEPT."""
    source, target = network.interface_of[client], network.interface_of[server]
    only_reject = network.logs_reject[target] & ~network.logs_accept[target]
    is_stopped_late = (sender_accepts == 1) & (receiver_accepts == 0)
    counted_twice: Bools = network.logs_accept[source] & only_reject & is_stopped_late
    return counted_twice


def _draw(rng: np.random.Generator, network: Network, groups: tuple[str, ...], count: int, skew: float) -> Ints:
    """Draw members of the groups; a skew above 1 prefers the first ones, so that there are top talkers."""
    members = np.concatenate([network.groups[name] for name in groups])
    return members[(len(members) * rng.random(count) ** skew).astype(np.int64)]


def _bursts(
    rng: np.random.Generator, spec: SampleSpec, pattern: Pattern, some: Conversations, *, starts: Ints, first_row: int
) -> Bursts:
    count = len(some)
    is_stopped = (some.sender_accepts & some.receiver_accepts) == 0
    if pattern.verdict is Verdict.ALLOWED:
        length = rng.integers(pattern.seconds[0], pattern.seconds[1] + 1, count)
        sizes = ints(1 + length // max(1, pattern.gap))
        gap = pattern.gap
    else:
        sizes = ints(rng.integers(1, 4, count))
        gap = 2
    owner = np.repeat(np.arange(count, dtype=np.int64), sizes)
    position = np.arange(len(owner), dtype=np.int64) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    jitter = np.where(position > 0, rng.integers(0, max(1, gap // 2), len(owner)), 0)
    at = starts[owner] + position * gap + jitter
    is_first: Bools = position == 0
    is_last: Bools = position == sizes[owner] - 1
    flags = np.zeros(len(owner), dtype=np.int64)
    answer_flags = flags
    is_answered: Bools = ~is_stopped & (pattern.verdict is not Verdict.IGNORED)
    if pattern.protocol == TCP:
        closing = np.where(rng.random(len(owner)) < 0.02, FIN | RST, FIN)
        talk = np.where(is_first, SYN, 0) | np.where(is_last, closing, 0)
        flags = ints(np.where(is_answered[owner], talk, SYN))
        answer_flags = ints(np.where(is_first, SYN_ACK, 0) | np.where(is_last, FIN, 0))
    packets, size = _load(rng, pattern.up, len(owner))
    there = Bursts(first_row + owner, np.zeros_like(owner), at, packets, size, flags)
    packets, size = _load(rng, pattern.down, len(owner))
    back = Bursts(
        first_row + owner, np.ones_like(owner), at + rng.integers(0, 2, len(owner)), packets, size, answer_flags
    ).take(is_answered[owner])
    both = Bursts.concat([there, back])
    return both.take(both.at < spec.finish)


def _load(rng: np.random.Generator, load: Load, count: int) -> tuple[Ints, Ints]:
    packets = np.maximum(1, np.round(load.packets * rng.lognormal(0, load.sigma, count))).astype(np.int64)
    return packets, packets * rng.integers(*load.packet_bytes, count)
