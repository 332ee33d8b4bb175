"""A pool of an application, before, while and after the application runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from retrypool_async import Pool

T = TypeVar("T")
R = TypeVar("R")


class PoolDependency(Generic[T, R]):
    """A pool that an application opens, as endpoints depend on it. Decorates what builds it.

        @PoolDependency
        def keys() -> Pool[str, str]:
            return Pool([Key(secret) for secret in settings.secrets])

        Keys = Annotated[Pool[str, str], Depends(keys)]
        app = FastAPI(lifespan=lifespan(keys))

    It serves one running application at a time, wherever that refers to it: in routers, mounted
    applications, WebSockets, and as `await keys()` outside of endpoints.

    Args:
        build: Called at each start of the application. A plain function: what is to be awaited
            belongs into the workers' `on_start`.
    """

    def __init__(self, build: Callable[[], Pool[T, R]]) -> None:
        if not callable(build) or inspect.iscoroutinefunction(build):
            raise TypeError("build must be a plain function that returns a Pool")
        self._build = build
        self._name: str = getattr(build, "__name__", type(build).__name__)
        self._pool: Pool[T, R] | None = None

    async def __call__(self) -> Pool[T, R]:
        """Return the open pool.

        Raises:
            RuntimeError: it is not open.
        """
        if self._pool is None:
            raise RuntimeError(
                f"the pool of {self._name} is not open: give it to lifespan(), and see that the "
                "application's lifespan runs"
            )
        return self._pool

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Pool[T, R]]:
        """Build the pool and keep it open, for what is not an application with a `lifespan`.

        Raises:
            RuntimeError: it is open already.
            TypeError: `build` did not return a pool.
            WorkerStartFailed: there are workers, and all of them failed.
        """
        if self._pool is not None:
            raise RuntimeError(f"the pool of {self._name} is open already")
        pool = self._build()
        if not isinstance(pool, Pool):
            raise TypeError(f"{self._name} must return a Pool, not {type(pool).__name__}")
        self._pool = pool
        try:
            async with pool:
                yield pool
        finally:
            self._pool = None

    def __repr__(self) -> str:
        return f"<PoolDependency {self._name}>"
