"""dbt as a child process, in its own environment.

Its pins and Airflow's exclude each other (docs/adr/0002-dbt-as-a-child-process.md), so nothing here imports it; what
it needs goes in by its command line and its environment, what it did comes back in its run_results.json.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import logging
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError, storage_advice
from flowlake.lake.aws import athena_settings, client
from flowlake.lake.duck import install_extensions, is_overtaken
from flowlake.lake.lock import build_lock
from flowlake.lake.objects import shown
from flowlake.lake.windows import format_hour
from flowlake.settings import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowlake.lake.windows import Window
    from flowlake.settings import Settings

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = Path(os.environ.get("FLOWLAKE_DBT_PROJECT", REPOSITORY / "dbt_project"))


_PATIENCE_SECONDS = 10.0
"""How long a dbt that is told to end may take; its transaction is undone either way."""


class DbtError(FlowlakeError):
    """A model, a test or dbt itself failed; the message names the first of them."""


@dataclass(frozen=True)
class DbtRun:
    """What one dbt invocation built."""

    models: int
    tests: int
    seconds_by_node: dict[str, float]


def executable() -> Path:
    """Where dbt is: FLOWLAKE_DBT, else the environment that `make setup` makes beside this one."""
    chosen = os.environ.get("FLOWLAKE_DBT")
    path = Path(chosen) if chosen else REPOSITORY / ".venv-dbt" / "bin" / "dbt"
    if not path.exists():
        raise DbtError(f"there is no dbt at {path}: run `make setup`, or set FLOWLAKE_DBT to its dbt executable")
    return path


def run_variables(settings: Settings) -> dict[str, object]:
    """The variables that the models read; lists and names are quoted again where they become SQL."""
    return {
        "nat_gateways": list(settings.nat_gateways),
        "internal_cidrs": list(settings.internal_cidrs),
        "overlapping_cidrs": list(settings.overlapping_cidrs),
        "device_names": dict(settings.device_names),
        "retired_flow_logs": list(settings.gates.retired_flow_logs),
    }


def _output(settings: Settings) -> str:
    """The output of dbt's profile that is this target on this catalogue."""
    if settings.target is Target.ATHENA:
        return settings.target.value
    return settings.target.value if settings.lake.catalog is None else f"{settings.target.value}_postgresql"


def manifest_path(settings: Settings, layer: str) -> Path:
    """The manifest of the last build of a layer that succeeded, compiled queries included."""
    return settings.lake.path.resolve() / "dbt" / f"manifest-{layer}.json"


def build(settings: Settings, window: Window, layer: str, meanwhile: Callable[[], object] = lambda: None) -> DbtRun:
    """Run `dbt build` over the models with a layer's tag (staging, marts) for a window.

    `meanwhile` is called once dbt has been started, which then takes seconds before it does anything.

    Raises:
        DbtError: with the first failing node and its message; all of dbt's log lies in `<lake>/dbt/logs`.
    """
    if settings.target is Target.DUCKDB:
        install_extensions()
    with _work_folder(settings) as folder:
        try:
            with build_lock(settings, f"{layer} of {window}", alone=False):
                return _build(settings, window, layer, folder, meanwhile)
        except DbtError as error:
            if settings.target is not Target.DUCKDB or not is_overtaken(str(error)):
                raise
            log.warning("another run committed first, building again while no other one builds: %s", error)
        # Models replace what they write, so the second time is as whole as the first.
        with build_lock(settings, f"{layer} of {window}, again", alone=True):
            return _build(settings, window, layer, folder, meanwhile)


@contextmanager
def _work_folder(settings: Settings) -> Iterator[Path]:
    """A folder that no other dbt works in: `<lake>/dbt`, else the first free one of those for runs side by side.

    dbt's target (what it parsed before, what it compiles) and DuckDB's spill belong to one process at a time. A folder
    is free when nobody has its lock, so killed runs leave none behind; dbt inherits the lock as it does the run's.
    """
    home = settings.lake.path.resolve() / "dbt"
    for number in itertools.count():
        folder = home / f"beside-{number}" if number else home
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "in_use.lock").open("a") as file:
            os.set_inheritable(file.fileno(), True)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            (folder / "spill").mkdir(exist_ok=True)
            yield folder
            return


def _build(settings: Settings, window: Window, layer: str, folder: Path, meanwhile: Callable[[], object]) -> DbtRun:
    home = settings.lake.path.resolve() / "dbt"
    target = folder / "target"
    command = [
        str(executable()),
        "--no-use-colors",
        "--log-path",
        str(home / "logs"),
        "build",
        "--project-dir",
        str(PROJECT),
        "--profiles-dir",
        str(PROJECT),
        "--target",
        _output(settings),
        "--target-path",
        str(target),
        "--vars",
        json.dumps(run_variables(settings)),
        # Unit tests prove the project, not the hour's data: the test suite runs them.
        "--exclude-resource-type",
        "unit_test",
        "--select",
        f"tag:{layer}",
    ]
    environment = {
        **os.environ,
        "FLOWLAKE_LAKE_PATH": str(settings.lake.path.resolve()),
        "FLOWLAKE_TARGET": _output(settings),
        "FLOWLAKE_CATALOG": settings.lake.catalog or "",
        "FLOWLAKE_SPILL": str(folder / "spill"),
        **_athena_environment(settings),
        "FLOWLAKE_ARRIVAL_FROM": format_hour(window.start),
        "FLOWLAKE_ARRIVAL_TO": format_hour(window.end),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }
    # A Python path of Airflow's or of ours would put this environment's packages before dbt's.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    results = target / "run_results.json"
    results.unlink(missing_ok=True)
    tail: list[str] = []
    # The run lock and the folder's are inherited (close_fds): if this process is killed, they stay until dbt has ended.
    with subprocess.Popen(  # noqa: S603 - our own executable, arguments from checked settings, no shell
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        close_fds=False,
    ) as process:
        try:
            meanwhile()
            for line in process.stdout or ():
                text = shown(line.rstrip())  # an engine's error quotes what it could not read
                if text:
                    log.info("dbt: %s", text)
                    tail = [*tail[-30:], text]
        except BaseException:
            # A time limit, Ctrl-C: who leaves takes the lock along, and nobody may write beside a dbt that goes on.
            _end(process)
            raise
    outcome = _outcome(results)
    if outcome is None:
        said = " | ".join(tail[-6:])
        raise DbtError(f"dbt ended with code {process.returncode} before it ran anything: {said}{_advice(tail)}")
    failures = [result for result in outcome if result["status"] in ("error", "fail", "runtime error")]
    if failures or process.returncode != 0:
        first = failures[0] if failures else {"unique_id": "dbt", "message": " | ".join(tail[-6:])}
        message = shown(" ".join(str(first["message"]).split()))
        raise DbtError(
            f"dbt: {first['unique_id'].split('.')[-1]} failed ({len(failures)} in all): {message[:600]}"
            f"{_advice([message, *tail])}; the whole log is {home / 'logs' / 'dbt.log'}"
        )
    manifest = manifest_path(settings, layer)
    copied = target / f"{manifest.name}.new"
    shutil.copy(target / "manifest.json", copied)
    copied.replace(manifest)
    return DbtRun(
        models=sum(result["unique_id"].startswith("model.") for result in outcome),
        tests=sum(result["unique_id"].startswith("test.") for result in outcome),
        seconds_by_node={result["unique_id"]: float(result["execution_time"]) for result in outcome},
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _athena_environment(settings: Settings) -> dict[str, str]:
    """What the profile's output `athena` reads; credentials and endpoints are in the environment already."""
    if settings.target is not Target.ATHENA:
        return {}
    athena = athena_settings(settings)
    # dbt does not look into profiles for it.
    found = str(client("athena").meta.region_name)
    return {
        "AWS_REGION": found,
        "FLOWLAKE_DATABASE": athena.database,
        "FLOWLAKE_LOCATION": athena.location,
        "FLOWLAKE_WORK_GROUP": athena.work_group,
        "FLOWLAKE_THREADS": str(athena.threads),
    }


def _outcome(results: Path) -> list[dict[str, Any]] | None:
    """What dbt says of each node; None when it did not come so far, or could not write it down."""
    try:
        found: list[dict[str, Any]] = json.loads(results.read_text())["results"]
    except (FileNotFoundError, ValueError):
        return None
    return found


def _advice(said: Iterable[str]) -> str:
    """What to do when dbt's words are about the disk: its own log and target, or the lake."""
    advice = storage_advice(" ".join(said))
    return f": {advice}" if advice else ""
