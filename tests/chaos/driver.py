"""A seeded random life of a running pool, watched by an observer that trusts none of its counters.

`python -m tests.chaos.driver 1234` repeats seed 1234.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from retrypool_async import (
    Bounce,
    Bucket,
    Discard,
    Pool,
    Quota,
    RetryPolicy,
    RetryPoolError,
    Snooze,
    TaskHandle,
    Throttled,
    Window,
    Worker,
    WorkerLost,
    WorkerStartFailed,
)
from retrypool_async.testing import run_virtual

STEP = 1e-6  # what may lie between a decision and the turn of the loop that shows it


class Observer:
    """Counts on its own, and collects what must not be."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.handles: list[TaskHandle[Any]] = []
        self.settled: dict[int, int] = {}
        self.windows: list[WatchedWindow] = []
        self.workers: list[ChaosWorker] = []

    def demand(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(f"at {asyncio.get_running_loop().time():.6f}: {what}")

    def watch(self, handle: TaskHandle[Any]) -> None:
        self.handles.append(handle)
        self.settled[handle.id] = 0

        def count(ended: TaskHandle[Any]) -> None:
            self.settled[ended.id] += 1

        handle.add_done_callback(count)


class WatchedWindow:
    """A strict window, and the real starts that were charged to it."""

    def __init__(self, limit: int, per: float) -> None:
        self.limit, self.per = limit, per
        self.quota = Quota(Window(limit, per=per))
        self.starts: list[float] = []

    def exceeded(self) -> bool:
        starts = self.starts
        return any(
            later - earlier < self.per - 1e-8  # the virtual loop itself steps by 1e-9
            for earlier, later in zip(starts, starts[self.limit :], strict=False)
        )


class ChaosWorker(Worker[str, str]):
    """Does what the data says, and watches over its own exclusivity."""

    def __init__(self, name: str, observer: Observer, rng: random.Random) -> None:
        self.name = name
        self.observer, self.rng = observer, rng
        self.windows: list[WatchedWindow] = []
        self.is_open = False
        self.busy = 0
        self.dirty = False  # an attempt was cut off and nothing has been reset since
        self.starts_fail = self.stops_fail = self.resets_fail = False
        self.forbidden_until = 0.0
        self.paused = False
        observer.workers.append(self)

    async def on_start(self) -> None:
        self.observer.demand(not self.is_open, f"{self.name} opened twice")
        await asyncio.sleep(self.rng.choice([0, 0, 0.5]))
        if self.starts_fail and self.rng.random() < 0.5:
            raise OSError("cannot open")
        self.is_open = True
        self.dirty = False

    async def on_stop(self) -> None:
        self.observer.demand(self.is_open, f"{self.name} closed, but was not open")
        self.is_open = False
        await asyncio.sleep(self.rng.choice([0, 0, 0.3]))
        if self.stops_fail and self.rng.random() < 0.5:
            raise OSError("cannot close")

    async def run(self, data: str, /) -> str:
        loop = asyncio.get_running_loop()
        watch = self.observer.demand
        watch(self.busy == 0, f"{self.name} runs two attempts at once")
        watch(self.is_open, f"{self.name} is used while closed")
        watch(not self.dirty, f"{self.name} is used without a reset after a cut-off")
        watch(not self.paused, f"{self.name} starts while paused")
        watch(loop.time() >= self.forbidden_until - 1e-9, f"{self.name} starts while cooling")
        for window in self.windows:
            window.starts.append(loop.time())
            watch(not window.exceeded(), f"{self.name} exceeds its window")
        self.busy += 1
        try:
            return await self._do(data)
        except asyncio.CancelledError:
            if data not in ("cancelled", "cancels itself"):
                self.dirty = True
            raise
        finally:
            self.busy -= 1

    async def _do(self, kind: str) -> str:
        rng = self.rng
        if kind == "sleep":
            await asyncio.sleep(rng.choice([0, 0.1, 1, 3]))
        elif kind == "hang":
            await asyncio.sleep(1000)
        elif kind == "raise":
            await asyncio.sleep(rng.choice([0, 0.5]))
            raise ValueError(kind)
        elif kind == "sometimes":
            if rng.random() < 0.5:
                raise ValueError(kind)
        elif kind == "throttled":
            if rng.random() < 0.7:
                seconds = rng.choice([0.5, 2, 5])
                self.forbidden_until = max(
                    self.forbidden_until, asyncio.get_running_loop().time() + seconds
                )
                raise Throttled(seconds)
        elif kind == "throttled blindly":
            if rng.random() < 0.7:
                raise Throttled
        elif kind == "lost":
            if rng.random() < 0.5:
                raise WorkerLost
        elif kind == "lost for good":
            if rng.random() < 0.3:
                raise WorkerLost(rebuild=False)
        elif kind == "snooze":
            if rng.random() < 0.5:
                raise Snooze(rng.choice([0, 1]))
        elif kind == "bounce":
            if rng.random() < 0.5:
                raise Bounce
        elif kind == "discard":
            raise Discard("useless")
        elif kind == "swallows":
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                await asyncio.sleep(rng.choice([0, 1, 8]))
        elif kind == "cleans up":
            try:
                await asyncio.sleep(5)
            finally:
                await asyncio.sleep(rng.choice([0, 1, 8]))
        elif kind == "cancelled":
            raise asyncio.CancelledError
        elif kind == "cancels itself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(0)
        elif kind == "interrupts":
            raise KeyboardInterrupt
        return kind


KINDS = (
    ["return"] * 4
    + ["sleep"] * 6
    + ["sometimes"] * 3
    + [
        "hang",
        "raise",
        "throttled",
        "throttled blindly",
        "lost",
        "lost for good",
        "snooze",
        "bounce",
        "discard",
        "swallows",
        "cleans up",
        "cancelled",
        "cancels itself",
        "interrupts",
    ]
)


class Life:
    """One random life of one pool."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.observer = Observer()
        self.names = 0
        rng = self.rng
        self.shared = WatchedWindow(rng.randint(1, 4), rng.choice([1, 3]))
        self.pool_wide = WatchedWindow(rng.randint(3, 9), rng.choice([1, 2]))
        self.use_pool_wide = rng.random() < 0.3
        self.pool: Pool[str, str] = Pool(
            [self.worker() for _ in range(rng.randint(1, 4))],
            retry=rng.choice(
                [
                    RetryPolicy.fixed(rng.choice([0, 1]), attempts=rng.randint(1, 4)),
                    RetryPolicy.exponential(0.5, max=4),
                ]
            ),
            quota=self.pool_wide.quota if self.use_pool_wide else None,
            bounce=rng.random() < 0.3,
            no_workers=rng.choice(["raise", "wait", "dead", 3.0]),
            concurrency=rng.choice([None, None, None, 1, 2]),
            max_queue=rng.choice([None, None, 5]),
            stop_grace=2,
            stop_timeout=4,
            start_timeout=5,
            max_throttles=5,
            max_snoozes=5,
            rng=random.Random(seed),
            debug=True,
        )
        self.awaiters: list[asyncio.Task[None]] = []

    def worker(self) -> ChaosWorker:
        rng = self.rng
        self.names += 1
        worker = ChaosWorker(f"w{self.names}", self.observer, rng)
        worker.starts_fail, worker.stops_fail = rng.random() < 0.1, rng.random() < 0.1
        kind = rng.random()
        if kind < 0.3:
            window = WatchedWindow(rng.randint(1, 3), rng.choice([1, 4]))
            worker.windows.append(window)
            worker.quota = window.quota
        elif kind < 0.5:
            worker.windows.append(self.shared)
            worker.quota = self.shared.quota
        elif kind < 0.6:
            worker.quota = Quota(Bucket(rng.randint(1, 5), per=2))
        if self.use_pool_wide:
            worker.windows.append(self.pool_wide)
        worker.tags = rng.choice([(), ("a",), ("a", "b")])
        worker.max_tasks = rng.choice([None, None, 3])
        return worker

    def submit(self) -> None:
        rng = self.rng
        options: dict[str, Any] = {}
        if rng.random() < 0.2:
            options["priority"] = rng.choice([1, 2, -1])
        if rng.random() < 0.1:
            options["aging"] = 2
        if rng.random() < 0.2:
            options["require"] = rng.choice(["a", "b", ("a", "b")])
        if rng.random() < 0.1 and self.pool.workers():
            options["worker"] = rng.choice(self.pool.workers())
        for name in ("bounce", "immediate", "detach"):
            if rng.random() < 0.15:
                options[name] = True
        if rng.random() < 0.2:
            options["attempt_timeout"] = rng.choice([0.5, 1, 3])
        if rng.random() < 0.2:
            options["timeout"] = rng.choice([0, 1, 4, 10])
        if rng.random() < 0.15:
            options["queue_timeout"] = rng.choice([0, 0.5, 2])
        try:
            handle = self.pool.submit(rng.choice(KINDS), **options)
        except (RetryPoolError, ValueError):
            return
        self.observer.watch(handle)
        if rng.random() < 0.5:
            self.awaiters.append(asyncio.create_task(self._await(handle, rng.random())))

    async def _await(self, handle: TaskHandle[str], how: float) -> None:
        try:
            if how < 0.3:
                with anyio.move_on_after(self.rng.choice([0, 1, 3])):
                    await handle
            elif how < 0.5:
                await handle.wait(self.rng.choice([None, 1]))
            else:
                await handle
        except (Exception, KeyboardInterrupt, asyncio.CancelledError):
            pass

    def record(self, ref: Any) -> ChaosWorker:
        return next(w for w in self.observer.workers if w.name == ref.name)

    async def operate(self) -> None:
        rng, pool = self.rng, self.pool
        refs = pool.workers()
        choice = rng.random()
        if choice < 0.5 or not refs:
            self.submit()
        elif choice < 0.65:
            await asyncio.sleep(rng.choice([0, 0, 0.1, 0.5, 1, 3]))
        elif choice < 0.7 and self.awaiters:
            rng.choice(self.awaiters).cancel()
        elif choice < 0.76 and self.observer.handles:
            rng.choice(self.observer.handles).cancel()
        elif choice < 0.8:
            ref = rng.choice(refs)
            pool.pause(ref)
            self.record(ref).paused = True
        elif choice < 0.86:
            ref = rng.choice(refs)
            self.record(ref).paused = False
            pool.resume(ref)
        elif choice < 0.88:
            pool.pause(until=rng.choice([0.5, 2]))
        elif choice < 0.91:
            ref, seconds = rng.choice(refs), rng.choice([0.5, 2])
            worker = self.record(ref)
            now = asyncio.get_running_loop().time()
            worker.forbidden_until = max(worker.forbidden_until, now + seconds)
            pool.cooldown(ref, seconds)
        elif choice < 0.95:
            limit = rng.choice([None, 1])
            ref, force = rng.choice(refs), rng.random() < 0.5
            self.in_background(lambda: pool.remove(ref, force=force, timeout=limit))
        else:
            worker, wait = self.worker(), rng.random() < 0.5
            self.in_background(lambda: pool.add(worker, wait=wait))

    def in_background(self, call: Callable[[], Awaitable[object]]) -> None:
        self.awaiters.append(asyncio.create_task(self._quietly(call)))

    async def _quietly(self, call: Callable[[], Awaitable[object]]) -> None:
        with contextlib.suppress(RetryPoolError, asyncio.CancelledError):
            await call()

    async def end(self) -> None:
        rng, pool = self.rng, self.pool
        for worker in self.observer.workers:
            worker.paused = False
        for ref in pool.workers():
            pool.resume(ref)
        pool.resume()
        way = rng.choice(["drain", "running", "cancel", "timed", "closer cancelled"])
        if way == "timed":
            await pool.close(timeout=rng.choice([0, 1, 5]))
        elif way == "closer cancelled":
            closer = asyncio.create_task(pool.close("drain", timeout=20))
            await asyncio.sleep(rng.choice([0, 1]))
            closer.cancel()
            await asyncio.wait([closer])
            await pool.close("cancel")
        elif way == "drain":
            await pool.close("drain", timeout=200)
        else:
            await pool.close(way, timeout=200)  # type: ignore[arg-type]

    async def live(self) -> None:
        with contextlib.suppress(WorkerStartFailed):
            await self.pool.start()
        for _ in range(self.rng.randint(20, 50)):
            await self.operate()
        await self.end()
        for awaiter in self.awaiters:
            awaiter.cancel()
        if self.awaiters:
            await asyncio.wait(self.awaiters)
        await asyncio.sleep(100)  # what was stuck at the close unwinds by itself
        self.judge()

    def judge(self) -> None:
        observer = self.observer
        for handle in observer.handles:
            observer.demand(handle.done(), f"{handle!r} is pending after the close")
            times = observer.settled[handle.id]
            observer.demand(times == 1, f"{handle!r} settled {times} times")
        for worker in observer.workers:
            observer.demand(not worker.is_open, f"{worker.name} was never closed")
            observer.demand(worker.busy == 0, f"{worker.name} is still running")


def live(seed: int) -> None:
    """Live one life; raise when the observer has seen what must not be."""
    life = Life(seed)
    repeat = f"repeat with: python -m tests.chaos.driver {seed}"
    try:
        run_virtual(life.live(), seed=seed)
    except Exception as error:
        raise AssertionError(
            f"seed {seed}: {error}; {life.observer.broken[:3]}; {repeat}"
        ) from error
    if life.observer.broken:
        listing = "\n".join(life.observer.broken[:5])
        raise AssertionError(f"seed {seed}:\n{listing}\n{repeat}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        live(int(argument))
