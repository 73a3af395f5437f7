"""What docs/compose.md tells people to type."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

from compose.composition import PROJECT, load
from flowlake.orchestration.logins import write_passwords


def test_the_secrets_that_it_makes_are_all_that_is_needed(tmp_path: Path) -> None:
    manual = (PROJECT / "docs/compose.md").read_text()
    [block] = re.findall(r"^ +```sh\n( +umask 077\n.*?)^ +```$", manual, re.MULTILINE | re.DOTALL)
    script = re.sub(r"^   ", "", block, flags=re.MULTILINE)
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    environ = {name: value.strip("'") for name, value in made.items()}

    services = load(environ)
    assert len(base64.urlsafe_b64decode(environ["AIRFLOW_FERNET_KEY"])) == 32
    logins = {**services["init"]["environment"]}
    logins["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(tmp_path / "passwords.json")
    assert write_passwords(logins).exists()
