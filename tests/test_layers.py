"""The house is built in levels: a module imports only from levels below its own."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrypool_async

PACKAGE = Path(retrypool_async.__file__).parent

#: From the ground up. The root package gathers the public names above all of them.
LEVELS: tuple[frozenset[str], ...] = (
    # words
    frozenset({"_awaiting", "_states", "_errors", "_time"}),
    # records
    frozenset(
        {
            "_attempt",
            "_verdict",
            "_ruling",
            "_settings",
            "_moves",
            "_agenda",
            "_bindings",
            "_forecast",
            "_heads",
            "_holds",
            "_levels",
            "_record",
            "_sequences",
            "_shares",
            "_waiters",
        }
    ),
    frozenset({"_past"}),
    frozenset({"_task"}),
    # policies, then what users hold in their hands
    frozenset(
        {
            "_breaker",
            "_budget",
            "_hedge",
            "_hooks",
            "_limits",
            "_reports",
            "_retry",
            "_secrets",
            "_twin",
        }
    ),
    frozenset({"_guard", "_context", "_reported"}),
    frozenset({"_meters"}),
    frozenset({"_quota"}),
    frozenset({"_handle", "_map", "_dead", "_snapshot", "_threads", "_worker"}),
    # the parts of the ledger, and of the engine
    frozenset({"_lane"}),
    frozenset({"_roster", "_ready", "_router", "_audit", "_judge", "_steps"}),
    frozenset({"_waits"}),
    # the ledger, floor by floor, and what runs one worker
    frozenset({"_books", "_elastic", "_runner", "_options"}),
    frozenset({"_patience"}),
    frozenset({"_eligible"}),
    frozenset({"_prospects"}),
    frozenset({"_promises"}),
    frozenset({"_idleness"}),
    frozenset({"_dispatch"}),
    frozenset({"_staff"}),
    frozenset({"_hiring"}),
    frozenset({"_runs"}),
    frozenset({"_hedging"}),
    frozenset({"_intake"}),
    frozenset({"_outcomes"}),
    frozenset({"_ledger"}),
    frozenset({"_rehearsal"}),
    frozenset({"_explain"}),
    # what makes things happen
    frozenset({"_pulse"}),
    frozenset({"_waiting"}),
    frozenset({"_engine"}),
    frozenset({"_supervisor"}),
    # the front door
    frozenset({"_pool_base"}),
    frozenset({"_pool_life"}),
    frozenset({"_pool_staff"}),
    frozenset({"_pool"}),
)
LEVEL_OF = {module: level for level, modules in enumerate(LEVELS) for module in modules}

#: Decisions and records: no event loop, no third party, nothing that acts.
STDLIB_ONLY = {
    *(LEVELS[0] | LEVELS[1] | LEVELS[2] | LEVELS[3]),
    *(
        "_books",
        "_breaker",
        "_budget",
        "_patience",
        "_eligible",
        "_prospects",
        "_promises",
        "_idleness",
        "_dispatch",
        "_staff",
        "_hiring",
        "_elastic",
        "_hedge",
        "_hedging",
        "_runs",
        "_intake",
        "_outcomes",
        "_ledger",
        "_roster",
        "_lane",
        "_ready",
        "_router",
        "_audit",
        "_judge",
        "_twin",
        "_waits",
    ),
}

#: Each dependency with a sharp edge is handled in one place.
ONLY_IN = {"tenacity": "_retry", "aiolimiter": "_meters"}

#: A leaf that stands on another leaf.
STANDS_ON = {"retrypool_async.simulate": "retrypool_async.testing"}

MAX_LINES = 400


def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def run_time_imports(path: Path) -> set[str]:
    """Absolute dotted names of the modules that a module imports when it runs."""
    package = (PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1])
    return set(_imports(ast.parse(source(path)), package))


def _imports(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) + 1 - child.level] if child.level else ()
            yield ".".join([*base, *([child.module] if child.module else [])])
        else:
            yield from _imports(child, package)


CORE = {path.stem: path for path in PACKAGE.glob("_*.py") if not path.stem.startswith("__")}
LEAVES = [
    path
    for path in PACKAGE.rglob("*.py")
    if path not in CORE.values() and path != PACKAGE / "__init__.py"
]

each_core_module = pytest.mark.parametrize("module", sorted(CORE))


def test_every_core_module_has_a_level() -> None:
    """A new module is placed on purpose, and the table names nothing that is gone."""
    assert sorted(LEVEL_OF) == sorted(CORE)


@each_core_module
def test_imports_go_strictly_down(module: str) -> None:
    """So there are no cycles, no core module knows a leaf, and each can be read from below."""
    own = {name for name in run_time_imports(CORE[module]) if name.startswith(PACKAGE.name)}
    below = {
        f"{PACKAGE.name}.{name}" for name, level in LEVEL_OF.items() if level < LEVEL_OF[module]
    }
    assert own <= below


@each_core_module
def test_third_parties_stay_where_they_belong(module: str) -> None:
    """Decisions are plain Python; tenacity and aiolimiter have one module each."""
    packages = {name.split(".")[0] for name in run_time_imports(CORE[module])}
    foreign = packages - sys.stdlib_module_names - {PACKAGE.name}
    if module in STDLIB_ONLY:
        assert not foreign
    assert not {name for name in foreign if ONLY_IN.get(name, module) != module}


@each_core_module
def test_only_the_engine_steps_the_ledger(module: str) -> None:
    """One caller: nobody else can change what is true. A rehearsal steps a copy."""
    assert module in {
        "_pulse",
        "_engine",
        "_rehearsal",
    } or f"{PACKAGE.name}._ledger" not in run_time_imports(CORE[module])


@each_core_module
def test_modules_stay_small(module: str) -> None:
    """One idea each; more lines than this are two."""
    assert len(source(CORE[module]).splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_leaves_use_the_public_surface(path: Path) -> None:
    """What a leaf can do, a user can do: it imports the root, and its own package."""
    own = {name for name in run_time_imports(path) if name.startswith(PACKAGE.name)}
    leaf = f"{PACKAGE.name}.{path.relative_to(PACKAGE).parts[0].removesuffix('.py')}"
    leaves = (leaf, STANDS_ON.get(leaf, leaf))
    beyond = {name for name in own - {PACKAGE.name} if not name.startswith(leaves)}
    if path.name == "__main__.py":  # the command line starts what other leaves offer
        beyond = {name for name in beyond if name.startswith(f"{PACKAGE.name}._")}
    assert not beyond
