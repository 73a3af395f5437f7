"""The whole local Athena: moto, Trino and the API, on free ports, for as long as somebody wants it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import urllib3
from botocore.config import Config

from local_athena.api import FAULTS_PATH, Athena, Server
from local_athena.children import child
from local_athena.executions import Runner
from local_athena.faults import Faults
from local_athena.parts import installation
from local_athena.senders import Senders
from local_athena.trino import ENGINE_KEY, start_trino

REGION = "us-east-1"
BUCKET = "local-athena"
WORK_GROUP = "local"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
"""The account's administrator: nobody checks them, and boto3 does nothing without some. Roles are assumed with them."""

LOCAL_PATH = "/local"
START_SECONDS = 120.0


@dataclass(frozen=True)
class LocalAthena:
    """A running local Athena, by what a client has to know of it."""

    aws: str
    athena: str
    region: str = REGION
    bucket: str = BUCKET
    work_group: str = WORK_GROUP

    @property
    def environment(self) -> dict[str, str]:
        """What boto3, and all that is built on it, reads by itself."""
        return CREDENTIALS | {
            "AWS_ENDPOINT_URL": self.aws,
            "AWS_ENDPOINT_URL_ATHENA": self.athena,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    def inject(self, *, of_aws: bool = False, **fault: Any) -> None:
        """Make an error happen, in Athena or (`of_aws`) in S3 and Glue; `faults.Fault` says which there are."""
        urllib3.request("POST", f"{self.aws if of_aws else self.athena}{FAULTS_PATH}", json=fault)

    def clear_faults(self) -> None:
        """Forget those that have not happened yet."""
        for service in (self.athena, self.aws):
            urllib3.request("DELETE", f"{service}{FAULTS_PATH}")

    def put_arrived(self, bucket: str, key: str, content: bytes, arrived: int) -> None:
        """Write an object as if it had been written at a moment (Unix time)."""
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
        moment = {"bucket": bucket, "key": key, "seconds": arrived}
        answer = urllib3.request("POST", f"{self.aws}{LOCAL_PATH}/arrivals", json=moment)
        if answer.status != 200:
            raise RuntimeError(f"{key} has no other time: {answer.status}")

    def needs(self) -> list[dict[str, str]]:
        """The permissions that calls of roles needed so far (`gate.Record`)."""
        found: list[dict[str, str]] = urllib3.request("GET", f"{self.aws}{LOCAL_PATH}/needs").json()
        return found

    def requests(self) -> dict[str, int]:
        """How many calls there were so far, by what the bill takes them for (`aws.billed_as`), the engine's too."""
        found: dict[str, int] = urllib3.request("GET", f"{self.aws}{LOCAL_PATH}/requests").json()
        return found

    def assume(self, role: str) -> dict[str, str]:
        """The environment of a session of a role, by its ARN."""
        session = self.client("sts").assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
        return self.environment | {
            "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
            "AWS_SESSION_TOKEN": session["SessionToken"],
        }

    def client(self, service: str, credentials: Mapping[str, str] = CREDENTIALS, config: Config | None = None) -> Any:
        """A boto3 client of it, whatever the environment says."""
        return boto3.client(
            service,  # type: ignore[call-overload] # one overload a service
            region_name=self.region,
            endpoint_url=self.athena if service == "athena" else self.aws,
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
            config=config,
        )


@contextlib.contextmanager
def local_athena(folder: Path) -> Iterator[LocalAthena]:
    """Run it for the length of a `with` block; logs and Trino's files are in `folder`."""
    parts = installation()
    with start_aws(folder) as aws, start_trino(parts, folder, aws, REGION) as engine:
        local = LocalAthena(aws, "")
        local.client("s3").create_bucket(Bucket=BUCKET)
        # What Athena does for a statement, it does as Trino does.
        own = CREDENTIALS | {"AWS_ACCESS_KEY_ID": ENGINE_KEY}
        faults, glue, s3 = Faults(), local.client("glue", own), local.client("s3", own)
        senders = Senders(f"{aws}{LOCAL_PATH}", REGION)
        groups = replace(local, athena=aws).client("athena")
        athena = Athena(Runner(engine, glue, s3, faults, senders), groups)
        results = {"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/results/"}}
        athena.work_groups.create(WORK_GROUP, results | {"EnforceWorkGroupConfiguration": False})
        with Server(athena) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield replace(local, athena=server.url)
            finally:
                server.shutdown()


@contextlib.contextmanager
def start_aws(folder: Path) -> Iterator[str]:
    """Run moto for the length of a `with` block; its address."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    port, log = folder / "aws.port", folder / "aws.log"
    with child([sys.executable, "-m", "local_athena.aws", port], log, environment) as process:
        deadline = time.monotonic() + START_SECONDS
        while not port.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text()}"
