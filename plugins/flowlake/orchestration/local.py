"""An Airflow of one's own on one machine: started, watched and ended as a whole.

    python -m flowlake.orchestration.local up      # starts it, waits until it is healthy, prints the login
    python -m flowlake.orchestration.local status
    python -m flowlake.orchestration.local down    # ends every process of it

For trying flowlake out, for the demo and for tests; not for production: the metadata lies in SQLite, the passwords in
a file. `airflow standalone` does nearly this, but its children outlive it when it is killed, it knows no port and no
folder but the defaults, and it serves on all interfaces.

Everything that is kept lies in one folder (`AIRFLOW_HOME`): metadata, secrets, logs, and `processes.json`, which says
what runs. Processes are found again by pid and start time, together with all their descendants (Airflow gives every
task a process group of its own, so one group is not enough), by psutil, so that Linux and macOS behave alike.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import click
import psutil  # type: ignore[import-untyped] # it ships no types

from flowlake.errors import FlowlakeError
from flowlake.orchestration.api import AirflowApi, ApiError
from flowlake.orchestration.defaults import HOURLY_DAG
from flowlake.settings import CONFIG_VARIABLE, DEFAULT_CONFIG, load_settings

PROJECT = Path(__file__).resolve().parents[3]
"""The checkout that this package lies in: Airflow reads its `dags/` and `plugins/`."""

USER = "admin"
API_SERVER, SCHEDULER, DAG_PROCESSOR, TRIGGERER = "api-server", "scheduler", "dag-processor", "triggerer"
COMPONENTS = (API_SERVER, SCHEDULER, DAG_PROCESSOR, TRIGGERER)

START_SECONDS = 180.0
"""How long a start may take. 2 busy cores need 20 s; the rest is for slow disks and the first compilation of .pyc."""

DAG_SECONDS = 60.0
"""How long the DAG processor may take to read a DAG for the first time."""

STOP_SECONDS = 10.0
"""How long processes may take to end when asked to; then they are killed. Steps survive that (they are idempotent)."""

Progress = Callable[[str], None]


class LocalAirflowError(FlowlakeError):
    """The local Airflow cannot be started, reached or ended."""


@dataclass(frozen=True)
class LocalAirflow:
    """What is started: where its state lies, where it listens, how much it may do at once.

    `scheduled=False` switches the clock off: no run starts by itself, only those that someone asks for. `config` is the
    settings file of the steps (`FLOWLAKE_CONFIG`); None leaves the caller's environment as it is.
    """

    home: Path
    port: int = 8080
    config: Path | None = None
    parallelism: int = 2
    scheduled: bool = True
    components: tuple[str, ...] = COMPONENTS
    project: Path = PROJECT

    @property
    def url(self) -> str:
        """Where the UI and the API are."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password_file(self) -> Path:
        """The user's password, as Airflow's SimpleAuthManager wants it."""
        return self.home / "passwords.json"

    @property
    def state_file(self) -> Path:
        """What runs: the port and the processes."""
        return self.home / "processes.json"

    @property
    def log_folder(self) -> Path:
        """One log file per component, besides Airflow's own logs of tasks."""
        return self.home / "logs"


@dataclass(frozen=True)
class Process:
    """A started component. The start time (seconds since the epoch) tells it from a later process with its pid."""

    name: str
    pid: int
    created: float


@dataclass(frozen=True)
class State:
    """What `up` left behind."""

    port: int
    processes: tuple[Process, ...]


def environment(airflow: LocalAirflow, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of every component: the caller's, with what follows set over it."""
    settings = {
        "AIRFLOW_HOME": str(airflow.home),
        "AIRFLOW_CONFIG": str(airflow.home / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(airflow.project / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(airflow.project / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(airflow.parallelism),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(airflow.password_file),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow.url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow.home / 'airflow.db'}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "flowlake.orchestration.sqlite.CONNECT_ARGS",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": "flowlake.orchestration.sqlite.CONNECT_ARGS",
        "AIRFLOW__API_AUTH__JWT_SECRET": secret(airflow),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(airflow.port),
        "AIRFLOW__API__BASE_URL": airflow.url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(airflow.log_folder),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        # Found at once when someone edits a DAG; one small file costs next to nothing to look at.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        # The scheduler sleeps this long when nothing is to do: it is what a short task waits for its successor.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(airflow.scheduled),
        # The machine's own name may not resolve on a laptop; nothing here speaks to another machine.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]),
        # macOS: the system's proxy lookup is not safe after a fork, and nothing here needs a proxy.
        "NO_PROXY": "127.0.0.1,localhost" + (f",{environ['NO_PROXY']}" if environ.get("NO_PROXY") else ""),
        "PYTHONUNBUFFERED": "1",
    }
    if airflow.config is not None:
        settings[CONFIG_VARIABLE] = str(airflow.config.resolve())
    return {**environ, **settings}


def up(airflow: LocalAirflow, progress: Progress) -> bool:
    """Start what does not run yet and wait until it is healthy. Returns False when it ran already.

    Raises LocalAirflowError when the port is taken, a component ends, or health takes longer than START_SECONDS; then
    nothing is left running.
    """
    airflow.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    airflow.home.chmod(0o700)
    with _only_one(airflow):
        state = read_state(airflow)
        if state and all(_find(process) for process in state.processes):
            return False
        if state:
            progress("Ending what is left of an earlier start")
            _end(airflow, state)
        _check_port(airflow.port)
        airflow.log_folder.mkdir(exist_ok=True)
        password(airflow)
        try:
            _migrate(airflow, progress)
            _start(airflow)
            _wait(airflow, progress)
        except BaseException:
            down(airflow, lock=False)
            raise
    return True


def down(airflow: LocalAirflow, *, lock: bool = True) -> int:
    """End every process of it, and wait until they are gone. Returns how many there were (0: it did not run)."""
    if not airflow.home.is_dir():
        return 0
    with _only_one(airflow) if lock else contextlib.nullcontext():
        state = read_state(airflow)
        return _end(airflow, state) if state else 0


def status(airflow: LocalAirflow) -> dict[str, bool]:
    """Which of the started components run; empty when nothing was started."""
    state = read_state(airflow)
    return {process.name: _find(process) is not None for process in state.processes} if state else {}


@contextlib.contextmanager
def running(airflow: LocalAirflow, progress: Progress) -> Iterator[AirflowApi]:
    """A healthy Airflow for the length of a `with` block; what is left of an earlier one is ended first.

    SIGTERM ends it too: it becomes SystemExit, so that the processes are ended on the way out.
    """

    def leave(_signal: int, _frame: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        down(airflow)
        up(airflow, progress)
        yield api(airflow)
    finally:
        # A second Ctrl-C must not leave processes behind.
        interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            down(airflow)
        finally:
            signal.signal(signal.SIGINT, interrupted)
            signal.signal(signal.SIGTERM, previous)


def api(airflow: LocalAirflow) -> AirflowApi:
    """The REST API of the started Airflow, logged in."""
    return AirflowApi(airflow.url, USER, password(airflow))


def wait_for_dag(server: AirflowApi, dag_id: str) -> None:
    """Wait until Airflow knows a DAG. Raises LocalAirflowError when its file cannot be imported, or is not found."""
    deadline = time.monotonic() + DAG_SECONDS
    while not server.dag_exists(dag_id):
        if errors := server.import_errors():
            message = f"Airflow cannot read the DAG {dag_id}:\n" + "\n".join(errors)
            raise LocalAirflowError(message)
        if time.monotonic() > deadline:
            message = f"Airflow did not find the DAG {dag_id} within {DAG_SECONDS:.0f} s"
            raise LocalAirflowError(message)
        time.sleep(0.25)


def password(airflow: LocalAirflow) -> str:
    """The user's password; the first call makes it up and keeps it in a file that only its owner can read."""
    with contextlib.suppress(FileNotFoundError):
        return str(json.loads(airflow.password_file.read_text())[USER])
    word = secrets.token_urlsafe(12)
    write_private(airflow.password_file, json.dumps({USER: word}))
    return word


def secret(airflow: LocalAirflow) -> str:
    """What the tasks' tokens are signed with. Airflow's own generated secret is shorter than its algorithm wants."""
    path = airflow.home / "jwt_secret"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    word = secrets.token_urlsafe(64)
    write_private(path, word)
    return word


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_state(airflow: LocalAirflow) -> State | None:
    """What the last `up` started, or None. A file from before a restart of the machine counts as None."""
    try:
        raw = json.loads(airflow.state_file.read_text())
        if abs(raw["booted"] - psutil.boot_time()) > 60:
            return None
        return State(port=raw["port"], processes=tuple(Process(**process) for process in raw["processes"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write_state(airflow: LocalAirflow, processes: Iterable[Process]) -> None:
    raw = {"port": airflow.port, "booted": psutil.boot_time(), "processes": [vars(process) for process in processes]}
    write_private(airflow.state_file, json.dumps(raw))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


@contextlib.contextmanager
def _only_one(airflow: LocalAirflow) -> Iterator[None]:
    """Two `up` at a time would start everything twice."""
    with (airflow.home / "up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            message = (
                f"Port {port} of 127.0.0.1 cannot be used ({error.strerror}): another program listens there. "
                f"Choose another one, for example `make up AIRFLOW_PORT={port + 1}`."
            )
            raise LocalAirflowError(message) from None


def _migrate(airflow: LocalAirflow, progress: Progress) -> None:
    """Make or update the metadata database. It costs seconds, so it is done once per version of Airflow."""
    done = airflow.home / "migrated"
    current = version("apache-airflow")
    if done.is_file() and done.read_text() == current and (airflow.home / "airflow.db").is_file():
        return
    progress("Preparing Airflow's metadata database")
    log = airflow.log_folder / "db-migrate.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        # This interpreter and words of ours, no shell; likewise below.
        code = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT, env=environment(airflow))  # noqa: S603
    if code != 0:
        message = f"Airflow's metadata database could not be prepared (exit code {code}): see {log}"
        raise LocalAirflowError(message)
    done.write_text(current)


def _start(airflow: LocalAirflow) -> None:
    processes: list[Process] = []
    for name in airflow.components:
        command = [sys.executable, "-m", "airflow", name]
        if name in (SCHEDULER, TRIGGERER):
            # Their log servers would listen on all interfaces; the api server reads the same files from the disk.
            command.append("--skip-serve-logs")
        with (airflow.log_folder / f"{name}.log").open("w") as output:
            started = subprocess.Popen(  # noqa: S603 - as above
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(airflow),
                # A session of its own: the terminal's Ctrl-C is for the caller, who then ends all of them in order.
                start_new_session=True,
            )
        processes.append(Process(name, started.pid, psutil.Process(started.pid).create_time()))
        _write_state(airflow, processes)


def _wait(airflow: LocalAirflow, progress: Progress) -> None:
    """Wait until every component says that it is healthy."""
    server = api(airflow)
    started = time.monotonic()
    shown: set[str] = set()
    while True:
        for name, alive in status(airflow).items():
            if not alive:
                message = f"Airflow's {name} ended while starting: see {airflow.log_folder / name}.log"
                raise LocalAirflowError(message)
        healthy = _healthy(airflow, server)
        for name in sorted(healthy - shown):
            progress(f"Airflow's {name} is up ({time.monotonic() - started:.0f} s)")
        shown |= healthy
        if shown >= set(airflow.components):
            return
        if time.monotonic() - started > START_SECONDS:
            missing = ", ".join(sorted(set(airflow.components) - shown))
            message = f"Airflow was not healthy after {START_SECONDS:.0f} s ({missing}): see {airflow.log_folder}"
            raise LocalAirflowError(message)
        time.sleep(0.25)


def _healthy(airflow: LocalAirflow, server: AirflowApi) -> set[str]:
    try:
        health = server.health()
    except ApiError:
        return set()
    names = {SCHEDULER: "scheduler", DAG_PROCESSOR: "dag_processor", TRIGGERER: "triggerer"}
    started = read_state(airflow)
    since = min((process.created for process in started.processes), default=0.0) if started else 0.0
    # An earlier process's last heartbeat keeps its component "healthy" for a while: only those since the start count.
    return {API_SERVER} | {name for name, key in names.items() if (health.get(key) or 0.0) >= since}


def _find(process: Process) -> psutil.Process | None:
    """The process, if it still runs: the same pid with another start time is a stranger."""
    try:
        found = psutil.Process(process.pid)
        if abs(found.create_time() - process.created) < 1 and found.status() != psutil.STATUS_ZOMBIE:
            return found
    except psutil.NoSuchProcess:
        pass
    return None


def _family(state: State) -> list[psutil.Process]:
    """Every process that belongs to the started ones: they, their descendants, and who is left in their groups."""
    found: dict[int, psutil.Process] = {}
    for process in state.processes:
        if leader := _find(process):
            found[leader.pid] = leader
            with contextlib.suppress(psutil.NoSuchProcess):
                found.update({child.pid: child for child in leader.children(recursive=True)})
    # A leader that died leaves its children to init; they still are in its session, whose number is its pid.
    sessions = {process.pid: process.created for process in state.processes}
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            session = os.getsid(other.pid)
            if session in sessions and other.create_time() >= sessions[session] - 1:
                found[other.pid] = other
    return [process for process in found.values() if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end(airflow: LocalAirflow, state: State) -> int:
    """Ask all processes to end, kill those that do not, and forget them. Returns how many there were."""
    family = _family(state)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while left := _left(family, state):
        if time.monotonic() > deadline:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(0.1)
    airflow.state_file.unlink(missing_ok=True)
    return len(family)


def _left(family: list[psutil.Process], state: State) -> list[psutil.Process]:
    """Who still runs: of those seen before (their parents may be gone), and of those who came since."""
    for process in family:
        # Collects the exit code of those that are this process's own children; others are not waited for.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    known = {process.pid: process for process in [*family, *_family(state)]}
    return [process for process in known.values() if _runs(process)]


def default_parallelism() -> int:
    """Tasks at a time: what the machine has, at least 2, at most 4 (a run's steps follow each other anyway)."""
    return max(2, min(4, os.cpu_count() or 2))


@click.group(help=__doc__.split("\n\n", maxsplit=1)[0])
@click.option("--home", type=click.Path(path_type=Path), default=Path("data/airflow"), show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, envvar="AIRFLOW_PORT")
@click.option("--config", type=click.Path(path_type=Path), default=None, help="flowlake's settings (FLOWLAKE_CONFIG).")
@click.pass_context
def main(context: click.Context, home: Path, port: int, config: Path | None) -> None:
    """Start, look at and end a local Airflow."""
    if config is None:
        # Made absolute: a step's working directory need not be the caller's.
        config = Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG).expanduser()
    context.obj = LocalAirflow(home=home.resolve(), port=port, config=config, parallelism=default_parallelism())


@main.command("up")
@click.pass_obj
def up_command(airflow: LocalAirflow) -> None:
    """Start it, wait until it is healthy, print the login."""
    load_settings(airflow.config)  # a mistake in them is said here, not hours later in a task's log
    fresh = up(airflow, click.echo)
    state = read_state(airflow)
    where = LocalAirflow(home=airflow.home, port=state.port if state else airflow.port)
    try:
        wait_for_dag(api(where), HOURLY_DAG)
    except LocalAirflowError as error:
        # It stays up: whoever mends the DAG wants to see it there.
        click.echo(f"Warning: {error}", err=True)
    click.echo(f"Airflow {'is up' if fresh else 'was up already'}: {where.url}")
    click.echo(f"  user {USER}, password {password(where)}")
    click.echo(f"  logs {where.log_folder}")
    click.echo("  end it with `make down`")


@main.command("down")
@click.pass_obj
def down_command(airflow: LocalAirflow) -> None:
    """End every process of it."""
    count = down(airflow)
    click.echo(f"Airflow is down ({count} processes ended)." if count else "Airflow was not up.")


@main.command("status")
@click.pass_obj
def status_command(airflow: LocalAirflow) -> None:
    """Say which components run; exit code 1 when one does not."""
    found = status(airflow)
    if not found:
        click.echo("Airflow is not up.")
    for name, alive in found.items():
        click.echo(f"{name}: {'runs' if alive else 'has ended'}")
    raise SystemExit(0 if found and all(found.values()) else 1)


def run() -> None:
    """The command line, with errors as one line."""
    try:
        main(standalone_mode=True)
    except FlowlakeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    run()
