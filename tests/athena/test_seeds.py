"""A seed on Athena has the rows of its file, whatever a killed run left, and costs nothing where it has them."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowlake import dbt
from flowlake.lake.athena import AthenaLake
from flowlake.settings import Settings
from local_athena.server import LocalAthena
from shared_dbt.start import shared_dbt

SEED = Path("seeds/service_ports.csv")


class Seeding:
    """dbt's seeds of a project of our own, on a lake."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.lake = AthenaLake(settings)
        self.project = dbt.PROJECT

    def change(self, line: str) -> None:
        """Go on with a copy of the project whose seed has one line more."""
        self.project = self.folder / "project"
        shutil.copytree(dbt.PROJECT, self.project, ignore=shutil.ignore_patterns("target", "logs"))
        with (self.project / SEED).open("a") as file:
            file.write(f"{line}\n")

    def seed(self) -> list[str]:
        """Run `dbt seed`; the statements that it sent."""
        before = self.executions()
        work = self.folder / "dbt"
        work.mkdir(exist_ok=True)
        with shared_dbt():
            command = [str(dbt.executable()), "--quiet", "--log-path", str(work), "seed", "--target", "athena"]
            command += ["--project-dir", str(self.project), "--profiles-dir", str(self.project)]
            command += ["--target-path", str(work / "target"), "--vars", "{}"]
            places = {"FLOWLAKE_LAKE_PATH": str(self.folder), **dbt._athena_environment(self.settings)}
            ran = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return [query for execution, query in self.executions().items() if execution not in before]

    def executions(self) -> dict[str, str]:
        since = datetime.now(UTC) - timedelta(hours=1)
        return {execution["QueryExecutionId"]: execution["Query"] for execution in self.lake.executions(since)}

    def is_right(self) -> bool:
        """Whether the table has the rows of the file, typed."""
        with (self.project / SEED).open(newline="") as file:
            rows = [(int(row["port"]), row["service"]) for row in csv.DictReader(file)]
        assert len(rows) > 50
        found = self.lake.query(f"select port, service from {self.lake.table('seeds', 'service_ports')}")
        return sorted((int(port), service) for port, service in found) == sorted(rows)


@pytest.fixture
def seeding(surroundings: LocalAthena, settings: Settings, tmp_path: Path) -> Seeding:
    assert settings.athena is not None
    surroundings.client("glue").create_database(DatabaseInput={"Name": settings.athena.schema("seeds")})
    return Seeding(settings, tmp_path)


def test_a_seed_has_its_rows_once_and_is_written_when_it_changes(surroundings: LocalAthena, seeding: Seeding) -> None:
    assert len(seeding.seed()) == 1
    assert seeding.is_right()

    # What a run that is killed as it writes leaves: files, and no table.
    athena = seeding.settings.athena
    assert athena is not None
    surroundings.client("glue").delete_table(DatabaseName=athena.schema("seeds"), Name="service_ports")
    seeding.seed()
    assert seeding.is_right()
    assert seeding.seed() == []

    seeding.change("65000,it's hostile; drop table x --")
    assert len(seeding.seed()) == 1
    assert seeding.is_right()
