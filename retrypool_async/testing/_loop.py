"""An event loop whose time is virtual: waiting costs nothing and ends at the exact instant."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from ._leaks import describe_task, no_leaks
from ._scopes import scopes_in_order

if TYPE_CHECKING:
    from collections import deque
    from concurrent.futures import Executor
    from contextvars import Context

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NANOSECOND = 1e-9
MILLISECOND = 1e-3


class VirtualTimeDeadlock(RuntimeError):
    """Nothing can ever happen again: no callback is ready and no timer is set.

    The message names the tasks that are still waiting.
    """


class VirtualTimeLivelock(RuntimeError):
    """The loop turned `VirtualLoop.max_turns` times while its clock (almost) stood still."""


class RealTimeLimit(RuntimeError):
    """The loop ran longer than its `limit`, in seconds of real time."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that jumps to its next timer as soon as nothing else can run.

    `asyncio.sleep(3600)` started at 0.0 returns at once, and `loop.time()` is then 3600.0 exactly.
    It is for code without threads and sockets: it does not wait for them.

    A timer is never due at the present instant but one nanosecond later. On a clock that stands
    still, code that re-arms a timer for "now" to absorb a rounding error would spin for ever;
    aiolimiter is such code.

    Under pytest-asyncio every test gets this loop with a hook in `conftest.py`:

        def pytest_asyncio_loop_factories(config, item):
            if item.get_closest_marker("real_time"):
                return {"real": asyncio.new_event_loop}
            return {"virtual": VirtualLoop}

    Args:
        seed: Shuffles the callbacks that are ready in the same turn, differently for each seed
            and equally for the same one. None keeps asyncio's order, first come first served.
        start: The first reading of the clock, in seconds.
        limit: Seconds of real time from the first turn on, None for no limit.

    Raises (from whatever runs the loop, never inside a task):
        VirtualTimeDeadlock: Nothing is ready, no timer is set, yet the loop has to go on.
        VirtualTimeLivelock: `max_turns` turns passed and the clock moved less than a millisecond.
        RealTimeLimit: `limit` has passed. The loop stays usable, for another `limit` seconds,
            so that the tasks can be cancelled.
    """

    #: Turns without progress after which a run is given up as a livelock.
    max_turns: int = 200_000
    #: POSIX time when the clock shows 0. Set it to begin on another day, or to step the wall clock.
    epoch: float = 0.0

    # Owned by asyncio.BaseEventLoop, which has no public seam for what is done here.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(
        self, *, seed: int | None = None, start: float = 0.0, limit: float | None = None
    ) -> None:
        self._random = None if seed is None else random.Random(seed)
        self._limit = math.inf if limit is None else limit
        self._real_deadline: float | None = None
        self._turns = 0
        self._progress_mark = start = float(start)
        self._settling: list[asyncio.Future[None]] = []
        super().__init__(_NeverSleepingSelector(self._nothing_ready))
        self._set_time(start)
        self._task_numbers = count()
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Virtual seconds; they move only while nothing is ready to run."""
        return self._now

    def wall_time(self) -> float:
        """What calendar limits take for the POSIX time: `epoch` plus the virtual seconds."""
        return self.epoch + self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As in asyncio, but at the earliest one nanosecond from now."""
        soonest = max(self._now + NANOSECOND, math.nextafter(self._now, math.inf))
        return super().call_at(max(when, soonest), callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Refuse with `RuntimeError`: virtual time would not wait for the thread."""
        raise RuntimeError("a VirtualLoop cannot wait for a thread; use an ordinary event loop")

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return Task(next(self._task_numbers), coro, loop=loop, **options)

    def _set_time(self, now: float) -> None:
        self._now = now
        # asyncio runs the timers with `when < now + resolution`: with this value `when <= now`.
        self._clock_resolution = math.ulp(now)

    def _run_once(self) -> None:
        self._check_limits()
        if self._random is not None and len(self._ready) > 1:
            shuffled = list(self._ready)
            self._random.shuffle(shuffled)
            self._ready.clear()
            self._ready.extend(shuffled)
        super()._run_once()  # type: ignore[misc]  # pyright: ignore

    def _check_limits(self) -> None:
        self._turns += 1
        if self._now - self._progress_mark > MILLISECOND:
            self._turns, self._progress_mark = 0, self._now
        elif self._turns > self.max_turns:
            self._turns = 0
            raise VirtualTimeLivelock(
                f"{self.max_turns} turns and the clock stays at {self._now} s; {self._waiting()}"
            )
        real_now = time.monotonic()
        if self._real_deadline is None:
            self._real_deadline = real_now + self._limit
        elif real_now > self._real_deadline:
            self._real_deadline = None
            raise RealTimeLimit(
                f"still running after {self._limit} s of real time, "
                f"at {self._now} s of virtual time; {self._waiting()}"
            )

    def _nothing_ready(self) -> None:
        """Called where a real loop would sleep."""
        if self._settling:
            for waiter in self._settling:
                if not waiter.done():
                    waiter.set_result(None)
            self._settling.clear()
        elif self._scheduled and self._scheduled[0].when() < math.inf:
            self._set_time(self._scheduled[0].when())
        else:
            raise VirtualTimeDeadlock(
                f"nothing is ready and no timer is set at {self._now} s; {self._waiting()} "
                "(threads and sockets need an ordinary loop)"
            )

    async def until_nothing_ready(self) -> None:
        """See `settle`."""
        waiter = self.create_future()
        self._settling.append(waiter)
        await waiter

    def _waiting(self) -> str:
        pending = sorted(map(describe_task, asyncio.all_tasks(self)))
        return f"pending: {', '.join(pending) or 'no task'}"


async def settle() -> None:
    """Wait until everything that can happen now has happened; the clock does not move.

    After `pool.submit(...)`, say, the task is running when this returns.

    Raises:
        TypeError: The running loop is not a `VirtualLoop`.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError(f"settle() needs a VirtualLoop, not {type(loop).__name__}")
    await loop.until_nothing_ready()


def run_virtual(
    main: Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]],
    *,
    seed: int | None = None,
    start: float = 0.0,
    debug: bool = False,
    limit: float = 10.0,
    leaks: bool = True,
) -> T:
    """Run a coroutine to its end on a fresh `VirtualLoop` and return its result.

    Like `asyncio.run`, it then cancels what is left and closes the loop.

    Args:
        main: A coroutine, or an async function without arguments.
        seed: Shuffles ready callbacks, see `VirtualLoop`. With a seed, anyio's cancel scopes
            follow a fixed order too, so that the run can be replayed; a pool in it needs an `rng`
            with a seed as well.
        start: First reading of the clock, in virtual seconds.
        debug: asyncio's debug mode.
        limit: Seconds of real time.
        leaks: Check with `no_leaks` before anything is cancelled.

    Raises:
        LeakError: `main` left something behind.
        VirtualTimeDeadlock, VirtualTimeLivelock, RealTimeLimit: See `VirtualLoop`.
    """

    def loop_factory() -> VirtualLoop:
        return VirtualLoop(seed=seed, start=start, limit=limit)

    with (
        nullcontext() if seed is None else scopes_in_order(),
        asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner,
        no_leaks(runner.get_loop()) if leaks else nullcontext(),
    ):
        return runner.run(main() if callable(main) else main)


class _NeverSleepingSelector(selectors.DefaultSelector):
    """Polls; where it would have to wait, it asks the loop to move on instead."""

    def __init__(self, nothing_ready: Callable[[], None]) -> None:
        super().__init__()
        self._nothing_ready = nothing_ready

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout != 0:
            self._nothing_ready()
        return events


class Task(asyncio.Task[Any]):
    """Hashes by creation order, so that a set of tasks has the same order in every process."""

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        self._number = number
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def set_name(self, value: object) -> None:
        # Up to Python 3.13.2 a loop with a task factory passes None for "no name given".
        if value is not None:
            super().set_name(value)
