"""Passwords go from the environment to Airflow's file whole, or not at all."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from flowlake.orchestration.logins import LoginsError, write_passwords


def _environ(folder: Path, passwords: str, users: str = "admin:admin,ada:op") -> dict[str, str]:
    return {
        "AIRFLOW_PASSWORDS": passwords,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
    }


def test_each_user_gets_the_password_and_nobody_else_one(tmp_path: Path) -> None:
    passwords = {"admin": "a word of $ecrets", "ada": "another word", "gone": "no user any more"}
    path = write_passwords(_environ(tmp_path, json.dumps(passwords)))
    assert json.loads(path.read_text()) == {"admin": "a word of $ecrets", "ada": "another word"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_later_start_replaces_the_passwords(tmp_path: Path) -> None:
    for word in ("the first of them", "the second one"):
        write_passwords(_environ(tmp_path, json.dumps({"admin": word}), "admin:admin"))
    assert json.loads((tmp_path / "passwords.json").read_text()) == {"admin": "the second one"}


@pytest.mark.parametrize(
    ("passwords", "message"),
    [
        ("", "AIRFLOW_PASSWORDS is not set"),
        ("hunter2hunter2", "must be JSON"),
        ('["hunter2hunter2"]', "must be JSON"),
        ('{"admin": 123456789012}', "must be JSON"),
        ('{"admin": "hunter2hunter2"}', "for ada"),
        ('{"admin": "hunter2", "ada": "hunter2hunter2"}', "12 characters or more for admin"),
    ],
)
def test_what_is_wrong_is_said_and_no_password_shown(tmp_path: Path, passwords: str, message: str) -> None:
    with pytest.raises(LoginsError, match=message) as caught:
        write_passwords(_environ(tmp_path, passwords))
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "passwords.json").exists()
