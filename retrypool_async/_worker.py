"""Workers: what a user writes, and the ready-made kinds."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ._quota import Quota
from ._time import count, number, optional_count, optional_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta

    from ._verdict import Verdict

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")


class Worker(ABC, Generic[T, R]):
    """Holds one exclusive resource and runs one task at a time on it.

    Only `run` must be written. The attributes may be set on the class or the instance before the
    worker joins a pool; a subclass need not call `super().__init__()`.

    Attributes:
        name: Unique in the pool and shown everywhere, so never the secret itself. None gives
            "worker-<id>".
        quota: What it may use: a `Quota`, or a list of them, each of which may be shared.
        tags: What a task may `require`.
        weight, tier: For strategies that look at them.
        max_tasks: Rebuild the resource after so many runs, between tasks.
        max_age: Rebuild it after the run that crosses so many seconds since it was opened.
        max_attempts_per_task: Attempts that one task may spend on this worker. After these it
            goes to others, and once none is left that may take it, it ends.
    """

    name: str | None = None
    quota: Quota | Sequence[Quota] | None = None
    tags: Collection[str] = ()
    weight: float = 1.0
    tier: int = 0
    max_tasks: int | None = None
    max_age: float | timedelta | None = None
    max_attempts_per_task: int | None = None

    @abstractmethod
    async def run(self, data: T, /) -> R:
        """Do one task. Called by the pool only, never twice at once."""

    async def on_start(self) -> None:
        """Open the resource. Bounded by the pool's `start_timeout`. Also after `on_stop`."""

    async def on_stop(self) -> None:
        """Close the resource: exactly once for every `on_start` that returned."""

    async def on_reset(self) -> None:
        """Clear up after an attempt that was cut off half-way. Default: close and open anew.

        Whatever the cut-off attempt left in the resource must not reach the next task.
        """
        await self.on_stop()
        await self.on_start()

    async def check(self) -> bool | None:
        """Say whether the resource is still good, before it is used after a rest.

        Called when work comes for a worker that has been idle for the pool's `check_idle`, and
        bounded by `check_timeout`. If it returns False, raises, or takes longer, the resource is
        closed and opened anew. No task waits on the worker meanwhile, and none is blamed.
        """
        return None

    async def on_pause(self) -> None:
        """Called once when a pause takes effect, after the running attempt has ended."""

    async def on_resume(self) -> None:
        """Called once when a pause ends."""

    async def on_remove(self) -> None:
        """Called once when the worker is removed from the pool, before `on_stop`."""

    def classify(self, error: Exception) -> Verdict | None:
        """Say whose fault an error of `run` is; None leaves it to the pool's `classify`."""
        return None


class ResourceUnfit(Exception):
    """A worker says that its resource is not good any more."""


class FunctionWorker(Worker[T, R]):
    """A worker around an async function, for a resource that needs no opening.

    Args:
        func: Awaited with the data of each task.
        attributes: `name`, `quota`, `tags` and the other attributes of `Worker`.
    """

    def __init__(self, func: Callable[[T], Awaitable[R]], **attributes: Any) -> None:
        if not callable(func):
            raise TypeError(f"FunctionWorker func must be callable, got {type(func).__name__}")
        if inspect.isfunction(func) and not inspect.iscoroutinefunction(func):
            raise TypeError(
                "FunctionWorker func must be an async function; use ThreadWorker for a plain one"
            )
        self._func = func
        set_attributes(self, attributes)

    async def run(self, data: T, /) -> R:
        return await self._func(data)


class ResourceWorker(Worker[T, R], Generic[S, T, R]):
    """A worker around a resource that is an async context manager.

    Args:
        open: Returns an async context manager; entered to open the resource.
        call: Awaited with the open resource and the data of each task.
        attributes: `name`, `quota`, `tags` and the other attributes of `Worker`.
    """

    def __init__(
        self,
        open: Callable[[], AbstractAsyncContextManager[S]],
        call: Callable[[S, T], Awaitable[R]],
        **attributes: Any,
    ) -> None:
        for name, value in (("open", open), ("call", call)):
            if not callable(value):
                raise TypeError(f"ResourceWorker {name} must be callable")
        self._open = open
        self._call = call
        self._manager: AbstractAsyncContextManager[S] | None = None
        self._resource: Any = None
        set_attributes(self, attributes)

    async def on_start(self) -> None:
        manager = self._open()
        self._resource = await manager.__aenter__()
        self._manager = manager

    async def on_stop(self) -> None:
        manager, self._manager, self._resource = self._manager, None, None
        if manager is not None:
            await manager.__aexit__(None, None, None)

    async def run(self, data: T, /) -> R:
        return await self._call(self._resource, data)


class ThreadWorker(Worker[T, R]):
    """A worker around a plain function, run in a thread of its own.

    A thread cannot be stopped from outside, so a cut-off attempt keeps the worker busy until the
    function returns; the caller hears on time all the same.

    Args:
        func: Called with the data of each task, in the submitter's context.
        attributes: `name`, `quota`, `tags` and the other attributes of `Worker`.
    """

    def __init__(self, func: Callable[[T], R], **attributes: Any) -> None:
        if not callable(func):
            raise TypeError(f"ThreadWorker func must be callable, got {type(func).__name__}")
        if inspect.iscoroutinefunction(func):
            raise TypeError("ThreadWorker func must be a plain function; use FunctionWorker")
        self._func = func
        self._thread: ThreadPoolExecutor | None = None
        set_attributes(self, attributes)

    async def on_start(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="retrypool")

    async def on_stop(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def run(self, data: T, /) -> R:
        loop = asyncio.get_running_loop()
        context = copy_context()
        call = loop.run_in_executor(self._thread, lambda: context.run(self._func, data))
        while True:
            try:
                return await asyncio.shield(call)
            except asyncio.CancelledError:
                if call.cancelled():
                    raise
                # The thread goes on, and it has the resource: stay until it has ended.


ATTRIBUTES = frozenset(
    {
        "name",
        "quota",
        "tags",
        "weight",
        "tier",
        "max_tasks",
        "max_age",
        "max_attempts_per_task",
    }
)


def set_attributes(worker: Worker[Any, Any], attributes: dict[str, Any]) -> None:
    """Set keyword attributes on a ready-made worker, refusing names that `Worker` lacks."""
    for name, value in attributes.items():
        if name not in ATTRIBUTES:
            known = ", ".join(sorted(ATTRIBUTES))
            raise TypeError(f"unknown worker attribute {name!r}; known: {known}")
        setattr(worker, name, value)


class Traits:
    """The attributes of a worker, checked and in the form the pool computes with.

    Raises:
        TypeError, ValueError: an attribute is wrong, or `run` is not an async method.
    """

    def __init__(self, worker: object) -> None:
        if not isinstance(worker, Worker):
            raise TypeError(f"a pool holds Worker objects, got {type(worker).__name__}")
        checked = cast("Any", worker)
        if not inspect.iscoroutinefunction(checked.run):
            raise TypeError(
                f"{type(checked).__name__}.run must be `async def`; "
                "use ThreadWorker for a plain function"
            )
        name = checked.name
        if name is not None and (not isinstance(name, str) or not name):
            raise TypeError("worker name must be a non-empty string or None")
        self.name = name
        self.quotas = quotas_of(checked.quota)
        self.tags = tag_set("worker tags", checked.tags)
        if not inspect.iscoroutinefunction(checked.check):
            raise TypeError(f"{type(checked).__name__}.check must be `async def`")
        #: False while it has nothing to say of its resource.
        self.checks = getattr(checked.check, "__func__", None) is not Worker[Any, Any].check
        self.weight = number("worker weight", checked.weight, at_least=0.0)
        self.tier = count("worker tier", checked.tier, at_least=0)
        self.max_tasks = optional_count("worker max_tasks", checked.max_tasks, at_least=1)
        self.max_age = optional_seconds("worker max_age", checked.max_age)
        self.max_attempts_per_task = optional_count(
            "worker max_attempts_per_task", checked.max_attempts_per_task, at_least=1
        )


async def passes(worker: Worker[Any, Any]) -> None:
    """Have a worker look at its resource.

    Raises:
        ResourceUnfit: it says that the resource is not good any more.
    """
    if await worker.check() is False:
        raise ResourceUnfit("check returned False")


def tag_set(name: str, value: object) -> frozenset[str]:
    """One tag or a collection of tags, as a set."""
    if isinstance(value, str):
        return frozenset({value})
    try:
        tags: frozenset[str] = frozenset(value)  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"{name} must be a string or a collection of strings") from None
    if not all(isinstance(tag, str) for tag in tags):
        raise TypeError(f"{name} must contain only strings")
    return tags


def quotas_of(value: object) -> tuple[Quota, ...]:
    """The quotas that a `quota` attribute or argument means."""
    if value is None:
        return ()
    if isinstance(value, Quota):
        return (value,)
    if isinstance(value, (list, tuple)):
        quotas = cast("Sequence[object]", value)
        if all(isinstance(quota, Quota) for quota in quotas):
            return tuple(cast("Sequence[Quota]", quotas))
    raise TypeError("worker quota must be a Quota, a list of Quota, or None")
