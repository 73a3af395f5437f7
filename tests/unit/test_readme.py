"""The README says what is read, each with the test that shows it: the tests are there, under these names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = "## What it reads"
_LINK = re.compile(r"\[([^\]]+)\]\((tests/[^)]+\.py)\)")


def rows_without_a_test(readme: str) -> list[str]:
    """The rows of the table whose last cell does not name a test function, in words, and link to its file."""
    section = readme.partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]
    table = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [cells[0] for cells in table[2:] if len(cells) != len(table[0]) or not shows(cells[-1])]


def shows(cell: str) -> bool:
    """Whether a cell is one link or more, each to a test that is there."""
    links = _LINK.findall(cell)
    return bool(links) and all(f"test_{words.replace(' ', '_')}" in names_of(ROOT / path) for words, path in links)


def names_of(path: Path) -> set[str]:
    """The names of a file's test functions, none of a file that is not there."""
    tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_whatever_is_read_names_the_test_that_shows_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("shown by") == 1
    assert rows_without_a_test(readme) == []


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ("| a | b | [whatever is read names the test that shows it](tests/unit/test_readme.py) |", []),
        ("| a | b | see [whatever is read names the test that shows it](tests/unit/test_readme.py) |", []),
        ("| a | b | [something else](tests/unit/test_readme.py) |", ["a"]),
        ("| a | b | [rows without a test](tests/unit/test_readme.py) |", ["a"]),
        ("| a | b | [whatever is read names the test that shows it](tests/unit/test_gone.py) |", ["a"]),
        ("| a | b | a test |", ["a"]),
        ("| a | b | |", ["a"]),
        ("| a | b |", ["a"]),
    ],
)
def test_a_row_whose_test_is_not_there_is_found(row: str, missing: list[str]) -> None:
    readme = f"# x\n\n{SECTION}\n\n| what | how | shown by |\n|---|---|---|\n{row}\n\n## More\n\n| b | c | d |\n"
    assert rows_without_a_test(readme) == missing
