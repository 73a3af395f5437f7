"""Airflow for tests that look at DAGs: a home of its own, made before the first import of Airflow."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

_HOME = tempfile.TemporaryDirectory(prefix="flowlake-airflow-")
PROJECT = Path(__file__).resolve().parents[2]

os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "airflow: starts a real Airflow (about a minute each)")


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def dag_bag(project: Path) -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(project / "dags")


@pytest.fixture(scope="session")
def hourly(dag_bag: DagBag) -> DAG:
    return dag_bag.dags["flow_logs_hourly"]
