"""Plays everybody around a ledger: the engine, the runners and the operator.

After each step of the ledger it reads the outbox, brings its own memory (see `witness`) up to
date, and asserts what must hold of what the ledger has just done.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from retrypool_async import (
    AttemptOutcome,
    BreakerMoved,
    BreakerState,
    EndReason,
    PoolClosed,
    Quota,
    RetryPoolError,
    TaskState,
    WorkerState,
    WorkerWish,
)
from retrypool_async._books import Effect
from retrypool_async._hedging import is_decisive
from retrypool_async._ledger import Ledger
from retrypool_async._reports import Settlement
from retrypool_async._ruling import Ending, Ruling
from retrypool_async._states import Order
from retrypool_async._twin import Twin, actual
from tests.ledger.bench import new_record, new_task, pool_settings
from tests.ledger.witness import Life, Post, Usage, holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrypool_async._agenda import Due
    from retrypool_async._task import Cost, Task

STAGES = {
    TaskState.QUEUED: "ready",
    TaskState.RESERVED: "held",
    TaskState.RUNNING: "held",
    TaskState.SCHEDULED: "later",
}
AT_WORK = (WorkerState.IDLE, WorkerState.RESERVED, WorkerState.BUSY)


class Play:
    """One life of a ledger."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.ledger = Ledger(pool_settings(**settings))
        self.lives: dict[Task, Life] = {}
        self.posts: list[Post] = []
        self.paused, self.pause_ends = False, inf
        self.concurrency: int | None = None
        self.closing = False
        #: What the runners will find in their channels, and attempts that reached their limit.
        self.deliveries: list[tuple[Post, Task]] = []
        self.overdue: list[tuple[Post, Task]] = []
        self._last_place = self._front_place = 0.0
        # Who was in line and who was idle after the last step; whether the line was shuffled.
        self._line: dict[Life, float] = {}
        self._idle: set[Post] = set()
        self._shuffled = False

    # -- tasks -----------------------------------------------------------------------------------

    def submit(self, cost: Cost, **options: Any) -> None:
        ledger = self.ledger
        task, key = new_task(self.now, cost, **options)
        counted, waited = ledger.submitted, ledger.waiting
        try:
            ledger.submit(task, key, self.now)
        except RetryPoolError:
            assert ledger.submitted == counted, "refused, but recorded"
        else:
            self.lives[task] = Life(task, self._next_place(), self.now)
            limit = ledger.settings.max_queue
            if limit is not None and task.state is TaskState.QUEUED:
                assert ledger.waiting <= max(limit, waited), "more wait than are allowed to"
        self._after()

    def begin(self, post: Post, task: Task) -> None:
        """A runner finds a task in its channel, which may be its own no longer."""
        mine = post.promised is task
        if self.ledger.begin(post.record, task, self.now):
            assert mine, "began what was not promised, or not any more"
            self._started(post, task)
        elif mine:
            self._withdraw_promise(post)
            exact = all(usage.exact for usage in post.usages)
            room = all(usage.allows(task.cost, self.now) for usage in post.usages)
            assert task.has_ended() or not (exact and room), "refused to begin"
        self._after()

    def succeed(self, post: Post, go_on: bool = False) -> None:
        """An attempt returns; that counts even if it was told to stop."""
        task, post.running = post.attempt, None
        assert task is not None
        following = self.ledger.succeed(post.record, task, "value", self.now, go_on)
        self._end(task.original if isinstance(task, Twin) else task)
        self._go_on(post, following, go_on)

    def retry_later(self, post: Post, delay: float, go_on: bool) -> None:
        """An attempt raises an ordinary exception."""
        task, post.running = post.running, None
        assert task is not None
        life, error = self.lives[task], ValueError()
        following = self.ledger.retry_later(post.record, task, error, delay, self.now, go_on)
        life.stage, life.due = "later", self.now + delay
        life.place = self._next_place()
        self._go_on(post, following, go_on)

    def settle(self, post: Post, used: dict[str, float], run: int | None = None) -> None:
        """An attempt says what it has really used; with `run`, as if it were that one."""
        task = post.attempt
        assert task is not None
        run = post.run if run is None else run
        if post.record.task is task and run == task.run_count:
            for usage, entry in post.settled_by:
                usage.amend(entry, used)
        self.ledger.settle(task, run, Settlement(used), self.now)
        self._after()

    def _go_on(self, post: Post, following: Task | None, go_on: bool) -> None:
        """An attempt has ended, and the runner goes on with the next task if it said so."""
        if following is not None and go_on:
            assert following.state is TaskState.RUNNING
            self._check_promise(post, following)
            self._promise(post, following)
            self._started(post, following)
            following = None
        self._after(post, following)

    def fail(self, post: Post, ruling: Ruling, *, cut_off: bool = False) -> None:
        task, plan = post.attempt, ruling.task
        assert task is not None
        life = self.lives[task.original if isinstance(task, Twin) else task]
        goes_on = self.ledger.is_hedged(task) and not is_decisive(ruling)
        following = self.ledger.fail(post.record, task, ruling, self.now, cut_off=cut_off)
        if not cut_off:
            post.running = None
        if ruling.cool_for is not None:
            if ruling.cool_scope == "quota":
                for usage in post.usages:
                    usage.cooling_until = max(usage.cooling_until, self.now + ruling.cool_for)
            for other in self.posts if ruling.cool_scope == "quota" else [post]:
                if other is post or not set(other.usages).isdisjoint(post.usages):
                    other.cooling_until = max(other.cooling_until, self.now + ruling.cool_for)
        if ruling.worker == "retire":
            post.leaving = True
        if ruling.counted and not goes_on:
            life.spend(post)
        if isinstance(plan, Ending):
            life.ending = True
            assert goes_on or life.task.state is plan.state
        else:
            if plan.elsewhere:
                life.tried.add(post.record.id)
            if goes_on:
                assert life.task.state is TaskState.RUNNING, "given up, but an attempt goes on"
            elif plan.delay:
                life.stage, life.due = "later", self.now + plan.delay
                life.place = self._next_place()  # among those that fall due together
            else:
                self._queue(life, front=plan.front, keep_place=plan.keep_place)
                life.in_line = not (plan.same_worker and following is task)
        self._after(post, following)

    def reach_limit(self, post: Post, task: Task) -> None:
        """The engine comes to cut off an attempt, if that has not ended meanwhile."""
        task = actual(task)
        if post.record.task is task and task.state is TaskState.RUNNING:
            error, is_up = TimeoutError(), task.deadline is not None and task.deadline <= self.now
            reason = EndReason.TIMEOUT if is_up else EndReason.ATTEMPTS
            plan = Ending(reason=reason, error=error)
            ruling = Ruling(outcome=AttemptOutcome.TIMEOUT, error=error, task=plan)
            self.fail(post, ruling, cut_off=True)

    def unwind(self, post: Post) -> None:
        """The code of an attempt ends that was told to stop, in time or after all."""
        task, record = post.attempt, post.record
        assert task is not None
        if record.task is task:
            self.fail(post, self.ledger.stopped_ruling(task, record.stop))
        else:
            post.running = None
            self._after(post, self.ledger.unwound(record, self.now))

    def cancel(self, task: Task) -> None:
        life = self.lives[task]
        life.cancelled = life.stage != "ended"
        assert self.ledger.cancel(task, self.now) is life.cancelled
        self._after()

    # -- workers ---------------------------------------------------------------------------------

    def add(
        self,
        usages: tuple[Usage, ...] = (),
        tags: str = "",
        **traits: Any,
    ) -> None:
        record = new_record(self.ledger, *(usage.quota for usage in usages), tags=tags)
        for name, value in traits.items():
            setattr(record, name, value)
        post = Post(record, usages)
        post.cooling_until = max((usage.cooling_until for usage in usages), default=0.0)
        self.posts.append(post)
        self.ledger.add(record, self.now)
        self._after()

    def obey(self, post: Post, error: Exception | None = None) -> None:
        """A runner opens its resource, or carries out the order it was given."""
        order, post.order = post.order, None
        if order is Order.CLOSE:
            self.die(post)
        elif order is None:
            post.open, post.failed = True, error is not None
            self.ledger.opened(post.record, error, self.now)
        else:
            if order in (Order.RESET, Order.REBUILD):
                post.failed = error is not None
            self.ledger.attended(post.record, order, error, self.now)
        self._after()

    def pause(self, post: Post, seconds: float) -> None:
        if not post.leaving:
            post.paused, post.pause_ends = True, self.now + seconds
        self.ledger.pause(post.record, "why", self._when(seconds), self.now)
        self._after()

    def resume(self, post: Post) -> None:
        post.paused, post.pause_ends = False, inf
        self.ledger.resume(post.record, self.now)
        self._after()

    def pause_all(self, seconds: float) -> None:
        self.paused, self.pause_ends = True, self.now + seconds
        self.ledger.pause(None, "why", self._when(seconds), self.now)
        self._after()

    def resume_all(self) -> None:
        self.paused, self.pause_ends = False, inf
        self.ledger.resume(None, self.now)
        self._after()

    def cool(self, post: Post, seconds: float) -> None:
        post.cooling_until = max(post.cooling_until, self.now + seconds)
        self.ledger.cooldown(post.record, self.now + seconds, self.now)
        self._after()

    def clear_cooldown(self, post: Post) -> None:
        post.cooling_until = 0.0
        for usage in post.usages:
            usage.cooling_until = 0.0
        self.ledger.clear_cooldown(post.record, self.now)
        self._after()

    def set_quota(self, post: Post, factor: float) -> None:
        """Change the limits of a worker's first quota, and drop its others, for all who share."""
        old = post.usages[0]
        limits = {
            name: type(limit)(max(limit.limit * factor, 1.0), per=limit.per)
            for name, limit in old.limits.items()
        }
        new = Usage(Quota(**limits), limits)
        sharing = [p for p in self.posts if not set(p.usages).isdisjoint(post.usages)]
        for other in sharing:
            self._withdraw_promise(other)  # it is for the new quota to say whether it may run
        entries = new.inherit(old, self.now)
        for other in sharing:
            other.usages = (new,)
        for other in self.posts:
            other.settled_by = [
                (new, entries[entry]) if usage is old else (usage, entry)
                for usage, entry in other.settled_by
                if usage is not old or entry in entries
            ]
        self.ledger.set_quotas(post.record, (new.quota,), (), self.now)
        self._after()

    def set_concurrency(self, limit: int | None) -> None:
        self.concurrency = limit
        self.ledger.set_concurrency(limit, self.now)
        self._after()

    def remove(self, post: Post, *, force: bool) -> None:
        post.leaving = True
        self.ledger.remove(post.record, self.now, force=force)
        self._after()

    def take_off(self, post: Post) -> None:
        """Nobody waits for a removed worker's attempt any more."""
        self.ledger.take_off(post.record, self.now)
        self._after()

    def break_down(self, post: Post) -> None:
        """The resource of an idle worker is found to be gone."""
        self.ledger.broken(post.record, OSError(), self.now)
        self._after()

    def die(self, post: Post) -> None:
        """A worker leaves, whatever it was doing."""
        post.leaving = True
        self._withdraw_promise(post)
        self.posts.remove(post)
        self.ledger.gone(post.record, self.now)
        self._after()

    # -- time and the end ------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Everything that falls due on the way is carried out at its time."""
        end = self.now + seconds
        while self.ledger.agenda.next_at <= end:
            self.tick()
        self.now = end

    def tick(self) -> None:
        """Carry out what falls due next, or has fallen due already."""
        self.now = max(self.now, self.ledger.agenda.next_at)
        if self.pause_ends <= self.now:
            self.paused, self.pause_ends = False, inf
        for post in self.posts:
            if post.pause_ends <= self.now:
                post.paused, post.pause_ends = False, inf
        self.ledger.tick(self.now)
        due = [x for x in self.lives.values() if x.stage == "later" and x.due <= self.now]
        for life in sorted(due, key=lambda life: (life.due, life.place)):
            assert life.task.state is not TaskState.SCHEDULED, "overslept"
            self._queue(life)
        self._after()

    def end(self, how: Callable[..., None]) -> None:
        """One of the ledger's ways to put an end to tasks, or to workers."""
        waiting_ends = how in (Ledger.end_waiting, Ledger.end_all)
        self.closing |= how in (Ledger.end_all, Ledger.stop_workers)
        for life in self.lives.values():
            life.ending = True
        if waiting_ends:
            how(self.ledger, PoolClosed("the end"), self.now)
        else:
            how(self.ledger, self.now)
        self._after()
        if waiting_ends:
            assert not any(life.stage in ("ready", "later") for life in self.tasks())

    def play_on(self) -> None:
        """Allow everything, do all that is asked, and let time pass until nothing is left to do."""
        self.resume_all()
        self.set_concurrency(None)
        for post in list(self.posts):
            self.resume(post)
        for _ in range(5000):
            for post in list(self.posts):
                if post in self.asked():
                    self.obey(post)
                elif post.promised is not None:
                    self.begin(post, post.promised)
                elif post in self.running():
                    self.succeed(post)
                elif post.running is not None:
                    self.unwind(post)
                else:
                    continue
                break
            else:
                if self.ledger.agenda.next_at == inf:
                    return
                self.tick()
        raise AssertionError("there is no end of it")

    def counting(self) -> set[Due]:
        """The kinds of entries in the agenda that still mean something."""
        ledger = self.ledger
        return {
            kind for when, _, kind, whom in ledger.agenda._heap if ledger._counts(kind, whom, when)
        }

    # -- what there is to choose from ------------------------------------------------------------

    def asked(self) -> list[Post]:
        """Workers whose runners have something to do between attempts."""
        return [
            post
            for post in self.posts
            if post.order is not None or post.record.state is WorkerState.STARTING
        ]

    def running(self) -> list[Post]:
        """Workers whose attempts are still theirs."""
        return [p for p in self.posts if p.running is not None and p.record.task is p.attempt]

    def told_to_stop(self) -> list[Post]:
        """Workers whose attempts should unwind."""
        return [
            post
            for post in self.posts
            if post.running is not None
            and (post.record.task is not post.attempt or post.record.stop is not None)
        ]

    def tasks(self) -> list[Life]:
        """Those that were submitted, hedges apart."""
        return [life for life in self.lives.values() if not life.task.is_hedge]

    def up_to_date(self) -> bool:
        """False while something has fallen due that the engine has not come to yet."""
        return self.ledger.agenda.next_at > self.now

    # -- memory ----------------------------------------------------------------------------------

    def _when(self, seconds: float) -> float | None:
        return None if seconds == inf else self.now + seconds

    def _next_place(self) -> float:
        self._last_place += 1.0
        return self._last_place

    def _queue(self, life: Life, *, front: bool = False, keep_place: bool = False) -> None:
        life.stage, life.in_line = "ready", True
        if front:
            self._front_place -= 1.0
            life.place = self._front_place
        elif not keep_place:
            life.place = self._next_place()
        if not keep_place:
            life.ready_at = self.now

    def _after(self, post: Post | None = None, following: Task | None = None) -> None:
        """Read the outbox; `following` is a task that was reserved without being in there."""
        promises: list[tuple[Post, Task]] = []
        if post is not None and following is not None:
            promises.append((post, following))
        promises += self._read_outbox()
        self._look_for_hedges()
        anew = {post for post, _ in promises}
        for post in self.posts:
            if post.promised is not None and (
                post in anew or post.record.task is not post.promised
            ):
                self._withdraw_promise(post)
        promised = {task for _, task in promises}
        for task, life in self.lives.items():
            if task in promised or task.state is TaskState.QUEUED:
                self._take_back(life)  # from a worker that was told to stop, or has died
            if life.stage == "ready" and not self._has_untried(life):
                life.tried = set(life.spent)
        self.deliveries += promises
        in_force = {post: task for post, task in promises if post.record.task is task}
        self._check_line(in_force)
        for post, task in in_force.items():
            self._check_promise(post, task)
            self._promise(post, task)
        self._line = {
            life: life.place
            for life in self.lives.values()
            if life.stage == "ready" and life.in_line and not self._is_parked(life)
        }
        self._idle = self._free()
        self._shuffled = False
        if self.ledger.turns:
            self.ledger.take_turns(self.now)
            self._after()

    def _look_for_hedges(self) -> None:
        """Get to know those that are new, and forget those that are over."""
        for twin in [twin for twin in self.ledger.twins if twin not in self.lives]:
            original = self.lives[twin.original]
            life = self.lives[twin] = Life(twin, self._next_place(), self.now)
            life.tried = set(original.tried)
            self._shuffled = True
        for task, life in self.lives.items():
            if isinstance(task, Twin) and task not in self.ledger.twins and life.stage != "ended":
                for post in self.posts:
                    if post.promised is task:
                        self._withdraw_promise(post)
                life.stage = "ended"
                self._shuffled = True  # what it held is free in the middle of the step

    def _read_outbox(self) -> list[tuple[Post, Task]]:
        promises: list[tuple[Post, Task]] = []
        by_record = {post.record: post for post in self.posts}
        outbox = self.ledger.outbox
        while outbox:
            effect, subject, detail = outbox.popleft()
            if effect is Effect.SETTLED:
                self._check_ending(subject)
                self._end(subject)
                continue
            post = by_record.get(subject)
            if post is None:
                continue  # it has died meanwhile, and nobody reads its channel
            if effect is Effect.ASSIGN:
                promises.append((post, detail))
            elif effect is Effect.ORDER:
                assert post.order is None, "two orders at once"
                assert post.running is None, "an order in the middle of an attempt"
                post.order = detail
            elif effect is Effect.BREAKER:
                self._breaker_moved(post, detail)
            elif effect is Effect.OVERDUE:
                self.overdue.append((post, detail))
            elif effect is Effect.INTERRUPT:
                opening = post.record.state is WorkerState.STARTING
                assert opening or post.running is not None, "interrupted, but nothing runs"
        return promises

    def _breaker_moved(self, post: Post, event: BreakerMoved) -> None:
        post.ejected = event.new is BreakerState.OPEN
        if post.ejected:
            post.cooling_until = max(post.cooling_until, post.record.cooling_until)
            staying = [other for other in self.posts if not other.leaving]
            out = [other for other in staying if other.ejected]
            peers = [other for other in out if other.record.tags >= post.record.tags]
            breaker = self.ledger.settings.breaker
            assert breaker is not None
            most = breaker.max_ejected * len(staying)
            within = len(out) <= most or peers == [post]
            assert post.leaving or within, "out beyond the cap"

    def _promise(self, post: Post, task: Task) -> None:
        self.lives[task].stage = "held"
        post.promised = task
        for usage in post.usages:
            assert usage.allows(task.cost, self.now), "promised beyond a quota"
        post.debits = [(usage, usage.note(task.cost, self.now)) for usage in post.usages]

    def _withdraw_promise(self, post: Post) -> list[Usage]:
        """Forget a promise; return the usages that it was counted in."""
        if post.promised is not None:
            self._take_back(self.lives[post.promised])
        debits, post.promised, post.debits = post.debits, None, []
        for usage, entry in debits:
            usage.drop(entry, self.now)
        return [usage for usage, _ in debits]

    def _take_back(self, life: Life) -> None:
        """A task is off its worker: ready again at its old place, unless it has ended."""
        if life.stage == "held":
            life.stage = "ready"
            self._shuffled = True

    def _started(self, post: Post, task: Task) -> None:
        assert post.may_start(self.now), "started on a worker that may not start anything"
        assert post.running is None, "two attempts on one worker"
        timeout = task.options.timeout
        assert timeout is None or self.now < task.submitted_at + timeout, "started too late"
        shuffled = self._shuffled
        post.settled_by = []
        for usage in self._withdraw_promise(post):
            assert usage.allows(task.cost, self.now), "started beyond a quota"
            post.settled_by.append((usage, usage.note(task.cost, self.now)))
        self._shuffled = shuffled
        self.lives[task].stage = "held"
        post.running, post.run = task, task.run_count

    def _end(self, task: Task) -> None:
        life = self.lives[task]
        assert life.stage != "ended", "settled twice"
        life.stage = "ended"

    def _is_parked(self, life: Life) -> bool:
        """True while one that was submitted before it with the same order key has not ended."""
        key = life.task.options.order_key
        return key is not None and any(
            other.task.options.order_key == key
            and other.stage != "ended"
            and other.task.id < life.task.id
            for other in self.lives.values()
        )

    def _has_untried(self, life: Life) -> bool:
        """True when a worker that has not tried it can be expected to take it."""
        return any(
            life.may_run_on(post)
            and post.expected
            and post.affords(life.task.cost)
            and post.record.id not in life.tried
            for post in self.posts
        )

    # -- what must hold when a task ends, or is promised to a worker -----------------------------

    def _check_ending(self, task: Task) -> None:
        life, reason, options = self.lives[task], task.reason, task.options
        suited = [post for post in self.posts if life.suits(post) and not post.leaving]
        possible = [post for post in suited if life.may_run_on(post)]
        affordable = any(post.affords(task.cost) for post in possible)
        if reason is EndReason.TIMEOUT:
            assert options.timeout is not None
            assert self.now >= task.submitted_at + options.timeout
        elif reason is EndReason.QUEUE_TIMEOUT:
            assert options.queue_timeout is not None
            assert self.now >= task.submitted_at + options.queue_timeout
            assert task.run_count == 0
        elif reason is EndReason.NO_WORKERS:
            assert not affordable
            assert self.ledger.settings.no_workers != "wait", "was to wait for a worker"
        elif reason is EndReason.NO_WORKER_LEFT:
            assert not affordable
            assert any(post.affords(task.cost) for post in suited)
            assert self.ledger.settings.no_workers != "wait", "was to wait for a worker"
        elif reason is EndReason.COST:
            assert suited
            assert not any(post.affords(task.cost) for post in suited)
        elif reason is EndReason.DEADLINE:
            assert options.timeout is not None
        elif reason is EndReason.CANCELLED:
            assert life.cancelled
        else:
            assert life.ending, f"ended without cause: {reason}"

    def _check_promise(self, post: Post, task: Task) -> None:
        life, name = self.lives[task], post.record.name
        assert life.stage == "ready", f"promised to {name}, but {life.stage}"
        assert life.may_run_on(post), "promised to a worker it does not want"
        if isinstance(task, Twin):
            assert task.original.state is TaskState.RUNNING, "a hedge of nothing"
            assert task.original.holder is not post.record, "a hedge on the same worker"
        assert not self._is_parked(life), "overtook one of its order key"
        assert post.record.id not in life.tried, f"{life} back to a worker it has tried"
        assert post.at_work(self.now), f"promised to {name}, which may not start anything"
        assert not self.paused, "promised while the pool is paused"
        assert not self.closing, "promised while the pool closes"
        held = sum(life.stage == "held" for life in self.lives.values())
        assert self.concurrency is None or held < self.concurrency, "more at once than allowed"

    def _check_line(self, promises: dict[Post, Task]) -> None:
        """Nobody who is before them was passed over, or lost the quota it holds.

        Left out for steps that shuffle the line or the workers: what was free at the moment of the
        choice cannot be seen from outside then.
        """
        if len(promises) != 1 or self._shuffled or self.rounding_decides():
            return
        ((post, task),) = promises.items()
        life, now = self.lives[task], self.now
        idle = self._free()
        if not idle <= self._idle or not life.in_line or not self._exact():
            return
        if any(
            other.stage == "ready" and self._has_come_up(other) for other in self.lives.values()
        ):
            return  # it held quota before the line could be looked at
        before = [
            other
            for other, place in self._line.items()
            if other.stage == "ready" and other.place == place and other.rank(now) < life.rank(now)
        ]
        held = holds(before, [*idle, post], self.posts, now)
        assert held.could_start is None, f"{held.could_start} was before {life}"
        taken = held.forbid(post, task.cost, now)
        assert not (taken and held.sure), f"{life} took what was held for another"

    def _has_come_up(self, life: Life) -> bool:
        """True when its turn among those of its order key has come with this step."""
        keyed = life.stage == "ready" and life.task.options.order_key is not None
        return keyed and life not in self._line and not self._is_parked(life)

    def _may_have_grown(self, life: Life, ready: list[Life]) -> bool:
        """True when it may only now have become more urgent than one that holds quota.

        Growing is no event: what follows from it is seen at the next one.
        """
        aging = life.task.options.aging
        return any(
            0.0 < post.wait(other.task.cost, self.now) < inf
            for other in ready
            if other.task.options.aging != aging
            for post in self._free()
            if other.may_run_on(post)
        )

    def _free(self) -> set[Post]:
        return {post for post in self.posts if post.idle and post.may_start(self.now)}

    def _exact(self) -> bool:
        return all(usage.exact for post in self.posts for usage in post.usages)

    def rounding_decides(self) -> bool:
        """True when tasks have grown equally urgent on different ways."""
        ways: set[tuple[float, object]] = set()
        for life in self.lives.values():
            if life.stage == "ready":
                aging, priority = life.task.options.aging, life.task.options.priority
                way = None if aging is None else (priority, aging, life.ready_at)
                ways.add((life.urgency(self.now), way))
        return len({urgency for urgency, _ in ways}) < len(ways)

    # -- what must always hold -------------------------------------------------------------------

    def check_books(self) -> None:
        ledger = self.ledger
        ledger.check()
        stages = [life.stage for life in self.lives.values()]
        assert ledger.submitted == len(self.tasks())
        assert ledger.live == len(stages) - stages.count("ended")
        assert ledger.held == stages.count("held")
        assert ledger.scheduled == stages.count("later")
        assert ledger.waiting == [life.stage for life in self.tasks()].count("ready")

    def check_places(self) -> None:
        for life in self.lives.values():
            if actual(life.task) is life.task:
                assert STAGES.get(life.task.state, "ended") == life.stage, "not where it should be"
        for post in self.posts:
            record = post.record
            promised = post.promised if record.state is WorkerState.RESERVED else None
            assert promised is post.promised, "not where it should be"
            assert promised is None or record.task is promised, "not where it should be"
            busy = record.state is WorkerState.BUSY
            assert not busy or record.task is post.attempt, "not where it should be"
            paused = record.wish is WorkerWish.PAUSE
            assert post.leaving or paused is post.paused, "not what the operator said"
            if self.up_to_date() and not self.closing and post.at_work(self.now):
                assert record.state in AT_WORK, "out of work for no reason"

    def check_idleness(self) -> None:
        if self.paused or self.closing or not self.up_to_date() or self.rounding_decides():
            return
        ready = [
            life
            for life in self.lives.values()
            if life.stage == "ready" and not self._is_parked(life)
        ]
        held = sum(life.stage == "held" for life in self.lives.values())
        if self.concurrency is None or held < self.concurrency:
            could_start = holds(ready, self._free(), self.posts, self.now).could_start
            if could_start is None or self._may_have_grown(could_start, ready):
                return
            assert not self._exact(), f"{could_start} could run"

    def check_patience(self) -> None:
        if not self.up_to_date():
            return
        refuses = self.ledger.settings.no_workers in ("raise", "dead") and not self.closing
        for life in self.tasks():
            task, options = life.task, life.task.options
            if life.stage == "ready" and refuses and life.spent and not self._is_parked(life):
                may_run = [post for post in self.posts if life.may_run_on(post)]
                able = [post for post in may_run if not post.leaving and post.affords(task.cost)]
                assert able, "waits for nobody"
            if life.stage in ("ready", "later") and options.timeout is not None:
                assert self.now < task.submitted_at + options.timeout, "past its timeout"
            if life.stage == "ready" and task.run_count == 0 and options.queue_timeout is not None:
                assert self.now < task.submitted_at + options.queue_timeout, "waits too long"
