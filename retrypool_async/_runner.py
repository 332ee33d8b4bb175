"""The runner: drives one worker, in its own task group, fed through its own memory channel.

Everything a worker's code does happens in one asyncio task, so a resource that must be closed by
the task that opened it (an anyio task group, most clients built on one) is safe in `on_start`
and `on_stop`. The runner knows neither ledger nor router: it reports to a `Desk`, which answers
with what comes next.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from ._errors import WorkerCancelled
from ._states import Order, TaskState
from ._steps import first_step, one_turn, other_steps
from ._worker import Worker, passes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._record import WorkerRecord
    from ._task import Task

logger = logging.getLogger("retrypool_async")

RUNNING = TaskState.RUNNING


class Desk(Protocol):
    """Whom a runner reports to. All synchronous: nothing can slip between report and answer."""

    loop: asyncio.AbstractEventLoop
    #: Attempts that a runner may make before it lets the loop turn.
    slice: int
    stop_grace: float
    start_timeout: float
    stop_timeout: float
    check_timeout: float

    @property
    def ending(self) -> bool: ...

    #: Have the factory make the worker that a record stands for.
    make: Callable[[WorkerRecord], Awaitable[None]]

    def opened(self, record: WorkerRecord, error: BaseException | None) -> None: ...
    def begin(self, record: WorkerRecord, task: Task) -> bool: ...
    def succeeded(
        self, record: WorkerRecord, task: Task, value: Any, go_on: bool
    ) -> Task | None: ...
    def failed(
        self, record: WorkerRecord, task: Task, error: BaseException, go_on: bool
    ) -> Task | None: ...
    def attended(self, record: WorkerRecord, order: Order, error: BaseException | None) -> None: ...
    def stuck(self, record: WorkerRecord) -> None: ...
    def broken(self, record: WorkerRecord, error: BaseException) -> None: ...
    def teardown_failed(self, record: WorkerRecord, error: BaseException) -> None: ...
    def gone(self, record: WorkerRecord) -> None: ...


class Runner:
    """Drives one worker from `on_start` to `on_stop`."""

    def __init__(self, record: WorkerRecord, desk: Desk) -> None:
        self._record = record
        #: None until the factory has made it.
        self._worker: Worker[Any, Any] | Any = record.worker
        self._desk = desk
        # Unbounded, but never more than one task and a few orders: the ledger sees to that.
        self._send, self._receive = anyio.create_memory_object_stream[Any](inf)
        self._waiting = 0
        self._bell: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._group: anyio.abc.TaskGroup | None = None
        #: Interruptions asked for since the attempt or hook in progress began.
        self._interrupts = 0
        self._open = False
        self._ended = asyncio.Event()
        # Made here and not where they are started: asyncio never runs a task that is cancelled
        # before its first step, and somebody must then close what it would have run.
        self.life = self._live()
        self._drive_life = self._sheltered()

    @property
    def attempt(self) -> asyncio.Task[None] | None:
        """The asyncio task that runs all of the worker's code."""
        return self._task

    # -- from outside --------------------------------------------------------------------------

    def deliver(self, item: Task | Order) -> None:
        """Put a task or an order into the channel and wake the runner."""
        self._send.send_nowait(item)
        self._waiting += 1
        bell = self._bell
        if bell is not None and not bell.done():
            bell.set_result(None)

    def interrupt(self) -> None:
        """Cancel the code in progress, once. Its clean-up is not cancelled again with it.

        Not a cancel scope: anyio delivers a scope's cancellation on every turn of the loop, which
        cuts clean-up short and burns a processor when the code ignores it.
        """
        self._interrupts += 1
        if self._task is not None:  # else it is yet to take its first step, and will see
            self._task.cancel()

    def dispose(self) -> None:
        """Clean up after a loop that ended before the worker's task took its first step."""
        self.life.close()
        self._drive_life.close()
        self._send.close()
        self._receive.close()

    async def _live(self) -> None:
        """Live. Whatever becomes of the driver, the worker is reported gone at the end."""
        try:
            async with anyio.create_task_group() as self._group:
                name = f"retrypool worker {self._record.id}"
                self._group.start_soon(lambda: self._drive_life, name=name)
                try:
                    await self._ended.wait()
                except asyncio.CancelledError:
                    # Once, and only if the loop has not done so: clean-up must not be cut short.
                    if self._task is not None and not self._task.cancelling():
                        self._task.cancel()
                    raise
        except asyncio.CancelledError:
            raise
        except BaseException:
            # Only user code that left a scope of its own open can get here.
            logger.exception("worker %s died", self._record.name)
        finally:
            self._drive_life.close()
            self._send.close()
            self._receive.close()
            self._desk.gone(self._record)

    # -- the driver ----------------------------------------------------------------------------

    async def _sheltered(self) -> None:
        """Drive within a scope that no cancellation of the pool's own scopes gets into.

        It is the outermost, so that scopes which `on_start` leaves open nest inside it, and what
        was opened is closed even when the pool is torn down with its loop.
        """
        with anyio.CancelScope(shield=True):
            try:
                await self._drive()
            finally:
                self._ended.set()

    async def _drive(self) -> None:
        self._task = me = asyncio.current_task()
        assert me is not None
        if self._interrupts:
            me.cancel()
        desk, record = self._desk, self._record
        begin, succeeded, cancelling = desk.begin, desk.succeeded, me.cancelling
        try:
            error = await self._make()
            desk.opened(record, await self._start() if error is None else error)
            if self._shutting_down():
                return  # the loop cancels once, and a hook has swallowed it
            # Without a worker there are no tasks, only the order to close.
            run: Any = None if error is not None else self._worker.run
            item: Any = None  # a task, an order, or nothing yet
            task: Task | None
            context: Any
            call: Any
            value: Any
            left = desk.slice
            while True:
                if item is None:
                    # An idle worker keeps nothing of its last task alive.
                    task = context = call = value = None
                    item = await self._next()
                    left = desk.slice
                if isinstance(item, Order):
                    if item is Order.CLOSE:
                        return
                    desk.attended(record, item, await self._carry_out(item))
                    if self._shutting_down():
                        return
                    item = None
                    continue
                started = begin(record, item)
                task = item
                item = None
                while started and task is not None:
                    # The first step is taken here and not in a coroutine of its own: most of the
                    # cost of a short task is in such detours.
                    left -= 1
                    context = task.context.copy()  # type: ignore[union-attr]
                    try:
                        call = run(task.data)
                        value = context.run(first_step, task, call)
                        if value.__class__ is StopIteration:
                            value = value.value
                        else:
                            value = await other_steps(context, call, value)
                    except BaseException as error:
                        cancelled = self._interrupts or cancelling()
                        started = left > 0 and task.callbacks is None and not cancelled
                        task = self._failed(task, error, started)
                        started = task is not None and task.state is RUNNING
                    else:
                        # The desk starts the next task in the same step: nothing is in between,
                        # unless a cancellation is pending that the next must not die of, or a
                        # callback is to be called, which may withdraw it.
                        started = left > 0 and task.callbacks is None and not cancelling()
                        task = succeeded(record, task, value, started)
                    if not started:
                        item, task = task, None
                if self._interrupts or cancelling():
                    await self._absorb()
                    if self._shutting_down():
                        return  # as above
                if left <= 0:
                    await self._let_loop_turn()
                    left = desk.slice
        finally:
            await self._end()

    def _failed(self, task: Task, error: BaseException, go_on: bool) -> Task | None:
        if isinstance(error, asyncio.CancelledError) and not self._interrupts:
            if self._shutting_down():
                self._desk.failed(self._record, task, error, False)
                raise error
            # Nobody asked: the worker's own code raised it, or cancelled its own task.
            self._interrupts += 1
            cancelled = WorkerCancelled("the worker raised CancelledError unasked")
            cancelled.__cause__ = error
            error, go_on = cancelled, False
        return self._desk.failed(self._record, task, error, go_on)

    def _shutting_down(self) -> bool:
        assert self._group is not None
        return self._group.cancel_scope.cancel_called or self._desk.ending

    async def _next(self) -> Any:
        """Take the next item from the channel, waiting for it if there is none.

        The wait is on a plain future, and the item is taken synchronously after it: an item that
        was handed to a waiting `receive()` would be lost if the task were cancelled in the same
        turn of the loop. It also costs a fifth of it.
        """
        while not self._waiting:
            self._bell = self._desk.loop.create_future()
            try:
                await self._bell
            except asyncio.CancelledError as error:
                if self._shutting_down():
                    raise
                self._take_back_cancels()
                self._desk.broken(self._record, error)
            finally:
                self._bell = None
        self._waiting -= 1
        return self._receive.receive_nowait()

    async def _let_loop_turn(self) -> None:
        try:
            await one_turn()
        except asyncio.CancelledError:
            if self._shutting_down():
                raise
            self._take_back_cancels()

    async def _absorb(self) -> None:
        """Take back interruptions, also one that has not been delivered yet.

        asyncio delivers a cancellation at the next await; if the code ended without another, that
        is ours, and the next task must not die of it.
        """
        await self._let_loop_turn()
        self._interrupts = 0
        self._take_back_cancels()

    def _take_back_cancels(self) -> None:
        task = self._task
        assert task is not None
        while task.cancelling():
            task.uncancel()

    # -- the resource --------------------------------------------------------------------------

    async def _make(self) -> BaseException | None:
        """Have the factory make the worker, unless there is one."""
        desk, record = self._desk, self._record
        if record.worker is not None:
            return None
        error = await self._call(lambda: desk.make(record), desk.start_timeout, "factory")
        if error is None:
            self._worker = record.worker
        return error

    async def _start(self) -> BaseException | None:
        async def on_start() -> None:
            await self._worker.on_start()
            self._open = True

        error = await self._call(on_start, self._desk.start_timeout, "on_start")
        if error is not None:
            await self._stop()  # it was told to give up, and returned all the same
        return error

    async def _stop(self) -> BaseException | None:
        if not self._open:
            return None
        self._open = False
        error = await self._call(self._worker.on_stop, self._desk.stop_timeout, "on_stop")
        if error is not None:
            self._desk.teardown_failed(self._record, error)
        return error

    async def _carry_out(self, order: Order) -> BaseException | None:
        worker, desk = self._worker, self._desk
        if order is Order.CHECK:
            return await self._call(lambda: passes(worker), desk.check_timeout, "check")
        if order is Order.PAUSE:
            return await self._call(worker.on_pause, desk.stop_timeout, "on_pause")
        if order is Order.RESUME:
            return await self._call(worker.on_resume, desk.stop_timeout, "on_resume")
        if order is Order.RESET and self._open and _overrides_reset(worker):
            limit = desk.stop_timeout + desk.start_timeout
            return await self._call(worker.on_reset, limit, "on_reset")
        await self._stop()
        return await self._start()

    async def _end(self) -> None:
        try:
            if self._record.retired and self._worker is not None:
                await self._call(self._worker.on_remove, self._desk.stop_timeout, "on_remove")
        finally:
            await self._stop()

    async def _call(
        self, hook: Callable[[], Awaitable[None]], limit: float, name: str
    ) -> BaseException | None:
        """Run a hook of the worker, interrupt it at `limit`, and return what went wrong."""
        loop = asyncio.get_running_loop()
        overran = False
        timer: asyncio.TimerHandle

        def overrun(pause: float) -> None:
            nonlocal overran, timer
            if overran:
                self._desk.stuck(self._record)
            overran = True
            self.interrupt()
            timer = loop.call_later(pause, overrun, max(pause * 2, 0.1))  # noqa: F821 - not deleted yet

        timer = loop.call_later(limit, overrun, self._desk.stop_grace)
        problem: BaseException | None = None
        try:
            await hook()
        except asyncio.CancelledError as error:
            if not overran and self._shutting_down():
                raise
            problem = error
        except BaseException as error:
            problem = error
        finally:
            timer.cancel()
            del overrun  # it refers to itself
        if overran:
            timeout = TimeoutError(f"{name} took longer than {limit:g} s")
            timeout.__cause__ = problem
            problem = timeout
        if self._interrupts or problem is not None:
            await self._absorb()
        if problem is not None:
            logger.warning(
                "worker %s: %s failed: %s", self._record.name, name, type(problem).__name__
            )
        return problem


def _overrides_reset(worker: Worker[Any, Any]) -> bool:
    return type(worker).on_reset is not Worker[Any, Any].on_reset
