"""Records to text lines or Parquet columns, in the order of a flow log's fields.

Every field is looked up from a small dictionary of texts by an index column; neighbouring fields with the same index
(account, interface; source and its type; ...) are joined in the dictionary, once, instead of in every line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowlake.sample.arrays import Ints, ints
from flowlake.sample.arrow import numbers, texts
from flowlake.sample.capture import Records
from flowlake.sample.formats import INT32_FIELDS, FlowLog
from flowlake.sample.network import PRODUCTION_REGION, SHARED_REGION, Interface, Network
from flowlake.sample.spec import SampleError

DASH = "-"
BETWEEN_FIELDS = texts([" "])[0]
STATUSES = ("OK", "NODATA", "SKIPDATA")
ACTIONS = ("ACCEPT", "REJECT", DASH)
DIRECTIONS = ("egress", "ingress", DASH)
PATHS = (DASH, *(str(code) for code in range(1, 9)))
SMALL_NUMBERS = 65_536
ZONE_IDS = {"a": {1: "use1-az1", 2: "usw2-az1"}, "b": {1: "use1-az2", 2: "usw2-az2"}}
NUMBER_COLUMNS = {
    "srcport": "source_port",
    "dstport": "target_port",
    "protocol": "protocol",
    "packets": "packets",
    "bytes": "bytes",
    "start": "start",
    "end": "end",
    "tcp-flags": "flags",
}


@dataclass(frozen=True)
class _Part:
    """A run of neighbouring fields: the column that indexes it, and its texts (None: the number itself)."""

    column: str
    texts: tuple[str, ...] | None


class Renderer:
    """Turns one flow log's records into the bytes of its objects."""

    def __init__(self, network: Network, flow_log: FlowLog) -> None:
        """Prepare the dictionaries of the flow log's fields."""
        self.flow_log = flow_log
        self.network = network
        self.texts = {name: _texts(network, flow_log, name) for name in flow_log.fields}
        self.header = (" ".join(flow_log.fields) + "\n").encode()
        self.arrays = {name: texts(words) for name, words in self.texts.items() if words}
        self.parts = self._parts()
        self.dictionaries = [None if part.texts is None else texts(part.texts) for part in self.parts]
        self.small = pa.concat_arrays([numbers(np.arange(SMALL_NUMBERS)).cast(pa.string()), texts([DASH])])

    def _parts(self) -> list[_Part]:
        parts: list[_Part] = []
        for column, names in groupby(self.flow_log.fields, key=_column):
            if column in NUMBER_COLUMNS.values():
                parts += [_Part(column, None) for _ in names]
                continue
            joined = [" ".join(row) for row in zip(*(self.texts[name] for name in names), strict=True)]
            parts.append(_Part(column, tuple(joined)))
        last = parts[-1]
        if last.texts is None:
            raise SampleError(f"flow log {self.flow_log.letter} ends with a number: lines are ended in a text field")
        return [*parts[:-1], _Part(last.column, tuple(text + "\n" for text in last.texts))]

    def lines(self, records: Records) -> tuple[memoryview, Ints]:
        """Return the lines' bytes, each ended by a newline, and the offset of each line (one more at the end)."""
        columns = []
        for part, dictionary in zip(self.parts, self.dictionaries, strict=True):
            values = _index(records, part.column)
            columns.append(self._number_texts(values) if dictionary is None else _look_up(dictionary, values))
        lines = pc.binary_join_element_wise(*columns, BETWEEN_FIELDS)
        _, offsets, data = lines.buffers()
        places = np.frombuffer(offsets, dtype=np.int32)[: len(lines) + 1].astype(np.int64)
        return memoryview(data), places

    def _number_texts(self, values: Ints) -> pa.Array:
        if len(values) == 0 or values.max() < SMALL_NUMBERS:
            return _look_up(self.small, values)
        low = int(values[values >= 0].min())
        if values.max() - low < SMALL_NUMBERS and len(values) > SMALL_NUMBERS:
            near = numbers(np.arange(low, low + SMALL_NUMBERS)).cast(pa.string())
            return _look_up(pa.concat_arrays([near, texts([DASH])]), np.where(values < 0, -1, values - low))
        written = pa.concat_arrays([numbers(values).cast(pa.string()), texts([DASH])])
        return _look_up(written, np.where(values < 0, -1, np.arange(len(values)))) if values.min() < 0 else written[:-1]

    def parquet(self, records: Records) -> bytes:
        """Return a Parquet file: INT32 and INT64 columns with nulls, texts with `-`, gzip inside."""
        columns: dict[str, pa.Array] = {}
        for name in self.flow_log.fields:
            column = _column(name)
            values = _index(records, column)
            if name in NUMBER_COLUMNS:
                array = numbers(values, values < 0)
            elif name in INT32_FIELDS:
                written = ints([-1 if text == DASH else int(text) for text in self.texts[name]])[values]
                array = numbers(written, written < 0)
            else:
                array = _look_up(self.arrays[name], values)
            if name in INT32_FIELDS:
                array = array.cast(pa.int32())
            columns[name.replace("-", "_")] = array
        sink = BytesIO()
        pq.write_table(pa.table(columns), sink, compression="gzip", compression_level=1, store_schema=False)
        return sink.getvalue()


def _look_up(dictionary: pa.Array, values: Ints) -> pa.Array:
    """Return the texts of the indexes; -1 is the last entry."""
    last = len(dictionary) - 1
    return dictionary.take(numbers(np.where(values < 0, last, values)))


def _index(records: Records, column: str) -> Ints:
    values: Ints = getattr(records, column)
    return values


def _column(name: str) -> str:
    """Return the column of Records that a field's value depends on."""
    if name in NUMBER_COLUMNS:
        return NUMBER_COLUMNS[name]
    fixed = {
        "srcaddr": "source",
        "dstaddr": "target",
        "type": "source",
        "pkt-srcaddr": "packet_source",
        "pkt-src-aws-service": "packet_source",
        "pkt-dstaddr": "packet_target",
        "pkt-dst-aws-service": "packet_target",
        "action": "action",
        "log-status": "status",
        "flow-direction": "direction",
        "traffic-path": "path",
        "encryption-status": "action",
    }
    return fixed.get(name, "neighbour" if name.startswith("next-hop-") else "interface")


def _texts(network: Network, flow_log: FlowLog, name: str) -> tuple[str, ...]:
    """Return the texts of a field by index; the last entry stands for index -1 where there is one."""
    column = _column(name)
    if column in NUMBER_COLUMNS.values():
        return ()
    if column in {"source", "target", "packet_source", "packet_target"}:
        return (*_address_texts(network, name), DASH)
    by_column: dict[str, tuple[str, ...]] = {
        "action": ("0", "0", DASH) if name == "encryption-status" else ACTIONS,
        "status": STATUSES,
        "direction": DIRECTIONS,
        "path": PATHS,
    }
    if column in by_column:
        return by_column[column]
    if column == "neighbour":
        return (*(_next_hop(network, flow_log, eni, name) for eni in network.interfaces), DASH)
    return (*(_of_interface(network, flow_log, eni, name) for eni in network.interfaces), DASH)


def _address_texts(network: Network, name: str) -> tuple[str, ...]:
    if name == "type":
        return tuple("IPv6" if is_v6 else "IPv4" for is_v6 in network.is_v6)
    return network.services if name.endswith("aws-service") else network.addresses


def _of_interface(network: Network, flow_log: FlowLog, eni: Interface, name: str) -> str:
    tier = eni.name.rsplit("-", 1)[0]
    values: dict[str, Callable[[], str]] = {
        "version": lambda: str(flow_log.version),
        "account-id": lambda: eni.account_id,
        "interface-id": lambda: eni.interface_id,
        "vpc-id": lambda: network.vpc_ids[eni.vpc],
        "subnet-id": lambda: eni.subnet_id,
        "instance-id": lambda: eni.instance_id,
        "region": lambda: PRODUCTION_REGION if eni.vpc == 1 else SHARED_REGION,
        "az-id": lambda: ZONE_IDS[eni.zone][eni.vpc],
        "interface-type": lambda: eni.interface_type,
        "instance-tag": lambda: _tag(eni.name) if eni.instance_id != DASH else DASH,
        "interface-tag": lambda: _tag(f"team {tier}/shared"),
    }
    return values.get(name, lambda: DASH)()


def _next_hop(network: Network, flow_log: FlowLog, eni: Interface, name: str) -> str:
    """Return a next-hop field: filled for ENIs of the flow log's own account and region only."""
    if eni.vpc != (2 if flow_log.region == SHARED_REGION else 1):
        return DASH
    own = name.removeprefix("next-hop-")
    return _of_interface(network, flow_log, eni, own)


def _tag(text: str) -> str:
    """Return a tag value as records print it: every special character percent-encoded, `-` included."""
    return quote(text, safe="").replace("-", "%2D").replace("_", "%5F").replace(".", "%2E")


def describe(flow_log: FlowLog) -> dict[str, Any]:
    """Return what a person wants to know of a flow log, for network.yaml."""
    return {
        "name": flow_log.letter,
        "flow_log_id": flow_log.flow_log_id,
        "account_id": flow_log.account_id,
        "region": flow_log.region,
        "version": flow_log.version,
        "fields": " ".join(flow_log.fields),
        "layout": flow_log.layout.value,
        "file_format": flow_log.file_format.value,
        "traffic_type": flow_log.traffic.value,
        "organization_id": flow_log.organization_id or None,
    }
