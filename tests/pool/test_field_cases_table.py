"""The table in README.md is complete and true."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent

#: The cases that are held here.
NUMBERS = {
    "A": [
        *[1, 2, 3, 4, *range(8, 15), 16, 17, 19, 20, 22, 24, 25, 27, 29, 30, 31, 32, 35],
        *[37, 38, 39, 40, 42, 43],
    ],
    "B": [46, 49, 50, 52, 53, 55, *range(57, 61), *range(62, 68), 69, 71, 72, 73, 75],
    "C": [76, *range(79, 83), *range(84, 88)],
    "K": [185, 187, 188, 190],
}


class Case(NamedTuple):
    """A row of the table."""

    group: str
    number: int
    source: str
    tests: list[tuple[str, str]]

    @property
    def mark(self) -> str:
        """What tells it apart in a docstring, with or without the owner of the repository."""
        return self.source.rpartition("/")[2]


def cases() -> list[Case]:
    """The rows, in order."""
    found: list[Case] = []
    group = ""
    for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line[3]
        elif re.match(r"\| \d", line):
            _, number, source, _, tests, _ = line.split("|")
            named = re.findall(r"`(\w+\.py)::(\w+)`", tests)
            found.append(Case(group, int(number), source.strip(), named))
    return found


CASES = cases()


def docstrings() -> dict[tuple[str, str], str]:
    """What the tests beside the table say of themselves."""
    return {
        (path.name, node.name): ast.get_docstring(node) or ""
        for path in HERE.glob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


SAID = docstrings()


def names(docstring: str, case: Case) -> bool:
    """True when a test says that it is about a case."""
    return re.search(rf"Origin: .*{re.escape(case.mark)}\b", docstring) is not None


def test_every_case_has_a_row() -> None:
    """In order, none twice."""
    told = {group: [case.number for case in CASES if case.group == group] for group in NUMBERS}
    assert told == NUMBERS
    assert {case.group for case in CASES} == set(NUMBERS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}{case.number}")
def test_the_tests_of_a_case_are_there_and_one_names_it(case: Case) -> None:
    """And no other test does."""
    assert case.tests
    assert not [test for test in case.tests if test not in SAID]
    naming = {test for test, docstring in SAID.items() if names(docstring, case)}
    assert naming
    assert naming <= set(case.tests)
