"""The truth: who sent how much to whom, in which hour, let in or not. From the traffic, never from records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flowlake.sample.arrays import Bools, Columns, Ints, ints, mix
from flowlake.sample.arrow import flags, numbers, texts
from flowlake.sample.capture import Capture, trace
from flowlake.sample.network import Network
from flowlake.sample.spec import SampleSpec
from flowlake.sample.traffic import EPHEMERAL, TCP, UDP, Bursts, Conversations

ROLES = ("client", "server", "peer")
ACTIONS = ("ACCEPT", "REJECT")
SUMS = ("packets", "bytes", "crossing_packets", "crossing_bytes")
# How many partial rows may wait before they are folded together; bounds the memory of long samples.
FOLD_ROWS = 4_000_000


@dataclass(frozen=True)
class Rows(Columns):
    """Sums by key: hour (counted from the start), ends (source and destination address), kind (the rest, packed)."""

    hour: Ints
    ends: Ints
    kind: Ints
    packets: Ints
    bytes: Ints
    crossing_packets: Ints
    crossing_bytes: Ints


class Truth:
    """Collects bursts into rows of the truth.

    A row is a true hour, source, destination, protocol, service port, role of the source and action. The action is the
    verdict of the last ENI on the packet's path that logs its verdict; where none does (or none can name the real
    endpoints) the row is not `observed` and says what really happened.
    """

    def __init__(self, spec: SampleSpec, network: Network, capture: Capture) -> None:
        """Start with no rows."""
        self.spec = spec
        self.network = network
        self.capture = capture
        self.parts: list[Rows] = [Rows.empty()]
        self.waiting = 0
        self.true_packets = 0
        self.true_bytes = 0

    def add(self, some: Conversations, bursts: Bursts) -> None:
        """Count the bursts of new conversations, each once."""
        for direction in (0, 1):
            mine = bursts.take(bursts.direction == direction)
            if len(mine):
                self._add_direction(some, mine, direction)
        if self.waiting > FOLD_ROWS:
            rows = Rows.concat(self.parts)
            self.parts = [_fold(rows, _by_hash(rows))]
            self.waiting = len(self.parts[0])

    def _add_direction(self, some: Conversations, bursts: Bursts, direction: int) -> None:
        count = len(some)
        rejected = np.zeros(count, dtype=np.bool_)
        observed = np.zeros(count, dtype=np.bool_)
        really_rejected = (some.sender_accepts & some.receiver_accepts) == 0
        begins_earlier = np.zeros(len(bursts), dtype=np.bool_)
        hour = (bursts.at - self.spec.begin) // 3600
        for hop in trace(self.network, some, direction):
            counts = hop.is_logged & hop.is_attributable
            rejected = np.where(counts, hop.rejects, rejected)
            observed |= counts
            begins_earlier |= self._begins_earlier(some, bursts, hop.interface, counts, hour)
        action = np.where(observed, rejected, really_rejected)
        sender, receiver = (some.server, some.client) if direction else (some.client, some.server)
        is_nat = self.network.is_nat_address[sender] | self.network.is_nat_address[receiver]
        delivered = ~really_rejected & ~is_nat
        has_service = ((some.protocol == TCP) | (some.protocol == UDP)) & (some.server_port < EPHEMERAL[0])
        port = np.where(has_service, some.server_port, 0)
        role = np.where(has_service, direction, 2)
        ends = (sender << 32) | receiver
        kind = (
            (some.protocol << 40)
            | (port << 16)
            | (role << 4)
            | (action << 3)
            | (delivered << 2)
            | (observed << 1)
            | is_nat
        )
        whose = bursts.conversation
        packets, size = bursts.packets, bursts.bytes
        early = np.flatnonzero(begins_earlier)
        crossing = np.where(begins_earlier, packets, 0), np.where(begins_earlier, size, 0)
        rows = Rows(hour, ends[whose], ints(kind)[whose], packets, size, *crossing)
        gained = replace(
            rows.take(early), hour=hour[early] - 1, packets=np.zeros_like(early), bytes=np.zeros_like(early)
        )
        for part in (rows, gained):
            folded = _fold(part, _by_hash(part))
            self.parts.append(folded)
            self.waiting += len(folded)
        is_counted = observed[whose] & ~is_nat[whose]
        self.true_packets += int(packets[is_counted].sum())
        self.true_bytes += int(size[is_counted].sum())

    def _begins_earlier(self, some: Conversations, bursts: Bursts, interface: Ints, counts: Bools, hour: Ints) -> Bools:
        sequence = np.where(counts, self.capture.sequence(interface, some.number), 0)[bursts.conversation]
        start = self.capture.window_start(sequence, bursts.at)
        return counts[bursts.conversation] & ((start - self.spec.begin) // 3600 < hour)

    def write(self, path: Path) -> int:
        """Write the truth as Parquet, sorted by its key; return the number of rows.

        Columns: hour TIMESTAMP (UTC, naive), src_device_id, dst_device_id, protocol, service_port, src_role, action,
        let_in, packets, bytes, observed, is_nat_endpoint, crossing_packets, crossing_bytes. Rows with 0 packets say
        that a window that begins in this hour holds packets of the next one.
        """
        rows = Rows.concat(self.parts)
        rows = _fold(rows, _by_key(rows))
        ends, kind = rows.ends, rows.kind
        addresses = texts(self.network.addresses)
        columns = {
            "hour": numbers((rows.hour * 3600 + self.spec.begin) * 1_000_000).cast(pa.timestamp("us")),
            "src_device_id": addresses.take(numbers(ends >> 32)),
            "dst_device_id": addresses.take(numbers(ends & 0xFFFFFFFF)),
            "protocol": numbers(kind >> 40).cast(pa.int32()),
            "service_port": numbers((kind >> 16) & 0xFFFF).cast(pa.int32()),
            "src_role": texts(ROLES).take(numbers((kind >> 4) & 3)),
            "action": texts(ACTIONS).take(numbers((kind >> 3) & 1)),
            "let_in": flags((kind & 4) > 0),
            "packets": numbers(rows.packets),
            "bytes": numbers(rows.bytes),
            "observed": flags((kind & 2) > 0),
            "is_nat_endpoint": flags((kind & 1) > 0),
            "crossing_packets": numbers(rows.crossing_packets),
            "crossing_bytes": numbers(rows.crossing_bytes),
        }
        pq.write_table(pa.table(columns), path, compression="zstd")
        return len(rows)


def _fold(rows: Rows, order: Ints) -> Rows:
    """Sum the rows of one key, taken in an order in which they stand together."""
    if not len(rows):
        return rows
    rows = rows.take(order)
    changes = (np.diff(rows.hour) != 0) | (np.diff(rows.ends) != 0) | (np.diff(rows.kind) != 0)
    begins = np.concatenate([[0], np.flatnonzero(changes) + 1])
    sums = {name: np.add.reduceat(getattr(rows, name), begins) for name in SUMS}
    return replace(rows.take(begins), **sums)


def _by_hash(rows: Rows) -> Ints:
    """Return an order that brings equal keys together fast; should hashes collide, a key merely has two rows."""
    return ints(np.argsort(mix(rows.ends, 1) ^ mix(rows.kind, 2) ^ mix(rows.hour, 3)))


def _by_key(rows: Rows) -> Ints:
    return ints(np.lexsort((rows.kind, rows.ends, rows.hour)))
