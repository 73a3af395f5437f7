"""docs/tables.md, written from dbt's manifest: what each published table holds, and what every column means.

python -m flowlake.table_docs            # writes the page
python -m flowlake.table_docs --check    # exit code 1 when the page is not what it would write
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from flowlake.dbt import PROJECT, REPOSITORY, executable
from flowlake.errors import FlowlakeError
from flowlake.lake.restatements import COLUMNS, MEANINGS

PAGE = REPOSITORY / "docs" / "tables.md"

GRAIN = "One row per"
QUESTION = "Answers"

LAYERS: Mapping[str, tuple[str, str]] = {
    "core": ("Facts and dimensions", "What the reports are made of, and where to look when no report has the answer."),
    "marts": (
        "Reports",
        "A question each. Tables are kept per event hour; those named `…_hourly` are what the views add up and rank, "
        "over any hours that you choose. Sums are over edges that count (`is_counted`), so each packet is there once.",
    ),
    "ops": ("The pipeline itself", "What arrived, and what did not."),
}
"""The dbt schemas of published tables, in the order of the page, with a heading and an opening."""

HEAD = """\
# Tables

<!-- Written by `python -m flowlake.table_docs` from dbt_project/models. Edit the models' yml, then run it again. -->

People read these in the schema `flowlake`: `select … from flowlake.fct_edges`. All of them show the same validated
version of the lake. Times are UTC. A table keeps its rows; a view is worked out when it is read.
"""


RESTATEMENTS = """\
## Hours that changed after they were published

`ops.restatements` is a ledger beside the schema that people read: `flowlake query "from ops.restatements"`, on Athena
`flowlake_ops.restatements`. One row per published fact and event hour of which readers see other rows than before, with
each publication that changed them. An hour that they see for the first time has no row, nor one that was written anew
and came out the same. It says what happened to those who were reading, so lakes of the same tables may differ in it.
"""


class TableDocsError(FlowlakeError):
    """A published table that its yml does not describe, or a project that dbt cannot parse."""


@dataclass(frozen=True)
class Column:
    """A column as a reader sees it."""

    name: str
    data_type: str
    text: str


@dataclass(frozen=True)
class Table:
    """A published table: `grain` and `question` are sentences, `notes` what else its description says."""

    name: str
    layer: str
    is_view: bool
    grain: str
    question: str
    notes: str
    columns: tuple[Column, ...]


def parse_project(project: Path = PROJECT) -> Mapping[str, Any]:
    """The manifest of a dbt project, made in a temporary folder: nothing in the project or in a lake is touched.

    Raises TableDocsError with the end of what dbt said.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [str(executable()), "--no-use-colors", "--log-path", folder, "parse"]
        command += ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", folder]
        environment = {**os.environ, "FLOWLAKE_LAKE_PATH": folder, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            environment.pop(name, None)
        ended = subprocess.run(  # noqa: S603 - our own executable and paths, no shell
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        manifest = Path(folder) / "manifest.json"
        if ended.returncode != 0 or not manifest.exists():
            tail = " | ".join(line.strip() for line in ended.stdout.splitlines()[-6:])
            message = f"dbt cannot parse {project}: {tail}"
            raise TableDocsError(message)
        parsed: dict[str, Any] = json.loads(manifest.read_text())
        return parsed


def published_tables(manifest: Mapping[str, Any]) -> tuple[Table, ...]:
    """The published tables of a manifest, by layer and name.

    Raises TableDocsError for one that is described too little to be used by somebody who did not write it.
    """
    found = [
        _table(node)
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"].get("meta", {}).get("published")
    ]
    order = list(LAYERS)
    return tuple(sorted(found, key=lambda table: (order.index(table.layer), table.name)))


def _table(node: Mapping[str, Any]) -> Table:
    name, layer = str(node["name"]), str(node["schema"])
    if layer not in LAYERS:
        message = f"{name} is published from the schema {layer}, which docs/tables.md does not know: add it to LAYERS"
        raise TableDocsError(message)
    sentences = _sentences(str(node["description"]))
    if not sentences or not sentences[0].startswith(GRAIN):
        message = f"the description of {name} must begin with {GRAIN!r}"
        raise TableDocsError(message)
    question = next((sentence for sentence in sentences if sentence.startswith(QUESTION)), "")
    # What is kept per hour may be an ingredient of reports, and answer nothing by itself.
    if layer == "marts" and not question and not name.endswith("_hourly"):
        message = f"the description of {name} must say which question it answers ({QUESTION} …)"
        raise TableDocsError(message)
    return Table(
        name=name,
        layer=layer,
        is_view=node["config"]["meta"]["published"] == "view",
        grain=sentences[0],
        question=question,
        notes=" ".join(sentence for sentence in sentences[1:] if sentence != question),
        columns=tuple(_column(name, column) for column in node["columns"].values()),
    )


def _column(table: str, column: Mapping[str, Any]) -> Column:
    name, data_type = str(column["name"]), column.get("data_type")
    text = " ".join(str(column.get("description") or "").split())
    if not data_type or not text:
        message = f"the column {table}.{name} needs a data_type and a description"
        raise TableDocsError(message)
    return Column(name, str(data_type), text)


def _sentences(text: str) -> list[str]:
    """The sentences of a text: a full stop, a blank and a capital letter part two of them."""
    whole = " ".join(text.split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", whole) if whole else []


def render(tables: Sequence[Table]) -> str:
    """The whole page. Raises TableDocsError when there is no table: an empty page is a mistake."""
    if not tables:
        message = "no model is published: set meta.published on those meant for people"
        raise TableDocsError(message)
    parts = [HEAD]
    parts.append(_rows(("table", "kind", "one row per"), [_overview(table) for table in tables]))
    for layer, (heading, opening) in LAYERS.items():
        of_layer = [table for table in tables if table.layer == layer]
        if of_layer:
            parts.append(f"## {heading}\n\n{opening}\n")
            parts += [_section(table) for table in of_layer]
    parts.append(_restatements())
    return "\n".join(parts)


def _restatements() -> str:
    """The ledger that flowlake writes itself, and no model."""
    columns = [(f"`{name}`", type_, text) for name, (type_, text) in COLUMNS.items()]
    words = [(f"`{why}`", text) for why, text in MEANINGS.items()]
    return "\n".join([RESTATEMENTS, _rows(("column", "type", "meaning"), columns), _rows(("why", "it says"), words)])


def _overview(table: Table) -> tuple[str, str, str]:
    grain = table.grain.removeprefix(GRAIN).strip().split(":")[0].rstrip(".")
    return f"[`{table.name}`](#{table.name})", _kind(table), grain


def _section(table: Table) -> str:
    said = [table.grain, table.question, table.notes]
    columns = [(f"`{column.name}`", column.data_type, column.text) for column in table.columns]
    body = "\n\n".join(text for text in said if text)
    return f"### {table.name}\n\n{body}\n\n{_rows(('column', 'type', 'meaning'), columns)}"


def _kind(table: Table) -> str:
    return "view" if table.is_view else "table"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


@click.command(help=__doc__.split("\n\n", maxsplit=1)[0])
@click.option("--check", is_flag=True, help="Write nothing; fail when the page is stale.")
def main(*, check: bool) -> None:
    """Write docs/tables.md, or say whether it is up to date."""
    try:
        page = render(published_tables(parse_project()))
    except FlowlakeError as error:
        raise click.ClickException(str(error)) from None
    current = PAGE.read_text() if PAGE.exists() else ""
    if check and page != current:
        changes = difflib.unified_diff(
            current.splitlines(), page.splitlines(), "docs/tables.md", "the models", lineterm=""
        )
        click.echo("\n".join(changes), err=True)
        message = "docs/tables.md is stale: run `python -m flowlake.table_docs` and commit the result"
        raise click.ClickException(message)
    if not check:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
