"""What a gate says: findings that a person can act on, and whether the run may go on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from flowlake.errors import FlowlakeError
from flowlake.settings import Severity


class Layer(StrEnum):
    """The two places where a run is audited: after staging, and after core and marts."""

    STAGING = "staging"
    MARTS = "marts"


class GateError(FlowlakeError):
    """A gate that could not decide: a missing table, or an expectation that could not be evaluated."""


@dataclass(frozen=True)
class Finding:
    """One expectation that does not hold."""

    check: str
    """The expectation's name, for example `malformed_share`."""
    severity: Severity
    message: str
    """One readable line: what, where, how many, and where to look."""
    count: int
    """How many rows broke it (rows, hours or objects, as the message says)."""
    rows: Path
    """The failing rows, kept as Parquet (at most `runner.KEPT_ROWS` of them)."""
    page: Path
    """The Data Docs page that shows it."""


@dataclass(frozen=True)
class GateReport:
    """The verdict on one layer of one window."""

    layer: Layer
    passed: bool
    failures: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    pages: Path
    """The index of the Data Docs."""
    checks: int
    """How many expectations were evaluated."""
