"""The front door: checks what users pass, and delegates."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from ._context import current
from ._dead import DeadTask, DeadTasks
from ._engine import Engine
from ._errors import (
    PolicyError,
    PoolClosed,
    QueueFull,
    RetryPoolError,
    Unroutable,
    WorkerRemoved,
    WorkerStartFailed,
)
from ._handle import TaskHandle
from ._hooks import Hooks, Subscription
from ._map import ended_tasks
from ._options import SubmitOptions, cost_of, task_options
from ._quota import Quota
from ._ready import ANY_WORKER, RouteKey
from ._retry import RetryPolicy
from ._roster import WorkerRecord, WorkerRef
from ._router import LeastRecentlyUsed, Strategy
from ._secrets import mask_logs
from ._settings import NoWorkersPolicy, Settings
from ._states import WorkerState
from ._supervisor import MODES, CloseMode, CloseReport, Supervisor
from ._task import ONE_REQUEST, Cost, TaskOptions
from ._time import (
    count,
    flag,
    optional_count,
    optional_seconds,
    seconds,
)
from ._worker import Traits, Worker, quotas_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from datetime import timedelta
    from types import TracebackType
    from typing import Self, Unpack

    from tenacity import AsyncRetrying, Retrying

    from ._snapshot import Snapshot

T = TypeVar("T")
R = TypeVar("R")
Ref = WorkerRef | int | str


class Pool(Generic[T, R]):
    """Runs tasks on workers that each hold an exclusive resource.

    Building a pool needs no running loop. `async with pool:` (or `start` and `close`) runs it;
    leaving the block normally waits for all tasks, at most `shutdown_timeout` seconds, leaving
    it by an exception cancels them. A closed pool may be started again, with a clean state.

    Args:
        workers: The workers to start with; more may be added while it runs.
        strategy: Chooses among workers that may run a task. Default: the longest idle.
        retry: When a failed task is tried again. Default: 3 attempts, jittered exponential
            waits up to 30 s. May be replaced live: `pool.retry = ...`.
        quota: A `Quota`, or a list of them, that all workers share.
        cost: Computes the cost of a task from its data, where `submit` is given none.
        bounce, attempt_timeout, timeout, deadline: Defaults of the options of `submit`.
        max_queue: Ready tasks that may wait, beyond which `submit` raises `QueueFull`; 0 accepts
            only what can start at once, None sets no limit.
        concurrency: Attempts at once over all workers; 1 runs everything one by one, in order.
        no_workers: What becomes of tasks that no worker present could ever take: "raise" at
            submit (and end those that wait), "wait", wait for so many seconds, or "dead".
        dead_limit: Dead tasks that are kept.
        history_limit: Attempts, and moves, kept per task: the first and the newest.
        metadata: The metadata that every task starts with.
        hooks: See `Hooks`.
        name: Shown in logs and snapshots.
        start_timeout, stop_timeout: Seconds that a worker's `on_start`, or its other hooks, may
            take.
        stop_grace: Seconds that an attempt has for its clean-up when it is stopped.
        hook_timeout: Seconds that an async hook may take.
        shutdown_timeout: Seconds that leaving `async with` normally may wait for tasks.
        max_retry_after: The longest wait in seconds that a service may ask for.
        max_throttles, max_worker_losses, max_snoozes: How often a task may be refused, lose its
            worker, or be put off, before it dies. None sets no limit.
        throttle_cooldown: Seconds that a refused worker cools when the service did not say.
        rng: Feeds every random choice.
        secrets: Texts that are masked in everything the pool logs and formats.
        debug: Recount the books after every step. Slow.

    Raises:
        TypeError, ValueError: naming what is wrong.
    """

    def __init__(
        self,
        workers: Iterable[Worker[T, R]] = (),
        *,
        strategy: Strategy | None = None,
        retry: RetryPolicy | Retrying | AsyncRetrying | None = None,
        quota: Quota | list[Quota] | None = None,
        cost: Callable[[T], float | Mapping[str, float]] | None = None,
        bounce: bool = False,
        attempt_timeout: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
        deadline: Literal["end", "clip"] = "end",
        max_queue: int | None = 100_000,
        concurrency: int | None = None,
        no_workers: NoWorkersPolicy | timedelta = "raise",
        dead_limit: int | None = 1000,
        history_limit: int = 50,
        metadata: Mapping[str, Any] | None = None,
        hooks: Hooks | None = None,
        name: str = "pool",
        start_timeout: float | timedelta = 30.0,
        stop_timeout: float | timedelta = 10.0,
        stop_grace: float | timedelta = 5.0,
        hook_timeout: float | timedelta = 10.0,
        shutdown_timeout: float | timedelta | None = 60.0,
        max_retry_after: float | timedelta = 86_400.0,
        max_throttles: int | None = 100,
        max_worker_losses: int | None = 3,
        max_snoozes: int | None = 1000,
        throttle_cooldown: float | timedelta = 1.0,
        rng: random.Random | None = None,
        secrets: Iterable[str] = (),
        debug: bool = False,
    ) -> None:
        self._settings = Settings(
            name=_text("name", name),
            max_queue=optional_count("max_queue", max_queue),
            no_workers=_no_workers(no_workers),
            dead_limit=optional_count("dead_limit", dead_limit),
            history_limit=count("history_limit", history_limit),
            start_timeout=seconds("start_timeout", start_timeout),
            stop_timeout=seconds("stop_timeout", stop_timeout),
            stop_grace=seconds("stop_grace", stop_grace),
            hook_timeout=seconds("hook_timeout", hook_timeout),
            shutdown_timeout=optional_seconds("shutdown_timeout", shutdown_timeout),
            max_retry_after=seconds("max_retry_after", max_retry_after),
            max_throttles=optional_count("max_throttles", max_throttles),
            max_worker_losses=optional_count("max_worker_losses", max_worker_losses, at_least=1),
            max_snoozes=optional_count("max_snoozes", max_snoozes),
            throttle_cooldown=seconds("throttle_cooldown", throttle_cooldown),
            secrets=_secrets(secrets),
            rng=_rng(rng),
            debug=flag("debug", debug),
        )
        if cost is not None and not callable(cost):
            raise TypeError(f"cost must be a function of the data, got {type(cost).__name__}")
        if hooks is not None and not isinstance(hooks, Hooks):
            raise TypeError(f"hooks must be a Hooks, got {type(hooks).__name__}")
        self._cost = cost
        self._hooks = hooks or Hooks()
        self._metadata = dict(metadata or {})
        self._quotas = quotas_of(quota)
        self._retry = RetryPolicy() if retry is None else RetryPolicy.of(retry)
        self._strategy = _strategy(strategy)
        self._concurrency = optional_count("concurrency", concurrency, at_least=1)
        self._defaults = task_options(
            {
                "bounce": bounce,
                "attempt_timeout": attempt_timeout,
                "timeout": timeout,
                "deadline": deadline,
            },
            {},
            self._find_id,
        )
        self._default_values = {
            name: getattr(self._defaults, name) for name in TaskOptions.__dataclass_fields__
        }
        self._workers: list[Worker[T, R]] = list(workers)
        self._check_workers(self._workers)
        self._supervisor: Supervisor | None = None
        self._engine = self._new_engine()
        self._dimensions: frozenset[str] | None = frozenset()
        if self._settings.secrets:
            mask_logs(self._settings.secrets)

    def _new_engine(self) -> Engine:
        engine = Engine(
            self._settings,
            strategy=self._strategy,
            retry=self._retry,
            hooks=self._hooks,
            metadata=self._metadata,
            quotas=self._quotas,
            resubmit=self._resubmit,
            pool=self,
        )
        engine.ledger.concurrency = self._concurrency
        return engine

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the pool and its workers, and wait until every worker is open or has failed.

        Raises:
            RuntimeError: it is running, or runs on another event loop.
            WorkerStartFailed: there are workers, and all of them failed. The pool is running
                all the same: add a worker, or close it.
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
        records = [self._take_in(worker) for worker in self._workers]
        await self._engine.until(
            lambda: not any(record.state is WorkerState.STARTING for record in records)
        )
        causes = [(r.name, _cause(r)) for r in records if r.state in _DID_NOT_START]
        if records and len(causes) == len(records):
            raise WorkerStartFailed(causes)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            if self._supervisor is not None and self._engine.open:
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
            timeout: Seconds after which what is left is stopped. It bounds everything: the wait,
                `stop_grace` and `stop_timeout` are cut to fit it.

        Raises:
            RuntimeError: called inside one of the pool's own attempts, which it would have to
                wait for: use `request_close()` there.
        """
        task = current.get()
        if task is not None and task.engine is self._engine and not task.has_ended():
            raise RuntimeError(
                "close() inside an attempt of the same pool would wait for itself; "
                "call request_close()"
            )
        supervisor = self._supervisor
        closer = self.request_close(mode, timeout)
        if closer is None or supervisor is None:
            return CloseReport((), (), (), 0.0)
        return await supervisor.wait_closed(closer)

    def request_close(
        self, mode: CloseMode = "drain", timeout: float | timedelta | None = None
    ) -> asyncio.Task[CloseReport] | None:
        """Begin closing and return at once: the task to await for the report, if it ever ran."""
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        limit = optional_seconds("timeout", timeout)
        if self._supervisor is None:
            return None
        return self._supervisor.request_close(mode, limit)

    async def aclose(self) -> None:
        """Close with mode "cancel"."""
        await self.close(mode="cancel")

    async def join(self) -> None:
        """Wait until no task is waiting or running. New ones may still be submitted."""
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
            given = dict(options)
            if "cost" in given:
                cost = cost_of(given.pop("cost"))
            if given:
                chosen = task_options(given, self._default_values, self._find_id)
        return self._submit(data, chosen, cost)

    def _submit(
        self, data: T, chosen: TaskOptions, cost: Cost | None, origin: int | None = None
    ) -> TaskHandle[R]:
        engine = self._engine
        if not engine.open:
            self._refuse()
        if cost is None:
            cost = ONE_REQUEST if self._cost is None else self._compute_cost(data)
        if cost is not ONE_REQUEST:
            self._check_dimensions(cost)
        key = ANY_WORKER
        if chosen.require or chosen.worker is not None or chosen.aging is not None:
            key = RouteKey(chosen.require, chosen.worker, 0, chosen.aging)
        return engine.submit(data, chosen, cost, key, origin)

    async def enqueue(self, data: T, **options: Unpack[SubmitOptions]) -> TaskHandle[R]:
        """Submit a task, waiting for room in the queue if it is full.

        Raises:
            PoolClosed: also when the pool closes while waiting.
            Other errors: as `submit`.
        """
        engine = self._engine
        limit = self._settings.max_queue or 1
        while True:
            try:
                return self.submit(data, **options)
            except QueueFull:
                await engine.until(
                    lambda: (
                        not engine.open
                        or engine.ledger.waiting < limit
                        or engine.ledger.roster.free != 0
                    )
                )

    @overload
    def map(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
        **options: Unpack[SubmitOptions],
    ) -> AsyncIterator[R]: ...

    @overload
    def map(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: Literal[True],
        **options: Unpack[SubmitOptions],
    ) -> AsyncIterator[R | BaseException]: ...

    async def map(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **options: Unpack[SubmitOptions],
    ) -> AsyncIterator[R | BaseException]:
        """Submit the items one by one and yield their results.

        Args:
            items: Any iterable, sync or async; read only as far as results are consumed.
            window: Tasks that may be in flight or waiting to be consumed. Default: twice the
                number of workers, at least 16.
            ordered: True yields in the order of the items, False as they end.
            return_exceptions: True yields a failed or refused item's error in the place of its
                result; False raises it and cancels the tasks in flight.
            options: See `SubmitOptions`; for all items alike.
        """
        size = self._window(window)
        keep_going = flag("return_exceptions", return_exceptions)
        ended = ended_tasks(
            items,
            size,
            lambda item: self.enqueue(item, **options),
            ordered=flag("ordered", ordered),
        )
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

    async def as_completed(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        window: int | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncIterator[TaskHandle[R]]:
        """Submit the items one by one and yield their ended handles as they end.

        Raises:
            RetryPoolError: the pool refused an item; the tasks in flight are cancelled.
        """
        size = self._window(window)
        ended = ended_tasks(items, size, lambda item: self.enqueue(item, **options), ordered=False)
        async with aclosing(ended):
            async for task in ended:
                if isinstance(task, RetryPoolError):
                    raise task
                yield task

    def _window(self, window: int | None) -> int:
        if window is None:
            return max(16, 2 * len(self._engine.ledger.roster.workers))
        return count("window", window, at_least=1)

    def _refuse(self) -> None:
        if self._supervisor is None:
            raise PoolClosed("the pool is not started; use `async with pool:` or `start()`")
        raise PoolClosed("the pool is closing or closed")

    def _compute_cost(self, data: T) -> Cost:
        assert self._cost is not None
        try:
            return cost_of(self._cost(data))
        except Exception as problem:
            raise PolicyError(f"cost raised or returned rubbish: {problem}") from problem

    def _check_dimensions(self, cost: Cost) -> None:
        known = self._dimensions
        if known is None:
            known = frozenset(
                dimension
                for quotas in (
                    self._quotas,
                    *(record.quotas for record in self._engine.ledger.roster.workers.values()),
                )
                for quota in quotas
                for dimension in quota.dimensions
            )
            self._dimensions = known
        if known:
            for dimension, _ in cost:
                if dimension not in known and dimension != "requests":
                    raise ValueError(
                        f"unknown cost dimension {dimension!r}; "
                        f"quotas know: {', '.join(sorted(known))}"
                    )

    def _resubmit(self, dead: DeadTask) -> TaskHandle[R]:
        return self._submit(dead.data, dead.options, dead.cost, origin=dead.id)

    # -- workers -------------------------------------------------------------------------------

    async def add(self, worker: Worker[T, R], wait: bool = True) -> WorkerRef:
        """Add a worker, and with `wait` wait until it is open.

        If the wait is cancelled, the worker is removed again.

        Raises:
            PoolClosed: the pool is not running.
            TypeError, ValueError: the worker is wrong, or its name or itself is in use.
            WorkerStartFailed: `on_start` raised or took too long; the worker has been removed.
        """
        if not self._engine.open:
            self._refuse()
        present = [record.worker for record in self._engine.ledger.roster.workers.values()]
        self._check_workers([*present, worker])
        record = self._take_in(worker)
        if flag("wait", wait):
            try:
                await self._engine.until(lambda: record.state is not WorkerState.STARTING)
            except BaseException:
                self._remove_now(record)
                raise
            if record.state in _DID_NOT_START:
                cause = _cause(record)
                self._remove_now(record)
                raise WorkerStartFailed([(record.name, cause)])
        return record.ref

    def _take_in(self, worker: Worker[T, R]) -> WorkerRecord:
        assert self._supervisor is not None
        traits = Traits(worker)
        roster = self._engine.ledger.roster
        number_ = roster.next_id
        roster.next_id += 1
        record = WorkerRecord(
            number_, traits.name or f"worker-{number_}", worker, traits.quotas + self._quotas
        )
        record.tags, record.weight, record.tier = traits.tags, traits.weight, traits.tier
        record.max_tasks, record.max_age = traits.max_tasks, traits.max_age
        self._dimensions = None
        self._engine.ledger.add(record, self._engine.now())
        self._supervisor.launch(record)
        self._engine.carry_out()
        return record

    def _remove_now(self, record: WorkerRecord) -> None:
        self._engine.ledger.remove(record, self._engine.now(), force=True)
        self._engine.carry_out()

    async def remove(
        self, ref: Ref, force: bool = False, timeout: float | timedelta | None = None
    ) -> None:
        """Remove a worker: it takes nothing more, its attempt ends, its resource is closed.

        Args:
            ref: A `WorkerRef`, an id or a name.
            force: Stop the attempt in progress; its task is queued again with no attempt spent.
            timeout: Seconds to wait for the attempt; past it, its task is queued again, and the
                worker is stuck until its code ends.

        Raises:
            WorkerRemoved: there is no such worker.
        """
        record = self._find(ref)
        limit = optional_seconds("timeout", timeout)
        engine = self._engine
        engine.ledger.remove(record, engine.now(), force=flag("force", force))
        engine.carry_out()
        left = await engine.until(
            lambda: record.state in (WorkerState.STOPPED, WorkerState.STUCK), limit
        )
        if not left:
            engine.ledger.take_off(record, engine.now())
            engine.carry_out()

    def pause(
        self,
        ref: Ref | None = None,
        *,
        until: float | timedelta | None = None,
        reason: str | None = None,
    ) -> None:
        """Start nothing more on a worker, or on any. Attempts in progress go on to their end.

        Args:
            ref: The worker; None pauses the whole pool.
            until: Seconds after which it resumes by itself; None waits for `resume`.
            reason: Shown in snapshots.
        """
        record = None if ref is None else self._find(ref)
        limit = optional_seconds("until", until)
        now = self._engine.now()
        self._engine.ledger.pause(record, reason, None if limit is None else now + limit, now)
        self._engine.carry_out()

    def resume(self, ref: Ref | None = None) -> None:
        """Undo a pause. A worker that failed to start is given another try."""
        record = None if ref is None else self._find(ref)
        self._engine.ledger.resume(record, self._engine.now())
        self._engine.carry_out()

    async def paused(self, ref: Ref | None = None) -> None:
        """Wait until nothing runs on a paused worker, or on any, and its pause hook has run."""
        records = (
            list(self._engine.ledger.roster.workers.values()) if ref is None else [self._find(ref)]
        )
        at_work = (WorkerState.BUSY, WorkerState.RESERVED, WorkerState.RESETTING)
        await self._engine.until(lambda: all(r.state not in at_work for r in records))

    def cooldown(self, ref: Ref, duration: float | timedelta) -> None:
        """Give a worker nothing for `duration` seconds. Of several cooldowns the longest holds."""
        record, length = self._find(ref), seconds("duration", duration)
        now = self._engine.now()
        self._engine.ledger.cooldown(record, now + length, now)
        self._engine.carry_out()

    def clear_cooldown(self, ref: Ref) -> None:
        """End a worker's cooldown now."""
        self._engine.ledger.clear_cooldown(self._find(ref), self._engine.now())
        self._engine.carry_out()

    def set_quota(self, ref: Ref, quota: Quota | list[Quota] | None) -> None:
        """Put another quota in force for a worker, and for all that share its present one.

        Usage carries over per dimension, so a change never grants a fresh allowance. Attempts in
        progress are not touched; waiting tasks are judged anew.

        Raises:
            WorkerRemoved: there is no such worker.
            TypeError: it is not a quota.
        """
        record, quotas = self._find(ref), quotas_of(quota)
        engine = self._engine
        now = engine.now()
        own = record.quotas[: len(record.quotas) - len(self._quotas)]
        for new, old in zip(quotas, own, strict=False):
            if new is not old:
                new.carry_over(old, now)
        shared = {id(q) for q in own}
        for other in list(engine.ledger.roster.workers.values()):
            if other is record or any(id(q) in shared for q in other.quotas):
                engine.ledger.set_quotas(other, quotas + self._quotas, now)
        self._dimensions = None
        engine.carry_out()

    def workers(self) -> list[WorkerRef]:
        """The workers present, by id."""
        return [record.ref for record in self._engine.ledger.roster.workers.values()]

    def free_workers(self) -> list[WorkerRef]:
        """The workers that may be given a task now, quota apart, longest idle first."""
        return [record.ref for record in self._engine.ledger.roster.idle.values()]

    def _find(self, ref: object) -> WorkerRecord:
        record = self._engine.ledger.roster.find(ref)
        if record is None:
            raise WorkerRemoved(f"no worker {ref!r} in this pool")
        return record

    def _find_id(self, ref: object) -> int:
        record = self._engine.ledger.roster.find(ref)
        if record is not None:
            return record.id
        if isinstance(ref, str):
            raise Unroutable(f"no worker is named {ref!r}")
        raise WorkerRemoved(f"no worker {ref!r} in this pool")

    def _check_workers(self, workers: list[Worker[T, R]]) -> None:
        """Refuse what would break exclusivity: one object, or one name, twice."""
        names: set[str] = set()
        seen: set[int] = set()
        for worker in workers:
            traits = Traits(worker)
            if id(worker) in seen:
                raise ValueError("one worker object was given twice; each must be exclusive")
            seen.add(id(worker))
            if traits.name is not None:
                if traits.name in names:
                    raise ValueError(f"two workers are named {traits.name!r}")
                names.add(traits.name)

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
    def running(self) -> bool:
        """True while the pool takes tasks."""
        return self._engine.open

    def snapshot(self) -> Snapshot:
        """A coherent picture of this moment. Changes nothing."""
        return self._engine.snapshot()

    def events(self) -> Subscription:
        """Listen to every move of a task or a worker, from this call to the close.

        An async iterator; a reader that falls 10,000 events behind loses the oldest, which
        `dropped` counts. The pool never waits for it.
        """
        return self._engine.subscribe()

    def __repr__(self) -> str:
        ledger = self._engine.ledger
        return (
            f"<Pool {self._settings.name}: {len(ledger.roster.workers)} workers, "
            f"{ledger.held} tasks on them, {ledger.waiting} waiting, {ledger.scheduled} to retry>"
        )


_DID_NOT_START = (WorkerState.FAILED, WorkerState.STUCK, WorkerState.STOPPED)


def _cause(record: WorkerRecord) -> BaseException:
    return record.error or TimeoutError("on_start took longer than start_timeout")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be a non-empty string")
    return value


def _no_workers(value: object) -> NoWorkersPolicy:
    if value == "raise" or value == "wait" or value == "dead":
        return value
    if isinstance(value, str):
        raise ValueError(f'no_workers must be "raise", "wait", "dead" or seconds, got {value!r}')
    return seconds("no_workers", value)


def _secrets(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError("secrets must be a collection of strings, not one string")
    secrets = tuple(value)
    if not all(isinstance(secret, str) and secret for secret in secrets):
        raise TypeError("secrets must be non-empty strings")
    return secrets


def _rng(value: random.Random | None) -> random.Random:
    if value is None:
        return random.Random()
    if not isinstance(value, random.Random):
        raise TypeError(f"rng must be a random.Random, got {type(value).__name__}")
    return value


def _strategy(value: Strategy | None) -> Strategy:
    if value is None:
        return LeastRecentlyUsed()
    if isinstance(value, type) or not callable(getattr(value, "choose", None)):
        raise TypeError("strategy must be an object with choose(workers, now)")
    return value
