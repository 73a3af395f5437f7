"""What a step notes while it works on Athena, so that the next one knows whether it came to its end, and what it cost.

Athena goes on with the statements of a process that was killed, also with those of a killed dbt whose flowlake lives.
Looking for them takes some calls, and every answer is a page of everybody's statements; so it is done only where the
note of an earlier step is still there, which only a step that succeeded takes away. The note lies among the lake's
files, because the next run may be on another machine. With the statements of a dead step ended, its costs are known.
"""

from __future__ import annotations

import json
import logging
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.files import open_files
from flowlake.settings import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlake.lake.costs import Cost
    from flowlake.settings import Settings

log = logging.getLogger(__name__)

NOTE = "ops/unfinished.json"
"""Since when statements of steps may be under way that did not come to their end, among the lake's own files."""

_NOT_WRITTEN = "the costs of %s are not written yet: %s"

_CLOCKS_DIFFER_BY = timedelta(minutes=15)
"""AWS refuses calls of clocks that differ by more."""


@dataclass(frozen=True)
class Work:
    """What statements are for: a step of a run over a window, or maintenance, which has none."""

    run_id: str
    step: str
    arrival_from: str | None = None
    arrival_to: str | None = None

    def __str__(self) -> str:
        """As it stands in logs."""
        return f"{self.step} {self.arrival_from}/{self.arrival_to}" if self.arrival_from else self.step


@dataclass
class Spent:
    """What some work has cost, once it is over; None where nothing is paid for."""

    cost: Cost | None = None
    run: Cost | None = None
    """With what its run had cost before."""


@contextmanager
def noted(settings: Settings, work: Work) -> Iterator[Spent]:
    """End what dead steps left under way on Athena; note this one, until it ends without an error. Under the run lock.

    What it cost stands in `ops.query_costs` afterwards, also when it failed; what it may cost is watched. Costs that
    cannot be written are left to the next step, with the note.

    Raises:
        SettingsError, AthenaError: the work group cannot be used.
        AthenaError, AwsError: what was left does not end, or a service cannot be reached.
        BudgetError: it cost more than the settings allow.
    """
    spent = Spent()
    if settings.target is not Target.ATHENA:
        yield spent
        return
    from flowlake.lake.athena import AthenaLake
    from flowlake.lake.aws import athena_settings
    from flowlake.lake.costs import Account, within_budget

    AthenaLake(settings).require_work_group()
    files = open_files(settings)
    found = files.read(NOTE)
    if found is not None:
        _end_leftovers(settings, json.loads(found))
    now = datetime.now(UTC)
    account = Account.begin(settings, work, now, uuid.uuid4().hex)
    note = {
        "since": now.isoformat(timespec="seconds"),
        "purpose": str(work),
        "work_group": athena_settings(settings).work_group,
        "account": account.as_note(),
    }
    files.write(NOTE, json.dumps(note).encode())
    try:
        with within_budget(account, athena_settings(settings)):
            yield spent
    except BaseException:
        try:
            account.close()
        except FlowlakeError as error:
            # What went wrong is what people need to hear of; the next step writes the rows.
            log.warning(_NOT_WRITTEN, work, error)
        raise
    try:
        spent.cost = account.close()
        spent.run = account.earlier() + spent.cost
    except FlowlakeError as error:
        log.warning(_NOT_WRITTEN, work, error)
        return
    files.delete([NOTE])


def _end_leftovers(settings: Settings, note: dict[str, Any]) -> None:
    from flowlake.lake.athena import AthenaLake
    from flowlake.lake.aws import athena_settings
    from flowlake.lake.costs import Account

    # Where the dead step sent its statements, whatever the settings say by now.
    athena = athena_settings(settings)
    settings = replace(settings, athena=replace(athena, work_group=note.get("work_group", athena.work_group)))
    since = datetime.fromisoformat(note["since"])
    lake = AthenaLake(settings)
    ended = lake.end_leftovers(since - _CLOCKS_DIFFER_BY, settings.lake.wait_minutes * 60)
    log.info("%s (%s) did not come to its end: %d statements were left", note["purpose"], since, ended)
    if "account" in note:
        Account.from_note(settings, note["account"]).close()
