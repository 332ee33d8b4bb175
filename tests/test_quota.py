"""Meters and quotas on their own: time is a number."""

from __future__ import annotations

import asyncio
from math import inf, nan

import pytest
from aiolimiter import AsyncLimiter
from hypothesis import given
from hypothesis import strategies as st

from retrypool_async import Bucket, Quota, Window
from retrypool_async._meters import BucketMeter, WindowMeter
from retrypool_async._task import ONE_REQUEST


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5]), st.sampled_from([1.0, 2.0, 3.0])),
        max_size=60,
    ),
    limit=st.sampled_from([3.0, 5.0]),
    per=st.sampled_from([1.0, 3.0]),
)
def test_a_window_never_grants_more_than_its_limit_in_any_span(
    steps: list[tuple[float, float]], limit: float, per: float
) -> None:
    """And never makes anybody wait longer than that needs."""
    meter, now, taken = WindowMeter(Window(limit, per=per)), 0.0, list[tuple[float, float]]()
    for pause, amount in steps:
        now += pause
        wait = meter.until(amount, now)
        if wait:
            just_before = now + wait - 1e-6
            used = sum(a for at, a in taken if at + per > just_before)
            assert used + amount > limit, "could have been earlier"
            now += wait
            assert meter.until(amount, now) == 0.0, "not granted when promised"
        meter.take(amount, now)
        taken.append((now, amount))
        for start, _ in taken:
            assert sum(a for at, a in taken if start <= at < start + per - 1e-8) <= limit + 1e-9


def test_a_refund_gives_back_what_was_taken_then() -> None:
    """And no more."""
    meter = WindowMeter(Window(3, per=10))
    meter.take(2, 0)
    meter.take(1, 5)
    meter.refund(1, 0)
    assert meter.left(5) == 1
    meter.refund(9, 5)
    assert meter.left(5) == 2
    assert meter.until(3, 5) == 5


def test_a_larger_amount_waits_for_as_much_to_expire_as_it_needs() -> None:
    """Not for all, and not for the first only."""
    meter = WindowMeter(Window(10, per=60))
    for now in (0, 10, 20):
        meter.take(3, now)
    assert meter.until(1, 30) == 0
    assert meter.until(4, 30) == 30
    assert meter.until(7, 30) == 40
    assert meter.until(11, 30) == inf


def test_a_bucket_leaks_at_its_rate() -> None:
    """A burst of its size, then one by one."""
    meter = BucketMeter(AsyncLimiter(5, 10))
    meter.take(5, 100)
    assert meter.until(1, 100) == pytest.approx(2)
    assert meter.until(1, 102) == 0
    assert meter.left(104) == pytest.approx(2)
    meter.refund(99, 104)
    assert meter.left(104) == 5
    assert meter.until(6, 104) == inf


async def test_the_private_names_of_aiolimiter_are_what_we_think() -> None:
    """Its own methods and our reading of it agree on one object."""
    limiter = AsyncLimiter(4, 8)
    meter, loop = BucketMeter(limiter), asyncio.get_running_loop()
    await limiter.acquire(3)
    assert meter.left(loop.time()) == 1
    meter.take(1, loop.time())
    assert not limiter.has_capacity()
    await asyncio.sleep(2)
    assert meter.left(loop.time()) == pytest.approx(1)
    assert limiter.has_capacity()


def test_a_quota_asks_and_debits_all_its_limits_together() -> None:
    """The longest wait counts, and what no limit names is free."""
    quota = Quota(Window(2, per=60), tokens=[Window(10, per=1), Bucket(100, per=60)])
    cost = (("requests", 1.0), ("tokens", 10.0))
    assert quota.until(cost, 0) == 0
    quota.take(cost, 0)
    assert quota.until(cost, 0) == 1
    assert quota.until((("seats", 5.0),), 0) == 0
    assert quota.left(0) == {"requests": 1, "tokens": 0}
    quota.refund(cost, 0)
    assert quota.left(0) == {"requests": 2, "tokens": 10}
    assert (quota.largest("tokens"), quota.largest("seats")) == (10, inf)
    assert quota.dimensions == {"requests", "tokens"}


def test_one_description_in_two_quotas_is_two_limits() -> None:
    """The state sits in the quota."""
    window = Window(1, per=60)
    first, second = Quota(window), Quota(window)
    first.take(ONE_REQUEST, 0)
    assert (first.until(ONE_REQUEST, 0), second.until(ONE_REQUEST, 0)) == (60, 0)


def test_usage_carries_over_to_another_kind_of_limit() -> None:
    """By amount, where the log does not fit."""
    old, same, other = Quota(Window(4, per=60)), Quota(Window(6, per=60)), Quota(Bucket(6, per=60))
    for now in (0, 10, 20):
        old.take(ONE_REQUEST, now)
    same.carry_over(old, 30)
    other.carry_over(old, 30)
    assert (same.left(30)["requests"], same.left(61)["requests"]) == (3, 4)
    assert other.left(30)["requests"] == 3


@pytest.mark.parametrize("limit", [Window, Bucket])
@pytest.mark.parametrize("through", [Window, Bucket])
def test_what_is_used_beyond_a_lowered_limit_is_not_forgiven(
    limit: type[Window | Bucket], through: type[Window | Bucket]
) -> None:
    """Down from 4 to 1 and up again: all 4 are still used."""
    old, low, high = Quota(limit(4, per=60)), Quota(through(1, per=60)), Quota(limit(4, per=60))
    old.take((("requests", 4.0),), 0)
    low.carry_over(old, 0)
    high.carry_over(low, 0)
    assert high.until((("requests", 4.0),), 0) == 60


def test_a_broken_limiter_leaves_no_usage_to_its_successor() -> None:
    """Infinite capacity less infinite room is nothing, and not what no number is equal to."""

    class Broken:
        capacity = nan

        def until(self, amount: float, now: float) -> float:
            raise OSError

        def take(self, amount: float, now: float) -> None: ...

        def refund(self, amount: float, at: float) -> None: ...

        def left(self, now: float) -> float:
            raise OSError

    new = Quota(Window(1, per=60))
    new.carry_over(Quota(Broken()), 0)
    assert new.until(ONE_REQUEST, 0) == 0


@pytest.mark.parametrize("limit", [Window(2, per=10), Bucket(2, per=10)])
def test_there_is_room_for_nothing_even_where_too_much_has_been_used(
    limit: Window | Bucket,
) -> None:
    """A limit that was lowered may be overdrawn; a cost of 0 does not concern it."""
    quota = Quota(requests=limit, tokens=Window(100, per=10))
    quota.take((("requests", 5.0),), 0.0)
    assert quota.until((("requests", 0.0), ("tokens", 50.0)), 0.0) == 0.0
    assert quota.until(ONE_REQUEST, 0.0) > 0.0


def level_with(takes: list[tuple[float, float]], now: float, capacity: float, per: float) -> float:
    """How full a bucket is, recounted from all that was ever put in."""
    level, last = 0.0, 0.0
    for at, amount in [*takes, (now, 0.0)]:
        level = max(level - (at - last) * capacity / per, 0.0) + amount
        last = at
    return level


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 1.0, 4.0]),
            st.sampled_from([1.0, 2.0, 5.0]),
            st.integers(0, 30),
            st.sampled_from([None, 0.0, 0.5, 1.0]),
        ),
        max_size=40,
    )
)
def test_a_bucket_never_gives_back_what_has_leaked(
    steps: list[tuple[float, float, int, float | None]],
) -> None:
    """It is at least as full as if the refunded had never been in; with one refund, exactly so."""
    meter, now, refunds = BucketMeter(AsyncLimiter(10, 10)), 0.0, 0
    takes: list[tuple[float, float]] = []
    for pause, amount, which, share in steps:
        now += pause
        if meter.until(amount, now) == 0.0:
            meter.take(amount, now)
            takes.append((now, amount))
        if takes and share is not None:
            at, taken = takes[which % len(takes)]
            meter.refund(taken * share, at)
            takes[which % len(takes)] = (at, taken * (1 - share))
            refunds += taken * share > 0
        exact = level_with(takes, now, 10, 10)
        assert meter.used(now) >= exact - 1e-9
        if refunds <= 1:
            assert meter.used(now) == pytest.approx(exact)
