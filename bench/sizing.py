"""What 1 GB, 100 GB and 1 TB of flow logs a day cost, by what the other sections have measured; nothing runs here.

docs/sizing.md has the formulas. Prices are those of us-east-1 (2026-11: aws.amazon.com, the pages `s3/pricing`,
`glue/pricing` and `athena/pricing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.athena import FIXED, OF_A_RUN, REQUESTS, SHARE, STATEMENTS, STORED
from bench.inputs import Bench
from bench.results import Findings, Row, Section, Table, Unit
from flowlake.errors import FlowlakeError
from flowlake.lake.costs import LEAST_BILLED, TERABYTE
from flowlake.settings import AthenaSettings
from flowlake.terminal import human_bytes

DAYS = (1e9, 1e11, 1e12)
"""Bytes of flow logs in a day, as delivered."""

HOURS_A_MONTH = 730
OBJECT_BYTES = 1e6
"""An object's size on the average."""

READS_OF_AN_OBJECT = 2
"""Each is fetched once by `register`, and once by Athena; more where it is so large that Athena reads it in parts."""

S3_DOLLARS = 0.023 / 1e9
"""For a byte and month."""

REQUEST_DOLLARS: Mapping[str, float] = {"s3 write": 5e-6, "s3 read": 4e-7, "glue": 1e-6}
FREE_REQUESTS: Mapping[str, int] = {"glue": 1_000_000}
"""In a month."""

HOUR_SECONDS = 3600


@dataclass(frozen=True)
class Measured:
    """What was measured; bytes, seconds, and numbers of requests by `athena.REQUESTS`.

    scanned, scanned_more: of an hourly run, and for each byte that arrives. stored: bytes of tables for each byte that
    arrived. requests: of a run. seconds, seconds_more: of a run on one machine, and
    for each byte. disk: on that machine, for each byte.
    """

    scanned: float
    scanned_more: float
    statements: float
    stored: float
    requests: Mapping[str, float]
    seconds: float
    seconds_more: float
    disk: float

    @classmethod
    def of(cls, kept: Mapping[str, Section]) -> Measured:
        """From the sections that are kept. Raises FlowlakeError when one of them is missing."""

        def row(section: str, what: str) -> Row:
            for one in kept[section].rows if section in kept else ():
                if one.what.startswith(what):
                    return one
            raise FlowlakeError(f"{section} was not measured: run `make bench ONLY={section}` before")

        lake = row("size", "worst case: the whole lake")
        disk = lake.ratio or float("nan")
        delivered = lake.value / disk
        return cls(
            scanned=row("athena", FIXED).value,
            scanned_more=row("athena", SHARE).value,
            statements=row("athena", STATEMENTS).value,
            stored=row("athena", STORED).value,
            requests={kind: row("athena", OF_A_RUN.format(name)).value for kind, name in REQUESTS.items()},
            seconds=row("fixed", "the same again").value,
            seconds_more=1 / (row("worst", "margin from").value * delivered),
            disk=disk,
        )

    def athena_bytes(self, day: float) -> float:
        """Scanned by an hourly run."""
        return self.scanned + self.scanned_more * day / 24

    def athena_dollars(self, day: float) -> float:
        """A month of hourly runs, at most: as if each statement were billed its least beside what it scans."""
        billed = self.athena_bytes(day) + self.statements * LEAST_BILLED
        return HOURS_A_MONTH * billed * AthenaSettings.dollars_per_terabyte / TERABYTE

    def request_dollars(self, day: float) -> float:
        """Calls of S3 and Glue in a month of hourly runs."""
        reads = {"s3 read": READS_OF_AN_OBJECT * day / 24 / OBJECT_BYTES}
        dollars = 0.0
        for kind, price in REQUEST_DOLLARS.items():
            number = HOURS_A_MONTH * (self.requests[kind] + reads.get(kind, 0))
            dollars += max(0.0, number - FREE_REQUESTS.get(kind, 0)) * price
        return dollars

    def storage_dollars(self, day: float) -> float:
        """A month of flow logs and tables, for each month that they are kept."""
        return day * HOURS_A_MONTH / 24 * (1 + self.stored) * S3_DOLLARS

    def machine_seconds(self, day: float) -> float:
        """An hourly run on one machine."""
        return self.seconds + self.seconds_more * day / 24

    @property
    def machine_most(self) -> float:
        """Bytes a day with which an hourly run takes an hour."""
        return 24 * (HOUR_SECONDS - self.seconds) / self.seconds_more


def section(bench: Bench) -> Findings:
    """Reckon."""
    measured = Measured.of(bench.kept)
    columns = (
        "delivered a day",
        "Athena: a run scans",
        "dollars a month",
        "requests, dollars a month",
        "S3, dollars a month for each month kept",
        "one machine: a run takes",
        "disk a month",
    )
    rows = tuple(
        (
            human_bytes(day),
            human_bytes(measured.athena_bytes(day)),
            f"{measured.athena_dollars(day):,.2f}",
            f"{measured.request_dollars(day):,.2f}",
            f"{measured.storage_dollars(day):,.2f}",
            f"{measured.machine_seconds(day):,.0f} s",
            human_bytes(day * HOURS_A_MONTH / 24 * measured.disk),
        )
        for day in DAYS
    )
    return Findings(
        rows=[Row("flow logs a day whose hours take an hour each on one machine", measured.machine_most, Unit.BYTES)],
        tables=[Table("What flow logs cost", columns, rows)],
        notes=[
            "By the formulas of [sizing.md](sizing.md), with what the sections `athena`, `fixed`, `size` and `worst`"
            " measured. The bytes are those of the objects as delivered, gzip.",
            f"Objects of {human_bytes(OBJECT_BYTES)} on the average. Delivery, maintenance, the queries of people,"
            " Airflow's machine and the one machine itself are not in it; nor is what AWS gives for free, but Glue's"
            " first million of requests.",
            "One machine: this one, every record another edge, as in `worst`; logs with fewer edges take less.",
        ],
    )
