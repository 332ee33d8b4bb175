"""The options of a pool, validated once and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Hashable, Mapping

    from ._breaker import Breaker
    from ._budget import RetryBudget
    from ._verdict import Verdict

NoWorkersPolicy = Literal["raise", "wait", "dead"] | float


#: The shortest rest after which a worker is asked to look at its resource. After none at all it
#: would be asked again and again, as every answer leaves it free once more.
SHORTEST_REST = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The bounds on the number of workers of a pool with a factory."""

    min_workers: int
    max_workers: int
    #: Seconds after which a worker that nobody needs is let go.
    idle_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `Pool(...)` was given and does not change while it lives. Times are in seconds."""

    name: str
    max_queue: int | None
    affinity_wait: float
    lane_weights: Mapping[Hashable, float]
    no_workers: NoWorkersPolicy
    #: Seconds that a task may wait for quota alone; None for no limit.
    max_quota_wait: float | None
    dead_limit: int | None
    history_limit: int
    start_timeout: float
    stop_timeout: float
    check_idle: float
    check_timeout: float
    stop_grace: float
    hook_timeout: float
    shutdown_timeout: float | None
    max_retry_after: float
    breaker: Breaker | None
    retry_budget: RetryBudget | None
    max_throttles: int | None
    max_worker_losses: int | None
    max_snoozes: int | None
    throttle_cooldown: float
    #: The largest share of a hint that is added to it, at random.
    hint_jitter: float
    #: Asked about an error on which its worker has no opinion; None asks nobody.
    classify: Callable[[Exception], Verdict | None] | None
    secrets: tuple[str, ...]
    rng: random.Random
    debug: bool
