"""Structs of arrays: the generator's tables are frozen dataclasses whose fields are equally long integer arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Self

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def ints(values: object) -> Ints:
    """Return the values as an array of 64-bit integers."""
    return np.asarray(values, dtype=np.int64)


class Columns:
    """Base of the frozen dataclasses whose fields are all arrays of one length."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def take(self, rows: Ints | Bools) -> Self:
        """Return the rows chosen by index or by mask."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})  # type: ignore[arg-type]

    def slice(self, begin: int, end: int) -> Self:
        """Return the rows from `begin` to before `end`, without copying them."""
        return type(self)(**{f.name: getattr(self, f.name)[begin:end] for f in fields(self)})  # type: ignore[arg-type]

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return the parts, one after the other."""
        names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    @classmethod
    def empty(cls) -> Self:
        """Return a table without rows."""
        return cls(**{f.name: np.empty(0, dtype=np.int64) for f in fields(cls)})  # type: ignore[arg-type]


def mix(values: Ints, seed: int) -> Ints:
    """Return a well-mixed, non-negative number for each value (splitmix64): chance that needs no generator state."""
    with np.errstate(over="ignore"):
        x = values.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & (2**64 - 1))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(1)).astype(np.int64)
