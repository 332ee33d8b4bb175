"""Strategies and the search for a worker, on their own."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest

from retrypool_async import LeastRecentlyUsed, MostQuota, Quota, RoundRobin, Window
from retrypool_async._ledger import Ledger
from retrypool_async._router import Search
from retrypool_async._task import ONE_REQUEST, dimensions_of
from tests.ledger.bench import cost_of, new_record, pool_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retrypool_async._record import WorkerRecord


def staff(*quotas: Quota | None) -> list[WorkerRecord]:
    """Workers with these quotas; shared where an object appears twice."""
    ledger = Ledger(pool_settings())
    return [new_record(ledger, *(() if quota is None else (quota,))) for quota in quotas]


def window(limit: float, *, used: float = 0.0, at: float = 0.0) -> Quota:
    quota = Quota(Window(limit, per=10))
    quota.take(cost_of(used), at)
    return quota


def find(
    search: Search,
    workers: Sequence[WorkerRecord],
    amount: float = 1.0,
    now: float = 0.0,
    **amounts: float,
) -> WorkerRecord | None:
    """Look for a worker as the ledger does: those that are closed by now are left out."""
    cost = cost_of(amount, **amounts)
    found = search.find(workers, search.open_to(dimensions_of(cost)), cost, now)
    if found is None:
        search.hold(cost, lambda quota: True, now)
    return found


def test_least_recently_used_takes_the_first_that_fits() -> None:
    """They come longest idle first."""
    full, first, second = staff(window(1, used=1), window(1), window(1))
    assert find(Search(LeastRecentlyUsed()), [full, first, second]) is first
    assert find(Search(LeastRecentlyUsed()), [full, second, first]) is second


def test_only_workers_of_the_mask_are_looked_at() -> None:
    """Others may be idle, and not for this task."""
    first, second = staff(None, None)
    search = Search(LeastRecentlyUsed())
    assert search.find([first, second], second.bit, ONE_REQUEST, 0.0) is second
    assert search.find([first], second.bit, ONE_REQUEST, 0.0) is None
    assert search.wait is None


def test_round_robin_goes_on_after_the_last_and_starts_over() -> None:
    """By id, whatever the order in which they are offered."""
    workers = staff(None, None, None)
    strategy = RoundRobin()
    offered = [workers[2], workers[0], workers[1]]
    chosen = [find(Search(strategy), offered) for _ in range(4)]
    assert chosen == [workers[0], workers[1], workers[2], workers[0]]
    assert find(Search(strategy), [workers[2], workers[0]]) is workers[2]


def test_most_quota_takes_the_largest_share_left() -> None:
    """Shares, not amounts; the longest idle of equals."""
    small, large, none = staff(window(2), window(100, used=50), None)
    assert find(Search(MostQuota()), [large, small]) is small
    assert find(Search(MostQuota()), [small, none]) is small
    assert find(Search(MostQuota()), [none, small]) is none


def raises(workers: Any, now: float) -> Any:
    raise LookupError


@pytest.mark.parametrize("answer", [raises, lambda workers, now: None, lambda workers, now: 7])
def test_a_strategy_that_fails_is_overruled_by_the_longest_idle(answer: Any) -> None:
    """A routing step has to end with a worker."""

    class Odd:
        choose = staticmethod(answer)

    first, second = staff(None, None)
    assert find(Search(Odd()), [first, second]) is first


def test_a_task_that_does_not_fit_holds_the_worker_that_will_fit_it_first() -> None:
    """Smaller ones behind it must not take from that; all else they may use."""
    late, soon, later = staff(
        window(5, used=3, at=4.0), window(5, used=3, at=1.0), window(5, used=3, at=5.0)
    )
    search = Search(LeastRecentlyUsed())
    assert find(search, [late, soon, later], 4, now=6.0) is None
    assert search.wait == 5.0
    assert find(search, [soon, late], 1, now=6.0) is late
    assert find(search, [soon], 1, now=6.0) is None
    assert find(search, [soon, late, later], 4, now=6.0) is None
    assert find(search, [late, later], 1, now=6.0) is later
    assert search.wait == 5.0


def test_only_the_quotas_that_keep_it_waiting_are_held() -> None:
    """A shared quota with room is left to the others."""
    scarce, plenty = window(2, used=1), window(100)
    ledger = Ledger(pool_settings())
    both, other = new_record(ledger, scarce, plenty), new_record(ledger, plenty)
    search = Search(LeastRecentlyUsed())
    assert find(search, [both], 2) is None
    assert find(search, [both], 1) is None
    assert find(search, [both, other], 1) is other


def test_who_takes_nothing_of_what_is_held_may_pass() -> None:
    """Also on the worker that waits; of the rest, what the waiting task needs is put by."""
    quota = Quota(requests=Window(2, per=10), tokens=Window(10, per=10), pages=Window(5, per=10))
    quota.take(cost_of(0, tokens=5), 0.0)
    (worker,) = staff(quota)
    search = Search(LeastRecentlyUsed())
    assert find(search, [worker], tokens=8, pages=3) is None
    assert find(search, [worker], tokens=1) is None
    assert find(search, [worker], pages=2) is worker
    assert find(search, [worker], pages=3) is None
    assert find(search, [worker], 2) is worker


def test_a_task_too_large_for_every_free_worker_holds_nothing() -> None:
    """It waits for another worker, and gives no time."""
    (worker,) = staff(window(2))
    search = Search(LeastRecentlyUsed())
    assert find(search, [worker], 3) is None
    assert search.wait is None
    assert not search.holds
    assert find(search, [worker], 2) is worker
    assert worker.quotas[0].until(cost_of(3), 0.0) == inf
