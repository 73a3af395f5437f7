"""Thirty days of logs of which every record is an edge of its hour, and three busier hours after them.

Servers, each with an interface and one address; clients outside and in another account's network. Most clients come
every hour, some are never seen before. A request and its reply are logged once each, by the server's interface, so
plain sums over the text are the truth, and the marts must say the same.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.inputs import Bench, Logs, is_made, mark_made, write_settings
from flowlake.lake.windows import Window
from flowlake.sample.arrow import numbers, texts
from flowlake.sample.faults import compress
from flowlake.sample.network import sample_flow_logs
from flowlake.sample.objects import SLOT_SECONDS, folder, object_name

DAYS = 30
START = datetime(2026, 10, 1, tzinfo=UTC)
PAIRS = 15_000
"""Pairs of client and server in an hour; each has a request, and 7 of 8 a reply."""

BUSY_PAIRS = 53_334
"""Likewise in the hours that are measured: 100,000 records."""

BUSY_HOURS = 3
SERVERS = 499
KNOWN_CLIENTS = 20_011
NEW_SHARE = 15
"""One of so many pairs has a client that was never seen before."""

SERVICES = (443, 443, 443, 80, 22, 53, 3306, 5432, 6379, 8443)
SEED = 7
VERSION = 1
"""Counts up when the logs change, so that older ones are made again."""


def obtain_history(bench: Bench, name: str = "history", *, pairs: int = PAIRS, busy: int = BUSY_PAIRS) -> Logs:
    """The logs; `window` and `records` are those of one of the busy hours.

    `pairs` are those of an hour of the history, `busy` those of the hours after it.
    """
    root = bench.folder / name
    pairs, busy = bench.scaled(pairs), bench.scaled(busy)
    facts = {"pairs": pairs, "busy": busy, "days": DAYS, "version": VERSION}
    known = is_made(root, facts)
    if not known:
        bench.say(f"making {DAYS} days of logs, {_records(pairs):,} records an hour")
        shutil.rmtree(root, ignore_errors=True)
        words = _Words()
        size = words.write(root / "logs", -1, 1000)
        for hour in range(DAYS * 24 + BUSY_HOURS):
            size += words.write(root / "logs", hour, pairs if hour < DAYS * 24 else busy)
        write_settings(root)
        known = {**facts, "bytes": size}
        mark_made(root, known)
    at = START + timedelta(days=DAYS)
    window = Window(at, at + timedelta(hours=1))
    return Logs(root / "flowlake.yaml", window, _records(busy), int(str(known["bytes"])))


def _records(pairs: int) -> int:
    return 2 * pairs - (pairs + 2) // 8


class _Words:
    """The texts of which lines are put together."""

    def __init__(self) -> None:
        self.flow_log = sample_flow_logs(SEED)[0]
        self.header = (" ".join(self.flow_log.fields) + "\n").encode()
        self.interfaces = texts([f"2 {self.flow_log.account_id} eni-{i:017x}" for i in range(SERVERS)])
        self.servers = texts([f"10.0.{i // 250}.{4 + i % 250}" for i in range(SERVERS)])
        # A quarter of the clients is in the internal network of another account, which sends no logs.
        self.clients = texts(
            [
                f"10.{200 + i // 65536}.{i // 256 % 256}.{i % 256}"
                if i % 4 == 0
                else f"198.{18 + i // 65536}.{i // 256 % 256}.{i % 256}"
                for i in range(KNOWN_CLIENTS)
            ]
        )

    def write(self, logs: Path, hour: int, pairs: int) -> int:
        """Write the object of an hour, counted from START; returns its size in bytes."""
        begin = int((START + timedelta(hours=hour)).timestamp())
        rng = np.random.default_rng([SEED, hour + 1])
        k = np.arange(pairs, dtype=np.int64)
        new = np.flatnonzero(k % NEW_SHARE == 7)
        clients = pa.concat_arrays([self.clients, texts([_new_client(hour, i) for i in range(len(new))])])
        client = (k + hour * 137) % KNOWN_CLIENTS
        client[new] = KNOWN_CLIENTS + np.arange(len(new))
        server = k % SERVERS
        service = np.array(SERVICES, dtype=np.int64)[k // SERVERS % len(SERVICES)]
        port = rng.integers(32768, 61000, pairs)
        rejected = k % 8 == 5
        lines = []
        for is_reply in (False, True):
            chosen = np.flatnonzero(~rejected) if is_reply else k
            ends = [clients.take(numbers(client[chosen])), self.servers.take(numbers(server[chosen]))]
            ports = [_text(port[chosen]), _text(service[chosen])]
            packets = rng.integers(1, 60, len(chosen))
            at = begin + chosen * 7 % 1700
            verdict = texts(["ACCEPT OK\n", "REJECT OK\n"]).take(numbers(rejected[chosen].astype(np.int64)))
            columns = [
                self.interfaces.take(numbers(server[chosen])),
                *(reversed(ends) if is_reply else ends),
                *(reversed(ports) if is_reply else ports),
                _text(np.where(service[chosen] == 53, 17, 6)),
                _text(packets),
                _text(packets * rng.integers(40, 1000, len(chosen))),
                _text(at),
                _text(at + 59),
                verdict,
            ]
            lines.append("".join(pc.binary_join_element_wise(*columns, " ").to_pylist()))
        path = (
            logs / folder(self.flow_log, begin, "") / object_name(self.flow_log, begin + 6 * SLOT_SECONDS, SEED, hour)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(compress(self.header + "".join(lines).encode()))
        os.utime(path, (begin + 2400, begin + 2400))
        return path.stat().st_size


def _new_client(hour: int, number: int) -> str:
    """An address that no other hour has, of the range that is reserved for the future."""
    value = (240 << 24) + (hour + 1) * 8192 + number
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _text(values: np.ndarray) -> pa.Array:
    return numbers(np.asarray(values, dtype=np.int64)).cast(pa.string())
