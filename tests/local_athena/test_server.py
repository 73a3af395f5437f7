"""`make athena`: what it prints, how long it takes, and that nothing outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import psutil  # type: ignore[import-untyped] # it ships no types
import pytest

from local_athena.children import child
from local_athena.server import LocalAthena

TESTS = Path(__file__).parents[1]
READY_SECONDS = 120.0
"""Some 15 on a quiet machine; how long a busy one takes says nothing."""
END_SECONDS = 60.0


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    program = (
        "import sys, time; from pathlib import Path; from local_athena.children import child\n"
        "with child([sys.executable, '-c', 'import time; time.sleep(600)'], Path(sys.argv[1])):\n"
        "    print('up', flush=True); time.sleep(600)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")], env=environment, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    family = psutil.Process(parent.pid)
    wait_until(lambda: len(family.children(recursive=True)) == 2, 10)
    children = family.children(recursive=True)
    parent.send_signal(how)
    parent.wait()
    wait_until(lambda: not alive(children), 10)


def test_a_child_that_ignores_the_end_is_ended(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    with child([sys.executable, "-c", stubborn], tmp_path / "log") as guard:
        wait_until(lambda: "deaf" in (tmp_path / "log").read_text(), 10)
        children = psutil.Process(guard.pid).children()
        assert len(children) == 1
    assert not alive(children)


def test_the_command_says_how_to_reach_it_and_ends_with_all_its_processes(athena: LocalAthena, tmp_path: Path) -> None:
    # `athena` is asked for only because it skips where there is no Trino.
    environment = os.environ | {"PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "local_athena"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        shown = dict(server.stdout.readline().strip().removeprefix("export ").split("=", 1) for _ in range(8))
        assert shown["AWS_ENDPOINT_URL"] != athena.aws
        own = LocalAthena(shown["AWS_ENDPOINT_URL"], shown["AWS_ENDPOINT_URL_ATHENA"])
        assert shown == own.environment | {"BUCKET": own.bucket, "WORK_GROUP": own.work_group}
        assert own.client("athena").get_work_group(WorkGroup=own.work_group)["WorkGroup"]["State"] == "ENABLED"
        own.client("s3").head_bucket(Bucket=own.bucket)
        children = psutil.Process(server.pid).children(recursive=True)
        trino = next(one for one in children if "io.trino.server.TrinoServer" in one.cmdline())
        addresses = {one.laddr.ip for one in trino.net_connections() if one.status == psutil.CONN_LISTEN}
        assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}, "nobody else is to reach it"
    finally:
        server.terminate()
    assert server.wait(END_SECONDS) == 0
    assert not alive(children)
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_when_its_parent_does(athena: LocalAthena, tmp_path: Path) -> None:
    # A shell between: it is killed, and can pass nothing on. What starts late must end, too.
    environment = os.environ | {"PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)}
    shell = subprocess.Popen(["sh", "-c", f"{sys.executable} -m local_athena; true"], env=environment)
    wait_until(lambda: len(psutil.Process(shell.pid).children(recursive=True)) >= 5, READY_SECONDS)
    children = psutil.Process(shell.pid).children(recursive=True)
    shell.kill()
    shell.wait()
    wait_until(lambda: not alive(children), END_SECONDS)


def test_boto_needs_nothing_but_the_environment(athena: LocalAthena, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in athena.environment.items():
        monkeypatch.setenv(name, value)
    assert boto3.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert boto3.client("athena").get_data_catalog(Name="AwsDataCatalog")["DataCatalog"]["Type"] == "GLUE"
