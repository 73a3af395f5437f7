"""Random sets of flow-log objects: small, hostile, and the same for the same seed.

A third of the worlds are samples of the generator (real networks: NAT, several flow logs, late and broken objects) of
which some objects are taken away and some come hours later. The others are made here, of few addresses and interfaces
whose records contradict each other: what is learnt about an interface changes with every object, and the order in which
it is learnt must not matter. In half of them a Transit Gateway logs beside the interfaces; in a third some objects lie
there twice.
"""

from __future__ import annotations

import gzip
import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flowlake.lake.windows import Window
from flowlake.records.fields import TGW_DEFAULT_HEADER
from flowlake.sample import SampleSpec, generate
from gateway_logs import ATTACHMENTS, DIRECTIONS, UNDIRECTED_HEADER, crossings, quiet_line

HOUR = 3600

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)

GATES = {"max_malformed_share": 1.0, "silent_flow_log": "warn", "max_event_ahead_minutes": 1440}
"""Nothing that is random here fails a gate; a history says where one does."""

PLAIN = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)
DETAILED = f"{PLAIN} vpc-id tcp-flags type pkt-srcaddr pkt-dstaddr flow-direction"
TURNED = "end start bytes packets action log-status interface-id dstaddr srcaddr protocol dstport srcport tcp-flags"


@dataclass(frozen=True)
class LogObject:
    """An object as it is in the end. `earlier`: where it lay before it was overwritten, if it was (its old content)."""

    key: str
    content: bytes
    arrived: int
    earlier: LogObject | None = None

    @property
    def hour(self) -> int:
        return self.arrived // HOUR

    def write(self, logs: Path) -> None:
        path = logs / self.key
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(self.content)
        os.utime(beside, (self.arrived, self.arrived))
        beside.replace(path)


@dataclass(frozen=True)
class World:
    """All objects that a history is about, the settings of its lakes, and the hours (since 1970) in which they came."""

    kind: str
    objects: tuple[LogObject, ...]
    hours: range
    settings: Mapping[str, object] = field(default_factory=dict)

    def window(self, first: int, last: int) -> Window:
        """The window of the hours from `first` to before `last`, counted from the world's first hour."""
        start, end = self.hours[0] + first, self.hours[0] + last
        return Window(datetime.fromtimestamp(start * HOUR, UTC), datetime.fromtimestamp(end * HOUR, UTC))

    @property
    def whole(self) -> Window:
        return self.window(0, len(self.hours))


def make_world(seed: str) -> World:
    """The world of a seed."""
    chance = random.Random(f"world {seed}")  # noqa: S311 - a seed, not a secret
    make = chance.choice([_sampled, _contradictory, _contradictory])
    objects = sorted(make(chance), key=lambda item: item.key)
    if chance.random() < 0.3:
        objects = [_maybe_overwritten(chance, item) for item in objects]
    # With chances of its own: worlds are what they were without it.
    gateway = random.Random(f"gateway {seed}")  # noqa: S311 - a seed, not a secret
    if gateway.random() < 0.5:
        hours = sorted(item.hour for item in objects)
        objects += [
            _maybe_overwritten(gateway, item) for item in gateway_objects(gateway, range(hours[0], hours[-1] + 1))
        ]
    copier = random.Random(f"copies {seed}")  # noqa: S311 - a seed, not a secret
    if copier.random() < 0.3:
        objects += [_copied(copier, item) for item in objects if copier.random() < 0.2]
    came = {item.hour for item in objects} | {item.earlier.hour for item in objects if item.earlier}
    # An hour before the first object and one after the last one may be run too.
    first, last = min(came) - chance.randrange(2), max(came) + 1 + chance.randrange(2)
    settings: dict[str, object] = {"gates": GATES}
    if chance.random() < 0.3:
        settings["nat_gateways"] = chance.sample(["10.0.0.1", "10.0.0.2", "eni-00000000000000001"], 1)
    if chance.random() < 0.3:
        settings["overlapping_cidrs"] = ["10.0.0.0/30"]
    if chance.random() < 0.3:
        settings["device_names"] = {"10.0.0.1": "one", "203.0.113.1": "it's {{ two }}"}
    return World(make.__name__.strip("_"), tuple(objects), range(first, last), settings)


def sampled_world(spec: SampleSpec) -> World:
    """A sample of the generator as it is; but one object in ten is overwritten an hour later."""
    chance = random.Random(f"sample {spec.seed}")  # noqa: S311 - a seed, not a secret
    objects = tuple(_overwritten(item, 1, item.content) if chance.random() < 0.1 else item for item in _objects(spec))
    hours = {item.hour for item in objects}
    return World("sample", objects, range(min(hours), max(hours) + 1), {"gates": GATES})


def _overwritten(item: LogObject, hours: int, before: bytes) -> LogObject:
    return replace(item, arrived=item.arrived + hours * HOUR, earlier=replace(item, content=before))


def _copied(chance: random.Random, item: LogObject) -> LogObject:
    """What the object holds in the end, below another prefix and some hours before or after it."""
    arrived = item.arrived + chance.choice([-HOUR, 60, 60, HOUR, 5 * HOUR])
    return LogObject(f"copied/{item.key}", item.content, arrived)


def _maybe_overwritten(chance: random.Random, item: LogObject) -> LogObject:
    """One in ten is overwritten some hours after it came, whole or cut off."""
    if chance.random() > 0.1:
        return item
    content = chance.choice([item.content, item.content, item.content[: len(item.content) // 2]])
    return _overwritten(item, chance.randint(1, 3), content)


def _sampled(chance: random.Random) -> Iterator[LogObject]:
    spec = SampleSpec(
        seed=chance.randrange(10**6),
        start=FIRST_DAY + timedelta(hours=chance.choice([9, 22, 23])),
        hours=chance.randint(1, 3),
        scale=chance.choice([0.001, 0.003, 0.01]),
        faults=chance.random() < 0.8,
        random_logging=chance.random() < 0.7,
        slow_interface=chance.random() < 0.3,
        lossy=chance.random() < 0.3,
        ambiguous_rejects=chance.random() < 0.3,
    )
    kept = chance.choice([1.0, 0.6, 0.2])
    delayed = chance.choice([0.0, 0.1, 0.3])
    for item in _objects(spec):
        late = HOUR * chance.randint(1, 4) if chance.random() < delayed else 0
        if chance.random() < kept:
            yield replace(item, arrived=item.arrived + late)


def _objects(spec: SampleSpec) -> Iterator[LogObject]:
    with tempfile.TemporaryDirectory() as folder:
        logs = generate(spec, Path(folder)).logs
        for path in sorted(path for path in logs.rglob("*") if path.is_file()):
            yield LogObject(str(path.relative_to(logs)), path.read_bytes(), int(path.stat().st_mtime))


@dataclass(frozen=True)
class _FlowLog:
    name: str
    account: str
    header: str
    actions: tuple[str, ...]
    interfaces: tuple[int, ...]
    is_hive: bool


ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "172.16.0.9", "203.0.113.1", "198.51.100.7")
ADDRESSES_V6 = ("2600:1f18::1", "2600:1f18::2", "fd00::3", "2001:db8::4")


def _contradictory(chance: random.Random) -> Iterator[LogObject]:
    interfaces = range(1, chance.randint(2, 6))
    logs = [
        _FlowLog(
            name=f"fl-{number:017x}",
            account=chance.choice(["111122223333", "444455556666"]),
            header=chance.choice([PLAIN, PLAIN, DETAILED, TURNED]),
            actions=chance.choice([("ACCEPT", "REJECT"), ("ACCEPT", "REJECT"), ("REJECT",), ("ACCEPT",)]),
            interfaces=tuple(chance.sample(interfaces, chance.randint(1, len(interfaces)))),
            is_hive=chance.random() < 0.4,
        )
        for number in range(1, chance.randint(2, 5))
    ]
    start = FIRST_DAY + timedelta(hours=chance.choice([10, 21, 23]))
    hours = chance.randint(2, 5)
    first = int(start.timestamp())
    gap = chance.choice([0, 0, 26]) * HOUR
    noise = chance.choice([0.0, 0.05, 0.3])
    for number in range(chance.randint(4, 24)):
        log = chance.choice(logs)
        named = first + chance.randrange(hours * 12) * 300
        if gap and chance.random() < 0.3:
            named += gap
        late = HOUR * chance.randint(1, 5) if chance.random() < 0.25 else 0
        content = _object(chance, log, named, noise)
        yield LogObject(_key(log, named, number), content, named + chance.randint(301, 900) + late)


def gateway_objects(chance: random.Random, hours: range) -> Iterator[LogObject]:
    """Logs of a Transit Gateway that come in these hours: of all attachments, of one, and in a format of little."""
    logs = [
        _FlowLog(f"fl-{number:017x}", "111122223333", header, (), (), is_hive=False)
        for number, header in enumerate((TGW_DEFAULT_HEADER, TGW_DEFAULT_HEADER, UNDIRECTED_HEADER), 0x700)
    ]
    logged = dict(zip(logs, (ATTACHMENTS, ATTACHMENTS[1:2], ATTACHMENTS[:2]), strict=True))
    for number in range(chance.randint(2, 9)):
        log = chance.choice(logs)
        arrived = chance.choice(hours) * HOUR + chance.randrange(600, HOUR)
        start = arrived - 600 - chance.choice([0, 0, 0, HOUR, 30 * HOUR])
        lines = [
            crossing.line(direction, log.header)
            for crossing in crossings(chance, range(start, start + 240), chance.choice([0, 1, 5, 20]))
            for direction in DIRECTIONS
            if crossing.logged_by(direction) in logged[log]
        ]
        if chance.random() < 0.3:
            attachment, status = chance.choice(logged[log]), chance.choice(["NODATA", "SKIPDATA"])
            lines.append(quiet_line(attachment, status, start, log.header))
        content = gzip.compress("".join(f"{line}\n" for line in (log.header, *lines)).encode(), mtime=0)
        yield LogObject(_key(log, arrived - 600, number), content, arrived)


def _key(log: _FlowLog, named: int, number: int) -> str:
    at, region = datetime.fromtimestamp(named, UTC), "us-east-1"
    if log.is_hive:
        folder = (
            f"aws-account-id={log.account}/aws-service=vpcflowlogs/aws-region={region}/year={at:%Y}/month={at:%m}/"
            f"day={at:%d}/hour={at:%H}"
        )
    else:
        folder = f"{log.account}/vpcflowlogs/{region}/{at:%Y/%m/%d}"
    return f"AWSLogs/{folder}/{log.account}_vpcflowlogs_{region}_{log.name}_{at:%Y%m%dT%H%MZ}_{number:08x}.log.gz"


def _object(chance: random.Random, log: _FlowLog, named: int, noise: float) -> bytes:
    lines = [log.header]
    for _ in range(chance.choice([0, 1, 3, 10, 30])):
        lines.append(_line(chance, log, named, noise))
        if chance.random() < 0.05:
            lines.append(
                chance.choice(["", log.header, "2 not a record", "\u00e9'\"; {{ drop }}", lines[-1] + " more"])
            )
    end = "\n" if chance.random() < 0.8 else ""
    packed = gzip.compress(("\n".join(lines) + end).encode(), mtime=0)
    if chance.random() < 0.05:
        packed += gzip.compress(f"{lines[-1]}\n".encode(), mtime=0)
    return chance.choice([packed[: len(packed) // 2], b"", b"no gzip"]) if chance.random() < 0.05 else packed


def _line(chance: random.Random, log: _FlowLog, named: int, noise: float) -> str:
    interface = chance.choice(log.interfaces)
    # Most records are of the last minutes; some of earlier hours, which the window then restates.
    ago = chance.choice([0, 0, 0, 0, 0, HOUR, 3 * HOUR, 30 * HOUR]) if chance.random() < 0.3 else 0
    start = named - ago + chance.randrange(240)
    shared = {
        "version": "2",
        "account-id": log.account,
        "interface-id": f"eni-{interface:017x}",
        "start": str(start),
        "end": str(start + chance.choice([0, 30, 59])),
        "vpc-id": f"vpc-{interface % 2:08x}",
    }
    fields = log.header.split(" ")
    status = chance.choices(["OK", "NODATA", "SKIPDATA"], [20, 1, 1])[0]
    if status != "OK":
        return " ".join({**shared, "log-status": status}.get(name, "-") for name in fields)
    pool = ADDRESSES_V6 if chance.random() < 0.15 else ADDRESSES
    own, other = pool[interface % len(pool)], chance.choice(pool)
    if chance.random() < noise:
        own = chance.choice(pool)
    is_egress = chance.random() < 0.5
    source, target = (own, other) if is_egress else (other, own)
    ports = [chance.choice([22, 443, 443, 3306, 8080]), chance.choice([33000, 40001, 51515])]
    chance.shuffle(ports)
    record = {
        **shared,
        "srcaddr": source,
        "dstaddr": target,
        "srcport": str(ports[0]),
        "dstport": str(ports[1]),
        "protocol": chance.choice(["6", "6", "6", "17", "1"]),
        "packets": str(chance.randint(1, 50)),
        "bytes": str(chance.randint(40, 60000)),
        "action": chance.choice(log.actions),
        "log-status": "OK",
        "tcp-flags": chance.choice(["0", "2", "18", "19", "3", "1", "4"]),
        "type": "IPv6" if ":" in source else "IPv4",
        "pkt-srcaddr": source if chance.random() < 0.8 else chance.choice(pool),
        "pkt-dstaddr": target if chance.random() < 0.8 else chance.choice(pool),
        "flow-direction": "egress" if is_egress else "ingress",
    }
    return " ".join(record[name] for name in fields)
