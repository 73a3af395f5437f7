"""The errors that a user is meant to read: one line that says what was wrong, where, and what to do."""

from __future__ import annotations


class FlowlakeError(Exception):
    """Base of every error that flowlake raises for a user's mistake or for the world's.

    The command line prints its message without a traceback; Airflow shows it as the task's failure.
    """
