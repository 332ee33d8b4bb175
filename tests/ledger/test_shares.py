"""Lanes take turns: who is next when several submitters wait for the same workers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrypool_async import Quota, Window
from retrypool_async._ready import SPARE_ROUTES
from retrypool_async._ruling import Again
from tests.ledger.bench import Bench, cost_of

if TYPE_CHECKING:
    from retrypool_async._task import Task


def names(tasks: list[Task]) -> str:
    return "".join(str(task.data) for task in tasks)


def fill(bench: Bench, lanes: str, amount: int, **options: Any) -> None:
    """Submit so many tasks to each lane, the lanes one after the other."""
    for lane in lanes:
        for _ in range(amount):
            bench.submit(data=lane, lane=lane, **options)


def test_lanes_take_turns_however_much_waits_in_one() -> None:
    """Ten behind a hundred thousand: each has every second start."""
    bench = Bench()
    record = bench.worker()
    fill(bench, "a", 100_000)
    bench.order(record, 5)
    fill(bench, "b", 10)
    assert names(bench.order(record, 24)) == "ab" * 10 + "aaaa"
    bench.ledger.check()


def test_tasks_without_a_lane_share_one() -> None:
    """Whatever worker they ask for."""
    bench = Bench()
    record = bench.worker(tags="x")
    bench.busy(record)
    for n in range(8):
        bench.submit(data="-", require="x" if n % 2 else "")
    fill(bench, "ab", 4)
    bench.succeed(record)
    assert names(bench.order(record, 16)) == "-ab" * 4 + "----"


def test_one_lane_alone_is_in_the_order_of_submission() -> None:
    """Turns are taken between lanes only."""
    bench = Bench()
    record = bench.worker(tags="x")
    bench.busy(record)
    for n in range(6):
        bench.submit(data=n, lane="a", require="x" if n % 2 else "")
    bench.succeed(record)
    assert names(bench.order(record, 6)) == "012345"


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ({"a": 2}, "abaabaabaaba"),
        ({"a": 0.5}, "abbabbabbabb"),
        ({"a": 3, "b": 2}, "ababaababaab"),
    ],
)
def test_a_lane_has_turns_in_proportion_to_its_weight(
    weights: dict[str, float], order: str
) -> None:
    """The others have 1."""
    bench = Bench(lane_weights=weights)
    record = bench.worker()
    bench.busy(record)
    fill(bench, "ab", 20)
    bench.succeed(record)
    assert names(bench.order(record, 12)) == order


def test_a_turn_is_measured_by_cost() -> None:
    """Its largest amount: ten small tasks of one for each large one of the other."""
    bench = Bench()
    record = bench.worker()
    bench.busy(record)
    for _ in range(3):
        bench.submit(cost_of(tokens=10.0), data="L", lane="large")
    for _ in range(30):
        bench.submit(data="s", lane="small")
    for _ in range(3):
        bench.submit(cost_of(0.0), data="-", lane="free")  # counts as 1, or it would never end
    bench.succeed(record)
    order = names(bench.order(record, 36)).replace("-", "")
    assert order == "L" + "s" * 10 + "L" + "s" * 10 + "L" + "s" * 10


def test_priority_goes_before_turns() -> None:
    """Lanes take turns among equals; what is urgent is charged to its lane all the same."""
    bench = Bench()
    record = bench.worker()
    bench.busy(record)
    fill(bench, "ab", 4)
    for _ in range(3):
        bench.submit(data="A", lane="a", priority=1.0)
    bench.succeed(record)
    assert names(bench.order(record, 11)) == "AAA" + "babababa"


def test_aging_goes_up_in_steps_between_lanes() -> None:
    """Within a step lanes take turns; what has aged by one more goes first."""
    bench = Bench()
    record = bench.worker()
    bench.busy(record)
    fill(bench, "a", 6, aging=10.0)
    bench.tick(1.0)
    fill(bench, "b", 3, aging=10.0)
    bench.succeed(record)
    assert names(bench.order(record, 4)) == "abab"
    bench.tick(10.5)
    assert names(bench.order(record, 3)) == "aaa"
    bench.tick(11.0)
    assert names(bench.order(record, 2)) == "ab"


def test_a_lane_that_was_idle_has_no_claim_on_the_past() -> None:
    """It gets every second start from now on, not all of the next hundred."""
    bench = Bench()
    record = bench.worker()
    bench.busy(record)
    fill(bench, "ab", 1)
    fill(bench, "a", 200)
    bench.succeed(record)
    bench.order(record, 100)
    fill(bench, "b", 10)
    assert sorted(names(bench.order(record, 20))) == ["a"] * 10 + ["b"] * 10


def test_tasks_that_are_cancelled_cost_their_lane_nothing() -> None:
    """Only starts are charged."""
    bench = Bench()
    record = bench.worker()
    bench.busy(record)
    for task in [bench.submit(lane="a") for _ in range(1000)]:
        bench.ledger.cancel(task, 0.0)
    fill(bench, "ba", 4)
    bench.succeed(record)
    assert names(bench.order(record, 8)) == "babababa"


def test_what_one_lane_cannot_use_is_for_the_others() -> None:
    """Its worker is busy; nobody idles, and it does not make up for it afterwards."""
    bench = Bench()
    first, second = bench.worker(tags="x"), bench.worker()
    bench.busy(first)
    bench.busy(second)
    fill(bench, "a", 10, require="x")
    fill(bench, "b", 30)
    bench.succeed(second)
    assert names(bench.order(second, 20)) == "b" * 20
    bench.succeed(first)
    assert names(bench.order(first, 6)) == "aababa"


def test_one_lane_far_behind_does_not_hold_up_those_that_share_its_worker() -> None:
    """It has waited for one worker while others went round; there it takes turns from now on."""
    bench = Bench()
    slow, fast = bench.worker(tags="x"), bench.worker()
    bench.busy(slow)
    bench.busy(fast)
    fill(bench, "a", 100, require="x")
    fill(bench, "c", 40)
    bench.succeed(fast)
    bench.order(fast, 40)
    fill(bench, "b", 5, require="x")
    bench.succeed(slow)
    assert names(bench.order(slow, 12)) == "abababababaa"


def test_a_retry_takes_a_turn_of_its_lane() -> None:
    """It uses the worker again."""
    bench = Bench()
    record = bench.worker()
    bench.busy(record)
    fill(bench, "ab", 4)
    bench.succeed(record)
    order = ""
    for _ in range(12):
        task = bench.begin(record)
        order += str(task.data)
        if task.data == "a" and task.run_count == 1:
            bench.fail(record, Again())
        else:
            bench.succeed(record)
    assert order == "ab" * 4 + "aaaa"


def test_a_lane_blocked_on_quota_does_not_take_the_turn_of_others() -> None:
    """A large task holds the worker that fits it first; the other lane goes on elsewhere."""
    bench = Bench()
    first = bench.worker(Quota(tokens=Window(10, per=60)))
    second = bench.worker(Quota(tokens=Window(10, per=60)))
    for record in (first, second):
        bench.submit(cost_of(tokens=5.0), worker=record.id)
        bench.begin(record)
    for _ in range(4):
        bench.submit(cost_of(tokens=10.0), data="a", lane="a")
    for _ in range(4):
        bench.submit(cost_of(tokens=1.0), data="b", lane="b")
    bench.succeed(first)
    assert first.task is None
    bench.succeed(second)
    running = [record for record in (first, second) if record.task is not None]
    assert [str(record.task.data) for record in running if record.task] == ["b"]
    assert names(bench.order(running[0], 4)) == "bbbb"
    bench.tick(60.0)
    assert {record.task.data for record in (first, second) if record.task} == {"a"}


def test_lanes_in_which_nothing_waits_are_forgotten() -> None:
    """A hundred thousand users, each once, while one lane waits for ever."""
    bench = Bench()
    record, away = bench.worker(), bench.worker(tags="x")
    bench.busy(away)
    bench.submit(lane="stuck", require="x")
    ready = bench.ledger.ready
    for n in range(20_000):
        bench.submit(lane=n)
        bench.order(record, 1)
        assert len(ready.routes) <= SPARE_ROUTES + 6  # twice those in use
        assert len(ready.shares._shares) <= SPARE_ROUTES + 6


def test_a_pool_without_lanes_keeps_no_accounts() -> None:
    """And one whose lanes have all gone home, no more."""
    bench = Bench()
    record = bench.worker()
    bench.submit()
    bench.order(record, 1)
    shares = bench.ledger.ready.shares
    assert not shares.in_use
    assert shares.common.had == 0.0
    bench.submit(lane="a")
    bench.order(record, 1)
    assert shares.in_use
    bench.worker()
    assert not shares.in_use


def test_when_the_lanes_have_gone_the_rest_is_in_the_order_of_submission() -> None:
    """What waited beside them keeps its place before what comes later."""
    bench = Bench()
    record, other = bench.worker(tags="x"), bench.worker()
    bench.busy(record)
    bench.busy(other)
    bench.submit(data="a", lane="a", worker=record.id)
    for data in (0, 1, 2):
        bench.submit(data=data, require="x")
    bench.succeed(record)
    assert names(bench.order(record, 2)) == "a0"
    bench.succeed(other)  # finds nothing for itself, but has a look at all that waits
    bench.worker(tags="y")  # has the accounts closed that nobody uses
    assert not bench.ledger.ready.shares.in_use
    bench.submit(data=3, worker=record.id)
    assert names(bench.order(record, 3)) == "123"


@given(st.integers(2, 5), st.integers(0, 10**6))
def test_no_lane_is_more_than_a_task_each_behind_another(lanes: int, seed: int) -> None:
    """While both wait all the time, whatever their tasks cost, and whatever their weights."""
    rng = random.Random(seed)
    weights = {lane: rng.choice([0.5, 1.0, 1.0, 3.0]) for lane in range(lanes)}
    bench = Bench(lane_weights=weights)
    record = bench.worker()
    bench.busy(record)
    for lane in range(lanes):
        for _ in range(60):
            amount = rng.choice([1.0, 1.0, 2.0, 5.0])
            bench.submit(cost_of(amount), data=lane, lane=lane)
    bench.succeed(record)
    had = dict.fromkeys(range(lanes), 0.0)
    for _ in range(40):  # less than any lane has waiting
        (task,) = bench.order(record, 1)
        had[task.data] += dict(task.cost)["requests"] / weights[task.data]
        for one in had:
            for other in had:
                bound = 5.0 / weights[one] + 5.0 / weights[other]
                assert had[one] - had[other] <= bound
