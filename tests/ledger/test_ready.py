"""The ready queue: who is next, and that finding out costs the same however many wait."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrypool_async import Quota, TaskState, Window
from retrypool_async._lane import SPARE_LANES
from retrypool_async._ready import SPARE_ROUTES, ReadyQueue
from tests.ledger.bench import Bench, cost_of, new_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrypool_async._task import Task


class Line:
    """A ready queue, filled and emptied as the ledger does it."""

    def __init__(self) -> None:
        self.ready = ReadyQueue()
        self.orders = 0

    def push(self, now: float = 0.0, cost: float = 1.0, **options: Any) -> Task:
        task, key = new_task(now, cost_of(cost), **options)
        self.orders += 1
        task.order = self.orders
        self.put_back(task, key)
        return task

    def put_back(self, task: Task, key: Any) -> None:
        task.state = TaskState.QUEUED
        route = self.ready.routes.get(key)
        if route is None:
            route = self.ready.new_route(key)
            route.mask = 1
        self.ready.push(task, route)

    def pop(self, now: float) -> Task | None:
        """Take out the first task of all."""
        self.ready.any_worker.mask = 1
        for lane in self.ready.lanes_in_order(lambda uses: 1, now):
            task = lane.pop()
            task.state = TaskState.RUNNING
            return task
        return None

    def drain(self, now: float = 0.0) -> list[Task]:
        tasks: list[Task] = []
        while (task := self.pop(now)) is not None:
            tasks.append(task)
        return tasks


WISHES = st.fixed_dictionaries(
    {
        "cost": st.sampled_from([1.0, 1.0, 2.0, 3.0]),
        "priority": st.sampled_from([0.0, 0.0, 1.0, -1.0]),
        "require": st.sampled_from(["", "", "a"]),
        "worker": st.sampled_from([None, None, 0]),
        "aging": st.sampled_from([None, None, 4.0]),
    }
)


@given(steps=st.lists(st.one_of(WISHES, st.sampled_from(["pop", "cancel", "back"])), max_size=60))
def test_tasks_come_by_priority_as_grown_and_then_by_the_time_of_becoming_ready(
    steps: list[Any],
) -> None:
    """Over all routes and costs; those that have ended are passed over."""
    line, now, waiting, taken = Line(), 0.0, list[Any](), list[Any]()

    def rank(entry: Any) -> tuple[float, int]:
        task = entry[0]
        aging = task.options.aging
        grown = 0.0 if aging is None else (now - task.ready_at) / aging
        return (round(-(task.options.priority + grown), 9), task.order)

    for step in steps:
        now += 1.0 / 3
        if isinstance(step, dict):
            task = line.push(now, **step)
            waiting.append((task, key_of(task)))
        elif step == "pop":
            first = min(waiting, key=rank, default=None)
            assert line.pop(now) is (None if first is None else first[0])
            if first is not None:
                waiting.remove(first)
                taken.append(first)
        elif step == "cancel" and waiting:
            task, key = waiting.pop(len(waiting) // 2)
            task.state = TaskState.CANCELLED
            line.ready.routes[key].lanes[task.cost].forget(task)
        elif step == "back" and taken:
            entry = taken.pop()
            line.put_back(*entry)
            waiting.append(entry)
    expected = [task for task, _ in sorted(waiting, key=rank)]
    assert sorted(line.ready, key=id) == sorted(expected, key=id)
    assert line.drain(now) == expected
    assert not line.ready


def key_of(task: Task) -> Any:
    options = task.options
    _, key = new_task(require=options.require, worker=options.worker, aging=options.aging)
    return key


def test_a_task_put_back_into_an_emptied_lane_comes_before_its_successors() -> None:
    """The lane may still be listed by the last task it held."""
    line = Line()
    first, other, last = line.push(), line.push(cost=2), line.push()
    assert [line.pop(0.0) for _ in range(3)] == [first, other, last]
    line.put_back(other, key_of(other))
    line.put_back(first, key_of(first))
    assert line.drain() == [first, other]


def test_an_ordinary_task_comes_before_one_of_low_priority_in_its_lane() -> None:
    """Also compared with those in other lanes."""
    line = Line()
    low = line.push(priority=-1.0)
    ordinary, other = line.push(), line.push(cost=2)
    assert line.drain() == [ordinary, other, low]


def test_waiting_makes_up_for_a_lower_priority() -> None:
    """By one for every `aging` seconds."""
    line = Line()
    patient = line.push(now=0.0, aging=10.0)
    urgent = line.push(now=19.0, priority=2.0)
    assert line.pop(19.0) is urgent
    late = line.push(now=21.0, priority=2.0)
    assert line.drain(21.0) == [patient, late]


def test_of_two_that_have_grown_alike_the_first_to_come_goes_first() -> None:
    """Though the last bits of their floats say otherwise."""
    line = Line()
    first = line.push(sum([1 / 3] * 6), aging=4.0)
    second = line.push(sum([1 / 3] * 18), priority=1.0, aging=4.0)
    assert line.drain(6.0) == [first, second]


def test_the_ended_do_not_pile_up_behind_the_living() -> None:
    """They are swept once they are the larger part."""
    line = Line()
    line.push()
    lane = line.ready.usual
    for _ in range(10_000):
        task = line.push()
        task.state = TaskState.CANCELLED
        lane.forget(task)
        assert len(lane.fifo) + len(lane.heap) <= 2 * 34


def test_tasks_that_end_in_line_are_not_counted_any_more() -> None:
    """However many do, from either end."""
    bench = Bench()
    bench.busy(bench.worker())
    tasks = [bench.submit() for _ in range(100)]
    lane = bench.ledger.ready.usual
    for left in reversed(range(100)):
        bench.ledger.cancel(tasks.pop(-(left % 2)), bench.now)
        assert lane.waiting == len(list(lane)) == left


def test_lanes_of_costs_that_nobody_waits_with_are_forgotten() -> None:
    """But for a few, which are kept for the next task of their cost."""
    line = Line()
    for number in range(1000):
        line.push(cost=2.0 + number)
        assert line.pop(0.0) is not None
    assert line.pop(0.0) is None
    assert len(line.ready.any_worker.lanes) <= SPARE_LANES + 2


def test_routes_of_wishes_that_nobody_waits_with_are_forgotten() -> None:
    """But for some, which are kept for the next task with the same wishes."""
    bench = Bench()
    worker = bench.worker()
    for number in range(5000):
        bench.submit(aging=1.0 + number)
        bench.begin(worker)
        bench.succeed(worker)
        assert len(bench.ledger.ready.routes) <= SPARE_ROUTES + 2


# -- what an operation costs ---------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """Count the calls of functions, Python's and C's, that some work takes."""
    count = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def plain(number: int) -> dict[str, Any]:
    return {}


def with_priorities(number: int) -> dict[str, Any]:
    return {"priority": float(number % 7)}


def with_aging(number: int) -> dict[str, Any]:
    return {"aging": 10.0}


def with_costs(number: int) -> dict[str, Any]:
    return {"cost": 1.0 + number % 1000}


def with_tags(number: int) -> dict[str, Any]:
    return {"require": ["a"] if number % 2 else []}


@pytest.mark.parametrize("wishes", [plain, with_priorities, with_aging, with_costs, with_tags])
def test_a_task_costs_the_same_however_many_wait(wishes: Callable[[int], dict[str, Any]]) -> None:
    """From its submission to its end, and when it is cancelled."""

    def price(waiting: int) -> float:
        bench = Bench()
        worker = bench.worker(tags=["a"])
        bench.busy(worker)
        tasks = [bench.submit(**wishes(number)) for number in range(waiting)]

        def work() -> None:
            for number in range(200):
                bench.submit(**wishes(number))
                bench.succeed(worker)
                bench.begin(worker)

        def cancel() -> None:
            for task in random.Random(0).sample(tasks, 200):
                bench.ledger.cancel(task, 0.0)

        return calls(work) + calls(cancel)

    assert price(10_000) <= 1.2 * price(1_000)


def test_a_plan_looks_at_few_lanes_when_nothing_fits() -> None:
    """A task that is blocked closes the worker to those behind it."""

    def price(costs: int) -> int:
        bench = Bench()
        worker = bench.worker(Quota(Window(20_000, per=3600)))
        bench.submit(15_000)
        bench.begin(worker)
        for number in range(costs):
            bench.submit(10_000.0 + number)

        def work() -> None:
            bench.succeed(worker)

        return calls(work)

    assert price(5_000) <= 1.2 * price(100)


def test_passing_what_is_held_costs_the_same_however_many_costs_are_held() -> None:
    """Those that take from the same dimensions are closed together."""

    def price(costs: int) -> int:
        bench = Bench()
        worker = bench.worker(Quota(tokens=Window(20_000, per=3600)))
        bench.submit(cost_of(tokens=15_000.0))
        bench.begin(worker)
        for number in range(costs):
            bench.submit(cost_of(tokens=10_000.0 + number))
        for _ in range(10):
            bench.submit()

        def work() -> None:
            bench.succeed(worker)
            bench.order(worker, 10)

        return calls(work)

    assert price(5_000) <= 1.2 * price(100)


def test_routes_are_seldom_looked_through_however_many_are_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time there have to be twice as many as were left before."""
    looked_at: list[int] = []
    prune = ReadyQueue.prune

    def counting(ready: ReadyQueue) -> None:
        looked_at.append(len(ready.routes))
        prune(ready)

    monkeypatch.setattr(ReadyQueue, "prune", counting)
    bench = Bench()
    bench.busy(bench.worker())
    for number in range(5000):
        bench.submit(aging=1.0 + number)
    assert 0 < sum(looked_at) <= 2 * 5000
