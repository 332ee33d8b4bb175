"""Planning while everybody is out of quota: cheap, and the same as if all were looked at."""

from __future__ import annotations

import random
from math import inf
from typing import Any

import pytest

from retrypool_async import (
    Bucket,
    LeastRecentlyUsed,
    MostQuota,
    Quota,
    Strategy,
    Window,
    WorkerState,
)
from retrypool_async._idleness import Idleness
from tests.ledger.bench import Bench
from tests.ledger.test_ready import calls

Starts = list[tuple[float, int, int]]


def starts(seed: int, strategy: Strategy) -> Starts:
    """When which task starts on which worker, in a random life whose times are exact in binary."""
    chance = random.Random(seed)
    bench = Bench()
    bench.ledger.strategy = strategy
    common = Quota(Bucket(4, per=2)) if chance.random() < 0.3 else None
    for _ in range(chance.randint(1, 6)):
        own = chance.choice([Window(1, per=4), Window(2, per=3), Bucket(2, per=4), None])
        quotas = [] if own is None else [Quota(own)]
        if common is not None and chance.random() < 0.7:
            quotas.append(common)
        bench.worker(*quotas)
    for number in range(30):
        bench.submit(data=number)
    running: list[tuple[float, int]] = []
    found: Starts = []
    workers = bench.ledger.roster.workers
    while len(found) < 30 or running:
        for record in workers.values():
            if record.state is WorkerState.RESERVED:
                task = bench.begin(record)
                found.append((bench.now, record.id, task.data))
                running.append((bench.now + chance.choice([0.5, 1.0, 1.0, 3.25]), record.id))
        bench.ledger.outbox.clear()
        ends, number = min(running, default=(inf, -1))
        if ends > bench.ledger.agenda.next_at:
            bench.tick(bench.ledger.agenda.next_at)
            continue
        bench.tick(ends)
        running.remove((ends, number))
        if chance.random() < 0.1 and len(found) < 25:
            bench.submit(data=len(found) + 100, priority=1.0)
        bench.succeed(workers[number])
    return found


@pytest.mark.parametrize("strategy", [LeastRecentlyUsed, MostQuota])
def test_starts_are_the_same_as_if_all_were_looked_at_each_time(
    strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who starts, where, and when."""
    quick = [starts(seed, strategy()) for seed in range(300)]
    monkeypatch.setattr(Idleness, "_known_waiters", lambda self, now: None)
    assert quick == [starts(seed, strategy()) for seed in range(300)]


@pytest.mark.parametrize("own", [True, False], ids=["free at other times", "free together"])
def test_a_worker_that_comes_free_costs_the_same_however_many_wait(own: bool) -> None:
    """For quota, with a row of tasks; from then until the next of them starts."""

    def price(idle: int) -> float:
        bench = Bench()
        staff = [
            bench.worker(Quota(Window(1, per=1000 + own * number / 1000))) for number in range(idle)
        ]
        for _ in range(3 * idle):
            bench.submit()
        for record in staff[:-100]:
            bench.begin(record)
            bench.succeed(record)

        def work() -> None:
            for record in staff[-100:]:
                bench.begin(record)
                bench.succeed(record)

        def go_on() -> None:
            begun = 0
            while begun < 100:
                bench.tick(bench.ledger.agenda.next_at)
                for effect in list(bench.ledger.outbox):
                    begun += effect[1] in staff
                bench.ledger.outbox.clear()

        return calls(work) + (calls(go_on) if own else 0)

    assert price(2_000) <= 1.3 * price(500)


def test_whoever_comes_free_with_room_goes_on_at_once() -> None:
    """Others are longer idle, but have none."""
    bench = Bench()
    scarce, plenty = bench.worker(Quota(Window(1, per=60))), bench.worker(Quota(Window(9, per=60)))
    for _ in range(5):
        bench.submit()
    for record in (scarce, plenty):
        bench.begin(record)
    assert bench.succeed(scarce) is None
    assert bench.succeed(plenty) is plenty.task is not None


def test_a_limiter_that_may_have_room_earlier_than_it_said_is_asked_each_time() -> None:
    """One of a user's own need not know."""

    class Fickle:
        capacity = 1.0
        wait = 0.0

        def until(self, amount: float, now: float) -> float:
            return self.wait

        def take(self, amount: float, now: float) -> None:
            self.wait = 60.0

        def refund(self, amount: float, at: float) -> None: ...

        def left(self, now: float) -> float:
            return 1.0

    bench, fickle = Bench(), Fickle()
    first, other = bench.worker(Quota(fickle)), bench.worker(Quota(Window(1, per=90)))
    for _ in range(4):
        bench.submit()
    for record in (first, other):
        bench.begin(record)
    assert bench.succeed(first) is None
    fickle.wait = 0.0
    assert bench.succeed(other) is None
    assert first.task is not None
