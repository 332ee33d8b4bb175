"""Pools that are open while an application runs."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ._dependency import PoolDependency
from ._sigterm import drained_before_sigterm

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Lifespan


def lifespan(
    *dependencies: PoolDependency[Any, Any],
    wraps: Lifespan[FastAPI] | None = None,
    sigterm_grace: float | timedelta | None = None,
) -> Lifespan[FastAPI]:
    """Return a lifespan for `FastAPI(lifespan=...)` that opens and closes pools.

    They are opened in the order given, before the application's own lifespan, and closed in the
    reverse order, after it: a pool may use those before it, and the application's own lifespan all
    of them. If one cannot start, or the application's own start fails, those already open are
    closed. Each waits for its tasks as leaving `async with pool:` does.

    A dependency that `app.dependency_overrides` replaces by another `PoolDependency` has that one
    opened in its place; replaced by anything else, it is not opened.

    Args:
        dependencies: The pools.
        wraps: The application's own lifespan. What it yields becomes the application's state.
        sigterm_grace: Seconds within which SIGTERM ends the pools, before the server hears of it.
            What runs may finish; what waits, and what comes from then on, is refused with
            `PoolClosed`. A second SIGTERM goes to the server at once. None leaves the signal to
            the server alone, which first waits for every request that is open. Has no effect
            outside of the main thread, where signals cannot be caught.

    Raises:
        TypeError, ValueError: naming what is wrong.
    """
    for dependency in dependencies:
        if not isinstance(dependency, PoolDependency):
            kind = type(dependency).__name__
            raise TypeError(f"lifespan takes PoolDependency objects, got {kind}")
    if wraps is not None and not callable(wraps):
        raise TypeError(f"wraps must be a lifespan function, got {type(wraps).__name__}")
    grace = None if sigterm_grace is None else _positive_seconds("sigterm_grace", sigterm_grace)

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncGenerator[Any]:
        async with AsyncExitStack() as stack:
            pools = [
                await stack.enter_async_context(dependency.opened())
                for dependency in _in_force(dependencies, app)
            ]
            if grace is not None:
                stack.enter_context(drained_before_sigterm(pools, grace))
            yield None if wraps is None else await stack.enter_async_context(wraps(app))

    return run


def _in_force(
    dependencies: Iterable[PoolDependency[Any, Any]], app: FastAPI
) -> Iterator[PoolDependency[Any, Any]]:
    """The dependencies, or what tests have put in their place: unless that is open already."""
    for dependency in dependencies:
        chosen: Any = app.dependency_overrides.get(dependency, dependency)
        if isinstance(chosen, PoolDependency):
            yield chosen


def _positive_seconds(name: str, value: float | timedelta) -> float:
    amount = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise TypeError(f"{name} must be a number of seconds, got {type(amount).__name__}")
    if not 0 < amount < math.inf:
        raise ValueError(f"{name} must be more than 0 and finite, got {amount}")
    return amount
