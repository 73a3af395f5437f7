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
        assert make_databases(stack, LAKE_DB_PASSWORD="another one").returncode == 0  # noqa: S106 - a test's
        _connect(stack, "flowlake", "another one", "lake")
    finally:
        assert make_databases(stack).returncode == 0
    _connect(stack, "flowlake", variables["LAKE_DB_PASSWORD"], "lake")


def test_postgres_says_that_it_is_healthy(stack: Stack) -> None:
    assert stack.check("postgres").returncode == 0


@pytest.fixture(scope="module")
def api(running: Stack, variables: dict[str, str]) -> AirflowApi:
    """The api server as its first user, when it knows every DAG."""
    password = json.loads(variables["AIRFLOW_PASSWORDS"])["admin"]
    api = AirflowApi(f"http://127.0.0.1:{running.port}", "admin", password)
    dags = {path.stem for path in (PROJECT / "dags").glob("*.py")}
    deadline = time.monotonic() + 60
    while not all(api.dag_exists(dag) for dag in dags):
        assert time.monotonic() < deadline, "the DAG processor did not read them"
        time.sleep(0.5)
    assert api.import_errors() == []
    return api


@dataclass(frozen=True)
class Clocked:
    """What the hour that the clock started left, and a backfill of earlier hours beside it."""

    first: datetime
    """The first of the three hours of the backfill, of two days; the last holds half an object."""
    halved: Path
    mended: bytes
    last: datetime
    """The hour that was the last whole one."""


@pytest.fixture(scope="module")
def clocked(running: Stack, api: AirflowApi) -> Clocked:
    sources = running.folder / "sources"
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    last = now - timedelta(hours=1)
    for hour in (last, now):  # whichever is the last whole one when the scheduler looks at the clock
        put_object(sources, hour)
    midnight = now.replace(hour=0) - timedelta(days=1)
    for hours in (-2, -1, 0):
        put_object(sources, midnight + timedelta(hours=hours))
    halved = put_object(sources, midnight + timedelta(minutes=5), size=7)
    mended = halved.read_bytes()
    write(halved, mended[:-12])

    # As in the UI: one switches the hourly DAG on, and triggers the other.
    api.unpause(HOURLY_DAG)
    first = midnight - timedelta(hours=2)
    backfill = trigger(
        api, "flow_logs_backfill", {"from": f"{first:%FT%TZ}", "to": f"{midnight:%F}T01:00:00Z", "dry_run": False}
    )
    deadline = time.monotonic() + RUN_SECONDS
    while not (ended := [run for run in api.runs(HOURLY_DAG, last, now + timedelta(hours=1)) if run["end_date"]]):
        assert time.monotonic() < deadline, "no run of an hour ended"
        time.sleep(0.5)
    assert [run["state"] for run in ended] == ["success"], why(api, HOURLY_DAG, ended[0]["dag_run_id"])
    await_success(api, "flow_logs_backfill", backfill)
    return Clocked(first, halved, mended, last)


@pytest.mark.timeout(2400)
def test_the_last_hour_runs_by_the_clock_and_a_backfill_beside_it(running: Stack, clocked: Clocked) -> None:
    hours = [clocked.first + timedelta(hours=hours) for hours in range(3)]
    found = bytes_by_hour(running)
    # There are two of the clock's hours if it struck meanwhile.
    assert found.keys() - {f"{clocked.last + timedelta(hours=1):%FT%H}"} == {
        f"{hour:%FT%H}" for hour in [*hours, clocked.last]
    }
    assert set(found.values()) == {1000}
    service = running.services["flowlake"]
    assert running.run("flowlake", [*service["entrypoint"], *service["command"]]).returncode == 0
    assert running.server.rows("select count(*) > 0 from ducklake_snapshot", "lake") == [(True,)]
    assert not list((running.folder / "lake").glob("*.sqlite*"))


@pytest.mark.timeout(2400)
def test_what_could_not_be_read_is_replayed(running: Stack, api: AirflowApi, clocked: Clocked) -> None:
    before = bytes_by_hour(running)
    write(clocked.halved, clocked.mended)
    run = trigger(api, "flow_logs_replay", {"reason": "truncated", "dry_run": False})
    await_success(api, "flow_logs_replay", run)
    replayed = [task for task in api.task_instances("flow_logs_replay", run) if task["task_id"] == "replay"]
    assert [(task["map_index"], task["state"]) for task in replayed] == [(0, "success")]
    assert bytes_by_hour(running) == before | {f"{clocked.first + timedelta(hours=2):%FT%H}": 1000 + 70}


def bytes_by_hour(running: Stack) -> dict[str, int]:
    """What people read: the bytes of each hour."""
    query = (
        "select strftime(event_hour, '%Y-%m-%dT%H') as hour, sum(bytes)::bigint as bytes from fct_edges "
        "where is_counted group by 1"
    )
    answer = running.run("flowlake", [*running.services["flowlake"]["entrypoint"], "query", "--format", "csv", query])
    heading, *rows = answer.stdout.split()
    assert heading == "hour,bytes", answer.stderr
    return {hour: int(total) for hour, total in (row.split(",") for row in rows)}


def trigger(api: AirflowApi, dag: str, params: Mapping[str, object]) -> str:
    """Start a run as the UI does; its id."""
    api.unpause(dag)
    body = {"logical_date": None, "conf": params}
    return str(api._call("POST", f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"])


def await_success(api: AirflowApi, dag: str, run_id: str) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while (state := api._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}")["state"]) in ("queued", "running"):
        assert time.monotonic() < deadline, f"{run_id} did not end"
        time.sleep(0.5)
    assert state == "success", why(api, dag, run_id)


def put_object(source: Path, begun: datetime, size: int = 100) -> Path:
    """One object that arrived ten minutes after it was begun: ten records of so many bytes each."""
    account, begin = "111122223333", int(begun.timestamp())
    fields = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end"
    record = f"2 {account} eni-0a1b2c3d4e5f60718 10.0.0.5 10.0.1.7 44321 443 6 1 {size} {begin} {begin + 5} ACCEPT OK"
    folder = source / f"AWSLogs/{account}/vpcflowlogs/us-east-1/{begun:%Y/%m/%d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{account}_vpcflowlogs_us-east-1_fl-0123456789abcdef0_{begun:%Y%m%dT%H%M}Z_0a1b2c3d.log.gz"
    path.write_bytes(gzip.compress("\n".join([f"{fields} action log-status", *[record] * 10, ""]).encode()))
    os.utime(path, (begin + 600, begin + 600))
    return path


def write(path: Path, content: bytes) -> None:
    """Give an object another content at the same time of arrival."""
    arrived = path.stat().st_mtime
    path.write_bytes(content)
    os.utime(path, (arrived, arrived))


def why(api: AirflowApi, dag: str, run_id: str) -> str:
    """The end of the log of the task that failed."""
    for task in api.task_instances(dag, run_id):
        if task["state"] == "failed":
            events = api.log(dag, run_id, task["task_id"], task["try_number"])
            return f"{task['task_id']}: " + "\n".join(str(event) for event in events[-15:])
    return "no task failed"
