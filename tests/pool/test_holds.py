"""What a task that waits for quota keeps from those behind it, and what it leaves them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from retrypool_async import Pool, Quota, Window
from tests.pool.probe import Probe, now


def noting(when: dict[object, float], lasts: float = 0) -> Callable[[Any], Any]:
    """Writes down when each task starts, and takes some seconds."""

    def does(data: Any) -> Any:
        when[data] = now()
        return asyncio.sleep(lasts)

    return does


async def test_a_limit_for_one_key_does_not_touch_tasks_without_it() -> None:
    """The key is a dimension of the pool's quota. Origin: oban-bg/oban#792."""
    starts: dict[str, list[float]] = {"a": [], "none": []}
    workers = [Probe(does=lambda data: starts[data].append(now())) for _ in range(3)]
    async with Pool(workers, quota=Quota(a=Window(5, per=10)), debug=True) as pool:
        for _ in range(6):
            pool.submit("a", cost={"a": 1})
        for _ in range(6):
            pool.submit("none")
    assert starts == {"a": [0, 0, 0, 0, 0, 10], "none": [0] * 6}


@pytest.mark.parametrize("one", [True, False], ids=["one quota", "a quota for each"])
async def test_who_takes_no_tokens_passes_a_task_that_waits_for_tokens(one: bool) -> None:
    """On the only worker; who takes some does not, however few, though there is room for them."""
    when: dict[object, float] = {}
    requests, tokens = Window(100, per=60), Window(1000, per=60)
    both = Quota(requests=requests, tokens=tokens)
    worker = Probe(does=noting(when))
    worker.quota = both if one else [Quota(requests), Quota(tokens=tokens)]
    async with Pool([worker], debug=True) as pool:
        pool.submit("first", cost={"tokens": 400})
        pool.submit("large", cost={"tokens": 900})
        pool.submit("small", cost={"tokens": 10})
        for n in range(3):
            pool.submit(n)
        await pool.join()
    assert when == {"first": 0, 0: 0, 1: 0, 2: 0, "large": 60, "small": 60}


async def test_two_streams_do_not_take_turns_in_starving_a_task_that_needs_both() -> None:
    """What it does not wait for is put by, while it waits for the other."""
    when: dict[object, float] = {}
    quota = Quota(a=Window(1, per=2), b=Window(1, per=2))
    async with Pool([Probe(does=noting(when))], quota=quota, debug=True) as pool:
        await pool.submit("a0", cost={"a": 1})
        await asyncio.sleep(1)
        await pool.submit("b0", cost={"b": 1})
        pool.submit("both", cost={"a": 1, "b": 1})
        for n in range(1, 5):
            for name in "ab":
                pool.submit(f"{name}{n}", cost={name: 1})
        await pool.join()
    assert when["both"] == 3
    assert [when["a1"], when["b1"], when["a2"], when["b2"]] == [5, 5, 7, 7]


async def test_what_is_put_by_is_what_the_task_needs_and_no_more() -> None:
    """Others may have the rest of it."""
    when: dict[object, float] = {}
    quota = Quota(a=Window(1, per=10), b=Window(5, per=10))
    async with Pool([Probe(does=noting(when))], quota=quota, debug=True) as pool:
        pool.submit("first", cost={"a": 1})
        pool.submit("both", cost={"a": 1, "b": 3})
        pool.submit("little", cost={"b": 2})
        pool.submit("much", cost={"b": 1})
    assert when == {"first": 0, "little": 0, "both": 10, "much": 10}


async def test_a_task_that_may_not_follow_its_quota_keeps_its_worker() -> None:
    """While that one were busy with others, those who share the quota would use it up."""
    when: dict[object, float] = {}
    bound, free = Probe("bound", does=noting(when, 7)), Probe("free", does=noting(when, 7))
    async with Pool([bound, free], quota=Quota(a=Window(1, per=10)), debug=True) as pool:
        pool.submit("a0", cost={"a": 1})
        pool.submit("pinned", cost={"a": 1}, worker="bound")
        for n in range(4):
            pool.submit(n, worker="free" if n % 2 else None)
            pool.submit(f"a{n + 1}", cost={"a": 1})
        await pool.join()
    assert when["pinned"] == 10
    assert bound.starts[:2] == [0, 10]


async def test_a_task_that_may_run_everywhere_keeps_no_worker() -> None:
    """Whoever comes free when there is quota takes it first of all."""
    when: dict[object, float] = {}
    workers = [Probe(does=noting(when, 7)) for _ in range(2)]
    async with Pool(workers, quota=Quota(a=Window(1, per=10)), debug=True) as pool:
        pool.submit("a0", cost={"a": 1})
        pool.submit("a1", cost={"a": 1})
        for n in range(5):
            pool.submit(n)
        pool.submit("a2", cost={"a": 1})
    assert when == {"a0": 0, 0: 0, 1: 7, 2: 7, "a1": 14, 3: 14, 4: 21, "a2": 24}
