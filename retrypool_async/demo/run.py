"""The demo itself: all documents through a pool of keys, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypedDict, final

import anyio
import httpx

from retrypool_async import Pool, RetryPolicy, TaskHandle

from .analysis import Analysis
from .display import Display
from .documents import Document
from .ideal import ideal_seconds
from .keys import Key, make_keys, revoke_last
from .progress import Progress
from .report import KeyReport, Report
from .server import serving
from .workers import KeyWorker

#: How often a document may fail and still be tried again.
FAILURES_ALLOWED = 10


@final
class Failure(TypedDict):
    """What comes back instead of an analysis."""

    id: str
    error: str


Answer = Analysis | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do."""

    documents: list[Document]
    keys: int
    seed: int
    blind: bool


def run(job: Job, display: Display, deliver: Callable[[Answer], None]) -> Report:
    """Start the service, have all documents analysed and delivered in order, and end it again."""
    keys = make_keys(job.keys)
    keys = revoke_last(keys, after=ideal_seconds(keys, job.documents) / 2)
    with serving(keys, seed=job.seed) as url:
        return asyncio.run(_process(job, keys, url, display, deliver))


async def _process(
    job: Job,
    keys: Sequence[Key],
    url: str,
    display: Display,
    deliver: Callable[[Answer], None],
) -> Report:
    pool = Pool(
        [KeyWorker(key, url, blind=job.blind) for key in keys],
        cost=_cost,
        # A blind pool may, besides, spend an attempt on each key that is too small for a document.
        retry=RetryPolicy.exponential(0.1, max=2.0, attempts=FAILURES_ALLOWED + job.keys),
        bounce=True,
        max_throttles=None,
        secrets=[key.secret for key in keys],
    )
    handles: dict[int, TaskHandle[Analysis]] = {}
    answers: list[Answer] = []
    async with pool:
        started = pool.snapshot().at

        def progress() -> Progress:
            return Progress(pool.snapshot(), handles, len(job.documents), started)

        def keep(handle: TaskHandle[Analysis]) -> None:
            handles[handle.id] = handle

        async with _shown(display, progress):
            # The wider the window, the more the pool has to choose from.
            results = pool.map(
                job.documents, window=len(job.documents), return_exceptions=True, on_queued=keep
            )
            async for result in results:
                answers.append(_answer(job.documents[len(answers)], result))
                deliver(answers[-1])
        last = progress()
    return _report(job, keys, answers, last, await _counts(url))


def _answer(document: Document, result: Analysis | BaseException) -> Answer:
    if isinstance(result, BaseException):
        reason, *_ = f"{type(result).__name__}: {result}".splitlines()
        return Failure(id=document.id, error=reason)
    return result


def _cost(document: Document) -> dict[str, float]:
    return {"tokens": document.tokens}


@asynccontextmanager
async def _shown(display: Display, progress: Callable[[], Progress]) -> AsyncGenerator[None]:
    """Show the progress now, every now and then, and once more at the end."""

    async def keep_showing() -> None:
        while True:
            display.show(progress())
            await anyio.sleep(display.interval)

    async with anyio.create_task_group() as background:
        background.start_soon(keep_showing)
        yield
        background.cancel_scope.cancel()
    display.show(progress())


async def _counts(url: str) -> dict[str, dict[str, int]]:
    """What the service itself has counted, by key."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        response = await client.get("/stats")
        counts: dict[str, dict[str, int]] = response.raise_for_status().json()
        return counts


def _report(
    job: Job,
    keys: Sequence[Key],
    answers: Sequence[Answer],
    last: Progress,
    counts: dict[str, dict[str, int]],
) -> Report:
    hops = last.hops
    states = {worker.name: worker.state.name.lower() for worker in last.pool.workers}
    return Report(
        documents=len(job.documents),
        failures={answer["id"]: answer["error"] for answer in answers if "error" in answer},
        in_order=[answer["id"] for answer in answers] == [one.id for one in job.documents],
        bounces=hops.bounces,
        seconds=last.seconds,
        ideal_seconds=ideal_seconds(keys, job.documents),
        workers={
            key.name: KeyReport(
                state=states.get(key.name, "retired"),
                counts=counts[key.name],
                retries=hops.retries[key.name],
            )
            for key in keys
        },
    )
