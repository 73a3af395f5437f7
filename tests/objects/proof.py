"""Many objects through the real register and staging models at once, each held against what must come of it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flowlake.lake.duck import connect
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import ObjectRow
from flowlake.lake.register import plan
from flowlake.lake.windows import Window
from flowlake.settings import LakeSettings, Settings, Source
from flowlake.steps import RunContext, run_step
from objects.making import Made
from objects.reading import COLUMNS, Expected, Row, expect
from shared_dbt.start import shared_dbt

WINDOW = Window.parse("2026-11-20T12", "2026-11-20T13")
ACCOUNT, REGION = "123456789012", "us-east-1"


class WrongObjectsError(Exception):
    """Objects of which something else came than must; the message says of each how it was made and what is wrong."""


@dataclass(frozen=True)
class Tally:
    """What there was: objects, those of them that are read, and the lines and records of these."""

    objects: int
    readable: int
    lines: int
    kinds: Mapping[str, int]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return f"{self.objects} objects, {self.readable} readable, {self.lines} lines ({kinds})"


def prove(objects: Sequence[Made], folder: Path) -> Tally:
    """Write the objects below an empty folder, run register and staging over them, and compare.

    Raises:
        WrongObjectsError: naming objects of which something else came than must.
    """
    settings = settings_of(folder)
    made = {write(item, number, settings): item for number, item in enumerate(objects)}
    planned = plan(settings, WINDOW)
    with shared_dbt():
        for step in ("register", "build_staging"):
            run_step(step, RunContext(settings, WINDOW, "objects"))
    rows = {row.uri: row for hour in WINDOW.hours for row in read_objects(settings, hour) or ()}
    staged = staged_rows(settings)
    if planned.objects != len(made) or rows.keys() != made.keys() or staged.keys() - made.keys():
        raise WrongObjectsError(
            f"{len(made)} objects: {planned.objects} planned, {len(rows)} registered, not registered "
            f"{sorted(made.keys() - rows.keys())[:3]}, staged and unknown {sorted(staged.keys() - made.keys())[:3]}"
        )
    wrong = []
    for uri, item in made.items():
        problem = differs(expect(item, named_at(uri)), rows[uri], staged.get(uri, Counter()))
        if problem:
            wrong.append(f"{Path(uri).name} ({', '.join(item.how)}): {problem}")
    if wrong:
        more = f"\n... and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise WrongObjectsError(f"{len(wrong)} of {len(made)} objects:\n" + "\n".join(wrong[:10]) + more)
    readable = [row for row in rows.values() if row.is_readable]
    kinds: Counter[str] = Counter()
    for found in staged.values():
        for row, count in found.items():
            kinds[row[0]] += count
    return Tally(len(made), len(readable), sum(row.line_count or 0 for row in readable), kinds)


def settings_of(folder: Path) -> Settings:
    """The settings of the lake in a folder."""
    return Settings(sources=(Source(name="logs", uri=str(folder / "logs")),), lake=LakeSettings(folder / "lake"))


def write(item: Made, number: int, settings: Settings) -> str:
    """Put an object under its documented name, arrived in the window; its uri."""
    named = WINDOW.start + timedelta(minutes=number % 60)
    name = f"{ACCOUNT}_vpcflowlogs_{REGION}_fl-{number:017x}_{named:%Y%m%dT%H%M}Z_{number:08x}.log.{item.extension}"
    path = Path(settings.sources[0].uri) / f"AWSLogs/{ACCOUNT}/vpcflowlogs/{REGION}/{named:%Y/%m/%d}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(item.content)
    arrived = WINDOW.start.timestamp() + 1800
    os.utime(path, (arrived, arrived))
    return str(path)


def named_at(uri: str) -> datetime:
    """The time in an object's name (UTC, naive)."""
    return datetime.strptime(uri.split("_")[-2], "%Y%m%dT%H%MZ").replace(tzinfo=UTC).replace(tzinfo=None)


def staged_rows(settings: Settings) -> Mapping[str, Counter[Row]]:
    """What staging holds, by object, in the shape of `reading.Row`."""
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    staged: dict[str, Counter[Row]] = defaultdict(Counter)
    with connect(settings) as connection:
        found = connection.execute(
            "select source_uri, line_kind, line_bytes, malformed_reason, raw_line, event_hour, extra_fields, "
            f"{names} from lake.staging.stg_flow_logs__lines"
        )
        for uri, kind, length, reason, text, hour, unknown, *values in iter(found.fetchone, None):
            if (kind == "malformed") != (reason is not None) or (kind == "malformed") != (text is not None):
                raise WrongObjectsError(f"{uri}: a {kind} line with the reason {reason!r} and the text {text!r}")
            what: object = text
            if kind in ("record", "gap"):
                what = (hour, tuple(values), tuple(sorted(unknown.items())) if unknown else None)
            staged[uri][kind, length, what] += 1
    return staged


def differs(expected: Expected, row: ObjectRow, staged: Counter[Row]) -> str | None:  # noqa: PLR0911 - one for each thing that can be wrong
    """What is wrong with what came of an object; None when nothing is."""
    if not row.is_readable:
        if not row.reason:
            return "unreadable without a reason"
        if staged:
            return f"{staged.total()} rows are staged of an object that is unreadable ({row.reason})"
        return f"unreadable ({row.reason}: {row.detail}), and must be read" if expected.is_readable else None
    if expected.is_readable is False:
        return f"read ({row.line_count} lines, {staged.total()} staged), and must not be"
    if (row.line_count, row.empty_line_count) != (expected.lines, expected.empty_lines):
        return (
            f"{row.line_count} lines, {row.empty_line_count} of them empty, are counted of {expected.lines}, "
            f"{expected.empty_lines} of them empty"
        )
    if row.kind == "text" and (row.line_bytes, row.unpacked_bytes) != (expected.line_bytes, expected.unpacked_bytes):
        return (
            f"{row.line_bytes} bytes of lines are counted of {expected.line_bytes}, "
            f"{row.unpacked_bytes} unpacked of {expected.unpacked_bytes}"
        )
    if staged.total() != expected.lines - expected.empty_lines:
        return f"{staged.total()} rows are staged of {expected.lines - expected.empty_lines} lines that hold anything"
    if expected.rows is None or staged == expected.rows:
        return None
    missing, odd = expected.rows - staged, staged - expected.rows
    return "\n".join(
        [
            "other rows than must be",
            *(f"    must be: {_shown(key)}" for key in sorted(missing, key=str)[:2]),
            *(f"    there is: {_shown(key)}" for key in sorted(odd, key=str)[:2]),
        ]
    )


def _shown(row: Row) -> str:
    kind, length, what = row
    if isinstance(what, tuple):
        hour, values, unknown = what
        given = {name: value for name, value in zip(COLUMNS, values, strict=True) if value is not None}
        what = f"{hour} {given} {unknown}"
    return f"{kind}, {length} bytes: {str(what)[:600]!r}"
