"""The reference is complete, and the design page shows the code as it is."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

import retrypool_async
from retrypool_async import Pool, SubmitOptions
from retrypool_async._states import LEGAL_MOVES, TaskState, WorkerState
from retrypool_async._task import TaskOptions
from tests.test_public_surface import MODULES

PACKAGE = Path(retrypool_async.__file__).parent
DOCS = PACKAGE.parent / "docs"
PAGES = {page.name: page.read_text("utf-8") for page in sorted((DOCS / "reference").glob("*.md"))}
REFERENCE = "\n".join(PAGES.values())
DESIGN = (DOCS / "design.md").read_text(encoding="utf-8")

#: Public for other modules of the package, and of no use to anybody else.
INTERNAL = {
    "DeadTasks.add",
    "GraphRun.start",
    "Hooks.NAMES",
    "Hooks.attach",
    "Hooks.watching",
    "Node.end",
    "Quota.begin",
    "Quota.carry_over",
    "Quota.passed_on",
    "Quota.steady",
    "Quota.until_room",
    "RetryPolicy.decide",
    "RetryPolicy.usual_wait",
    "Subscription.end",
    "Subscription.push",
    "VirtualLoop.until_nothing_ready",
}


def mentioned(name: str) -> bool:
    """True when the reference has `name`, `name(...)`, `name=...` or `something.name`."""
    return re.search(rf"`(?:await )?(?:[\w()]+\.)*{name}[`(=]", REFERENCE) is not None


def members(cls: type) -> Iterator[str]:
    """The public attributes of a class of ours, those of the bases that are public as well."""
    if issubclass(cls, Enum):
        yield from cls.__members__
        return
    hidden = (
        "_task",
        "_loop",
        "_leaks",
        "_group_books",
        "_rota",
    )  # records and machinery beneath the public classes
    for base in cls.__mro__:
        if not base.__module__.startswith(PACKAGE.name):
            continue
        if base is not cls and base.__module__.endswith(hidden):
            continue
        names = {*vars(base), *getattr(base, "__dataclass_fields__", ())}
        yield from (name for name in names if not name.startswith("_"))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    """Each in backticks, on one of its pages."""
    assert [name for name in module.__all__ if not mentioned(name)] == []


def test_every_public_attribute_is_in_the_reference() -> None:
    """Methods, properties, fields and members of enumerations alike."""
    missing = {
        f"{name}.{member}"
        for module in MODULES
        for name in module.__all__
        if inspect.isclass(thing := getattr(module, name))
        for member in members(thing)
        if not mentioned(member)
    }
    assert missing - INTERNAL == set()


def options_in(page: str) -> dict[str, str]:
    """The options in the tables of a page: names in the first column, defaults in the second."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| `([^`|]*)` \|", PAGES[page], re.MULTILINE)
    return {name: default for names, default in rows for name in re.findall(r"\w+", names)}


def test_every_option_of_a_pool_is_in_its_table() -> None:
    """With the default that it has."""
    parameters = list(inspect.signature(Pool).parameters.values())
    assert options_in("pool.md") == {option.name: repr(option.default) for option in parameters}


def test_every_option_of_submit_is_in_its_table() -> None:
    """With the default that it has where the pool was given no other."""
    defaults = {field.name: repr(field.default) for field in dataclasses.fields(TaskOptions)}
    defaults |= {"cost": "1", "require": "()"}
    assert options_in("tasks.md") == {
        name: defaults[name] for name in SubmitOptions.__annotations__
    }


def test_the_design_page_names_every_module_and_no_other() -> None:
    """In its table of levels."""
    named = set(re.findall(r"`(_\w+)`", DESIGN[DESIGN.index("## The house") :]))
    assert named == {path.stem for path in PACKAGE.glob("_*.py") if path.stem[1] != "_"}


def diagram(number: int) -> set[tuple[str, str]]:
    """The moves in the page's first or second state diagram."""
    found = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", DESIGN, re.DOTALL)[number]
    return set(re.findall(r"(\w+) --> (\w+)", found))


def test_the_diagram_of_a_task_shows_legal_moves_only() -> None:
    """And every state."""
    moves = diagram(0)
    assert moves <= {(old.name, new.name) for old, news in LEGAL_MOVES.items() for new in news}
    assert {state for move in moves for state in move} == set(TaskState.__members__)


def test_the_diagram_of_a_worker_shows_every_state() -> None:
    """By the names that snapshots show."""
    assert {state for move in diagram(1) for state in move} == set(WorkerState.__members__)
