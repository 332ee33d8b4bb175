"""What a pool is made of, and how tasks and workers come into it."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from ._breaker import Breaker
from ._budget import RetryBudget
from ._dead import DeadTask
from ._engine import Engine
from ._errors import PolicyError, PoolClosed, Unroutable, WorkerRemoved
from ._handle import TaskHandle
from ._hooks import Hooks
from ._options import (
    classifier,
    collection,
    cost_function,
    cost_of,
    instance_of,
    metadata_copy,
    no_workers_policy,
    pool_sizes,
    random_source,
    routing_strategy,
    secret_texts,
    task_options,
    text,
    weights_of_lanes,
)
from ._quota import Quota
from ._ready import wishes
from ._record import WorkerRecord
from ._retry import RetryPolicy
from ._router import Strategy
from ._secrets import mask_logs
from ._settings import SHORTEST_REST, NoWorkersPolicy, Settings
from ._supervisor import Supervisor
from ._task import ONE_REQUEST, Cost, TaskOptions
from ._time import count, flag, optional_count, optional_seconds, seconds, share
from ._worker import Traits, Worker, quotas_of

if TYPE_CHECKING:
    from datetime import timedelta

    from tenacity import AsyncRetrying, Retrying

    from ._verdict import Verdict


T = TypeVar("T")
R = TypeVar("R")

GIVEN_TWICE = "one worker object was given twice; each must be exclusive"


class PoolBase(Generic[T, R]):
    """The part of `Pool` that is made of its options, and that tasks and workers come in by."""

    def __init__(
        self,
        workers: Iterable[Worker[T, R]] = (),
        *,
        factory: Callable[[], Worker[T, R] | Awaitable[Worker[T, R]]] | None = None,
        min_workers: int | None = None,
        max_workers: int | None = None,
        idle_timeout: float | timedelta = 60.0,
        strategy: Strategy | None = None,
        retry: RetryPolicy | Retrying | AsyncRetrying | None = None,
        quota: Quota | list[Quota] | None = None,
        cost: Callable[[T], float | Mapping[str, float]] | None = None,
        bounce: bool = False,
        attempt_timeout: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
        deadline: Literal["end", "clip"] = "end",
        max_queue: int | None = 100_000,
        lane_weights: Mapping[Any, float] | None = None,
        affinity_wait: float | timedelta = 5.0,
        concurrency: int | None = None,
        no_workers: NoWorkersPolicy | timedelta = "raise",
        max_quota_wait: float | timedelta | None = None,
        dead_limit: int | None = 1000,
        history_limit: int = 50,
        metadata: Mapping[str, Any] | None = None,
        hooks: Hooks | None = None,
        name: str = "pool",
        start_timeout: float | timedelta = 30.0,
        stop_timeout: float | timedelta = 10.0,
        check_idle: float | timedelta = 30.0,
        check_timeout: float | timedelta = 10.0,
        stop_grace: float | timedelta = 5.0,
        hook_timeout: float | timedelta = 10.0,
        shutdown_timeout: float | timedelta | None = 60.0,
        max_retry_after: float | timedelta = 86_400.0,
        breaker: Breaker | None = None,
        retry_budget: RetryBudget | None = None,
        max_throttles: int | None = 100,
        max_worker_losses: int | None = 3,
        max_snoozes: int | None = 1000,
        throttle_cooldown: float | timedelta = 1.0,
        hint_jitter: float = 0.0,
        classify: Callable[[Exception], Verdict | None] | None = None,
        rng: random.Random | None = None,
        secrets: Iterable[str] = (),
        debug: bool = False,
    ) -> None:
        self._settings = Settings(
            name=text("name", name),
            max_queue=optional_count("max_queue", max_queue),
            affinity_wait=seconds("affinity_wait", affinity_wait),
            lane_weights=weights_of_lanes(lane_weights),
            no_workers=no_workers_policy(no_workers),
            max_quota_wait=optional_seconds("max_quota_wait", max_quota_wait),
            dead_limit=optional_count("dead_limit", dead_limit),
            history_limit=count("history_limit", history_limit),
            start_timeout=seconds("start_timeout", start_timeout),
            stop_timeout=seconds("stop_timeout", stop_timeout),
            check_idle=seconds("check_idle", check_idle, at_least=SHORTEST_REST),
            check_timeout=seconds("check_timeout", check_timeout),
            stop_grace=seconds("stop_grace", stop_grace),
            hook_timeout=seconds("hook_timeout", hook_timeout),
            shutdown_timeout=optional_seconds("shutdown_timeout", shutdown_timeout),
            max_retry_after=seconds("max_retry_after", max_retry_after),
            breaker=instance_of("breaker", breaker, Breaker),
            retry_budget=instance_of("retry_budget", retry_budget, RetryBudget),
            max_throttles=optional_count("max_throttles", max_throttles),
            max_worker_losses=optional_count("max_worker_losses", max_worker_losses, at_least=1),
            max_snoozes=optional_count("max_snoozes", max_snoozes),
            throttle_cooldown=seconds("throttle_cooldown", throttle_cooldown),
            hint_jitter=share("hint_jitter", hint_jitter),
            classify=classifier(classify),
            secrets=secret_texts(secrets),
            rng=random_source(rng),
            debug=flag("debug", debug),
        )
        if hooks is not None and not isinstance(hooks, Hooks):
            raise TypeError(f"hooks must be a Hooks, got {type(hooks).__name__}")
        self._factory = factory
        self._sizes = pool_sizes(factory, min_workers, max_workers, idle_timeout)
        self._cost = cost_function(cost)
        self._hooks = hooks or Hooks()
        self._metadata = metadata_copy("metadata", metadata) or {}
        self._quotas = quotas_of(quota)
        self._retry = RetryPolicy() if retry is None else RetryPolicy.of(retry)
        self._strategy = routing_strategy(strategy, self._settings.rng)
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
            field.name: getattr(self._defaults, field.name)
            for field in fields(TaskOptions)
            if field.init
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
            make=self._make_worker,
            pool=self,
        )
        engine.ledger.concurrency = self._concurrency
        return engine

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
            known = self._dimensions = self._known_dimensions()
        for dimension, _ in cost:
            if dimension not in known and known:
                raise ValueError(
                    f"unknown cost dimension {dimension!r}; known: {', '.join(sorted(known))}"
                )

    def _known_dimensions(self) -> frozenset[str]:
        """What a cost may name; nothing when that cannot be known."""
        ledger = self._engine.ledger
        quotas = list(self._quotas)
        for record in ledger.roster.workers.values():
            quotas += record.quotas
        if ledger.elastic is not None:
            if ledger.elastic.known_quotas is None:
                return frozenset()  # the workers to come may have any
            quotas += ledger.elastic.known_quotas
        limited = frozenset(dimension for quota in quotas for dimension in quota.dimensions)
        return limited and limited | {"requests"}

    def _resubmit(self, dead: DeadTask) -> TaskHandle[R]:
        return self._submit(dead.data, dead.options, dead.cost, origin=dead.id)

    def _take_in(self, worker: Worker[T, R]) -> WorkerRecord:
        assert self._supervisor is not None
        traits = self._check_newcomer(worker)
        roster = self._engine.ledger.roster
        number_ = roster.next_id
        roster.next_id += 1
        record = WorkerRecord(number_, f"worker-{number_}", None, ())
        record.embody(worker, traits, self._quotas)
        self._dimensions = None
        self._engine.ledger.add(record, self._engine.call_time())
        self._supervisor.launch(record)
        self._engine.carry_out()
        return record

    async def _make_worker(self, record: WorkerRecord) -> None:
        """Have the factory make the worker that a record stands for."""
        assert self._factory is not None
        made: Any = self._factory()
        worker = await made if inspect.isawaitable(made) else made
        traits = self._check_newcomer(worker)
        self._dimensions = None
        self._engine.equip(record, worker, traits)

    def _check_newcomer(self, worker: Worker[T, R]) -> Traits:
        """Refuse one that is here already, or whose name is: that of one that goes is free."""
        traits = Traits(worker)
        for record in self._engine.ledger.roster.workers.values():
            present = record.worker
            if present is worker:
                raise ValueError(GIVEN_TWICE)
            if traits.name is None or present is None or record.retired:
                continue
            if present.name == traits.name:
                raise ValueError(f"two workers are named {traits.name!r}")
        return traits

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
                raise ValueError(GIVEN_TWICE)
            seen.add(id(worker))
            if traits.name is not None:
                if traits.name in names:
                    raise ValueError(f"two workers are named {traits.name!r}")
                names.add(traits.name)
