"""What an application may tell everybody about a pool."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Self

from fastapi import Depends, Response

from retrypool_async import Pool, PoolState, TaskState, WorkerState, WorkerWish

from ._dependency import PoolDependency

AT_WORK = frozenset(
    {
        WorkerState.IDLE,
        WorkerState.RESERVED,
        WorkerState.BUSY,
        WorkerState.COOLING,
        WorkerState.RESETTING,
    }
)


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool in numbers: no data, no errors, and no names of workers."""

    #: The pool's own name.
    name: str
    #: It takes tasks, is not paused, and has a worker that serves or will do so shortly, or a
    #: factory to make one of.
    ready: bool
    #: Age in seconds of the waiting task that was submitted first, 0 when none waits.
    oldest_wait: float
    #: Tasks in each state, since the pool was started.
    tasks: dict[str, int]
    #: Workers in each state.
    workers: dict[str, int]

    @classmethod
    def of(cls, pool: Pool[Any, Any]) -> Self:
        """The status of this moment. Takes time in proportion to what waits."""
        snapshot = pool.snapshot()
        states = Counter(worker.state for worker in snapshot.workers)
        serves = any(
            worker.wish is WorkerWish.RUN and worker.state in AT_WORK for worker in snapshot.workers
        )
        factory = snapshot.factory
        # Without a request no worker would be made, and without a worker no request be sent.
        grows = (
            factory is not None
            and not factory.failures
            and len(snapshot.workers) < factory.max_workers
        )
        return cls(
            name=snapshot.name,
            ready=pool.state is PoolState.RUNNING and not snapshot.paused and (serves or grows),
            oldest_wait=round(snapshot.oldest_wait, 3),
            tasks={state.name: snapshot.tasks[state] for state in TaskState},
            workers={state.name: states[state] for state in WorkerState},
        )


def status_endpoint(
    dependency: PoolDependency[Any, Any],
) -> Callable[..., Awaitable[PoolStatus]]:
    """Return an endpoint that answers with the status of a pool: `app.get("/status")(...)`.

    The status code is 200 when the pool is ready and 503 when it is not, as load balancers like it.
    """

    async def status(
        response: Response, pool: Annotated[Pool[Any, Any], Depends(dependency)]
    ) -> PoolStatus:
        report = PoolStatus.of(pool)
        if not report.ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return report

    return status
