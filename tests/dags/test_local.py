"""The local Airflow's bookkeeping, with other processes in Airflow's place: what it starts, finds and ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from click.testing import CliRunner

from flowlake.orchestration import local
from flowlake.orchestration.local import LocalAirflow, LocalAirflowError, Process, State

# A leader with two children: one in its own group (as Airflow's tasks are), one that ignores being asked to end.
FAMILY = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], process_group=0)
subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(120)"])
time.sleep(120)
"""


@pytest.fixture
def airflow(tmp_path: Path) -> LocalAirflow:
    return LocalAirflow(home=tmp_path / "airflow", port=local.free_port())


@pytest.fixture
def family(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[psutil.Process]]:
    """A running leader with its children, written down as if `up` had started it."""
    monkeypatch.setattr(local, "STOP_SECONDS", 1.0)
    airflow.home.mkdir()
    started = subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    leader = psutil.Process(started.pid)
    members = [leader, *leader.children(recursive=True)]
    assert len(members) == 3
    local._write_state(airflow, [Process("scheduler", leader.pid, leader.create_time())])
    yield members
    for member in members:
        if member.is_running():
            member.kill()
    started.wait()
    started.stdout.close()


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if local._runs(process)]


def test_down_ends_children_in_other_groups_and_kills_those_that_do_not_end(
    airflow: LocalAirflow, family: list[psutil.Process]
) -> None:
    assert local.down(airflow) == 3
    assert _alive(family) == []
    assert not airflow.state_file.exists()


def test_down_finds_the_children_of_a_leader_that_died(airflow: LocalAirflow, family: list[psutil.Process]) -> None:
    family[0].kill()
    os.waitpid(family[0].pid, 0)
    assert local.status(airflow) == {"scheduler": False}
    assert local.down(airflow) == 2
    assert _alive(family) == []


def test_down_twice_and_down_before_up_are_harmless(airflow: LocalAirflow) -> None:
    assert local.down(airflow) == 0
    airflow.home.mkdir()
    assert local.down(airflow) == 0
    assert local.status(airflow) == {}


def test_a_stranger_with_the_same_pid_is_left_alone(airflow: LocalAirflow, family: list[psutil.Process]) -> None:
    state = State(airflow.port, (Process("scheduler", os.getpid(), psutil.Process().create_time() - 3600),))
    assert local._find(state.processes[0]) is None
    assert local._end(airflow, state) == 0
    assert len(_alive(family)) == 3


def test_a_state_from_before_a_restart_of_the_machine_counts_for_nothing(
    airflow: LocalAirflow, family: list[psutil.Process]
) -> None:
    raw = json.loads(airflow.state_file.read_text())
    airflow.state_file.write_text(json.dumps({**raw, "booted": raw["booted"] - 86400}))
    assert local.read_state(airflow) is None
    assert local.down(airflow) == 0
    assert len(_alive(family)) == 3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 1}'])
def test_a_damaged_state_counts_for_nothing(airflow: LocalAirflow, text: str) -> None:
    airflow.home.mkdir()
    airflow.state_file.write_text(text)
    assert local.read_state(airflow) is None


def test_up_while_it_runs_starts_nothing(airflow: LocalAirflow, family: list[psutil.Process]) -> None:
    assert local.up(airflow, lambda _: pytest.fail("nothing is to be done")) is False
    assert len(_alive(family)) == 3


def test_up_on_a_taken_port_says_so_and_starts_nothing(airflow: LocalAirflow) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", airflow.port))
        other.listen()
        with pytest.raises(LocalAirflowError, match=f"Port {airflow.port} of .* AIRFLOW_PORT={airflow.port + 1}"):
            local.up(airflow, lambda _: None)
    assert local.status(airflow) == {}


def test_a_component_that_ends_while_starting_ends_the_others(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[psutil.Process] = []

    def start(airflow: LocalAirflow) -> None:
        processes = []
        for name, seconds in (("api-server", 0.0), ("scheduler", 60.0)):
            code = f"import time; time.sleep({seconds})"
            popen = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
            process = psutil.Process(popen.pid)
            started.append(process)
            processes.append(Process(name, popen.pid, process.create_time()))
        local._write_state(airflow, processes)

    monkeypatch.setattr(local, "_migrate", lambda *_: None)
    monkeypatch.setattr(local, "_start", start)
    with pytest.raises(LocalAirflowError, match=r"api-server ended while starting: see .*api-server\.log"):
        local.up(airflow, lambda _: None)
    time.sleep(0.1)
    assert _alive(started) == []


def test_secrets_are_made_once_and_only_their_owner_can_read_them(airflow: LocalAirflow) -> None:
    airflow.home.mkdir()
    word, key = local.password(airflow), local.secret(airflow)
    assert len(word) >= 16
    assert len(key) >= 64
    assert (local.password(airflow), local.secret(airflow)) == (word, key)
    assert json.loads(airflow.password_file.read_text()) == {"admin": word}
    for path in airflow.home.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_environment_keeps_to_this_machine_and_this_checkout(airflow: LocalAirflow, project: Path) -> None:
    airflow.home.mkdir()
    settings = local.environment(airflow, {"PATH": "/bin", "AIRFLOW_HOME": "/elsewhere", "AIRFLOW_CONN_X": "aws://"})
    assert settings["AIRFLOW_HOME"] == str(airflow.home)
    assert settings["AIRFLOW__CORE__DAGS_FOLDER"] == str(project / "dags")
    assert settings["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert settings["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert settings["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert settings["AIRFLOW_CONN_X"] == "aws://"
    assert settings["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/bin"]
    assert "FLOWLAKE_CONFIG" not in settings


def test_settings_that_are_wrong_are_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "up", lambda *_: pytest.fail("it started"))
    config = tmp_path / "flowlake.yaml"
    config.write_text("sources: [{name: a, url: logs}]\nlake: {path: lake}\n")
    result = CliRunner().invoke(local.main, ["--home", str(tmp_path), "--config", str(config), "up"])
    assert result.exit_code != 0
    assert "url" in str(result.exception) + result.output


def test_the_settings_that_the_caller_names_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[LocalAirflow] = []

    def up(airflow: LocalAirflow, _progress: object) -> bool:
        started.append(airflow)
        raise LocalAirflowError("enough")

    monkeypatch.setattr(local, "up", up)
    monkeypatch.chdir(tmp_path)
    for named in ("mine.yaml", ""):
        monkeypatch.setenv("FLOWLAKE_CONFIG", named)
        (tmp_path / (named or "flowlake.yaml")).write_text("sources: [{name: a, uri: logs}]\nlake: {path: lake}\n")
        CliRunner().invoke(local.main, ["--home", str(tmp_path), "up"])
        found = local.environment(started[-1])["FLOWLAKE_CONFIG"]
        assert found == str(tmp_path / (named or "flowlake.yaml"))


def test_a_savepoint_waits_for_its_turn_instead_of_failing(tmp_path: Path) -> None:
    import sqlite3

    from flowlake.orchestration.sqlite import CONNECT_ARGS

    def outcome(arguments: dict[str, object]) -> str:
        path = tmp_path / f"{len(arguments)}.db"
        with sqlite3.connect(path) as other:
            other.execute("pragma journal_mode=wal")
            other.execute("create table t (x)")
        one = sqlite3.connect(path, **arguments)  # type: ignore[call-overload]
        cursor = one.cursor()
        cursor.execute("SAVEPOINT a")
        cursor.execute("select * from t").fetchall()
        try:
            with sqlite3.connect(path, timeout=0) as other:
                other.execute("insert into t values (1)")
        except sqlite3.OperationalError:
            pass
        try:
            cursor.execute("insert into t values (2)")
            cursor.execute("RELEASE SAVEPOINT a")
            one.commit()
        except sqlite3.OperationalError as error:
            return str(error)
        return "written"

    assert outcome({}) == "database is locked"
    assert outcome(CONNECT_ARGS) == "written"


def test_the_command_line_says_a_mistake_in_one_line(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(local.main, ["--home", str(tmp_path), "status"]).exit_code == 1
    assert "not up" in runner.invoke(local.main, ["--home", str(tmp_path), "down"]).output
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        config = tmp_path / "flowlake.yaml"
        config.write_text("sources: [{name: a, uri: logs}]\nlake: {path: lake}\n")
        command = [sys.executable, "-m", "flowlake.orchestration.local", "--home", str(tmp_path)]
        command += ["--config", str(config), "--port", port, "up"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: Port {port} of 127.0.0.1")
    assert len(done.stderr.splitlines()) == 1


def test_a_component_is_healthy_only_by_a_heartbeat_of_this_start(airflow: LocalAirflow) -> None:
    airflow.home.mkdir()
    local._write_state(airflow, [Process("scheduler", 1, 1000.0)])
    health = {"scheduler": 999.0, "dag_processor": 1001.0, "triggerer": None}
    server = SimpleNamespace(health=lambda: health)
    assert local._healthy(airflow, server) == {"api-server", "dag-processor"}  # type: ignore[arg-type]
