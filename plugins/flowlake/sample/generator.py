"""From a spec to a folder: logs as S3 would hold them, and the truth beside them.

The sample is made in chunks of time, so that memory depends on the traffic of minutes and not on the length of the
sample: bursts that lie ahead, and those in windows that are still open, are carried into the next chunk.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flowlake.sample.arrays import Ints
from flowlake.sample.capture import OK, SKIPDATA, Capture, Records
from flowlake.sample.faults import compress, extra_files, is_spoilable, several_members, spoil
from flowlake.sample.formats import FileFormat
from flowlake.sample.network import Network, build_network
from flowlake.sample.objects import SLOT_SECONDS, arrival_time, folder, object_name
from flowlake.sample.render import Renderer, describe
from flowlake.sample.spec import RECORDS_PER_HOUR, FaultKind, InjectedFault, SampleError, SampleReport, SampleSpec
from flowlake.sample.traffic import Bursts, Conversations, generate_traffic
from flowlake.sample.truth import Truth

CHUNK_RECORDS = 400_000
LATE_SHARE = 0.03
MAX_OBJECT_RECORDS = 250_000
INTERNAL_V6 = "2600:1f18:7a20::/48"

Progress = Callable[[str], None]


def generate(spec: SampleSpec, out: Path, progress: Progress | None = None) -> SampleReport:
    """Write the sample below `out`: `logs/` (a source's root), `truth.parquet` and `network.yaml`.

    Every object's modification time is its LastModified, as S3 would have set it.

    Raises:
        SampleError: when `out/logs` already holds something.
    """
    return _Generation(spec, out, progress or (lambda line: None)).run()


def chunks(spec: SampleSpec, capture: Capture) -> Iterator[tuple[int, int]]:
    """Yield half-open ranges of seconds that cover all capture windows, each about CHUNK_RECORDS records long.

    Whole slots of five minutes where possible; a busier sample cuts finer, and a slot then has several objects, as AWS
    allows itself.
    """
    seconds = int(CHUNK_RECORDS / (RECORDS_PER_HOUR * spec.scale) * 3600)
    seconds = min(3600, seconds // SLOT_SECONDS * SLOT_SECONDS) if seconds >= SLOT_SECONDS else max(5, seconds)
    since = capture.begin // SLOT_SECONDS * SLOT_SECONDS
    until = spec.begin + seconds
    while until < spec.finish:
        yield since, until
        since, until = until, until + seconds
    yield since, capture.finish + 1


class _Generation:
    """One run of the generator: what is counted on the way to its report."""

    def __init__(self, spec: SampleSpec, out: Path, progress: Progress) -> None:
        self.spec = spec
        self.out = out
        self.logs = out / "logs"
        if self.logs.exists() and any(self.logs.iterdir()):
            raise SampleError(f"{self.logs} is not empty: remove it, or choose another folder for the sample")
        self.logs.mkdir(parents=True, exist_ok=True)
        self.progress = progress
        self.network: Network = build_network(spec)
        self.capture = Capture(spec, self.network)
        self.truth = Truth(spec, self.network, self.capture)
        self.renderers = {log.letter: Renderer(self.network, log) for log in self.network.flow_logs}
        self.faults: list[InjectedFault] = []
        self.arrivals: list[int] = []
        self.totals: Counter[str] = Counter()
        self.records_by_log: Counter[str] = Counter()

    def run(self) -> SampleReport:
        waiting = (Conversations.empty(), Bursts.empty())
        first_number = 0
        for chunk, (since, until) in enumerate(chunks(self.spec, self.capture)):
            begin, finish = max(since, self.spec.begin), min(until, self.spec.finish)
            fresh = generate_traffic(
                self.spec,
                self.network,
                chunk=chunk,
                begin=begin,
                seconds=max(0, finish - begin),
                first_number=first_number,
            )
            first_number += len(fresh[0])
            self.truth.add(*fresh)
            some, bursts = _join(waiting, fresh)
            active = bursts.take(bursts.at < until)
            self._write(self.capture.records(some, active, since, until), chunk)
            waiting = _carry(some, bursts.take(bursts.at + self.capture.longest > until))
            at = f"{datetime.fromtimestamp(min(until, self.spec.finish), UTC):%Y-%m-%dT%H:%M}"
            self.progress(f"up to {at}: {self.totals['records']:,} records in {self.totals['objects']:,} objects")
        if self.spec.faults:
            for extra in extra_files(self.spec, self.network, self.renderers):
                self._put(extra.key, extra.content, extra.slot, can_be_late=False)
                self.faults.append(InjectedFault(extra.kind, extra.key, 1))
                self.totals["gaps"] += extra.gaps
        rows = self.truth.write(self.out / "truth.parquet")
        self._write_network()
        return self._report(rows)

    def _write(self, records: Records, chunk: int) -> None:
        """Cut a chunk's records into objects: flow log, five minutes of their end time."""
        log = self.network.flow_log_of[records.interface]
        slot = records.end // SLOT_SECONDS
        base = int(slot.min()) if len(slot) else 0
        order = np.argsort(
            (log << 60)
            | ((slot - base) << 45)
            | ((records.start - (base - 3) * SLOT_SECONDS) << 16)
            | records.sequence,
            kind="stable",
        )
        records, log, slot = records.take(order), log[order], slot[order]
        self._count(records)
        for index, flow_log in enumerate(self.network.flow_logs):
            begin, end = (int(place) for place in np.searchsorted(log, [index, index + 1]))
            if begin < end:
                mine = records.slice(begin, end)
                self.records_by_log[flow_log.letter] += int((mine.status == OK).sum())
                if flow_log.file_format is FileFormat.PARQUET:
                    self._write_parquet(self.renderers[flow_log.letter], mine, slot[begin:end], chunk)
                else:
                    self._write_text(self.renderers[flow_log.letter], mine, slot[begin:end], chunk)

    def _write_text(self, renderer: Renderer, records: Records, slots: Ints, chunk: int) -> None:
        flow_log = renderer.flow_log
        data, places = renderer.lines(records)
        for slot, part, begin, end in _pieces(slots, chunk):
            body = data[int(places[begin]) : int(places[end])]
            text = b"".join([renderer.header, body])
            key = str(folder(flow_log, slot, self.spec.prefix) / object_name(flow_log, slot, self.spec.seed, part))
            members = 1
            if self.spec.faults and is_spoilable(flow_log) and part.endswith("/0"):
                text, counts = spoil(text, renderer.header, self.spec, flow_log, slot)
                self.faults += [InjectedFault(kind, key, count) for kind, count in counts.items()]
                if several_members(self.spec, flow_log, slot):
                    members = 3
                    self.faults.append(InjectedFault(FaultKind.SEVERAL_GZIP_MEMBERS, key, members))
            self._put(key, compress(text, members), slot)

    def _write_parquet(self, renderer: Renderer, records: Records, slots: Ints, chunk: int) -> None:
        flow_log = renderer.flow_log
        for slot, part, begin, end in _pieces(slots, chunk):
            key = str(folder(flow_log, slot, self.spec.prefix) / object_name(flow_log, slot, self.spec.seed, part))
            self._put(key, renderer.parquet(records.slice(begin, end)), slot)

    def _put(self, key: str, content: bytes, slot: int, *, can_be_late: bool = True) -> None:
        path = self.logs / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        share = LATE_SHARE if self.spec.faults and can_be_late else 0.0
        arrival, is_late = arrival_time(path.name, slot, self.spec.seed, share, self.spec.finish)
        os.utime(path, (arrival, arrival))
        self.arrivals.append(arrival)
        self.totals["objects"] += 1
        self.totals["bytes"] += len(content)
        if is_late:
            self.faults.append(InjectedFault(FaultKind.LATE_OBJECT, key, 1, f"{(arrival - slot) // 60} minutes"))

    def _count(self, records: Records) -> None:
        good = records.status == OK
        self.totals["records"] += int(good.sum())
        self.totals["gaps"] += int((~good).sum())
        self.totals["record_packets"] += int(records.packets[good].sum())
        self.totals["record_bytes"] += int(records.bytes[good].sum())
        skipped = np.bincount(records.interface[records.status == SKIPDATA], minlength=len(self.network.interfaces))
        for number in np.flatnonzero(skipped):
            self.totals[f"skipped {self.network.interfaces[number].interface_id}"] += int(skipped[number])

    def _report(self, truth_rows: int) -> SampleReport:
        skipped = {name.split()[1]: count for name, count in self.totals.items() if name.startswith("skipped ")}
        faults = [InjectedFault(FaultKind.SKIPDATA, eni, count) for eni, count in sorted(skipped.items())]
        if self.capture.lost:
            faults.append(InjectedFault(FaultKind.LOST_RECORDS, "all interfaces", self.capture.lost))
        return SampleReport(
            logs=self.logs,
            truth=self.out / "truth.parquet",
            network=self.out / "network.yaml",
            objects=self.totals["objects"],
            records=self.totals["records"],
            gap_records=self.totals["gaps"],
            bytes=self.totals["bytes"],
            truth_rows=truth_rows,
            record_packets=self.totals["record_packets"],
            record_bytes=self.totals["record_bytes"],
            true_packets=self.truth.true_packets,
            true_bytes=self.truth.true_bytes,
            first_arrival=_hour(min(self.arrivals)),
            last_arrival=_hour(max(self.arrivals)),
            flow_logs=dict(self.records_by_log),
            faults=tuple(self.faults + faults),
        )

    def _write_network(self) -> None:
        network = self.network
        facts: dict[str, Any] = {
            "settings": {
                "nat_gateways": [eni.interface_id for eni in network.interfaces if eni.is_nat],
                "internal_cidrs": ["10.0.0.0/8", INTERNAL_V6],
                "device_names": {
                    network.addresses[index]: eni.name
                    for eni in network.interfaces
                    for index in (eni.address, eni.address_v6)
                    if index is not None
                },
            },
            "nat_addresses": [network.addresses[eni.address] for eni in network.interfaces if eni.is_nat],
            "flow_logs": [describe(flow_log) for flow_log in network.flow_logs],
            "interfaces": [
                {
                    "interface_id": eni.interface_id,
                    "name": eni.name,
                    "address": network.addresses[eni.address],
                    "address_v6": None if eni.address_v6 is None else network.addresses[eni.address_v6],
                    "vpc_id": network.vpc_ids[eni.vpc],
                    "is_nat_gateway": eni.is_nat,
                    "flow_log": None if eni.flow_log is None else network.flow_logs[eni.flow_log].letter,
                }
                for eni in network.interfaces
            ],
        }
        text = yaml.safe_dump(facts, sort_keys=False, width=120)
        (self.out / "network.yaml").write_text(text, encoding="utf-8")


def _pieces(slots: Ints, chunk: int) -> Iterator[tuple[int, str, int, int]]:
    """Yield (slot's Unix time, part's name, first row, last row + 1) of each object."""
    cuts = [0, *(int(place) + 1 for place in np.flatnonzero(np.diff(slots))), len(slots)]
    for begin, end in pairwise(cuts):
        for number, low in enumerate(range(begin, end, MAX_OBJECT_RECORDS)):
            yield int(slots[begin]) * SLOT_SECONDS, f"{chunk}/{number}", low, min(low + MAX_OBJECT_RECORDS, end)


def _join(waiting: tuple[Conversations, Bursts], fresh: tuple[Conversations, Bursts]) -> tuple[Conversations, Bursts]:
    moved = replace(fresh[1], conversation=fresh[1].conversation + len(waiting[0]))
    return Conversations.concat([waiting[0], fresh[0]]), Bursts.concat([waiting[1], moved])


def _carry(some: Conversations, bursts: Bursts) -> tuple[Conversations, Bursts]:
    """Keep only the conversations that still have bursts."""
    used, renumbered = np.unique(bursts.conversation, return_inverse=True)
    return some.take(used), replace(bursts, conversation=renumbered.astype(np.int64))


def _hour(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds // 3600 * 3600, UTC)
