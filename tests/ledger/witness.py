"""What the machine remembers by itself, to hold the books of the ledger against.

Nothing in here asks the ledger: usage is counted from the starts that were seen, places in line
from the order of events, and what a worker may do from what its operator said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from retrypool_async import Bucket, Quota, Window, WorkerState
from retrypool_async._states import Order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from retrypool_async._record import WorkerRecord
    from retrypool_async._task import Cost, Task

#: Less than this apart, two times or two amounts count as the same.
EPSILON = 1e-8


class Usage:
    """What was used of one quota: every start at its time, and every promise at its own."""

    def __init__(self, quota: Quota, limits: Mapping[str, Window | Bucket]) -> None:
        self.quota = quota
        self.limits = limits
        self._entries: dict[int, tuple[float, Cost]] = {}
        self._serial = 0
        #: How fast each bucket leaks: (since when, amount a second), the oldest first.
        self._leaks = {
            name: [(0.0, limit.limit / limit.per)]
            for name, limit in limits.items()
            if isinstance(limit, Bucket)
        }
        #: True once something was taken back after its time.
        self.amended = False
        #: Until when the service refuses all that share it: who comes meanwhile cools too.
        self.cooling_until = 0.0

    @property
    def exact(self) -> bool:
        """False when the meter of a bucket may take it for fuller than it is."""
        return not self.amended or not any(
            isinstance(limit, Bucket) for limit in self.limits.values()
        )

    def note(self, cost: Cost, at: float) -> int:
        """Count `cost` at a time. Returns what to `drop` it by."""
        self._serial += 1
        self._entries[self._serial] = (at, cost)
        return self._serial

    def drop(self, entry: int, now: float) -> None:
        """Count it no more."""
        at, _ = self._entries.pop(entry)
        self.amended = self.amended or now > at

    def amend(self, entry: int, used: Mapping[str, float]) -> None:
        """Count it as if this had been used from the start."""
        at, cost = self._entries[entry]
        self._entries[entry] = (at, tuple({**dict(cost), **used}.items()))
        self.amended = True

    def inherit(self, old: Usage, now: float) -> dict[int, int]:
        """Go on from the usage of a quota with the same dimensions and periods.

        Returns what became of its entries, where they can still be amended.
        """
        self.cooling_until = old.cooling_until
        self.amended = old.amended
        for name, limit in self.limits.items():
            if isinstance(limit, Bucket):
                self._leaks[name] = [*old._leaks[name], (now, limit.limit / limit.per)]
        return {entry: self.note(cost, at) for entry, (at, cost) in old._entries.items()}

    def wait(self, cost: Cost, now: float) -> float:
        """Seconds until `cost` has room."""
        waits = [0.0]
        for name, amount in cost:
            limit = self.limits.get(name) if amount else None  # nothing always has room
            if limit is None:
                continue
            if isinstance(limit, Window):
                waits.append(self._window_wait(name, limit, amount, now))
            else:
                excess = self._level(name, now) + amount - limit.limit
                if excess > EPSILON:
                    waits.append(inf if amount > limit.limit else excess * limit.per / limit.limit)
        return max(waits)

    def allows(self, cost: Cost, now: float) -> bool:
        """True when `cost` may start now."""
        for name, amount in cost:
            limit = self.limits.get(name) if amount else None
            if isinstance(limit, Window):
                if self._window_wait(name, limit, amount, now) > 0.0:
                    return False
            elif limit and self._level(name, now) + amount > limit.limit + EPSILON:
                return False
        return True

    def _of(self, name: str) -> Iterable[tuple[float, float]]:
        entries = [
            (at, amount)
            for at, cost in self._entries.values()
            for dimension, amount in cost
            if dimension == name
        ]
        return sorted(entries)

    def _window_wait(self, name: str, limit: Window, amount: float, now: float) -> float:
        if amount > limit.limit:
            return inf
        used = [e for e in self._of(name) if e[0] + limit.per > now + EPSILON]
        excess = sum(taken for _, taken in used) + amount - limit.limit
        for at, taken in used:
            if excess <= EPSILON:
                break
            excess -= taken
            if excess <= EPSILON:
                return at + limit.per - now
        return 0.0

    def _level(self, name: str, now: float) -> float:
        level, last = 0.0, 0.0
        for at, amount in (*self._of(name), (now, 0.0)):
            level = max(level - self._leaked(name, last, at), 0.0) + amount
            last = at
        return level

    def _leaked(self, name: str, start: float, end: float) -> float:
        """What leaks out between two times, if there is as much in."""
        leaks = self._leaks[name]
        until = [since for since, _ in leaks[1:]] + [inf]
        return sum(
            rate * max(min(end, to) - max(start, since), 0.0)
            for (since, rate), to in zip(leaks, until, strict=True)
        )


@dataclass(eq=False, repr=False)
class Post:
    """What was said to one worker, and what it is doing."""

    record: WorkerRecord
    usages: tuple[Usage, ...]
    paused: bool = False
    pause_ends: float = inf
    cooling_until: float = 0.0
    #: Removed, or lost for good.
    leaving: bool = False
    #: Kept out by its breaker.
    ejected: bool = False
    open: bool = False
    #: Its resource could not be opened, rebuilt or reset.
    failed: bool = False
    order: Order | None = None
    #: The task whose code is running on it, although it may have been taken off meanwhile.
    running: Task | None = None
    #: Which of its runs that is.
    run: int = 0
    #: The task it was promised, and where that was counted, and as which entry.
    promised: Task | None = None
    debits: list[tuple[Usage, int]] = field(default_factory=list[tuple[Usage, int]])
    #: Where the attempt that runs on it was counted.
    settled_by: list[tuple[Usage, int]] = field(default_factory=list[tuple[Usage, int]])

    def __repr__(self) -> str:
        return f"<{self.record.name} {self.record.state.name}>"

    def may_start(self, now: float) -> bool:
        """True when nothing that was said to it forbids a start."""
        return not self.paused and not self.leaving and self.cooling_until <= now

    def at_work(self, now: float) -> bool:
        """True when it must be idle, or have a task."""
        opened = self.open and not self.failed and self.order is None
        unwinding = self.running is not None and self.record.task is not self.running
        return opened and not unwinding and self.may_start(now)

    @property
    def expected(self) -> bool:
        """True when tasks may count on it without anybody's help."""
        rebuilt = not self.failed or self.order is Order.REBUILD or self.record.needs_rebuild
        return not self.paused and not self.leaving and not self.ejected and rebuilt

    @property
    def idle(self) -> bool:
        return self.record.state is WorkerState.IDLE

    def affords(self, cost: Cost) -> bool:
        """True when its quotas could ever grant `cost`."""
        return all(
            amount <= usage.limits[name].limit
            for usage in self.usages
            for name, amount in cost
            if name in usage.limits
        )

    def wait(self, cost: Cost, now: float) -> float:
        """Seconds until all its quotas have room."""
        return max((usage.wait(cost, now) for usage in self.usages), default=0.0)


@dataclass(eq=False, repr=False)
class Life:
    """One task as seen from outside."""

    task: Task
    place: float
    ready_at: float
    stage: str = "ready"  # or "held", "later", "ended"
    due: float = 0.0
    #: The workers that are not to be tried again in this round; of these, those that never are.
    tried: set[int] = field(default_factory=set[int])
    spent: set[int] = field(default_factory=set[int])
    #: Attempts that counted, by worker.
    counts: dict[int, int] = field(default_factory=dict[int, int])
    #: False after a retry on the same worker, which has no place in line.
    in_line: bool = True
    cancelled: bool = False
    ending: bool = False

    def __repr__(self) -> str:
        return f"<task {self.task.id} {self.stage}>"

    def suits(self, post: Post) -> bool:
        """True when its wishes allow the worker."""
        options = self.task.options
        return options.require <= post.record.tags and options.worker in (None, post.record.id)

    def may_run_on(self, post: Post) -> bool:
        """True when its wishes allow the worker, and the worker allows another attempt."""
        return self.suits(post) and post.record.id not in self.spent

    def spend(self, post: Post) -> None:
        """An attempt of it has counted on a worker."""
        number = post.record.id
        self.counts[number] = self.counts.get(number, 0) + 1
        if self.counts[number] == post.record.max_attempts_per_task:
            self.spent.add(number)
            self.tried.add(number)

    @property
    def kind(self) -> object:
        """Equal for tasks that may use the same workers at the same cost."""
        options = self.task.options
        wishes = (options.require, options.worker, options.aging)
        return wishes, frozenset(self.tried), self.task.cost

    def urgency(self, now: float) -> float:
        """Its priority, as grown by now."""
        options = self.task.options
        grown = 0.0 if options.aging is None else (now - self.ready_at) / options.aging
        return round(options.priority + grown, 8)

    def rank(self, now: float) -> tuple[float, float]:
        """Sorts before what should start later."""
        return (-self.urgency(now), self.place)


@dataclass
class Holds:
    """What tasks that wait hold, going down their line until one could start at once."""

    could_start: Life | None = None
    #: How much of each dimension of a quota is kept: all, or what a task needs beside.
    kept: dict[tuple[Usage, str], float] = field(default_factory=dict[tuple["Usage", str], float])
    #: Who has been refused, since something is kept, to a task that takes from these dimensions.
    refused: set[tuple[Post, frozenset[str]]] = field(
        default_factory=set[tuple["Post", frozenset[str]]]
    )
    #: Workers that wait with a task which may not follow its quota to all who share it.
    reserved: set[Post] = field(default_factory=set["Post"])
    #: False when two workers would fit a task at the same time, and both are taken as held.
    sure: bool = True

    def forbid(self, post: Post, cost: Cost, now: float) -> bool:
        """True when the worker must leave a task of this cost alone for the sake of another."""
        if post in self.reserved or (post, uses(cost)) in self.refused:
            return True
        return any(
            usage.wait(((name, amount + self.kept[usage, name]),), now) > 0.0
            for usage in post.usages
            for name, amount in cost
            if amount and (usage, name) in self.kept
        )

    def keep(self, post: Post, cost: Cost, now: float) -> set[Usage]:
        """Keep on a worker what a task needs. Return the quotas that it waits for."""
        waits = {
            (usage, name)
            for usage in post.usages
            for name, amount in cost
            if usage.wait(((name, amount),), now) > 0.0
        }
        scarce = {name for _, name in waits}
        for usage in post.usages:
            for name, amount in cost:
                if (usage, name) in waits:
                    self.kept[usage, name] = inf
                elif amount and name in usage.limits and name not in {*scarce, "requests"}:
                    self.kept[usage, name] = self.kept.get((usage, name), 0.0) + amount
        self.refused.add((post, uses(cost)))
        return {usage for usage, _ in waits}


def uses(cost: Cost) -> frozenset[str]:
    """The dimensions that a cost takes from."""
    return frozenset(name for name, amount in cost if amount)


def holds(
    lives: Iterable[Life], free: Collection[Post], posts: Collection[Post], now: float
) -> Holds:
    """Go down the line of those that wait, with some of all workers free.

    A task that fits nowhere is kept what it needs of the worker which will fit it first: all of the
    dimensions that keep it waiting, and of the others but `requests` what it takes. Those behind it
    may use the rest; but if it may not run on everyone who shares what it waits for, that worker
    waits with it. Of several of one kind, only the first holds any.
    """
    found, kinds = Holds(), set[object]()
    for life in sorted(lives, key=lambda life: life.rank(now)):
        if life.kind in kinds:
            continue
        kinds.add(life.kind)
        cost = life.task.cost
        suitable = {p for p in posts if life.may_run_on(p) and p.record.id not in life.tried}
        waits: list[tuple[float, Post]] = []
        for post in suitable.intersection(free):
            if found.forbid(post, cost, now):
                found.refused.add((post, uses(cost)))
            else:
                waits.append((post.wait(cost, now), post))
        soonest = min((wait for wait, _ in waits), default=inf)
        if soonest == 0.0:
            found.could_start = life
            break
        if soonest == inf:
            continue
        first = [post for wait, post in waits if wait <= soonest + EPSILON]
        found.sure = found.sure and len(first) == 1
        for post in first:
            needed = found.keep(post, cost, now)
            sharing = {p for p in posts if not needed.isdisjoint(p.usages)}
            if any(other not in suitable or other.leaving for other in sharing):
                found.reserved.add(post)
    return found
