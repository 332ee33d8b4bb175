"""The supervisor: one host task that owns every worker, and the stages of shutting down.

The host is a plain asyncio task in an empty context. It alone enters and leaves the outer task
group, so workers can be added, removed and closed from any task, in any order.
"""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import anyio

from ._errors import PoolClosed
from ._runner import Runner
from ._states import WorkerState

if TYPE_CHECKING:
    from ._attempt import Attempt
    from ._engine import Engine
    from ._record import WorkerRecord
    from ._states import EndReason
    from ._task import Task

CloseMode = Literal["drain", "running", "cancel"]

#: The share of a bounded closing that is kept for clean-up, should tasks use up all the rest:
#: code that ends as soon as it is told to must not be called stuck.
CLEAN_UP_SHARE = 0.1

#: From the mildest to the strictest: a later close may only make it stricter.
MODES: tuple[CloseMode, ...] = ("drain", "running", "cancel")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A task that a closing pool did not finish."""

    id: int
    data: Any
    attempts: tuple[Attempt, ...]
    reason: EndReason

    def __repr__(self) -> str:
        return f"<Unfinished {self.id}: {self.reason.value}>"


@dataclass(frozen=True, slots=True)
class CloseReport:
    """How closing a pool went.

    Attributes:
        unfinished: The tasks that were ended by the closing, in the order of their ids.
        stuck: The names of workers whose code ignored being stopped and goes on.
        failed_teardowns: Pairs of worker name and the error its `on_stop` raised, the newest
            hundred.
        seconds: How long the closing took.
    """

    unfinished: tuple[Unfinished, ...]
    stuck: tuple[str, ...]
    failed_teardowns: tuple[tuple[str, BaseException], ...]
    seconds: float

    def __repr__(self) -> str:
        # Never the texts of errors, which may hold what the resource was opened with.
        failed = [(name, type(error).__name__) for name, error in self.failed_teardowns]
        return (
            f"CloseReport(unfinished={self.unfinished!r}, stuck={self.stuck!r}, "
            f"failed_teardowns={failed!r}, seconds={self.seconds!r})"
        )


class Supervisor:
    """Hosts the runners of one engine, and closes it in stages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._host: asyncio.Task[None] | None = None
        self._root: anyio.abc.TaskGroup | None = None
        self._stop: asyncio.Future[None] | None = None
        self._closer: asyncio.Task[CloseReport] | None = None
        self._mode = 0
        #: When tasks are no longer waited for, and when everything must be over.
        self._patience_ends = self._deadline = inf
        #: True when a second call has made a closing stricter.
        self._hurry = False

    async def start(self) -> None:
        """Start the host. Ready to launch workers when it returns."""
        loop = asyncio.get_running_loop()
        self._engine.start(loop)
        self._engine.ending_check = self._ending
        self._engine.launch = self.launch
        self._stop = loop.create_future()
        ready: asyncio.Future[None] = loop.create_future()
        # An empty context: the host must not keep the opener's request alive for ever.
        context = contextvars.Context()
        self._host = context.run(
            loop.create_task, self._main(ready), name=f"retrypool {self._engine.settings.name}"
        )
        self._host.add_done_callback(self._ended, context=context)
        await asyncio.shield(ready)

    async def _main(self, ready: asyncio.Future[None]) -> None:
        assert self._stop is not None
        async with anyio.create_task_group() as self._root:
            ready.set_result(None)
            await self._stop

    def _ending(self) -> bool:
        return self._host is None or self._host.done() or self._host.cancelling() > 0

    def _ended(self, host: asyncio.Task[None]) -> None:
        if not host.cancelled():
            host.exception()  # looked at: workers contain theirs, so there is none
        self._engine.sweep()

    def over(self) -> bool:
        """True once closing has come to its end, or the event loop has ended the host."""
        return any(task is not None and task.done() for task in (self._closer, self._host))

    def launch(self, record: WorkerRecord) -> None:
        """Start the runner of a worker that the ledger knows already."""
        root = self._root
        assert root is not None
        runner = record.runner = Runner(record, self._engine)

        def start() -> None:
            root.start_soon(lambda: runner.life, name=f"retrypool {record.name}")

        contextvars.Context().run(start)

    # -- closing -------------------------------------------------------------------------------

    def request_close(self, mode: CloseMode, timeout: float | None) -> asyncio.Task[CloseReport]:
        """Begin closing, or make a closing under way stricter. Returns the task that does it."""
        engine = self._engine
        strictness = MODES.index(mode)
        if timeout is not None:
            now = engine.now()
            self._deadline = min(self._deadline, now + timeout)
            settings = engine.settings
            kept = min(timeout * CLEAN_UP_SHARE, settings.stop_grace + settings.stop_timeout)
            self._patience_ends = min(self._patience_ends, now + timeout - kept)
        if self._closer is None:
            self._mode = strictness
            context = contextvars.Context()
            self._closer = context.run(
                engine.loop.create_task,
                self._close(),
                name=f"retrypool {engine.settings.name} close",
            )
        else:
            self._mode = max(self._mode, strictness)
            self._hurry = True
        engine.shut()
        return self._closer

    async def wait_closed(self, closer: asyncio.Task[CloseReport]) -> CloseReport:
        """Wait for a closing. Being cancelled meanwhile does not stop it."""
        with anyio.CancelScope(shield=True):
            await asyncio.shield(closer)
        return closer.result()

    async def _close(self) -> CloseReport:
        engine = self._engine
        ledger = engine.ledger
        settings = engine.settings
        started = engine.now()
        lost: list[Task] = []
        error = PoolClosed("the pool closed before the task was done")

        def running() -> bool:
            return any(r.state is WorkerState.BUSY for r in ledger.roster.workers.values())

        # 1. Let tasks end by themselves, as far as the mode allows and time permits.
        while True:
            now = engine.now()
            lost.extend(self._end_some(error, now))
            if self._mode == 2 or now >= self._patience_ends:
                break
            patience = None if self._patience_ends == inf else self._patience_ends - now
            self._hurry = False
            await engine.until(lambda: ledger.live == 0 or self._hurry, patience)
            if ledger.live == 0:
                break
        # 2. Stop what runs, and give its clean-up time. Workers close, each once it is free.
        now = engine.now()
        before = list(ledger.unfinished())
        ledger.end_all(error, now)
        ledger.stop_workers(now)
        engine.carry_out()
        await engine.until(lambda: not running(), self._within(settings.stop_grace))
        # 3. Give up the attempts that go on, and wait for the workers.
        ledger.abandon_running(error, engine.now())
        engine.carry_out()
        lost.extend(task for task in before if task.state.name != "SUCCEEDED")
        await engine.until(
            lambda: all(
                record.state is WorkerState.STUCK for record in ledger.roster.workers.values()
            ),
            self._within(settings.stop_timeout + settings.stop_grace),
        )
        # 4. End the host, unless a stuck worker keeps it: then it ends with that worker.
        engine.stuck_workers.update(record.name for record in ledger.roster.workers.values())
        stuck = tuple(sorted(engine.stuck_workers))
        await engine.observers.close()
        assert self._stop is not None
        assert self._host is not None
        if not self._stop.done():
            self._stop.set_result(None)
        if not stuck:
            await asyncio.wait([self._host])
        return CloseReport(
            unfinished=tuple(
                Unfinished(task.id, task.data, task.attempts, task.reason)  # type: ignore[attr-defined]
                for task in sorted(lost, key=lambda task: task.id)
            ),
            stuck=stuck,
            failed_teardowns=tuple(engine.failed_teardowns),
            seconds=engine.now() - started,
        )

    def _end_some(self, error: PoolClosed, now: float) -> list[Task]:
        """End the tasks that the mode, or the deadline, leaves no chance."""
        engine = self._engine
        ledger = engine.ledger
        before = list(ledger.unfinished())
        if self._mode == 0:
            ledger.end_hopeless(self._patience_ends, error, now)
        else:
            ledger.end_waiting(error, now)
        engine.carry_out()
        return [task for task in before if task.has_ended()]

    def _within(self, limit: float) -> float:
        """A bound on one stage that also respects the bound on the whole closing."""
        return max(0.0, min(limit, self._deadline - self._engine.now()))
