"""The truth: who sent how much to whom, in which hour, let in or not. From the traffic, never from records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flowlake.sample.arrays import Bools, Ints, ints
from flowlake.sample.capture import Capture, trace
from flowlake.sample.network import Network
from flowlake.sample.spec import SampleSpec
from flowlake.sample.traffic import EPHEMERAL, TCP, UDP, Bursts, Conversations

ROLES = ("client", "server", "peer")
ACTIONS = ("ACCEPT", "REJECT")
SUMS = ("packets", "bytes", "crossing_packets", "crossing_bytes")
# How many partial rows may wait before they are folded together; bounds the memory of long samples.
FOLD_ROWS = 4_000_000


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
        self.parts: list[pa.Table] = []
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
            self.parts = [_fold(self.parts)]
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
        nothing = np.zeros_like(packets)
        columns = (hour, ends[whose], ints(kind)[whose])
        early = begins_earlier
        self._part(columns, (packets, size, np.where(early, packets, 0), np.where(early, size, 0)))
        gained = (hour[early] - 1, columns[1][early], columns[2][early])
        self._part(gained, (nothing[early], nothing[early], packets[early], size[early]))
        is_counted = observed[whose] & ~is_nat[whose]
        self.true_packets += int(packets[is_counted].sum())
        self.true_bytes += int(size[is_counted].sum())

    def _begins_earlier(self, some: Conversations, bursts: Bursts, interface: Ints, counts: Bools, hour: Ints) -> Bools:
        sequence = np.where(counts, self.capture.sequence(interface, some.number), 0)[bursts.conversation]
        start = self.capture.window_start(sequence, bursts.at)
        return counts[bursts.conversation] & ((start - self.spec.begin) // 3600 < hour)

    def _part(self, keys: tuple[Ints, Ints, Ints], sums: tuple[Ints, Ints, Ints, Ints]) -> None:
        columns = dict(zip(("hour", "ends", "kind"), keys, strict=True)) | dict(zip(SUMS, sums, strict=True))
        folded = _fold([pa.table(columns)])
        self.parts.append(folded)
        self.waiting += len(folded)

    def write(self, path: Path) -> int:
        """Write the truth as Parquet, sorted by its key; return the number of rows.

        Columns: hour TIMESTAMP (UTC, naive), src_device_id, dst_device_id, protocol, service_port, src_role, action,
        let_in, packets, bytes, observed, is_nat_endpoint, crossing_packets, crossing_bytes. Rows with 0 packets say
        that a window that begins in this hour holds packets of the next one.
        """
        table = _fold(self.parts)
        hour, ends, kind = (table[name].to_numpy() for name in ("hour", "ends", "kind"))
        order = np.lexsort((kind, ends, hour))
        hour, ends, kind = hour[order], ends[order], kind[order]
        addresses = pa.array(self.network.addresses)
        columns = {
            "hour": pa.array((hour * 3600 + self.spec.begin) * 1_000_000).cast(pa.timestamp("us")),
            "src_device_id": addresses.take(pa.array(ends >> 32)),
            "dst_device_id": addresses.take(pa.array(ends & 0xFFFFFFFF)),
            "protocol": pa.array(kind >> 40, pa.int32()),
            "service_port": pa.array((kind >> 16) & 0xFFFF, pa.int32()),
            "src_role": pa.array(ROLES).take(pa.array((kind >> 4) & 3)),
            "action": pa.array(ACTIONS).take(pa.array((kind >> 3) & 1)),
            "let_in": pa.array((kind & 4) > 0),
            "packets": pa.array(table["packets"].to_numpy()[order]),
            "bytes": pa.array(table["bytes"].to_numpy()[order]),
            "observed": pa.array((kind & 2) > 0),
            "is_nat_endpoint": pa.array((kind & 1) > 0),
            "crossing_packets": pa.array(table["crossing_packets"].to_numpy()[order]),
            "crossing_bytes": pa.array(table["crossing_bytes"].to_numpy()[order]),
        }
        pq.write_table(pa.table(columns), path, compression="zstd")
        return len(order)


def _fold(parts: list[pa.Table]) -> pa.Table:
    """Sum the partial rows of one key; one thread, because its order must not depend on luck."""
    if not parts:
        return pa.table({name: pa.array([], pa.int64()) for name in ("hour", "ends", "kind", *SUMS)})
    grouped = (
        pa.concat_tables(parts)
        .group_by(["hour", "ends", "kind"], use_threads=False)
        .aggregate([(name, "sum") for name in SUMS])
    )
    names = {f"{name}_sum": name for name in SUMS}
    return grouped.rename_columns([names.get(name, name) for name in grouped.column_names]).select(
        ["hour", "ends", "kind", *SUMS]
    )
