"""Proof that a piece of asynchronous code cleaned up after itself."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO
from weakref import WeakKeyDictionary

NEVER_AWAITED = r"coroutine '.*' was never awaited"


class LeakError(AssertionError):
    """Something outlived the code that made it; the message has one line per leak."""


class Resource(Protocol):
    """What is opened and closed, and can say how often."""

    name: str | None
    opens: int
    closes: int


_open_resources: WeakKeyDictionary[asyncio.AbstractEventLoop, set[Resource]] = WeakKeyDictionary()


def open_resources() -> set[Resource]:
    """The resources now open on the running loop, for their owners to enter and leave."""
    return _open_resources.setdefault(asyncio.get_running_loop(), set())


@contextmanager
def no_leaks(loop: asyncio.AbstractEventLoop | None = None) -> Generator[None]:
    """Fail when the block leaves anything behind on the loop.

    What counts: a task other than the current one that is not done, a timer that is not cancelled,
    a `ScriptedWorker` whose resource is open, a coroutine that nobody awaited, and whatever asyncio
    reports on its own ("exception was never retrieved", "exception in callback"). What was there
    before the block does not count. When the block itself raises, nothing is checked.

        async def test_mine():
            with no_leaks():
                async with Pool(workers) as pool: ...

    As a fixture of pytest-asyncio, so that it is over before the loop is closed:

        @pytest_asyncio.fixture(autouse=True)
        async def leak_check():
            with no_leaks():
                yield

    Args:
        loop: The loop to look at; the running one by default.

    Raises:
        LeakError: At the end of the block, naming each leak.
    """
    loop = loop or asyncio.get_running_loop()
    tasks_before = asyncio.all_tasks(loop)
    timers_before = _live_timers(loop)
    resources_before = set(_open_resources.get(loop, ()))
    with _recorded_reports(loop) as reports, _quick_collection():
        yield
        gc.collect()  # a lost task or coroutine reports itself when it is collected
    tasks = asyncio.all_tasks(loop) - tasks_before - {asyncio.current_task(loop)}
    leaks = [
        *(f"task is pending: {describe_task(task)}" for task in tasks),
        *(
            f"timer is set for {timer.when()} s: {timer!r}"
            for timer in _live_timers(loop)
            if timer not in timers_before
        ),
        *(
            f"worker {resource.name!r} opened {resource.opens} times, closed {resource.closes}"
            for resource in _open_resources.get(loop, set()) - resources_before
        ),
        *reports,
    ]
    if leaks:
        raise LeakError("\n  ".join([f"{len(leaks)} left behind:", *sorted(leaks)]))


def describe_task(task: asyncio.Task[Any]) -> str:
    """Name and coroutine function of a task, without its arguments."""
    return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')})"


def _live_timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    scheduled: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])
    return [timer for timer in scheduled if not timer.cancelled()]


_blocks = itertools.count(1)


@contextmanager
def _quick_collection() -> Generator[None]:
    """Let the collector look only at what the block made: microseconds instead of milliseconds."""
    if next(_blocks) % 64 == 0:
        gc.collect()  # every freeze puts off what the collector would do about what is old
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _recorded_reports(loop: asyncio.AbstractEventLoop) -> Generator[list[str]]:
    """Collect what asyncio and the interpreter say instead of raising it."""
    reports: list[str] = []

    def on_loop_report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        reports.append(f"{context['message']}: {context.get('exception')!r}")
        loop.default_exception_handler(context)

    def on_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if re.match(NEVER_AWAITED, str(message)):
            reports.append(str(message).splitlines()[0])
        else:
            show_warning(message, category, filename, lineno, file, line)

    handler_before = loop.get_exception_handler()
    loop.set_exception_handler(on_loop_report)
    with warnings.catch_warnings():
        warnings.filterwarnings("always", NEVER_AWAITED, RuntimeWarning)
        show_warning, warnings.showwarning = warnings.showwarning, on_warning
        try:
            yield reports
        finally:
            loop.set_exception_handler(handler_before)
