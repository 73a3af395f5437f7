"""The errors that a user is meant to read: one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class FlowlakeError(Exception):
    """Base of every error that flowlake raises for a user's mistake or for the world's.

    The command line prints its message without a traceback; Airflow shows it as the task's failure.
    """


class BudgetError(FlowlakeError):
    """A run, or a statement of it, that would cost more than the settings allow."""


class StorageError(FlowlakeError):
    """A disk that is full, or a file or folder that this user may not read or write."""


_FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")
_FORBIDDEN = (
    "Permission denied",
    "Operation not permitted",
    "Read-only file system",
    "attempt to write a readonly database",
    "unable to open database file",
)
"""What the system, DuckDB and SQLite say; each library wraps these words in its own errors."""

FULL_DISK = 'the disk is full: make room (see "The disk is full" in docs/runbook.md) and run again'
FORBIDDEN = "this user may not read or write there: correct the owner or the mode and run again"


def storage_advice(text: str) -> str | None:
    """What to do about a message that says that a disk is full or a file is not ours; None for any other message."""
    if any(words in text for words in _FULL):
        return FULL_DISK
    if any(words in text for words in _FORBIDDEN):
        return FORBIDDEN
    return None


def storage_error(error: BaseException) -> StorageError | None:
    """The fault of the disk that an error is about, whichever library raised it; None when it is about something else.

    Errors of the system name their file. Those of DuckDB and SQLite say in their text what they could not do.
    """
    if isinstance(error, FlowlakeError):
        return None
    if isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
    ):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        place = f" {error.filename}" if error.filename else ""
        return StorageError(f"cannot read or write{place}: {error.strerror}: {FULL_DISK if full else FORBIDDEN}")
    advice = storage_advice(str(error))
    reason = next((line for line in str(error).splitlines() if storage_advice(line)), "")
    return StorageError(f"{' '.join(reason.split())}: {advice}") if advice else None


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise what a full disk or a missing permission causes inside as a StorageError."""
    try:
        yield
    except Exception as error:
        fault = storage_error(error)
        if fault is None:
            raise
        raise fault from error
