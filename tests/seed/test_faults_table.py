"""The table in FAULTS.md is complete and true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
HERE = Path(__file__).parent
ROWS = [
    line
    for line in (HERE / "FAULTS.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| F-\d", line)
]
NUMBER = re.compile(r"F-\d+[a-z]?\b")
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def faults_of(path: Path) -> dict[str, set[str]]:
    """The tests of a file, each with the faults that its docstring begins with."""
    tests: dict[str, set[str]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            beginning = (ast.get_docstring(node) or "").partition(":")[0]
            tests[node.name] = set(NUMBER.findall(beginning))
    return tests


def test_every_row_names_a_test_that_exists_or_a_reason() -> None:
    """By file and name."""
    for row in ROWS:
        named = NAMED.findall(row)
        assert named or "no meaning: " in row, row
        for file, name in named:
            assert name in faults_of(TESTS / file), row


def test_every_fault_has_one_row() -> None:
    """From F-01 to F-102; some are a family: F-60a, F-60b."""
    numbers = [NUMBER.findall(row.split("|")[1])[0] for row in ROWS]
    assert len(numbers) == len(set(numbers)) == 130
    assert {int(number[2:].rstrip("abcdefghijklmn")) for number in numbers} == set(range(1, 103))


def test_tests_written_for_a_fault_are_in_its_row() -> None:
    """And say so in their docstring."""
    listed: dict[tuple[str, str], set[str]] = {}
    for row in ROWS:
        for file, name in NAMED.findall(row):
            listed.setdefault((file, name), set()).update(NUMBER.findall(row.split("|")[1]))
    for path in HERE.glob("test_faults_*.py"):
        if path == Path(__file__):
            continue
        for name, numbers in faults_of(path).items():
            assert listed.get((f"seed/{path.name}", name)) == numbers, name
