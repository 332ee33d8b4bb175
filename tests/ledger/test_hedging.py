"""Hedges step by step: what no running pool shows for certain."""

from __future__ import annotations

import pytest

from retrypool_async import EndReason, Hedge, PoolClosed, Quota, TaskState, Window
from retrypool_async._ruling import Ending
from retrypool_async._task import Task
from tests.ledger.bench import Bench

TWO = Hedge(after=2)
GIVEN_UP = Ending(reason=EndReason.ATTEMPTS, error=ValueError())
USELESS = Ending(reason=EndReason.DISCARDED, error=ValueError())


def hedged() -> tuple[Bench, Task]:
    """A task on the first of two workers, and its hedge promised to the second."""
    bench = Bench()
    for _ in range(2):
        bench.worker(Quota(Window(1, per=60)))
    task = bench.submit(hedge=TWO)
    bench.begin(task.holder)
    bench.tick(2.0)
    assert [twin.state for twin in bench.ledger.twins] == [TaskState.RESERVED]
    bench.ledger.check()
    return bench, task


@pytest.mark.parametrize("how", ["succeeds", "fails", "is cancelled", "is closed"])
def test_a_hedge_that_was_promised_a_worker_is_taken_back_whole(how: str) -> None:
    """It does not start, and what was debited for it is free again."""
    bench, task = hedged()
    first, second = bench.ledger.roster.workers.values()
    promised = second.task
    assert promised is not None
    if how == "succeeds":
        bench.succeed(first)
    elif how == "fails":
        bench.fail(first, GIVEN_UP)
    elif how == "is cancelled":
        bench.ledger.cancel(task, bench.now)
    else:
        bench.ledger.end_all(PoolClosed(), bench.now)
    assert not bench.ledger.begin(second, promised, bench.now)
    assert second.quotas[0].left(bench.now) == {"requests": 1}
    assert bench.ledger.debited - bench.ledger.refunded == bench.ledger.started == 1
    assert not bench.ledger.twins
    bench.ledger.check()


@pytest.mark.parametrize("first_ends", ["a success", "a failure", "a verdict on the task"])
@pytest.mark.parametrize("who", [0, 1])
def test_two_attempts_come_to_one_end(who: int, first_ends: str) -> None:
    """Whichever ends first, and however; the books balance all the way."""
    bench, task = hedged()
    workers = list(bench.ledger.roster.workers.values())
    bench.begin(workers[1])
    bench.ledger.check()
    ends, goes_on = workers[who], workers[1 - who]
    if first_ends == "a success":
        bench.succeed(ends)
    else:
        bench.fail(ends, GIVEN_UP if first_ends == "a failure" else USELESS)
    bench.ledger.check()
    if first_ends == "a failure":
        assert (task.state, task.holder, goes_on.task) == (TaskState.RUNNING, goes_on, task)
        bench.fail(goes_on, GIVEN_UP)
        bench.ledger.check()
    assert task.state is (TaskState.SUCCEEDED if first_ends == "a success" else TaskState.DEAD)
    assert (bench.ledger.submitted, bench.ledger.live, bench.ledger.held) == (1, 0, 0)
    assert task.attempt_count == 1
