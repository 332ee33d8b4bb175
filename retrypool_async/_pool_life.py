"""A pool's start and its end, and how it stands in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ._context import current
from ._elastic import Elastic
from ._errors import WorkerStartFailed
from ._options import RoutingOptions, cost_of, task_options
from ._pool_base import PoolBase
from ._ready import wishes
from ._record import WorkerRecord, WorkerRef
from ._states import WorkerState
from ._supervisor import MODES, CloseMode, CloseReport, Supervisor
from ._time import optional_seconds, seconds

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType
    from typing import Self, Unpack

    from ._forecast import Forecast
    from ._snapshot import Snapshot

T = TypeVar("T")
R = TypeVar("R")
Ref = WorkerRef | int | str


class PoolLife(PoolBase[T, R]):
    """The part of `Pool` that starts and closes it, and tells how it stands."""

    async def start(self) -> None:
        """Start the pool and its workers, and wait until every worker is open or has failed.

        With a factory, those are as many as `min_workers` asks for.

        Raises:
            RuntimeError: it is running, or runs on another event loop.
            WorkerStartFailed: there are workers, and all of them failed. The pool is running
                all the same, and a factory is tried again: add a worker, wait, or close it.
        """
        if self._supervisor is not None:
            if self._engine.loop is not asyncio.get_running_loop() and (
                not self._engine.loop.is_closed()
            ):
                raise RuntimeError("the pool is running on another event loop")
            busy = self._engine.open or self._engine.ledger.roster.workers
            if busy and not self._engine.loop.is_closed():
                raise RuntimeError("the pool is running already")
            self._engine = self._new_engine()
        self._supervisor = Supervisor(self._engine)
        await self._supervisor.start()
        for worker in self._workers:
            self._take_in(worker)
        if self._sizes is not None:
            self._engine.employ(Elastic(self._sizes, self._quotas))
        records = list(self._engine.ledger.roster.workers.values())
        await self._engine.until(
            lambda: not any(record.state is WorkerState.STARTING for record in records)
        )
        if not self._engine.open:
            self._refuse()
        causes = [(r.name, cause_of(r)) for r in records if did_not_start(r)]
        if records and len(causes) == len(records):
            raise WorkerStartFailed(causes)

    async def __aenter__(self) -> Self:
        before = self._supervisor
        try:
            await self.start()
        except BaseException:
            # Close what this call has started, not a pool that was running already.
            if self._supervisor is not before:
                await self.close(mode="cancel")
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close(timeout=self._settings.shutdown_timeout)
        else:
            await self.close(mode="cancel")

    async def close(
        self, mode: CloseMode = "drain", timeout: float | timedelta | None = None
    ) -> CloseReport:
        """Close the pool and return a report. New tasks are refused from this moment on.

        May be called from anywhere, and again: a second call waits for the same closing, which
        it may make stricter. Being cancelled does not stop the closing.

        Args:
            mode: "drain" waits for all tasks; "running" ends the waiting ones now and waits for
                those that run; "cancel" stops those too. Ended tasks raise `PoolClosed`.
            timeout: Seconds within which everything is over: the wait, `stop_grace` and
                `stop_timeout` are cut to fit it. What is left is stopped when nine tenths of it
                have passed, which leaves time for clean-up.

        Raises:
            RuntimeError: called inside one of the pool's own attempts, which it would have to
                wait for: use `request_close()` there.
        """
        self._refuse_waiting_for_itself("close() here would; call request_close()")
        supervisor = self._supervisor
        closer = self.request_close(mode, timeout)
        if closer is None or supervisor is None:
            return CloseReport((), (), (), 0.0)
        return await supervisor.wait_closed(closer)

    def _refuse_waiting_for_itself(self, remedy: str, record: WorkerRecord | None = None) -> None:
        """Refuse a call inside an attempt that would wait for that very attempt to end."""
        task = current.get()
        if task is None or task.engine is not self._engine or task.has_ended():
            return
        if record is None or record.task is task:
            raise RuntimeError(f"an attempt cannot wait for its own end: {remedy}")

    def request_close(
        self, mode: CloseMode = "drain", timeout: float | timedelta | None = None
    ) -> asyncio.Task[CloseReport] | None:
        """Begin closing and return at once: the task to await for the report, if it ever ran."""
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        limit = optional_seconds("timeout", timeout)
        if self._supervisor is None:
            return None
        self._engine.call_time()
        return self._supervisor.request_close(mode, limit)

    async def aclose(self) -> None:
        """Close with mode "cancel"."""
        await self.close(mode="cancel")

    async def join(self) -> None:
        """Wait until no task is waiting or running. New ones may still be submitted.

        Raises:
            RuntimeError: called inside one of the pool's own attempts.
        """
        self._refuse_waiting_for_itself("join() and drain() here would")
        await self._engine.until(lambda: self._engine.ledger.live == 0)

    async def drain(self) -> None:
        """The same as `join`: wait until idle, without closing."""
        await self.join()

    async def wait_until(
        self, condition: Callable[[Snapshot], bool], interval: float | timedelta = 0.1
    ) -> None:
        """Wait until `condition(pool.snapshot())` holds, looking every `interval` seconds."""
        pause = seconds("interval", interval, at_least=1e-3)
        while not condition(self.snapshot()):
            await asyncio.sleep(pause)

    def forecast(
        self, cost: float | Mapping[str, float] = 1, **options: Unpack[RoutingOptions]
    ) -> Forecast:
        """Tell when and where a task would start that was submitted now. Changes nothing.

        It is what happens if from now on nobody does anything, and attempts take no time, neither
        those in progress nor those of the tasks in front. So it is exact as far as quotas,
        cooldowns, back-offs, pauses and turns decide, which is as long as attempts are over by the
        time that their worker could take the next task. Where longer ones hold a task up it starts
        later, as a rule. If it only waits for one to end, `start_in` is None.

        What a limiter of your own will grant is known only as far as it says so now, whatever
        the tasks in front take. With a routing strategy of your own the worker is the one that has
        been idle longest. The plan is followed for 25,000 starts divided by 10 + the number of
        workers, and at least 50, which takes some 40 ms. A task that has not started by then has no
        `worker`, and starts no sooner than `start_in`.

        Args:
            cost: As for `submit`. The pool's `cost` function is not asked.
            options: See `RoutingOptions`.

        Raises:
            PoolClosed, NoWorkers, Unroutable, WorkerRemoved, CostTooLarge: as `submit` would.
            TypeError, ValueError: an argument is wrong.
        """
        if not self._engine.open:
            self._refuse()
        if unknown := options.keys() - RoutingOptions.__annotations__.keys():
            raise TypeError(f"forecast has no option {min(unknown)!r}")
        amounts = cost_of(cost)
        self._check_dimensions(amounts)
        chosen = task_options(dict(options), {}, self._find_id)
        return self._engine.forecast(chosen, amounts, wishes(chosen))

    def snapshot(self) -> Snapshot:
        """A coherent picture of this moment. Changes nothing."""
        return self._engine.snapshot()


DID_NOT_START = (WorkerState.FAILED, WorkerState.STUCK, WorkerState.STOPPED)


def did_not_start(record: WorkerRecord) -> bool:
    # One from the factory does not stay when it has failed: it may be closing still.
    gave_up = record.retired and record.error is not None
    return gave_up or record.state in DID_NOT_START


def cause_of(record: WorkerRecord) -> BaseException:
    return record.error or TimeoutError("on_start took longer than start_timeout")
