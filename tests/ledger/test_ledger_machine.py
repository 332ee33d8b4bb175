"""A Hypothesis machine against the ledger alone: no event loop, no runner, time as a number."""

from __future__ import annotations

import sys
from math import inf
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from retrypool_async import (
    AttemptOutcome,
    Breaker,
    Bucket,
    EndReason,
    Hedge,
    Quota,
    RetryBudget,
    Window,
)
from retrypool_async._agenda import Due
from retrypool_async._ledger import Ledger
from retrypool_async._ruling import Again, Ending, Ruling
from retrypool_async._task import Cost
from tests.ledger.bench import cost_of
from tests.ledger.play import Play
from tests.ledger.witness import Usage

LIMITS: list[dict[str, Window | Bucket] | None] = [
    None,
    {"requests": Window(2, per=3)},
    {"requests": Window(1, per=1)},
    {"requests": Window(5, per=2)},
    {"requests": Bucket(3, per=2)},
    {"requests": Window(3, per=2), "tokens": Window(10, per=4)},
    {"tokens": Window(10, per=4), "seats": Window(2, per=3)},
]
COSTS = [cost_of(), cost_of(), cost_of(), cost_of(0.0), cost_of(2.0), cost_of(5.0)]
COSTS += [cost_of(1.0, tokens=4.0), cost_of(1.0, tokens=9.0), cost_of(0.0, tokens=4.0)]
COSTS += [cost_of(1.0, seats=1.0), cost_of(1.0, tokens=4.0, seats=2.0)]


class LedgerMachine(RuleBasedStateMachine):
    """Decides what happens next; `Play` does it, and looks whether the ledger is right."""

    play: Play
    limits: ClassVar[list[Any]] = LIMITS
    alike: ClassVar[bool] = False
    bare: ClassVar[bool] = False
    breaker: Breaker | None = None
    retry_budget: RetryBudget | None = None

    def pick(self, data: st.DataObject, items: list[Any]) -> Any:
        return items[data.draw(st.integers(0, len(items) - 1))]

    @initialize(
        data=st.data(),
        no_workers=st.sampled_from(["wait", "wait", "wait", "raise", "dead", 2.0]),
        max_queue=st.sampled_from([None, None, None, 3]),
        workers=st.integers(1, 4),
    )
    def build(
        self, data: st.DataObject, no_workers: Any, max_queue: int | None, workers: int
    ) -> None:
        self.play = Play(
            no_workers=no_workers,
            max_queue=max_queue,
            breaker=self.breaker,
            retry_budget=self.retry_budget,
        )
        for _ in range(workers):
            self.add_worker(data)
            self.play.obey(self.play.posts[-1])

    # -- tasks -----------------------------------------------------------------------------------

    @precondition(lambda self: not self.play.closing)
    @rule(
        amount=st.integers(1, 4),
        cost=st.sampled_from(COSTS),
        require=st.sampled_from(["", "", "", "", "a", "b"]),
        priority=st.sampled_from([0.0, 0.0, 0.0, 1.0, -1.0]),
        aging=st.sampled_from([None, None, None, 2.0]),
        worker=st.sampled_from([None, None, None, None, 0, 1]),
        timeout=st.sampled_from([*[None] * 10, 0.0, 3.0]),
        queue_timeout=st.sampled_from([*[None] * 10, 0.0, 2.0]),
        attempt_timeout=st.sampled_from([None, None, 1.5]),
        order_key=st.sampled_from([None, None, None, "a", "b"]),
        hedge=st.sampled_from(
            [None, None, Hedge(0), Hedge(0.5), Hedge(quantile=0.5, min_samples=1)]
        ),
    )
    def submit(self, amount: int, cost: Cost, **options: Any) -> None:
        if self.alike:
            amount, cost, options = 3 * amount, cost_of(), {}
        if self.bare:
            options = {name: options[name] for name in ("require", "worker", "priority")}
        if options.get("worker") is not None and "hedge" in options:
            options["hedge"] = None
        for _ in range(amount):
            self.play.submit(cost, **options)

    @precondition(lambda self: self.play.deliveries)
    @rule(data=st.data(), amount=st.integers(1, 4))
    def runners_look_into_their_channels(self, data: st.DataObject, amount: int) -> None:
        deliveries = self.play.deliveries
        for _ in range(min(amount, len(deliveries))):
            self.play.begin(*deliveries.pop(data.draw(st.integers(0, len(deliveries) - 1))))

    @precondition(lambda self: self.play.running())
    @rule(data=st.data(), amount=st.integers(1, 3), go_on=st.booleans())
    def attempts_succeed(self, data: st.DataObject, amount: int, go_on: bool) -> None:
        for _ in range(amount):
            if running := self.play.running():  # a success may be the end of two of them
                self.play.succeed(self.pick(data, running), go_on)

    @precondition(lambda self: any(post.running for post in self.play.posts))
    @rule(
        data=st.data(),
        used=st.dictionaries(
            st.sampled_from(["requests", "tokens", "seats"]), st.sampled_from([0.0, 0.5, 3.0, 12.0])
        ),
        run=st.sampled_from([None, None, None, 0]),
    )
    def attempt_settles(self, data: st.DataObject, used: dict[str, float], run: int | None) -> None:
        posts = [post for post in self.play.posts if post.running is not None]
        self.play.settle(self.pick(data, posts), used, run)

    @precondition(lambda self: self.usual())
    @rule(data=st.data(), amount=st.integers(1, 3), go_on=st.booleans())
    def attempts_fail_as_usual(self, data: st.DataObject, amount: int, go_on: bool) -> None:
        for _ in range(min(amount, len(self.usual()))):
            self.play.retry_later(self.pick(data, self.usual()), 1.0, go_on)

    def usual(self) -> list[Any]:
        """Workers whose attempts may fail in the most usual way."""
        return [
            post
            for post in self.play.running()
            if post.record.stop is None
            and post.running.deadline is None
            and post.record.max_attempts_per_task is None
            and post.running.options.fails_as_usual
        ]

    @precondition(lambda self: self.play.running())
    @rule(
        data=st.data(),
        delay=st.sampled_from([0.0, 0.0, 1.0]),
        how=st.sampled_from(
            ["", "front", "keep_place", "same_worker", "elsewhere", "elsewhere", "end", "discard"]
        ),
        blame=st.sampled_from([*["task"] * 6, "worker", "quota", "rebuild", "retire"]),
        reckons=st.booleans(),
        cut_off=st.sampled_from([False, False, False, True]),
    )
    def attempt_fails(
        self, data: st.DataObject, delay: float, how: str, blame: str, reckons: bool, cut_off: bool
    ) -> None:
        plan: Again | Ending
        if how in ("end", "discard"):
            reason = EndReason.ATTEMPTS if how == "end" else EndReason.DISCARDED
            plan = Ending(reason=reason, error=ValueError())
        elif how == "same_worker":
            plan = Again(same_worker=True, front=True)
        else:
            plan = Again(delay=delay, **({how: True} if how else {}))
        if isinstance(plan, Again) and reckons:
            plan.else_ending = Ending(reason=EndReason.DEADLINE, error=TimeoutError())
        more: dict[str, Any] = {"outcome": AttemptOutcome.ERROR}
        if blame in ("worker", "quota"):
            more = {"outcome": AttemptOutcome.THROTTLED, "cool_for": 2.0, "cool_scope": blame}
        elif blame != "task":
            more = {"outcome": AttemptOutcome.WORKER_LOST, "worker": blame}
        ruling = Ruling(error=ValueError(), task=plan, counted=blame == "task", **more)
        self.play.fail(self.pick(data, self.play.running()), ruling, cut_off=cut_off)

    @precondition(lambda self: self.play.overdue)
    @rule(data=st.data())
    def engine_comes_to_a_limit(self, data: st.DataObject) -> None:
        overdue = self.play.overdue
        self.play.reach_limit(*overdue.pop(data.draw(st.integers(0, len(overdue) - 1))))

    @precondition(lambda self: self.play.told_to_stop())
    @rule(data=st.data())
    def stopped_attempt_unwinds(self, data: st.DataObject) -> None:
        self.play.unwind(self.pick(data, self.play.told_to_stop()))

    @precondition(lambda self: self.play.lives)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.play.cancel(self.pick(data, self.play.tasks()[-8:]).task)

    # -- workers ---------------------------------------------------------------------------------

    @precondition(lambda self: len(self.play.posts) < 4 and not self.play.closing)
    @rule(data=st.data())
    def add_worker(self, data: st.DataObject) -> None:
        limits = data.draw(st.sampled_from(self.limits))
        usages = () if limits is None else (Usage(Quota(**limits), limits),)
        present = [usage for post in self.play.posts for usage in post.usages]
        if present and data.draw(st.booleans()):
            usages += (self.pick(data, present),)
        tags = data.draw(st.sampled_from(["", "a", "ab"]))
        max_tasks = data.draw(st.sampled_from([None, None, None, 2]))
        self.play.add(usages, tags, max_tasks=max_tasks, **self.more_traits(data))

    def more_traits(self, data: st.DataObject) -> dict[str, Any]:
        """What else is special about a worker."""
        return {}

    @precondition(lambda self: self.play.asked())
    @rule(data=st.data(), amount=st.integers(1, 3), fails=st.sampled_from([*[False] * 5, True]))
    def runners_do_as_told(self, data: st.DataObject, amount: int, fails: bool) -> None:
        for _ in range(min(amount, len(self.play.asked()))):
            self.play.obey(self.pick(data, self.play.asked()), OSError() if fails else None)

    @precondition(lambda self: self.play.posts)
    @rule(
        data=st.data(),
        what=st.sampled_from(["pause", "resume", "resume", "cool", "clear", "quota", "pool"]),
    )
    def operator_acts(self, data: st.DataObject, what: str) -> None:
        play, post = self.play, self.pick(data, self.play.posts)
        if what == "pause":
            play.pause(post, data.draw(st.sampled_from([inf, 1.0])))
        elif what == "resume":
            play.resume(post)
        elif what == "cool":
            play.cool(post, data.draw(st.sampled_from([0.0, 0.5, 3.0])))
        elif what == "clear":
            play.clear_cooldown(post)
        elif what == "quota" and post.usages:
            play.set_quota(post, data.draw(st.sampled_from([0.5, 2.0])))
        elif what == "pool" and not play.paused:
            play.pause_all(data.draw(st.sampled_from([inf, 1.0])))
        elif what == "pool":
            play.resume_all()

    @rule(limit=st.sampled_from([None, None, 1, 2]))
    def set_concurrency(self, limit: int | None) -> None:
        self.play.set_concurrency(limit)

    @precondition(lambda self: self.play.posts)
    @rule(
        data=st.data(),
        how=st.sampled_from([*["stay"] * 5, "remove", "force", "take off", "break", "die"]),
    )
    def worker_goes(self, data: st.DataObject, how: str) -> None:
        play, post = self.play, self.pick(data, self.play.posts)
        if how in ("remove", "force"):
            play.remove(post, force=how == "force")
        elif how == "take off" and post.leaving and post in play.running():
            play.take_off(post)
        elif how == "break" and post.idle:
            play.break_down(post)
        elif how == "die":
            play.die(post)

    # -- time and the end ------------------------------------------------------------------------

    @rule(
        how=st.sampled_from(["in time", "in time", "exactly", "late"]),
        seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0]),
    )
    def time_passes(self, how: str, seconds: float) -> None:
        """What falls due is carried out at its time, or the engine has not come to it yet."""
        if how == "in time":
            self.play.pass_time(seconds)
        elif how == "late":
            self.play.now += seconds
        elif self.play.ledger.agenda.next_at < inf:
            self.play.tick()

    @precondition(lambda self: len(self.play.lives) > 8)
    @rule(
        how=st.sampled_from(["end_waiting", "stop_running", "end_all", "stop_workers"]),
        goes_on=st.sampled_from([True, True, False]),
    )
    def end(self, how: str, goes_on: bool) -> None:
        if not goes_on:
            self.play.end(getattr(Ledger, how))

    def teardown(self) -> None:
        """All that can run runs, the rest is cancelled, the workers close, and nothing is left."""
        if sys.exception() is not None:
            return  # something has failed already, and is to be seen as it was
        play, ledger = self.play, self.play.ledger
        play.play_on()
        for life in play.tasks():
            play.cancel(life.task)
        play.check_books()
        assert ledger.live == 0
        assert not list(ledger.ready)
        assert all(life.task.state.final for life in play.tasks())
        about_workers = {Due.COOL, Due.GRACE, Due.RESUME, Due.REBUILD, Due.LIMIT}
        assert play.counting() <= about_workers, "timers of tasks that have ended"
        play.end(Ledger.stop_workers)
        play.play_on()
        assert not ledger.roster.workers
        assert not ledger.roster.free
        assert not play.counting(), "timers of nobody"
        play.check_books()

    # -- what must hold after every rule ---------------------------------------------------------

    @invariant()
    def the_books_balance(self) -> None:
        """Recounted by the ledger itself, and counted apart from it."""
        self.play.check_books()

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        self.play.check_places()

    @invariant()
    def nobody_idles_beside_work_it_has_quota_for(self) -> None:
        self.play.check_idleness()

    @invariant()
    def nobody_waits_longer_than_asked(self) -> None:
        self.play.check_patience()


class BreakerMachine(LedgerMachine):
    """The same with a breaker, which opens again and again, and with retries being counted.

    Without quotas, which are not what it is about: so its lives come to the point sooner.
    """

    limits: ClassVar[list[Any]] = [None]
    retry_budget = RetryBudget()
    breaker = Breaker(1, cooldown=2, max_cooldown=4, max_ejected=0.4)


class QueueMachine(LedgerMachine):
    """The same with tasks that are all alike: then few workers are asked for quota."""

    limits: ClassVar[list[Any]] = LIMITS[1:5]
    alike: ClassVar[bool] = True


class HoldMachine(LedgerMachine):
    """The same with tasks that only differ in cost, place and urgency: so more is held for some."""

    limits: ClassVar[list[Any]] = LIMITS[5:]
    bare: ClassVar[bool] = True


class AttemptLimitMachine(LedgerMachine):
    """The same with workers most of which allow a task very few attempts, also without quotas.

    Half of them look at their resource after a rest.
    """

    limits: ClassVar[list[Any]] = [None]

    def more_traits(self, data: st.DataObject) -> dict[str, Any]:
        return {
            "max_attempts_per_task": data.draw(st.sampled_from([1, 1, 2, None])),
            "checks": data.draw(st.booleans()),
        }

    @rule(
        data=st.data(),
        amount=st.integers(1, 6),
        delay=st.sampled_from([0.0, 1.0]),
        elsewhere=st.booleans(),
    )
    def attempts_are_spent(
        self, data: st.DataObject, amount: int, delay: float, elsewhere: bool
    ) -> None:
        play = self.play
        for _ in range(amount):
            if play.deliveries:
                play.begin(*play.deliveries.pop(0))
            if play.running():
                error, plan = ValueError(), Again(delay=delay, elsewhere=elsewhere)
                ruling = Ruling(outcome=AttemptOutcome.ERROR, error=error, task=plan)
                play.fail(self.pick(data, play.running()), ruling)


LIVES = settings(
    max_examples=800,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def places_are_soon_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only after more workers than a life has."""
    monkeypatch.setattr("retrypool_async._eligible.MOST_DEPARTED", 1)


@pytest.mark.slow
@pytest.mark.timeout(180)
class TestLedger(LedgerMachine.TestCase):
    """Lives chosen anew in every run; a failing one is printed with a blob to repeat it."""

    settings = LIVES


@pytest.mark.slow
@pytest.mark.timeout(180)
class TestBreakers(BreakerMachine.TestCase):
    """The same with breakers."""

    settings = settings(LIVES, max_examples=300)


@pytest.mark.slow
@pytest.mark.timeout(180)
class TestQueues(QueueMachine.TestCase):
    """The same with one long queue."""

    settings = settings(LIVES, max_examples=200)


class TestAttemptLimits(AttemptLimitMachine.TestCase):
    """The same with few attempts per worker."""

    settings = settings(LIVES, max_examples=300)
