"""The table in README.md is complete and true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROWS = [
    line
    for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| T\d\d", line)
]


def named_tests(path: Path) -> dict[str, str]:
    """The tests of a file, each with the first line of its docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: (ast.get_docstring(node) or "").split("\n")[0]
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_"
    }


def test_every_row_names_tests_that_say_which_row_they_are() -> None:
    """Each by file and name."""
    tests = {
        path.name: named_tests(path)
        for path in HERE.glob("test_*.py")
        if not path.name.startswith("test_faults")  # those have a table of their own
    }
    listed: set[tuple[str, str]] = set()
    told: list[str] = []
    for row in ROWS:
        numbers = re.findall(r"T\d\d", row.split("|")[1])
        found = re.findall(r"`(\w+\.py)::(\w+)`", row)
        assert found, row
        told += numbers
        for file, name in found:
            assert any(number in tests[file][name] for number in numbers), (file, name)
        listed.update(found)
    here = {(file, name) for file, names in tests.items() for name in names}
    assert {pair for pair in here if pair[0] != Path(__file__).name} == listed
    assert told == [f"T{number:02}" for number in range(1, 49)]
