"""docs/dags.md says what the DAGs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowlake.orchestration.dag_docs import PAGE, DagDocsError, load_dags, render


def test_the_page_is_up_to_date(dag_bag: Any) -> None:
    dags = [dag_bag.dags[name] for name in sorted(dag_bag.dags)]
    assert PAGE.read_text() == render(dags), "run `python -m flowlake.orchestration.dag_docs`"


def test_a_page_holds_the_manual_the_tasks_and_the_assets(hourly: Any) -> None:
    page = render([hourly])
    assert "## Hourly flow logs" in page
    assert "schedule: `0 * * * *` (UTC), CronDataIntervalTimetable" in page
    assert "| `publish` |" in page
    assert "* by `publish`: `x-flowlake://flowlake/" in page
    assert ", `x-flowlake://flowlake/fct_edges`, " in page
    assert "* by `publish`, where there is something to tell: `x-flowlake://ops/restatements`" in page


def test_a_broken_dag_file_is_an_error_and_not_a_shorter_page(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("from airflow.sdk import DAG\n1 / 0\n")
    with pytest.raises(DagDocsError, match=r"broken\.py.*ZeroDivisionError"):
        load_dags(tmp_path)


def test_a_folder_without_dags_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DagDocsError, match="no DAG"):
        load_dags(tmp_path / "missing")
