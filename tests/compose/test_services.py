"""Every service of docker-compose.yaml outside of Docker: its own command, its own environment, its own health check.

PostgreSQL is real. What a container has under a name of its own (hosts, ports, folders) is mapped to this machine; all
else is as written.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from compose.composition import PROJECT, Here, load, read_dockerfile
from flowlake.orchestration.api import AirflowApi
from flowlake.orchestration.defaults import HOURLY_DAG
from flowlake.orchestration.local import free_port
from postgres import Postgres, start_postgres

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
HEALTHY_SECONDS = 240.0
RUN_SECONDS = 400.0


@dataclass(frozen=True)
class Stack:
    """The services, the server in PostgreSQL's place, and where everything is."""

    services: Mapping[str, Any]
    server: Postgres
    here: Here
    folder: Path
    port: int

    def environment(self, name: str) -> dict[str, str]:
        """What a container of the service has: the image's environment and the service's; nothing of this process's."""
        image = dict(word.split("=", 1) for word in read_dockerfile()[1][-1].all("ENV")[0].split())
        path = image.pop("PATH")
        assert path.startswith("/opt/flowlake/.venv/bin:")
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{self.server.binaries}{os.pathsep}{os.defpath}",
            "HOME": str(self.folder / "home"),
            "PGPORT": str(self.server.port),
            **{key: self.here.text(value) for key, value in image.items()},
            **self.here.environment(self.services[name]),
        }

    def run(self, name: str, command: list[str], **overrides: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the file as this service would."""
        words = self.here.command(command)
        environment = {**self.environment(name), **overrides}
        options: dict[str, Any] = {"env": environment, "cwd": PROJECT, "capture_output": True, "text": True}
        return subprocess.run(words, check=False, timeout=300, **options)

    def check(self, name: str) -> subprocess.CompletedProcess[str]:
        """The health check of a service."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(name, command)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[Stack]:
    """PostgreSQL with both databases, and the folders that volumes would be."""
    folder = tmp_path_factory.mktemp("compose")
    for name in ("home", "airflow/logs", "airflow/logins", "lake", "sources"):
        (folder / name).mkdir(parents=True)
    with start_postgres(folder, user="postgres") as server:
        port = free_port()
        replacements = {
            "/opt/flowlake": str(PROJECT),
            "/opt/airflow": str(folder / "airflow"),
            "/lake": str(folder / "lake"),
            "/sources": str(folder / "sources"),
            "postgres:5432": f"127.0.0.1:{server.port}",
            "api-server:8080": f"127.0.0.1:{port}",
            "8080": str(port),
            "8974": str(free_port()),
            "0.0.0.0": "127.0.0.1",  # noqa: S104 - what is replaced
        }
        stack = Stack(load(variables), server, Here(replacements), folder, port)
        settings = (PROJECT / "deploy/compose/flowlake.yaml").read_text()
        (folder / "airflow/flowlake.yaml").write_text(stack.here.text(settings))
        for _ in range(2):
            done = make_databases(stack)
            assert done.returncode == 0, done.stderr
        yield stack


def make_databases(stack: Stack, **overrides: str) -> subprocess.CompletedProcess[str]:
    """What PostgreSQL's image does with the file that the service mounts: psql, as the superuser."""
    mounted = [volume["source"] for volume in stack.services["postgres"]["volumes"] if "initdb.d" in volume["target"]]
    words = ["psql", "--no-psqlrc", "--host", stack.server.host, "--username", "postgres", "--dbname", "postgres"]
    secret = {"PGPASSWORD": stack.server.password, **overrides}
    return stack.run("postgres", [*words, "--file", str(PROJECT / mounted[0])], **secret)


@pytest.fixture(scope="module")
def running(stack: Stack) -> Iterator[Stack]:
    """The four services of Airflow, started after `init` as Compose would, ended in the end."""
    done = stack.run("init", stack.services["init"]["command"])
    assert done.returncode == 0, done.stdout + done.stderr
    processes = {}
    try:
        for name in AIRFLOW:
            with (stack.folder / f"{name}.log").open("w") as log:
                processes[name] = psutil.Popen(
                    stack.here.command(stack.services[name]["command"]),
                    env=stack.environment(name),
                    cwd=PROJECT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        deadline = time.monotonic() + HEALTHY_SECONDS
        for name in AIRFLOW:  # those whose check is dear come last, when they have had their time
            while (checked := stack.check(name)).returncode != 0:
                log = (stack.folder / f"{name}.log").read_text()[-3000:]
                assert processes[name].poll() is None, f"{name} ended: {log}"
                assert time.monotonic() < deadline, f"{name} is not healthy: {checked.stderr}\n{log}"
                time.sleep(0.5)
        yield stack
    finally:
        _end(list(processes.values()))


def _end(processes: list[Any]) -> None:
    family = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(family, timeout=5)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)


def _connect(stack: Stack, user: str, password: str, database: str) -> None:
    psycopg2.connect(
        host=stack.server.host, port=stack.server.port, user=user, password=password, dbname=database
    ).close()


def test_the_databases_are_made_and_each_user_gets_into_its_own_alone(stack: Stack, variables: dict[str, str]) -> None:
    users = {"airflow": ("AIRFLOW_DB_PASSWORD", "airflow", "lake"), "flowlake": ("LAKE_DB_PASSWORD", "lake", "airflow")}
    for user, (variable, own, other) in users.items():
        _connect(stack, user, variables[variable], own)
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            _connect(stack, user, variables[variable], other)
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            _connect(stack, user, "wrong", own)
    assert stack.server.rows("select bool_or(rolsuper) from pg_roles where rolname in ('airflow', 'flowlake')") == [
        (False,)
    ]


def test_making_the_databases_again_changes_passwords_and_nothing_else(stack: Stack, variables: dict[str, str]) -> None:
    try:
        assert make_databases(stack, LAKE_DB_PASSWORD="another one").returncode == 0  # noqa: S106
        _connect(stack, "flowlake", "another one", "lake")
    finally:
        assert make_databases(stack).returncode == 0
    _connect(stack, "flowlake", variables["LAKE_DB_PASSWORD"], "lake")


def test_postgres_says_that_it_is_healthy(stack: Stack) -> None:
    assert stack.check("postgres").returncode == 0


@pytest.mark.timeout(1000)
def test_the_services_are_healthy_read_every_dag_and_publish_the_last_hour(
    running: Stack, variables: dict[str, str]
) -> None:
    password = json.loads(variables["AIRFLOW_PASSWORDS"])["admin"]
    api = AirflowApi(f"http://127.0.0.1:{running.port}", "admin", password)
    dags = {path.stem for path in (PROJECT / "dags").glob("*.py")}
    deadline = time.monotonic() + 60
    while not all(api.dag_exists(dag) for dag in dags):
        assert time.monotonic() < deadline, "the DAG processor did not read them"
        time.sleep(0.5)
    assert api.import_errors() == []

    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    last = now - timedelta(hours=1)
    for hour in (last, now):  # whichever is the last whole one when the scheduler looks at the clock
        put_object(running.folder / "sources", hour)
    api.unpause(HOURLY_DAG)
    deadline = time.monotonic() + RUN_SECONDS
    while not (ended := [run for run in api.runs(HOURLY_DAG, last, now + timedelta(hours=1)) if run["end_date"]]):
        assert time.monotonic() < deadline, "no run ended"
        time.sleep(0.5)
    assert [run["state"] for run in ended] == ["success"], _why(api, ended[0]["dag_run_id"])

    service = running.services["flowlake"]
    by_hour = "select sum(bytes)::bigint as bytes from fct_edges where is_counted group by event_hour"
    # Every hour has the same; there are two if the clock struck meanwhile.
    query = ["query", "--format", "csv", f"select distinct bytes from ({by_hour})"]
    answer = running.run("flowlake", [*service["entrypoint"], *query])
    assert answer.stdout.split() == ["bytes", "1000"], answer.stderr
    assert running.run("flowlake", [*service["entrypoint"], *service["command"]]).returncode == 0
    assert running.server.rows("select count(*) > 0 from ducklake_snapshot", "lake") == [(True,)]
    assert not list((running.folder / "lake").glob("*.sqlite*"))


def put_object(source: Path, hour: datetime) -> None:
    """One object that arrived ten minutes into an hour: ten records of 100 bytes each."""
    account, begin = "111122223333", int(hour.timestamp())
    fields = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end"
    record = f"2 {account} eni-0a1b2c3d4e5f60718 10.0.0.5 10.0.1.7 44321 443 6 1 100 {begin} {begin + 5} ACCEPT OK"
    folder = source / f"AWSLogs/{account}/vpcflowlogs/us-east-1/{hour:%Y/%m/%d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{account}_vpcflowlogs_us-east-1_fl-0123456789abcdef0_{hour:%Y%m%dT%H%M}Z_0a1b2c3d.log.gz"
    path.write_bytes(gzip.compress("\n".join([f"{fields} action log-status", *[record] * 10, ""]).encode()))
    os.utime(path, (begin + 600, begin + 600))


def _why(api: AirflowApi, run_id: str) -> str:
    """The end of the log of the task that failed."""
    for task in api.task_instances(HOURLY_DAG, run_id):
        if task["state"] == "failed":
            events = api.log(HOURLY_DAG, run_id, task["task_id"], task["try_number"])
            return f"{task['task_id']}: " + "\n".join(str(event) for event in events[-15:])
    return "no task failed"
