"""docs/dags.md, written from the DAGs themselves: their manuals and what Airflow made of them.

python -m flowlake.orchestration.dag_docs            # writes the page
python -m flowlake.orchestration.dag_docs --check    # exit code 1 when the page is not what it would write
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowlake.errors import FlowlakeError
from flowlake.orchestration.local import PROJECT

if TYPE_CHECKING:
    from airflow.sdk import DAG

PAGE = PROJECT / "docs" / "dags.md"
HEAD = """\
# DAGs

<!-- Written by `python -m flowlake.orchestration.dag_docs` from the files in dags/. Edit those, then run it again. -->
"""


class DagDocsError(FlowlakeError):
    """A DAG file that cannot be imported."""


def load_dags(folder: Path) -> list[DAG]:
    """The DAGs of a folder, by name. Raises DagDocsError when a file cannot be imported, or when there is none."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(folder)
    if bag.import_errors:
        message = "; ".join(f"{name}: {error.strip().splitlines()[-1]}" for name, error in bag.import_errors.items())
        raise DagDocsError(message)
    if not bag.dags:
        message = f"there is no DAG in {folder}"
        raise DagDocsError(message)
    return [bag.dags[name] for name in sorted(bag.dags)]


def render(dags: list[DAG]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_render_dag(dag) for dag in dags)])


def _render_dag(dag: DAG) -> str:
    manual = re.sub(r"^(#+) ", r"#\1 ", (dag.doc_md or "").strip(), flags=re.MULTILINE)
    facts = [
        f"* DAG: `{dag.dag_id}` ({dag.fileloc and Path(dag.fileloc).name})",
        f"* schedule: {_schedule(dag)}",
        f"* catches up: {_yes(dag.catchup)}; runs at a time: {dag.max_active_runs}; "
        f"paused when new: {_yes(bool(dag.is_paused_upon_creation))}",
        f"* tags: {', '.join(sorted(dag.tags))}",
    ]
    rows = ["| task | does | after | retries | time limit |", "|---|---|---|---|---|"]
    assets: list[str] = []
    # Airflow leaves this one untyped.
    for task in dag.topological_sort():  # type: ignore[no-untyped-call]
        after = ", ".join(f"`{name}`" for name in sorted(task.upstream_task_ids)) or "-"
        limit = _duration(task.execution_timeout)
        rows.append(f"| `{task.task_id}` | {_cell(task.doc_md)} | {after} | {task.retries} | {limit} |")
        # What a task may add an event to, or not, is an alias, which has a name alone.
        updated = [f"`{outlet.uri}`" for outlet in task.outlets if hasattr(outlet, "uri")]
        told = [f"`{outlet.name}`" for outlet in task.outlets if not hasattr(outlet, "uri")]
        if updated:
            assets.append(f"* by `{task.task_id}`: {', '.join(updated)}")
        if told:
            assets.append(f"* by `{task.task_id}`, where there is something to tell: {', '.join(told)}")
    parts = [manual, "### Facts", "\n".join(facts), "### Tasks", "\n".join(rows)]
    if assets:
        parts += ["### Assets", "\n".join(assets)]
    return "\n\n".join(parts) + "\n"


def _schedule(dag: DAG) -> str:
    expression, zone = getattr(dag.timetable, "expression", None), getattr(dag.timetable, "timezone", "UTC")
    if expression is None:
        return "none, it is triggered by hand"
    return f"`{expression}` ({zone}), {type(dag.timetable).__name__}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _duration(value: timedelta | None) -> str:
    return "none" if value is None else f"{value.total_seconds() / 60:g} min"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


@click.command(help=__doc__.split("\n\n", maxsplit=1)[0])
@click.option("--check", is_flag=True, help="Write nothing; fail when the page is stale.")
def main(*, check: bool) -> None:
    """Write docs/dags.md, or say whether it is up to date."""
    with tempfile.TemporaryDirectory() as home:
        # Airflow makes itself a home where it is imported; this one needs none.
        os.environ.setdefault("AIRFLOW_HOME", home)
        page = render(load_dags(PROJECT / "dags"))
    current = PAGE.read_text() if PAGE.exists() else ""
    if check and page != current:
        changes = difflib.unified_diff(current.splitlines(), page.splitlines(), "docs/dags.md", "the DAGs", lineterm="")
        click.echo("\n".join(changes), err=True)
        message = "docs/dags.md is stale: run `python -m flowlake.orchestration.dag_docs` and commit the result"
        raise click.ClickException(message)
    if not check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
