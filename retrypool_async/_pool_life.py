"""A pool's construction, its start and its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from ._context import current
from ._dead import DeadTask
from ._engine import Engine
from ._errors import (
    PolicyError,
    PoolClosed,
    Unroutable,
    WorkerRemoved,
    WorkerStartFailed,
)
from ._handle import TaskHandle
from ._hooks import Hooks
from ._options import (
    collection,
    cost_of,
    metadata_copy,
    no_workers_policy,
    random_source,
    routing_strategy,
    secret_texts,
    task_options,
    text,
)
from ._quota import Quota
from ._ready import wishes
from ._retry import RetryPolicy
from ._roster import WorkerRecord, WorkerRef
from ._router import Strategy
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
    from datetime import timedelta
    from types import TracebackType
    from typing import Self

    from tenacity import AsyncRetrying, Retrying

    from ._snapshot import Snapshot

T = TypeVar("T")
R = TypeVar("R")
Ref = WorkerRef | int | str


class PoolLife(Generic[T, R]):
    """The part of `Pool` that builds, starts and closes it."""

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
            name=text("name", name),
            max_queue=optional_count("max_queue", max_queue),
            no_workers=no_workers_policy(no_workers),
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
            secrets=secret_texts(secrets),
            rng=random_source(rng),
            debug=flag("debug", debug),
        )
        if cost is not None and not callable(cost):
            raise TypeError(f"cost must be a function of the data, got {type(cost).__name__}")
        if hooks is not None and not isinstance(hooks, Hooks):
            raise TypeError(f"hooks must be a Hooks, got {type(hooks).__name__}")
        self._cost = cost
        self._hooks = hooks or Hooks()
        self._metadata = metadata_copy("metadata", metadata) or {}
        self._quotas = quotas_of(quota)
        self._retry = RetryPolicy() if retry is None else RetryPolicy.of(retry)
        self._strategy = routing_strategy(strategy)
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
        self._workers: list[Worker[T, R]] = list(collection("workers", workers))
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
        if not self._engine.open:
            self._refuse()
        causes = [(r.name, cause_of(r)) for r in records if r.state in DID_NOT_START]
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
        return engine.submit(data, chosen, cost, wishes(chosen), origin)

    def _refuse(self) -> None:
        if self._supervisor is None:
            raise PoolClosed("the pool is not started; use `async with pool:` or `start()`")
        raise PoolClosed("the pool is closing or closed")

    def _compute_cost(self, data: T) -> Cost:
        assert self._cost is not None
        try:
            return cost_of(self._cost(data))
        except Exception as problem:
            kind = type(problem).__name__
            raise PolicyError(f"cost raised or returned rubbish ({kind})") from problem

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
        self._engine.ledger.add(record, self._engine.call_time())
        self._supervisor.launch(record)
        self._engine.carry_out()
        return record

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

    def snapshot(self) -> Snapshot:
        """A coherent picture of this moment. Changes nothing."""
        return self._engine.snapshot()


DID_NOT_START = (WorkerState.FAILED, WorkerState.STUCK, WorkerState.STOPPED)


def cause_of(record: WorkerRecord) -> BaseException:
    return record.error or TimeoutError("on_start took longer than start_timeout")
