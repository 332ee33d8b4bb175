"""When and where a task would start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._record import WorkerRef


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a task would start, on which worker, and what holds it until then."""

    #: Seconds from now; 0.0 when nothing holds it, None when nobody can know.
    start_in: float | None
    #: The worker that will run it. None when that is not known: then it starts no sooner than
    #: `start_in`, and perhaps later.
    worker: WorkerRef | None
    #: What holds it now: "nothing", "quota", "cooling", "breaker open", "paused", "failed",
    #: "backoff", "affinity", "order" or "turn"; or, of what ends nobody knows when, "busy",
    #: "starting", "resetting", "stuck" or "no workers".
    waiting_for: str
    #: The waiting tasks that start before it.
    ahead: int
