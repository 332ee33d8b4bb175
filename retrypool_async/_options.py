"""Checks what users pass to `submit`, and turns it into the record the pool computes with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, cast

from ._retry import RetryPolicy
from ._router import LeastRecentlyUsed, Strategy, lend_rng, strategy_of
from ._settings import NoWorkersPolicy, Sizes
from ._task import ONE_REQUEST, Cost, TaskOptions
from ._time import count, flag, is_async, number, optional_seconds, seconds
from ._worker import tag_set

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable
    from datetime import timedelta

    from tenacity import AsyncRetrying, Retrying

    from ._handle import TaskHandle
    from ._record import WorkerRef
    from ._verdict import Verdict

T = TypeVar("T")


class RoutingOptions(TypedDict, total=False):
    """Those options of `submit` that decide where a task may run, and when its turn is."""

    #: Higher goes first. Waiting raises it by 1 for every `aging` seconds.
    priority: float
    aging: float | timedelta | None
    #: Tags that the worker must carry.
    require: str | Collection[str]
    #: The only worker that may run it.
    worker: WorkerRef | int | str | None
    #: Whose share of the workers it uses: lanes take turns, whatever waits in each.
    lane: Hashable
    #: Tasks of one affinity go to the worker that served it last, while that is worth a wait.
    affinity: Hashable
    #: Tasks of one key run one after the other, in the order in which they were submitted.
    order_key: Hashable


class SubmitOptions(RoutingOptions, total=False):
    """The options of `submit`, `enqueue`, `map` and `as_completed`. All are optional.

    Times are in seconds, or a `timedelta`; 0 means zero, None means no limit.
    """

    #: Amount per quota dimension, laid over one request; a number counts requests.
    cost: float | Mapping[str, float]
    #: A retry goes to a worker that has not tried this task, as long as there is one.
    bounce: bool
    #: A retry has no delay and goes first; without `bounce`, to the same worker.
    immediate: bool
    retry: RetryPolicy | Retrying | AsyncRetrying
    #: Per attempt.
    attempt_timeout: float | timedelta | None
    #: From submit to the end, waiting included.
    timeout: float | timedelta | None
    #: From submit to the first start. 0: start now or not at all.
    queue_timeout: float | timedelta | None
    #: What happens when a wait would end past `timeout`: "end" now, or "clip" the wait, once.
    deadline: Literal["end", "clip"]
    #: Wait when no worker present could ever take it, whatever the pool's `no_workers` says.
    wait_for_worker: bool
    #: Go on when the last caller awaiting it is cancelled.
    detach: bool
    metadata: Mapping[str, Any] | None
    on_queued: Callable[[TaskHandle[Any]], object] | None
    on_running: Callable[[TaskHandle[Any]], object] | None
    on_done: Callable[[TaskHandle[Any]], object] | None


def task_options(
    given: Mapping[str, object], defaults: dict[str, Any], find_worker: Callable[[object], int]
) -> TaskOptions:
    """Return `given`, checked, over `defaults`, which are checked already.

    Raises:
        TypeError, ValueError: naming the option.
    """
    checked = defaults.copy()
    for name, value in given.items():
        check = _CHECKS.get(name)
        if check is not None:
            checked[name] = check(name, value)
        elif name == "worker":
            checked[name] = None if value is None else find_worker(value)
        else:
            known = ", ".join(sorted([*_CHECKS, "cost", "worker"]))
            raise TypeError(f"unknown option {name!r}; known: {known}")
    return TaskOptions(**checked)


def cost_of(value: object) -> Cost:
    """Return a cost as given by a user, laid over one request."""
    given: Any = value
    if type(value) is not dict and not isinstance(value, Mapping):  # the latter takes its time
        requests = number("cost", value, at_least=0.0)
        return ONE_REQUEST if requests == 1.0 else (("requests", requests),)
    amounts = {"requests": 1.0}
    for dimension, amount in given.items():
        if not isinstance(dimension, str):
            raise TypeError(f"cost dimension must be a string, got {type(dimension).__name__}")
        if type(amount) is not float or not 0.0 <= amount < inf:  # else there is nothing to check
            amount = number(f"cost {dimension}", amount, at_least=0.0)
        amounts[dimension] = amount
    if len(amounts) == 1 and amounts["requests"] == 1.0:
        return ONE_REQUEST
    return tuple(amounts.items())


def _aging(name: str, value: object) -> float | None:
    if value is None:
        return None
    return seconds(name, value, at_least=1e-3)


def metadata_copy(name: str, value: object) -> dict[str, Any] | None:
    """A mapping, as a dict of our own."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, got {type(value).__name__}")
    return dict(cast("Mapping[str, Any]", value))


def key(name: str, value: object) -> object:
    """Anything that a dict can have as a key."""
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"{name} must be hashable, got {type(value).__name__}") from None
    return value


def weights_of_lanes(value: Mapping[Any, float] | None) -> dict[Hashable, float]:
    """The `lane_weights` option."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"lane_weights must be a mapping, got {type(value).__name__}")
    return {
        lane: number("a weight in lane_weights", weight, at_least=1e-6)
        for lane, weight in value.items()
    }


def _callback(name: str, value: object) -> object:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, got {type(value).__name__}")
    return value


def _deadline(name: str, value: object) -> object:
    if value not in ("end", "clip"):
        raise ValueError(f'{name} must be "end" or "clip"')
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "priority": number,
    "aging": _aging,
    "bounce": flag,
    "immediate": flag,
    "retry": lambda name, value: RetryPolicy.of(value),
    "attempt_timeout": optional_seconds,
    "timeout": optional_seconds,
    "queue_timeout": optional_seconds,
    "deadline": _deadline,
    "require": tag_set,
    "lane": key,
    "affinity": key,
    "order_key": key,
    "wait_for_worker": flag,
    "detach": flag,
    "metadata": metadata_copy,
    "on_queued": _callback,
    "on_running": _callback,
    "on_done": _callback,
}


def text(name: str, value: object) -> str:
    """A non-empty string."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be a non-empty string")
    return value


def no_workers_policy(value: object) -> NoWorkersPolicy:
    """The `no_workers` option."""
    if value == "raise" or value == "wait" or value == "dead":
        return cast("NoWorkersPolicy", value)
    if isinstance(value, str):
        raise ValueError(f'no_workers must be "raise", "wait", "dead" or seconds, got {value!r}')
    return seconds("no_workers", value)


def pool_sizes(
    factory: object, min_workers: int | None, max_workers: int | None, idle_timeout: Any
) -> Sizes | None:
    """The options `factory`, `min_workers`, `max_workers` and `idle_timeout` together."""
    timeout = seconds("idle_timeout", idle_timeout)
    if factory is None:
        for name, value in (("min_workers", min_workers), ("max_workers", max_workers)):
            if value is not None:
                raise ValueError(f"{name} needs a factory that makes the workers")
        return None
    if not callable(factory):
        raise TypeError(
            "factory must be a function without arguments that returns a worker, "
            f"got {type(factory).__name__}"
        )
    least = 1 if min_workers is None else count("min_workers", min_workers)
    most = max(least, 1) if max_workers is None else count("max_workers", max_workers, at_least=1)
    if most < least:
        raise ValueError(f"max_workers must be at least min_workers, got {most} and {least}")
    return Sizes(min_workers=least, max_workers=most, idle_timeout=timeout)


def instance_of(name: str, value: T | None, kind: type[T]) -> T | None:
    """One of our own records, or None."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    return value


def cost_function(value: Any) -> Callable[[Any], Any] | None:
    """The `cost` option of a pool."""
    if value is None:
        return None
    if not callable(value):
        raise TypeError(f"cost must be a function of the data, got {type(value).__name__}")
    if is_async(value):
        raise TypeError("cost must be a plain function: it is asked, never awaited")
    return cast("Callable[[Any], Any]", value)


def classifier(value: Any) -> Callable[[Exception], Verdict | None] | None:
    """The `classify` option."""
    if value is None:
        return None
    if not callable(value):
        raise TypeError(f"classify must be a function of the error, got {type(value).__name__}")
    if is_async(value):
        raise TypeError("classify must be a plain function: it is asked, never awaited")
    return cast("Callable[[Exception], Verdict | None]", value)


def collection(name: str, value: Iterable[T]) -> Iterable[T]:
    """Anything that can be iterated over."""
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a collection, got {type(value).__name__}")
    return value


def secret_texts(value: Iterable[str]) -> tuple[str, ...]:
    """The `secrets` option."""
    if isinstance(value, str):
        raise TypeError("secrets must be a collection of strings, not one string")
    secrets = tuple(collection("secrets", value))
    if not all(isinstance(secret, str) and secret for secret in secrets):
        raise TypeError("secrets must be non-empty strings")
    return secrets


def random_source(value: random.Random | None) -> random.Random:
    """The `rng` option."""
    if value is None:
        return random.Random()
    if not isinstance(value, random.Random):
        raise TypeError(f"rng must be a random.Random, got {type(value).__name__}")
    return value


def routing_strategy(value: Strategy | None, rng: random.Random) -> Strategy:
    """The `strategy` option."""
    strategy = LeastRecentlyUsed() if value is None else strategy_of("strategy", value)
    lend_rng(strategy, rng)
    return strategy
