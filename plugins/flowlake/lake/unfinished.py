"""What a step notes while it writes on Athena, so that the next one knows whether it came to its end.

Athena goes on with the statements of a process that was killed, also with those of a killed dbt whose flowlake lives.
Looking for them takes some calls, and every answer is a page of everybody's statements; so it is done only where the
note of an earlier step is still there, which only a step that succeeded takes away. The note lies among the lake's
files, because the next run may be on another machine.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flowlake.lake.files import open_files
from flowlake.settings import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlake.settings import Settings

log = logging.getLogger(__name__)

NOTE = "ops/unfinished.json"
"""Since when statements of steps may be under way that did not come to their end, among the lake's own files."""

_CLOCKS_DIFFER_BY = timedelta(minutes=15)
"""AWS refuses calls of clocks that differ by more."""


@contextmanager
def noted(settings: Settings, purpose: str) -> Iterator[None]:
    """End what dead steps left under way on Athena; note this one, until it ends without an error. Under the run lock.

    Raises:
        AthenaError, AwsError: what was left does not end, or a service cannot be reached.
    """
    if settings.target is not Target.ATHENA:
        yield
        return
    files = open_files(settings)
    found = files.read(NOTE)
    if found is not None:
        _end_leftovers(settings, json.loads(found))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    files.write(NOTE, json.dumps({"since": now, "purpose": purpose}).encode())
    yield
    files.delete([NOTE])


def _end_leftovers(settings: Settings, note: dict[str, str]) -> None:
    from flowlake.lake.athena import AthenaLake

    since = datetime.fromisoformat(note["since"])
    lake = AthenaLake(settings)
    ended = lake.end_leftovers(since - _CLOCKS_DIFFER_BY, settings.lake.wait_minutes * 60)
    log.info("%s (%s) did not come to its end: %d statements were left", note["purpose"], since, ended)
