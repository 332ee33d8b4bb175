"""Where a failed task runs again: anywhere, elsewhere first, or on the same worker at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from retrypool_async import (
    AttemptOutcome,
    Bounce,
    Pool,
    Quota,
    RetryPolicy,
    TaskHandle,
    Throttled,
    Window,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

AT_ONCE = RetryPolicy.fixed(0)


def path(task: TaskHandle[Any]) -> list[str]:
    """The workers that ran it, in order."""
    return [attempt.worker for attempt in task.attempts]


async def test_a_bounced_retry_leaves_the_worker_that_failed_it() -> None:
    """Although that one has been idle longest. Origin: aivarsk/scrapy-proxies#15."""
    bad, good = Probe("bad", does=fails()), Probe("good")
    async with Pool([bad, good], bounce=True, retry=AT_ONCE, debug=True) as pool:
        task = pool.submit(1)
        assert await task == 1
        assert path(task) == ["bad", "good"]
        assert [a.outcome for a in task.attempts] == [AttemptOutcome.ERROR, AttemptOutcome.OK]


async def test_a_handle_tells_whom_its_next_retry_passes_over() -> None:
    """Those that have tried it in this round, as long as they are there."""
    workers = [Probe(name, does=fails()) for name in ("a", "b", "c")]
    async with Pool(workers, retry=RetryPolicy.fixed(1, attempts=4), debug=True) as pool:
        a, b, c = pool.workers()
        task = pool.submit(1, bounce=True)
        seen = [task.tried]
        for _ in range(3):
            await settle()
            seen.append(task.tried)
            if len(seen) < 4:
                await asyncio.sleep(1)
        assert seen == [(), (a,), (a, b), (a, b, c)]
        await pool.remove("b")
        assert task.tried == (a, c)


async def test_nobody_is_passed_over_in_a_new_round_or_without_bounce() -> None:
    """Whoever tried it may be next."""
    workers = [Probe(name, does=fails()) for name in ("a", "b")]
    async with Pool(workers, retry=RetryPolicy.fixed(1), debug=True) as pool:
        plain, bounced = pool.submit(1, worker="a"), pool.submit(2, bounce=True)
        await asyncio.sleep(2)  # a new round begins when the third attempt falls due
        assert (path(plain)[0], plain.tried) == ("a", ())
        assert (len(path(bounced)), bounced.tried) == (2, ())


async def test_without_bounce_a_retry_goes_to_whoever_is_free() -> None:
    """Also to the worker that failed it, when the other is busy."""
    a, b = Probe("a", does=in_turn(ValueError(), "ok")), Probe("b", does=takes(100))
    async with Pool([a, b], retry=RetryPolicy.fixed(1), debug=True) as pool:
        pool.submit(0, worker="b")
        task = pool.submit(1, worker="a")
        free = pool.submit(2, retry=AT_ONCE)
        assert await task == "ok"
        assert path(task) == ["a", "a"]
        assert await free == "ok"


async def test_a_bounced_retry_waits_for_an_untried_worker_that_is_busy() -> None:
    """Rather than go back to a free one that has failed it."""
    bad, busy = Probe("bad", does=fails()), Probe("busy", does=takes(7))
    async with Pool([bad, busy], retry=AT_ONCE, debug=True) as pool:
        pool.submit(0, worker="busy")
        task = pool.submit(1, bounce=True)
        await task
        assert path(task) == ["bad", "busy"]
    assert busy.starts == [0, 7]


async def test_a_bounced_retry_waits_for_an_untried_worker_that_cools() -> None:
    """Cooling ends by itself."""
    bad, cooling = Probe("bad", does=fails()), Probe("cooling")
    async with Pool([bad, cooling], retry=AT_ONCE, debug=True) as pool:
        pool.cooldown("cooling", 12)
        task = pool.submit(1, bounce=True)
        await task
    assert (bad.starts, cooling.starts) == ([0], [12])


@pytest.mark.parametrize("how", ["paused", "removed", "untagged", "too small"])
async def test_a_bounced_retry_starts_over_when_nobody_untried_will_come(how: str) -> None:
    """A worker that is paused, gone or unfit is not waited for."""
    a = Probe("a", tags={"gpu"}, does=in_turn(ValueError(), "ok"))
    quota = Quota(tokens=Window(5, per=60)) if how == "too small" else None
    b = Probe("b", tags=() if how == "untagged" else {"gpu"}, quota=quota)
    async with Pool([a, b], retry=RetryPolicy.fixed(1), debug=True) as pool:
        cost = {"tokens": 10} if how == "too small" else {}
        task = pool.submit(1, bounce=True, require="gpu", cost=cost)
        if how == "paused":
            pool.pause("b")
        elif how == "removed":
            await pool.remove("b")
        assert await task == "ok"
        assert path(task) == ["a", "a"]
        assert now() == 1


async def test_a_task_that_waits_for_an_untried_worker_starts_over_when_that_one_goes() -> None:
    """The moment it is paused or removed."""
    a, b, c = (
        Probe("a", does=in_turn(ValueError(), "ok")),
        Probe("b", does=takes(50)),
        Probe("c", does=takes(50)),
    )
    async with Pool([a, b, c], retry=AT_ONCE, debug=True) as pool:
        pool.submit(0, worker="b")
        pool.submit(0, worker="c")
        task = pool.submit(1, bounce=True)
        await asyncio.sleep(5)
        pool.pause("b")
        await asyncio.sleep(5)
        assert len(task.attempts) == 1
        removing = asyncio.create_task(pool.remove("c"))
        assert await task == "ok"
        assert (path(task), now()) == (["a", "a"], 10)
        await removing


async def test_a_worker_that_joins_is_untried() -> None:
    """A bounced task that waits for another one goes there at once."""
    a, b, c = Probe("a", does=fails()), Probe("b", does=takes(50)), Probe("c")
    async with Pool([a, b], retry=AT_ONCE, debug=True) as pool:
        pool.submit(0, worker="b")
        task = pool.submit(1, bounce=True)
        await asyncio.sleep(3)
        await pool.add(c)
        await task
        assert (path(task), now()) == (["a", "c"], 3)


async def test_bounce_never_resets_the_count_of_attempts() -> None:
    """Exactly four calls over two workers. Origin: BerriAI/litellm#19985."""
    workers = [Probe(does=fails()), Probe(does=fails())]
    policy = RetryPolicy.fixed(0, attempts=4)
    async with Pool(workers, bounce=True, retry=policy, debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(ValueError, match="attempt"):
            await task
    assert [len(worker.starts) for worker in workers] == [2, 2]
    assert task.attempt_count == 4


async def test_when_all_have_been_tried_a_new_round_begins() -> None:
    """Five calls a second apart. Origin: NousResearch/hermes-agent PR#70975."""
    workers = [Probe(name, does=fails()) for name in "ab"]
    policy = RetryPolicy.fixed(1, attempts=5)
    async with Pool(workers, bounce=True, retry=policy, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
        assert path(task) == list("ababa")
        assert [attempt.started for attempt in task.attempts] == [0, 1, 2, 3, 4]


async def test_a_round_visits_every_worker_once() -> None:
    """Three rounds over five workers, none twice in one."""
    workers = [Probe(does=fails()) for _ in range(5)]
    policy = RetryPolicy.fixed(0, attempts=15)
    async with Pool(workers, bounce=True, retry=policy, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
    rounds = [path(task)[n : n + 5] for n in (0, 5, 10)]
    assert [len(set(visited)) for visited in rounds] == [5, 5, 5]


async def test_bounce_keeps_to_the_workers_the_task_may_use() -> None:
    """Tags and pins are walls; a lone worker is simply tried again."""
    a, b = (Probe(name, does=fails(), tags={"x"}) for name in "ab")
    c = Probe("c", does=fails())
    async with Pool([a, b, c], bounce=True, retry=AT_ONCE, debug=True) as pool:
        tagged, pinned = pool.submit(1, require="x"), pool.submit(2, worker="c")
        await tagged.wait()
        await pinned.wait()
        assert path(tagged) in (list("aba"), list("bab"))
        assert path(pinned) == list("ccc")


async def test_a_bounced_retry_obeys_its_delay_and_its_next_workers_quota() -> None:
    """Whichever is later."""
    quota = Quota(Window(1, per=20))
    a, b = Probe("a", does=fails()), Probe("b", quota=quota)
    async with Pool([a, b], retry=RetryPolicy.fixed(5), debug=True) as pool:
        await pool.submit(0, worker="b")
        task = pool.submit(1, worker=None, bounce=True)
        await task
        assert path(task) == ["a", "b"]
    assert (a.starts, b.starts) == ([0], [0, 20])


async def test_failures_for_ever_stay_within_the_count() -> None:
    """14 tasks, 7 bad workers, 3 tries: 42 calls, and to each its own error and history.

    Origin: anthropics/claude-code#72672.
    """

    def does(data: object) -> object:
        raise ValueError(data)

    workers = [Probe(does=does) for _ in range(7)]
    policy = RetryPolicy.exponential(1, jitter=0)
    async with Pool(workers, bounce=True, retry=policy, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(14)]
        for n, task in enumerate(tasks):
            with pytest.raises(ValueError) as failure:  # noqa: PT011 - checked below
                await task
            assert failure.value.args == (n,)
            assert [attempt.number for attempt in task.attempts] == [1, 2, 3]
            assert len(set(path(task))) == 3
        assert now() == 3
    assert sum(len(worker.starts) for worker in workers) == 42


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_new_round_begins_under_a_deadline_and_in_a_drain_too(workers: int) -> None:
    """That all have been tried does not mean that nobody will take it in time."""
    policy = RetryPolicy.fixed(1, attempts=5)
    for limits in ({"timeout": 25}, {"timeout": 25, "deadline": "clip"}, {}):
        bad = [Probe(does=fails(LookupError)) for _ in range(workers)]
        async with Pool(bad, bounce=True, retry=policy, debug=True) as pool:
            task = pool.submit(1, **limits)  # type: ignore[arg-type]
            await asyncio.sleep(workers)
            await pool.close("drain", timeout=25)
        with pytest.raises(LookupError):
            await task
        assert task.attempt_count == 5


async def test_an_immediate_retry_stays_on_its_worker_and_has_no_delay() -> None:
    """Whatever the policy says of waiting, and though another worker is free."""
    a, b = Probe("a", does=in_turn(ValueError(), ValueError(), "ok")), Probe("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(60), debug=True) as pool:
        task = pool.submit(1, immediate=True)
        assert await task == "ok"
        assert (path(task), now()) == (list("aaa"), 0)
    assert b.starts == []


@pytest.mark.parametrize(
    "attributes", [{"max_tasks": 100}, {"max_age": 3600}, {"quota": Quota(Window(9, per=60))}]
)
async def test_an_immediate_retry_stays_on_a_worker_that_wears_out_or_has_a_quota(
    attributes: dict[str, Any],
) -> None:
    """As long as neither is due."""
    a, b = Probe("a", does=in_turn(ValueError(), "ok"), **attributes), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        task = pool.submit(1, immediate=True)
        assert await task == "ok"
        assert path(task) == list("aa")


async def test_an_immediate_retry_goes_before_everything_that_waits() -> None:
    """Even before higher priorities; an ordinary retry goes behind."""
    order: list[object] = []

    def does(data: object) -> None:
        order.append(data)
        if data == "first" and order.count("first") < 3:
            raise ValueError

    for immediate, expected in (
        (True, ["first", "first", "first", "high", "low"]),
        (False, ["first", "high", "low", "first", "first"]),
    ):
        order.clear()
        async with Pool([Probe(does=does)], retry=AT_ONCE, debug=True) as pool:
            pool.submit("first", immediate=immediate)
            pool.submit("low")
            pool.submit("high", priority=9)
            await pool.join()
        assert order == expected


async def test_an_immediate_bounce_goes_to_another_worker_first_in_line() -> None:
    """It takes the first of the others that comes free."""
    a, b = Probe("a", does=fails()), Probe("b", does=takes(3))
    async with Pool([a, b], retry=RetryPolicy.fixed(60), debug=True) as pool:
        pool.submit(0, worker="b")
        behind = pool.submit(1, worker="b")
        task = pool.submit(2, immediate=True, bounce=True)
        await task
        assert (path(task), now()) == (["a", "b"], 6)
        await behind
        assert now() == 9


async def test_an_immediate_retry_still_spends_quota_and_attempts() -> None:
    """Three tries, the third when the window moves."""
    worker = Probe(does=fails(), quota=Quota(Window(2, per=10)))
    async with Pool([worker], retry=RetryPolicy.fixed(60), debug=True) as pool:
        task = pool.submit(1, immediate=True)
        await task.wait()
        assert task.attempt_count == 3
    assert worker.starts == [0, 0, 10]


async def test_the_bounce_verdict_moves_one_retry_without_delay() -> None:
    """For a task that asked for nothing of the kind; the attempt is spent."""
    a, b = Probe("a", does=fails(Bounce())), Probe("b", does=in_turn(ValueError(), "ok"))
    async with Pool([a, b], retry=RetryPolicy.fixed(5), debug=True) as pool:
        task = pool.submit(1)
        assert await task == "ok"
        assert [attempt.started for attempt in task.attempts] == [0, 0, 5]
        assert path(task)[:2] == ["a", "b"]
        assert task.attempts[0].outcome is AttemptOutcome.BOUNCED
        assert task.attempt_count == 3


async def test_the_bounce_verdict_on_a_lone_worker_is_bounded_by_the_policy() -> None:
    """There is nobody else: the same one, until the attempts are used up."""
    worker = Probe(does=fails(Bounce()))
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(Bounce):
            await pool.submit(1)
    assert worker.starts == [0, 0, 0]


async def test_a_throttle_neither_counts_as_tried_nor_as_an_attempt() -> None:
    """After the round, the worker that only refused is used again when it is back."""
    a, b = Probe("a", does=in_turn(Throttled(10), "ok")), Probe("b", does=fails())
    policy = RetryPolicy.fixed(0, attempts=2)
    async with Pool([a, b], bounce=True, retry=policy, debug=True) as pool:
        task = pool.submit(1)
        assert await task == "ok"
        assert (path(task), now(), task.attempt_count) == (["a", "b", "a"], 10, 2)
