"""The front door: checks what users pass, and delegates."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Literal, TypeVar, cast, overload

from ._dead import DeadTasks
from ._errors import (
    QueueFull,
    RetryPoolError,
)
from ._handle import TaskHandle
from ._hooks import Hooks, Subscription
from ._map import ended_tasks
from ._options import SubmitOptions, cost_of, task_options
from ._pool_staff import PoolStaff
from ._ready import ANY_WORKER, wishes
from ._retry import RetryPolicy
from ._router import Strategy
from ._states import PoolState
from ._task import ONE_REQUEST, Cost, TaskOptions
from ._threads import submit_from_thread
from ._time import (
    flag,
    optional_count,
)
from ._waits import Room

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from concurrent.futures import Future
    from typing import Unpack

    from tenacity import AsyncRetrying, Retrying


T = TypeVar("T")
R = TypeVar("R")


class Pool(PoolStaff[T, R]):
    """Runs tasks on workers that each hold an exclusive resource.

    Building a pool needs no running loop. `async with pool:` (or `start` and `close`) runs it;
    leaving the block normally waits for all tasks, at most `shutdown_timeout` seconds, leaving
    it by an exception cancels them. A closed pool may be started again, with a clean state.

    Args:
        workers: The workers to start with; more may be added while it runs.
        factory: Makes further workers: a function without arguments, async or not, that returns
            one. An async one is bounded by `start_timeout`.
        min_workers: Workers to have at least, with a factory; given ones count. Default 1.
        max_workers: Workers up to which the factory is asked when ready tasks wait that a new one
            could take; given ones count. Default: no more than `min_workers`, or 1.
        idle_timeout: Seconds after which a worker from the factory goes that nothing needs.
        strategy: Chooses among workers that may run a task. Default: the longest idle.
        retry: When a failed task is tried again. Default: 3 attempts, jittered exponential
            waits up to 30 s. May be replaced live: `pool.retry = ...`.
        quota: A `Quota`, or a list of them, that all workers share.
        cost: Computes the cost of a task from its data, where `submit` is given none.
        bounce, attempt_timeout, timeout, deadline: Defaults of the options of `submit`.
        max_queue: Ready tasks that may wait, beyond which `submit` raises `QueueFull`; 0 accepts
            only what can start at once, None sets no limit.
        lane_weights: How many turns a `lane` of `submit` has for each turn of the others. Default:
            1 for each; the key None is for tasks without a lane.
        affinity_wait: Seconds that a ready task waits for the worker of its `affinity`. After that,
            or at once if that worker is known to be away for longer, any other may take it.
        concurrency: Attempts at once over all workers; 1 runs everything one by one, in order.
        no_workers: What becomes of tasks that no worker present could ever take: "raise" at
            submit (and end those that wait), "wait", wait for so many seconds, or "dead".
        max_quota_wait: Seconds that a task first in line may wait for quota alone. As soon as it is
            known that it would wait longer, it dies with `QuotaTimeout`. Default: no limit.
        dead_limit: Dead tasks that are kept.
        history_limit: Attempts, and moves, kept per task: the first and the newest.
        metadata: The metadata that every task starts with.
        hooks: See `Hooks`.
        name: Shown in logs and snapshots.
        start_timeout, stop_timeout: Seconds that a worker's `on_start`, or its other hooks, may
            take.
        check_idle, check_timeout: Seconds of rest after which a worker's `check` is asked before
            the next task, and that it may take.
        stop_grace: Seconds that an attempt has for its clean-up when it is stopped.
        hook_timeout: Seconds that an async hook may take.
        shutdown_timeout: Seconds that leaving `async with` normally may wait for tasks.
        max_retry_after: The longest wait in seconds that a service may ask for.
        breaker: A `Breaker` that takes workers out of use for a while that keep failing.
        retry_budget: A `RetryBudget` that bounds retries over the whole pool.
        max_throttles, max_worker_losses, max_snoozes: How often a task may be refused, lose its
            worker, or be put off, before it dies. None sets no limit.
        throttle_cooldown: Seconds that a refused worker cools when the service did not say.
        hint_jitter: Share of a service's hint, 0 to 1, up to which it is lengthened at random.
        classify: Says whose fault an error is that a worker's own `classify` has no opinion on: a
            plain function of the error that returns a verdict, or None for an ordinary failure.
        rng: Feeds every random choice.
        secrets: Texts that are masked in everything the pool logs and formats.
        debug: Recount the books after every step. Slow.

    Raises:
        TypeError, ValueError: naming what is wrong.
    """

    # -- submitting ----------------------------------------------------------------------------

    def submit(self, data: T, **options: Unpack[SubmitOptions]) -> TaskHandle[R]:
        """Submit a task. Never waits: await the handle for the result.

        Args:
            data: Handed to the worker's `run`.
            options: See `SubmitOptions`.

        Raises:
            PoolClosed: the pool is not started, or is closing.
            QueueFull: `max_queue` tasks are waiting.
            NoWorkers, Unroutable, WorkerRemoved: no worker present could ever take it.
            CostTooLarge: no worker it may run on could ever be granted its cost.
            PolicyError: the pool's cost function raised or returned rubbish.
            TypeError, ValueError: an option is wrong.
        """
        chosen, cost = self._defaults, None
        if not options:
            if self._cost is None and self._engine.open:
                return self._engine.submit(data, chosen, ONE_REQUEST, ANY_WORKER, None)
        else:
            chosen, cost = self._chosen(options)
        return self._submit(data, chosen, cost)

    def submit_threadsafe(self, data: T, **options: Unpack[SubmitOptions]) -> Future[R]:
        """Submit a task from another thread, in that thread's context. Never waits.

        Cancelling the future is to the task what cancelling a caller that awaits it is: the task
        is cancelled with the last of them, unless it was submitted with `detach=True`.

        Args:
            data, options: As for `submit`.

        Returns:
            A future for `result(timeout)` in that thread. It has the task's outcome; or, as its
            exception, whatever `submit` would have raised.

        Raises:
            PoolClosed: the pool is not started, or is closing.
            RuntimeError: called in the thread of the pool's own event loop, which waiting for the
                future would block for ever.
        """
        if not self._engine.open:
            self._refuse()
        return submit_from_thread(self._engine, lambda: self.submit(data, **options))

    def check_options(self, **options: Unpack[SubmitOptions]) -> None:
        """Check options of `submit` and do nothing else, for tasks to be submitted later.

        Raises:
            Unroutable, WorkerRemoved: there is no such `worker`.
            TypeError, ValueError: an option is wrong.
        """
        _, cost = self._chosen(options)
        if cost is not None:
            self._check_dimensions(cost)

    def _chosen(self, options: SubmitOptions) -> tuple[TaskOptions, Cost | None]:
        """Check `options`, a dict to be used up."""
        cost = cost_of(options.pop("cost")) if "cost" in options else None
        if not options:
            return self._defaults, cost
        return task_options(options, self._default_values, self._find_id), cost

    async def enqueue(self, data: T, **options: Unpack[SubmitOptions]) -> TaskHandle[R]:
        """Submit a task, waiting for room in the queue if it is full.

        Raises:
            PoolClosed: also when the pool closes while waiting.
            DeadlockDetected: called by an attempt of this pool, and room could never come.
            Other errors: as `submit`.
        """
        engine = self._engine
        ledger = engine.ledger
        while True:
            try:
                return self.submit(data, **options)
            except QueueFull as full:
                no_use = ledger.roster.free  # free, and cannot take it
                present = len(ledger.roster.workers)

                def room(size: int = full.size, present: int = present) -> bool:
                    nonlocal no_use
                    freed = ledger.roster.free & ~no_use
                    no_use &= ledger.roster.free
                    # If the last worker that could take it goes, it is refused for that reason.
                    changed = len(ledger.roster.workers) != present
                    return not engine.open or changed or freed != 0 or ledger.waiting < size

                target = Room(wishes(self._chosen(options.copy())[0]))
                await engine.until(room, full.retry_after, target=target)

    @overload
    def map(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def map(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[True],
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[R | BaseException, None]: ...

    def map(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[R | BaseException, None]:
        """Submit the items one by one and yield their results.

        Args:
            items: Any iterable, sync or async; read only as far as results are consumed.
            window: Tasks that may be in flight or waiting to be consumed. Default: twice the
                number of workers, or of `max_workers`, at least 16.
            ordered: True yields in the order of the items, False as they end.
            return_exceptions: True yields a failed or refused item's error in the place of its
                result; False raises it and cancels the tasks in flight.
            options: See `SubmitOptions`; for all items alike.

        Raises:
            TypeError, ValueError: an argument is wrong.
        """
        optional_count("window", window, at_least=1)
        flag("ordered", ordered)
        flag("return_exceptions", return_exceptions)
        self._check_alike(options)
        return self._results(items, window, ordered, return_exceptions, options)

    async def _results(
        self,
        items: Iterable[T] | AsyncIterable[T],
        window: int | None,
        ordered: bool,
        keep_going: bool,
        options: SubmitOptions,
    ) -> AsyncGenerator[R | BaseException, None]:
        ended = self._ended(items, window, options, ordered=ordered)
        async with aclosing(ended):
            async for task in ended:
                if isinstance(task, RetryPoolError):
                    error: BaseException | None = task
                else:
                    error = task.error()
                if error is None:
                    yield cast("TaskHandle[R]", task).result()
                elif keep_going:
                    yield error
                else:
                    raise error

    def as_completed(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[TaskHandle[R], None]:
        """Submit the items one by one and yield their ended handles as they end.

        Raises:
            TypeError, ValueError: an argument is wrong.
            RetryPoolError: the pool refused an item; the tasks in flight are cancelled.
        """
        optional_count("window", window, at_least=1)
        self._check_alike(options)
        return self._handles(items, window, options)

    async def _handles(
        self,
        items: Iterable[T] | AsyncIterable[T],
        window: int | None,
        options: SubmitOptions,
    ) -> AsyncGenerator[TaskHandle[R], None]:
        ended = self._ended(items, window, options, ordered=False)
        async with aclosing(ended):
            async for task in ended:
                if isinstance(task, RetryPoolError):
                    raise task
                yield task

    def _check_alike(self, options: SubmitOptions) -> None:
        """Check options for many items. Whether the pool takes them is for each item to see."""
        with suppress(RetryPoolError):
            self._chosen(options)

    def _ended(
        self,
        items: Iterable[T] | AsyncIterable[T],
        window: int | None,
        options: SubmitOptions,
        *,
        ordered: bool,
    ) -> AsyncGenerator[TaskHandle[R] | RetryPoolError, None]:
        if window is None:
            workers = len(self._engine.ledger.roster.workers)
            if self._sizes is not None:
                workers = max(workers, self._sizes.max_workers)
            window = max(16, 2 * workers)
        return ended_tasks(
            items, window, lambda item: self.enqueue(item, **options), ordered=ordered
        )

    # -- looking -------------------------------------------------------------------------------

    @property
    def retry(self) -> RetryPolicy:
        """The retry policy. Assigning another takes effect for every failure from then on."""
        return self._retry

    @retry.setter
    def retry(self, policy: RetryPolicy | Retrying | AsyncRetrying) -> None:
        self._retry = self._engine.retry = RetryPolicy.of(policy)

    @property
    def concurrency(self) -> int | None:
        """Attempts at once over all workers. May be changed live."""
        return self._concurrency

    @concurrency.setter
    def concurrency(self, limit: int | None) -> None:
        self._concurrency = optional_count("concurrency", limit, at_least=1)
        self._engine.ledger.set_concurrency(self._concurrency, self._engine.now())
        if self._supervisor is not None:
            self._engine.carry_out()

    @property
    def strategy(self) -> Strategy:
        """The routing strategy."""
        return self._strategy

    @property
    def hooks(self) -> Hooks:
        """The hooks, each of which may be replaced live."""
        return self._hooks

    @property
    def dead(self) -> DeadTasks:
        """The tasks that died."""
        return self._engine.dead

    @property
    def state(self) -> PoolState:
        """Where the pool is in its life."""
        if self._supervisor is None:
            return PoolState.NEW
        if self._engine.open:
            return PoolState.RUNNING
        return PoolState.CLOSED if self._supervisor.over() else PoolState.CLOSING

    def events(self) -> Subscription:
        """Listen to every move of a task or a worker, from this call to the close.

        An async iterator; a reader that falls 10,000 events behind loses the oldest, which
        `dropped` counts. The pool never waits for it.

        Raises:
            PoolClosed: the pool is not running.
        """
        if not self._engine.open:
            self._refuse()
        return self._engine.subscribe()

    def __repr__(self) -> str:
        ledger = self._engine.ledger
        return (
            f"<Pool {self._settings.name}: {len(ledger.roster.workers)} workers, "
            f"{ledger.held} tasks on them, {ledger.waiting} waiting, {ledger.scheduled} to retry>"
        )
