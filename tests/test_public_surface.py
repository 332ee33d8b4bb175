"""The package offers what it says, documented, and costs nobody an optional dependency."""

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import retrypool_async
import retrypool_async.groups
import retrypool_async.simulate
import retrypool_async.testing

OURS = (
    retrypool_async,
    retrypool_async.groups,
    retrypool_async.simulate,
    retrypool_async.testing,
)

try:
    from retrypool_async.integrations import fastapi as fastapi_integration
except ModuleNotFoundError:
    MODULES: tuple[ModuleType, ...] = OURS
else:
    MODULES = (*OURS, fastapi_integration)

OPTIONAL = {
    "fastapi",
    "hypothesis",
    "httpx",
    "matplotlib",
    "pytest",
    "rich",
    "starlette",
    "uvicorn",
}

PUBLIC = [
    pytest.param(module, name, id=f"{module.__name__}.{name}")
    for module in MODULES
    for name in module.__all__
]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_each_public_name_is_documented(module: ModuleType, name: str) -> None:
    """It exists, has a docstring of its own, and so has every public method of it."""
    thing = getattr(module, name)
    if not callable(thing):
        return
    assert thing.__module__.startswith("retrypool_async")
    assert thing.__doc__
    assert not thing.__doc__.startswith(f"{name}(")  # what dataclasses write themselves
    undocumented = [
        attribute
        for attribute, value in vars(thing).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod))
        and not inspect.getdoc(getattr(thing, attribute))
    ]
    assert not undocumented


def test_nothing_public_is_left_out() -> None:
    """A name without an underscore that the root defines is in `__all__`."""
    visible = {
        name
        for name, value in vars(retrypool_async).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert visible - {"annotations"} == set(retrypool_async.__all__)


def test_importing_the_package_loads_no_optional_dependency() -> None:
    """Extras are extras."""
    program = "import sys, retrypool_async; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "retrypool_async" in loaded
    assert not OPTIONAL.intersection(loaded)
