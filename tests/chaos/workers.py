"""Workers that do everything a worker's code could do wrong, and report what is done to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio

from retrypool_async import (
    Bounce,
    Bucket,
    Discard,
    Snooze,
    Throttled,
    Window,
    Worker,
    WorkerLost,
)
from tests.chaos.witness import INSTANT, Budget, Job, Run, Witness

Limits = Mapping[str, Window | Bucket]


def limits(rng: random.Random) -> Limits:
    """Limits for one quota."""
    kind = rng.random()
    if kind < 0.6:
        return {"requests": Window(rng.randint(1, 4), per=rng.choice([1, 3]))}
    if kind < 0.8:
        return {"requests": Bucket(rng.randint(1, 4), per=2)}
    return {
        "requests": Window(rng.randint(2, 5), per=1),
        "tokens": Bucket(rng.randint(4, 9), per=rng.choice([1, 4])),
    }


def limits_like(old: Limits, rng: random.Random) -> Limits:
    """Other limits for the same dimensions and periods."""
    return {
        name: type(limit)(max(1, limit.limit + rng.choice([-2, -1, 1, 2])), per=limit.per)
        for name, limit in old.items()
    }


class ChaosWorker(Worker[Job, object]):
    """Runs the code that a job names. Every method of it may go wrong."""

    def __init__(
        self,
        name: str,
        witness: Witness,
        rng: random.Random,
        submit_child: Callable[[], None],
        close_inside: Callable[[], Awaitable[object]],
    ) -> None:
        self.name = name
        self.witness, self.rng = witness, rng
        self.submit_child, self.close_inside = submit_child, close_inside
        self.budgets: list[Budget] = []
        #: Shares of calls of its hooks that raise, and that take too long.
        self.fails = rng.choice([0, 0, 0, 0.3])
        self.dawdles = rng.choice([0, 0, 0, 0, 0.3])
        #: Its resource is a task group, which only the task that opened it may close.
        self.holds_group = rng.random() < 0.2
        self.group: Any = None

        # What the witness knows of it.
        self.has_joined = self.is_open = False
        self.in_use: str | None = None
        self.last_run: Run | None = None
        self.reset_since = True
        #: Something has gone wrong with it that only opening it anew mends.
        self.shaky = False
        self.paused_until = 0.0
        self.cools_until = self.has_cooled_by = 0.0
        self.misses, self.misses_known = 0, True
        self.leaving = False
        #: The pool may let it go by itself.
        self.made = False
        witness.workers.append(self)

    @property
    def needs_reset(self) -> bool:
        """An attempt was stopped on it, its answer did not count, and no reset has been made."""
        last = self.last_run
        if last is None or not last.interrupted or self.reset_since:
            return False
        return last.value is None or last.job.value is not last.value

    def is_free(self, at: float) -> bool:
        return (
            self.is_open
            and self.in_use is None
            and not self.leaving
            and not self.needs_reset
            and not self.shaky
            and self.paused_until < at - INSTANT
            and self.has_cooled_by < at - INSTANT
        )

    @contextmanager
    def use(self, what: str) -> Iterator[None]:
        self.witness.demand(self.in_use is None, f"{self.name}: {what} during {self.in_use}")
        self.in_use = what
        try:
            yield
        finally:
            self.in_use = None

    async def _go_wrong(self) -> None:
        rng = self.rng
        if rng.random() < self.dawdles:
            try:
                await asyncio.sleep(12)  # longer than any hook may take
            except asyncio.CancelledError:
                if rng.random() < 0.7:
                    raise
                await asyncio.sleep(rng.choice([0, 1]))
        else:
            await asyncio.sleep(rng.choice([0, 0, 0.5]))
        if rng.random() < self.fails:
            raise rng.choice([OSError("out of order"), asyncio.CancelledError()])

    async def on_start(self) -> None:
        if not self.has_joined:
            self.has_joined = True
            for budget in self.budgets:
                self.cools_until = max(self.cools_until, budget.cools_until)
                self.has_cooled_by = max(self.has_cooled_by, budget.has_cooled_by)
        with self.use("on_start"):
            self.witness.demand(not self.is_open, f"{self.name} opened twice")
            await self._go_wrong()
            if self.holds_group:
                self.group = anyio.create_task_group()
                await self.group.__aenter__()
            self.is_open = self.reset_since = True
            self.shaky = False
            self.witness.staff_changes()

    async def on_stop(self) -> None:
        with self.use("on_stop"):
            self.witness.demand(self.is_open, f"{self.name} closed, but was not open")
            self.is_open = False
            if self.group is not None:
                await self.group.__aexit__(None, None, None)
                self.group = None
            await self._go_wrong()

    async def on_pause(self) -> None:
        with self.use("on_pause"):
            await self._go_wrong()

    async def on_resume(self) -> None:
        with self.use("on_resume"):
            await self._go_wrong()

    async def on_remove(self) -> None:
        with self.use("on_remove"):
            self.witness.demand(self.leaving or self.made, f"{self.name} was not asked to leave")
            self.leaving = True
            self.witness.staff_changes()
            await self._go_wrong()

    async def run(self, data: Job, /) -> object:
        run = self.witness.begins(self, data)
        with self.use(f"run of {data}"):
            try:
                await CODE[data.kind](self, run)
            except BaseException as error:
                self.witness.ends(run, None, error)
                raise
            value = object()
            self.witness.ends(run, value, None)
            return value


class ResettingWorker(ChaosWorker):
    """Clears up without closing its resource."""

    async def on_reset(self) -> None:
        with self.use("on_reset"):
            self.witness.demand(self.is_open, f"{self.name} is reset, but is not open")
            self.shaky = True
            await self._go_wrong()
            self.reset_since = True
            self.shaky = False
            self.witness.staff_changes()


class CheckingWorker(ChaosWorker):
    """Looks at its resource when it has rested, and finds it wanting now and then."""

    async def check(self) -> bool:
        with self.use("check"):
            self.witness.demand(self.is_open, f"{self.name} is checked, but is not open")
            await self._go_wrong()
            return self.rng.random() < 0.7


Code = Callable[[ChaosWorker, Run], Awaitable[None]]
CODE: dict[str, Code] = {}


def code(function: Code) -> Code:
    """Register what `run` may do under the function's name."""
    CODE[function.__name__] = function
    return function


def sometimes(worker: ChaosWorker, share: float = 0.6) -> bool:
    return worker.rng.random() < share


@code
async def returns(worker: ChaosWorker, run: Run) -> None:
    pass


@code
async def sleeps(worker: ChaosWorker, run: Run) -> None:
    await asyncio.sleep(worker.rng.choice([0, 0.1, 1, 3]))


@code
async def raises(worker: ChaosWorker, run: Run) -> None:
    raise ValueError(run.job.number)


@code
async def fails_later(worker: ChaosWorker, run: Run) -> None:
    await asyncio.sleep(worker.rng.choice([0, 0.5, 2]))
    if sometimes(worker):
        raise ExceptionGroup("several", [ValueError(run.job.number), OSError()])


@code
async def throttled(worker: ChaosWorker, run: Run) -> None:
    if sometimes(worker):
        raise Throttled(worker.rng.choice([0, 0.5, 2, 5]))


@code
async def throttled_without_hint(worker: ChaosWorker, run: Run) -> None:
    if sometimes(worker):
        raise Throttled


@code
async def throttled_with_others(worker: ChaosWorker, run: Run) -> None:
    if sometimes(worker):
        raise Throttled(worker.rng.choice([0.5, 2]), scope="quota")


@code
async def loses_worker(worker: ChaosWorker, run: Run) -> None:
    if sometimes(worker):
        raise WorkerLost


@code
async def loses_worker_for_good(worker: ChaosWorker, run: Run) -> None:
    if sometimes(worker, 0.3):
        raise WorkerLost(rebuild=False)


@code
async def snoozes(worker: ChaosWorker, run: Run) -> None:
    if sometimes(worker):
        raise Snooze(worker.rng.choice([0, 1, 3]))


@code
async def bounces(worker: ChaosWorker, run: Run) -> None:
    if sometimes(worker):
        raise Bounce


@code
async def discards(worker: ChaosWorker, run: Run) -> None:
    raise Discard("useless")


@code
async def swallows(worker: ChaosWorker, run: Run) -> None:
    """Goes on when it is cancelled, once or for every cancellation within a while."""
    for seconds in (5, worker.rng.choice([0, 1, 8]), 0.5):
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            run.hit()
        else:
            break


@code
async def cleans_up(worker: ChaosWorker, run: Run) -> None:
    """Takes its time to stop: less than the grace, or more."""
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        run.hit()
        await asyncio.sleep(worker.rng.choice([0, 1, 1.9, 2, 3, 8]))
        if sometimes(worker, 0.3):
            raise OSError("clean-up failed") from None
        raise


@code
async def invents_a_cancellation(worker: ChaosWorker, run: Run) -> None:
    run.cancels_itself = True
    raise asyncio.CancelledError


@code
async def awaits_a_cancelled_task(worker: ChaosWorker, run: Run) -> None:
    run.cancels_itself = True
    inner = asyncio.ensure_future(asyncio.sleep(1))
    inner.cancel()
    await inner


@code
async def cancels_itself(worker: ChaosWorker, run: Run) -> None:
    run.cancels_itself = True
    task = asyncio.current_task()
    assert task is not None
    for _ in range(worker.rng.choice([1, 2])):
        task.cancel()
    how = worker.rng.choice(["returns", "is hit", "swallows"])
    if how == "is hit":
        await asyncio.sleep(1)
    elif how == "swallows":
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await asyncio.sleep(worker.rng.choice([0, 0.5]))


@code
async def limits_itself(worker: ChaosWorker, run: Run) -> None:
    """Scopes of its own inside the attempt."""
    seconds = worker.rng.choice([0, 0.5])
    how = worker.rng.choice(["scope", "group", "timeout"])
    if how == "scope":
        with anyio.move_on_after(seconds):
            await anyio.sleep(3)
    elif how == "group":
        async with anyio.create_task_group():
            await anyio.sleep(seconds)
    else:
        async with asyncio.timeout(seconds):
            await asyncio.sleep(3)


@code
async def submits_a_child(worker: ChaosWorker, run: Run) -> None:
    worker.submit_child()
    await asyncio.sleep(worker.rng.choice([0, 0.5]))


@code
async def closes_the_pool(worker: ChaosWorker, run: Run) -> None:
    """Which would wait for this very attempt."""
    try:
        await worker.close_inside()
    except RuntimeError:
        return
    worker.witness.demand(False, "an attempt could close its own pool")


@code
async def interrupts(worker: ChaosWorker, run: Run) -> None:
    await asyncio.sleep(worker.rng.choice([0, 1]))
    raise worker.rng.choice([KeyboardInterrupt, SystemExit, GeneratorExit])


@code
async def hangs(worker: ChaosWorker, run: Run) -> None:
    await asyncio.sleep(1000)


#: What a job may be of: the harmless more often than the others.
KINDS = [*CODE, *["returns"] * 6, *["sleeps"] * 10, *["fails_later"] * 3]
