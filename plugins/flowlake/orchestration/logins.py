"""The passwords of Airflow's users, from the environment into the file that SimpleAuthManager reads.

    AIRFLOW_PASSWORDS='{"admin": "..."}' python -m flowlake.orchestration.logins

Airflow makes up what the file lacks and prints it to a log; so whoever deploys says all of them, and this refuses to
leave one out. The environment and the file are Airflow's own variables, as docker-compose.yaml sets them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from flowlake.errors import FlowlakeError
from flowlake.orchestration.local import write_private

PASSWORDS_VARIABLE = "AIRFLOW_PASSWORDS"
USERS_VARIABLE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
FILE_VARIABLE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"

MINIMUM_LENGTH = 12
"""Airflow does not slow down whoever guesses."""


class LoginsError(FlowlakeError):
    """The passwords are missing, not what they should be, or too short."""


def write_passwords(environ: Mapping[str, str] = os.environ) -> Path:
    """Write the file, readable by its owner alone; its path. Raises LoginsError, which never shows a password."""
    for name in (PASSWORDS_VARIABLE, USERS_VARIABLE, FILE_VARIABLE):
        if not environ.get(name):
            raise LoginsError(f"{name} is not set")
    try:
        passwords = json.loads(environ[PASSWORDS_VARIABLE])
    except ValueError:
        passwords = None
    if not isinstance(passwords, dict) or not all(isinstance(word, str) for word in passwords.values()):
        raise LoginsError(f'{PASSWORDS_VARIABLE} must be JSON, such as {{"admin": "..."}}')
    users = [entry.split(":")[0].strip() for entry in environ[USERS_VARIABLE].split(",")]
    for user in users:
        if len(passwords.get(user, "")) < MINIMUM_LENGTH:
            raise LoginsError(
                f"{PASSWORDS_VARIABLE} needs a password of {MINIMUM_LENGTH} characters or more for {user}"
            )
    path = Path(environ[FILE_VARIABLE])
    write_private(path, json.dumps({user: passwords[user] for user in users}))
    return path


if __name__ == "__main__":
    try:
        write_passwords()
    except FlowlakeError as error:
        sys.exit(f"Error: {error}")
