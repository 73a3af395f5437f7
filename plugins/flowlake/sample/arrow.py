"""Arrow arrays from NumPy's buffers.

`pa.array` asks pandas whether it knows the values, and so imports it: half a second that a sample of a few hours does
not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from flowlake.sample.arrays import Bools, Ints


def numbers(values: Ints, missing: Bools | None = None) -> pa.Array:
    """Return 64-bit integers as Arrow has them, without a copy; null where `missing`."""
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def texts(values: Sequence[str]) -> pa.Array:
    """Return texts as Arrow has them (together below 2 GB)."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def flags(values: Bools) -> pa.Array:
    """Return truth values as Arrow has them."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))])
