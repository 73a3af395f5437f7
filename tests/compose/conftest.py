"""One set of the variables that docker-compose.yaml requires."""

from __future__ import annotations

import base64
import secrets

import pytest


@pytest.fixture(scope="session")
def variables() -> dict[str, str]:
    """What .env would hold: the required variables, made as docs/compose.md says."""
    return {
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "AIRFLOW_DB_PASSWORD": secrets.token_hex(24),
        # Nothing puts it into a URL, so it may hold what would break one.
        "LAKE_DB_PASSWORD": "it's @ p/l%ce: " + secrets.token_hex(8),
        "AIRFLOW_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW_JWT_SECRET": secrets.token_hex(48),
        "AIRFLOW_API_SECRET_KEY": secrets.token_hex(24),
        "AIRFLOW_PASSWORDS": '{"admin": "correct horse battery"}',
    }
