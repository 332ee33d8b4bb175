"""Requests that somebody waits for: T43 to T45. The handle is the request object."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from retrypool_async import FailureAction, Hooks, Pool, TaskTimeout
from tests.pool.probe import Probe, fails, now, takes


async def failing_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ConnectionError("worker failed")


@pytest.mark.parametrize(
    ("limit", "delay", "worker_fails", "requests", "concurrency", "error"),
    [
        pytest.param(1, 0.050, False, 1, None, None, id="basic"),
        pytest.param(0.050, 0.100, False, 1, None, TimeoutError, id="timeout"),
        pytest.param(1, 0.050, True, 1, None, ConnectionError, id="worker-error"),
        pytest.param(1, 0.050, False, 10, None, None, id="concurrent"),
        pytest.param(1, 0.050, False, 1, 1, None, id="synchronous"),
    ],
)
async def test_a_request_is_answered_or_fails_within_its_limit(
    limit: float,
    delay: float,
    worker_fails: bool,
    requests: int,
    concurrency: int | None,
    error: type[Exception] | None,
) -> None:
    """T43: ten requests of 50 ms at one worker take half a second."""
    does = (lambda _: failing_after(delay)) if worker_fails else takes(delay)
    pool = Pool(
        [Probe("w", does=does)],
        hooks=Hooks(on_failure=lambda failed: FailureAction.DROP),
        concurrency=concurrency,
        debug=True,
    )
    answers: list[int] = []
    errors: list[Exception] = []

    async def requester(data: int) -> None:
        try:
            async with asyncio.timeout(limit):
                answers.append(await pool.submit(data))
        except Exception as problem:
            errors.append(problem)

    async with pool:
        await asyncio.gather(*(requester(n) for n in range(requests)))
    assert [type(problem) for problem in errors] == ([] if error is None else [error])
    assert answers == ([] if error else list(range(requests)))
    assert now() == pytest.approx(min(limit, delay * requests))


async def test_giving_up_concerns_nobody_else_who_waits() -> None:
    """T44: of a request of 200 ms, after 100 ms. In Go it ends the request for everybody."""
    async with Pool([Probe("w", does=takes(0.200))], debug=True) as pool:
        request = pool.submit("answer")

        async def wait() -> str:
            return await request

        gives_up, stays = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0.100)
        gives_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gives_up
        assert now() == 0.1
        assert await stays == "answer"
        assert now() == 0.2


async def test_the_first_outcome_wins() -> None:
    """T45: what comes after it, from the worker or from a caller, is ignored."""

    async def answer_too_late(data: str) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        await asyncio.sleep(0.050)
        return data

    async with Pool([Probe("w", does=answer_too_late)], debug=True) as pool:
        request = pool.submit("second", timeout=0.050)
        with pytest.raises(TaskTimeout) as first:
            await request
        assert not request.cancel()
        await asyncio.sleep(1)
        assert request.error() is first.value


async def test_a_failed_request_fails_alike_for_all_who_wait() -> None:
    """T45: they get the one error that the worker raised."""
    error = ConnectionError()
    pool = Pool(
        [Probe("w", does=fails(error))],
        hooks=Hooks(on_failure=lambda failed: FailureAction.DROP),
        debug=True,
    )
    async with pool:
        request = pool.submit(1)
        for _ in range(2):
            with pytest.raises(ConnectionError) as failure:
                await request
            assert failure.value is error
