"""What interfaces make of the traffic: hops, capture windows, records, NODATA and SKIPDATA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowlake.sample.arrays import Bools, Columns, Ints, ints, mix
from flowlake.sample.network import INTERNET, Network, capture_windows
from flowlake.sample.spec import SampleSpec
from flowlake.sample.traffic import Bursts, Conversations

EGRESS, INGRESS, NO_DIRECTION = 0, 1, 2
ACCEPT, REJECT, NO_ACTION = 0, 1, 2
OK, NODATA, SKIPDATA = 0, 1, 2
NO_PATH = 0
SLOTS = 3
SKIP_SHARE = 0.02
LOST_SHARE = 0.5
LOSSY_HOSTS = frozenset({"web-1", "db-1"})
MARGIN_SECONDS = (150, 240)


@dataclass(frozen=True)
class Hop:
    """One place on the path of a direction's packets, for every conversation: who captures them, and with what values.

    `interface` is -1 where the hop does not exist or has no ENI. `is_attributable`: a record of this hop names the real
    endpoints. `is_logged`: the ENI's flow log logs this verdict.
    """

    interface: Ints
    rejects: Bools
    is_logged: Bools
    is_attributable: Bools
    source: Ints
    target: Ints
    packet_source: Ints
    packet_target: Ints
    source_port: Ints
    target_port: Ints
    direction: Ints
    path: Ints
    neighbour: Ints


@dataclass(frozen=True)
class Records(Columns):
    """Flow log records, as indexes and numbers. -1 stands for `-` in every column."""

    interface: Ints
    sequence: Ints
    start: Ints
    end: Ints
    source: Ints
    target: Ints
    packet_source: Ints
    packet_target: Ints
    source_port: Ints
    target_port: Ints
    protocol: Ints
    packets: Ints
    bytes: Ints
    flags: Ints
    action: Ints
    direction: Ints
    path: Ints
    neighbour: Ints
    status: Ints


def trace(network: Network, some: Conversations, direction: int) -> tuple[Hop, ...]:
    """Return the three hops of a direction's packets, in the order in which the packets cross them.

    Straight: the sender's ENI (egress), the receiver's (ingress). Through a NAT gateway from the client: its own ENI
    (client to server), the gateway's inner leg (client to gateway, packet-level target the server), its outer leg
    (gateway to server, translated port); and the same backwards for the answers, as in AWS' NAT gateway example.
    """
    back = direction == 1
    sender, receiver = (some.server, some.client) if back else (some.client, some.server)
    port, peer = (some.wire_port, some.client_port) if back else (some.client_port, some.wire_port)
    has_nat = some.nat >= 0
    nat = np.where(has_nat, network.own_address[some.nat], -1)
    sender_eni = network.interface_of[sender]
    receiver_eni = network.interface_of[receiver]
    none = np.full(len(some), -1, dtype=np.int64)
    refused_out = some.sender_accepts == 0
    refused_in = ~refused_out & (some.receiver_accepts == 0)
    past_sender = ~refused_out
    never = np.zeros(len(some), dtype=np.bool_)

    def hop(  # noqa: PLR0917 - the values of a record, in a record's order
        interface: Ints,
        rejects: Bools,
        source: Ints,
        target: Ints,
        packet_source: Ints,
        packet_target: Ints,
        ports: tuple[Ints, Ints],
        egress: Bools,
        neighbour: Ints,
        is_outer: Bools,
    ) -> Hop:
        logged = np.where(rejects, network.logs_reject[interface], network.logs_accept[interface])
        is_translated = (source != sender) | (target != receiver)
        attributable = ~is_outer & (~is_translated | network.has_packet_addresses[interface])
        path = np.where(egress, _traffic_path(network, interface, target, is_outer, has_nat), NO_PATH)
        return Hop(
            interface=interface,
            rejects=rejects,
            is_logged=logged & (interface >= 0),
            is_attributable=attributable,
            source=source,
            target=target,
            packet_source=packet_source,
            packet_target=packet_target,
            source_port=ports[0],
            target_port=ports[1],
            direction=np.where(egress, EGRESS, INGRESS),
            path=path,
            neighbour=neighbour,
        )

    out = ~never
    if not back:
        inner_ports, outer_ports = (port, peer), (np.where(some.nat_port > 0, some.nat_port, port), peer)
        next_stop = np.where(has_nat, some.nat, receiver_eni)
        first = hop(sender_eni, refused_out, sender, receiver, sender, receiver, inner_ports, out, next_stop, never)
        second = hop(
            np.where(past_sender, next_stop, -1),
            refused_in,
            sender,
            np.where(has_nat, nat, receiver),
            sender,
            receiver,
            inner_ports,
            never,
            sender_eni,
            never,
        )
        third = hop(
            np.where(has_nat & past_sender, some.nat, -1),
            never,
            nat,
            receiver,
            nat,
            receiver,
            outer_ports,
            out,
            none,
            has_nat,
        )
        return first, second, third
    outer_ports = (port, np.where(some.nat_port > 0, some.nat_port, peer))
    first = hop(
        np.where(has_nat, some.nat, sender_eni),
        never,
        sender,
        np.where(has_nat, nat, receiver),
        sender,
        np.where(has_nat, nat, receiver),
        (port, np.where(has_nat, outer_ports[1], peer)),
        ~has_nat,
        np.where(has_nat, -1, receiver_eni),
        has_nat,
    )
    second = hop(
        np.where(has_nat, some.nat, -1), never, nat, receiver, sender, receiver, (port, peer), out, receiver_eni, never
    )
    third = hop(
        receiver_eni,
        never,
        sender,
        receiver,
        sender,
        receiver,
        (port, peer),
        never,
        np.where(has_nat, some.nat, sender_eni),
        never,
    )
    return first, second, third


def _traffic_path(network: Network, interface: Ints, target: Ints, is_outer: Bools, has_nat: Bools) -> Ints:
    """Return the traffic-path codes: 1 same VPC, 5 peering between regions, 8 internet gateway."""
    vpcs = ints([eni.vpc for eni in network.interfaces] + [-1])
    place = network.place_of[target]
    here = vpcs[interface]
    same = (place == here) | ((place == INTERNET) & has_nat & ~is_outer)
    return np.where(same, 1, np.where(place == INTERNET, 8, 5))


class Capture:
    """The capture windows of every interface, and what they turn bursts into."""

    def __init__(self, spec: SampleSpec, network: Network) -> None:
        """Lay out the windows: they begin a few minutes before the traffic and end a few minutes after it."""
        self.spec = spec
        self.network = network
        self.owner, self.phase, self.period, self.first = capture_windows(spec, network)
        rng = np.random.default_rng([spec.seed, 4])
        count = len(self.owner)
        lead = np.maximum(rng.integers(*MARGIN_SECONDS, count), self.period)
        tail = np.maximum(rng.integers(*MARGIN_SECONDS, count), self.period)
        self.first_window = -(-(spec.begin - lead - self.phase) // self.period)
        self.last_window = (spec.finish + tail - self.phase) // self.period
        self.begin = int((self.phase + self.first_window * self.period).min())
        self.finish = int((self.phase + (self.last_window + 1) * self.period).max())
        self.longest = int(self.period.max())
        self.lost = 0
        self.is_logged = network.flow_log_of[self.owner] >= 0
        self.is_lossy = np.asarray([eni.name in LOSSY_HOSTS for eni in network.interfaces], dtype=np.bool_)
        self.is_nat = np.asarray([eni.is_nat for eni in network.interfaces], dtype=np.bool_)

    def sequence(self, interface: Ints, number: Ints) -> Ints:
        """Return the capture sequence that sees a conversation on an interface: one of three on a NAT gateway."""
        spread = np.where(self.is_nat[interface], mix(number, 11) % 3, 0)
        return self.first[interface] + spread

    def window_start(self, sequence: Ints, at: Ints) -> Ints:
        """Return the first second of the window in which `at` lies."""
        phase, period = self.phase[sequence], self.period[sequence]
        return phase + (at - phase) // period * period

    def records(self, some: Conversations, bursts: Bursts, since: int, until: int) -> Records:
        """Return the records of the windows whose last second lies in [since, until), gaps included."""
        found: list[tuple[Ints, ...]] = []
        hops: list[Hop] = []
        sequences: list[Ints] = []
        for direction in (0, 1):
            mine = np.flatnonzero(bursts.direction == direction)
            for hop in trace(self.network, some, direction):
                sequence = np.where(hop.is_logged, self.sequence(hop.interface, some.number), -1)
                rows = mine[hop.is_logged[bursts.conversation[mine]]]
                conversation = bursts.conversation[rows]
                seen_by = sequence[conversation]
                start = self.window_start(seen_by, bursts.at[rows])
                last = start + self.period[seen_by] - 1
                closed = (last >= since) & (last < until)
                rows, conversation, start = rows[closed], conversation[closed], start[closed]
                code = conversation * (2 * SLOTS) + len(hops)
                found.append((code, start, rows))
                hops.append(hop)
                sequences.append(sequence)
        code = np.concatenate([part[0] for part in found])
        start = np.concatenate([part[1] for part in found])
        rows = np.concatenate([part[2] for part in found])
        traffic = self._aggregate(some, bursts, (code, start, rows), hops=hops, sequences=sequences, since=since)
        gaps = self._gaps(traffic, since, until)
        if self.spec.lossy:
            traffic = self._lose(traffic)
        return Records.concat([traffic, gaps])

    def _aggregate(
        self,
        some: Conversations,
        bursts: Bursts,
        found: tuple[Ints, Ints, Ints],
        *,
        hops: list[Hop],
        sequences: list[Ints],
        since: int,
    ) -> Records:
        code, start, rows = found
        if not len(code):
            return Records.empty()
        base = since - self.longest - 1
        key = (code << 24) | (start - base)
        order = np.argsort(key)
        key, rows = key[order], rows[order]
        begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        code, start = key[begins] >> 24, (key[begins] & 0xFFFFFF) + base
        packets = np.add.reduceat(bursts.packets[rows], begins)
        size = np.add.reduceat(bursts.bytes[rows], begins)
        flags = np.bitwise_or.reduceat(bursts.flags[rows], begins)
        conversation, which = code // (2 * SLOTS), code % (2 * SLOTS)
        columns = {
            name: np.empty(len(code), dtype=np.int64)
            for name in (
                "interface", "sequence", "source", "target", "packet_source", "packet_target", "source_port",
                "target_port", "action", "direction", "path", "neighbour",
            )
        }  # fmt: skip
        for number, hop in enumerate(hops):
            here = np.flatnonzero(which == number)
            whose = conversation[here]
            for name, column in columns.items():
                if name == "sequence":
                    column[here] = sequences[number][whose]
                elif name == "action":
                    column[here] = np.where(hop.rejects[whose], REJECT, ACCEPT)
                else:
                    column[here] = getattr(hop, name)[whose]
        return Records(
            start=start,
            end=start + self.period[columns["sequence"]] - 1,
            protocol=some.protocol[conversation],
            packets=packets,
            bytes=size,
            flags=flags,
            status=np.full(len(code), OK, dtype=np.int64),
            **columns,
        )

    def _gaps(self, traffic: Records, since: int, until: int) -> Records:
        """Return NODATA for every captured window without a record, and SKIPDATA in addition for some."""
        first = np.maximum(self.first_window, -(-(since + 1 - self.phase) // self.period) - 1)
        last = np.minimum(self.last_window, (until - self.phase) // self.period - 1)
        count = np.where(self.is_logged, np.maximum(0, last - first + 1), 0)
        sequence = np.repeat(np.arange(len(count), dtype=np.int64), count)
        window = np.repeat(first, count) + np.arange(len(sequence)) - np.repeat(np.cumsum(count) - count, count)
        start = self.phase[sequence] + window * self.period[sequence]
        busy = np.isin((sequence << 40) | start, (traffic.sequence << 40) | traffic.start)
        empty = _gap_records(self, sequence[~busy], start[~busy], NODATA)
        skipped = self._has_skipdata(sequence, start)
        return Records.concat([empty, _gap_records(self, sequence[skipped], start[skipped], SKIPDATA)])

    def _has_skipdata(self, sequence: Ints, start: Ints) -> Bools:
        owner = self.owner[sequence]
        can = self.is_nat[owner] | (self.is_lossy[owner] & self.spec.lossy)
        chance = mix((sequence << 40) | start, self.spec.seed) % 10_000
        return can & (chance < SKIP_SHARE * 10_000)

    def _lose(self, traffic: Records) -> Records:
        """Drop half of the records of windows with SKIPDATA on the hosts that lose records."""
        hit = self._has_skipdata(traffic.sequence, traffic.start) & self.is_lossy[traffic.interface]
        chance = mix(np.arange(len(traffic), dtype=np.int64) ^ (traffic.start << 20), self.spec.seed + 1) % 1000
        is_lost = hit & (chance < LOST_SHARE * 1000)
        self.lost += int(is_lost.sum())
        return traffic.take(~is_lost)


def _gap_records(capture: Capture, sequence: Ints, start: Ints, status: int) -> Records:
    none = np.full(len(sequence), -1, dtype=np.int64)
    return Records(
        interface=capture.owner[sequence],
        sequence=sequence,
        start=start,
        end=start + capture.period[sequence] - 1,
        source=none,
        target=none,
        packet_source=none,
        packet_target=none,
        source_port=none,
        target_port=none,
        protocol=none,
        packets=none,
        bytes=none,
        flags=none,
        action=none + 1 + NO_ACTION,
        direction=none + 1 + NO_DIRECTION,
        path=none + 1,
        neighbour=none,
        status=none + 1 + status,
    )
