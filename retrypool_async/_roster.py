"""The workers of a pool: what each is, what its operator wants of it, and what it holds."""

from __future__ import annotations

from collections import Counter, OrderedDict
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from ._states import WorkerState, WorkerWish

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._breaker import Health
    from ._states import Stop
    from ._task import Cost, Task
    from ._worker import Traits


#: Seconds between tries to open a resource: doubling from the first to the last.
FIRST_DELAY, LAST_DELAY = 1.0, 60.0


def opening_delay(failures: int) -> float:
    """Seconds until a resource that failed to open so many times before is tried again."""
    # Bounded before it is raised to a power: a worker may fail for years.
    return min(FIRST_DELAY * 2.0 ** min(failures, 10), LAST_DELAY)


class WorkerRef(NamedTuple):
    """Names one worker of one pool. The id is never reused, so a ref never means another."""

    id: int
    name: str


class Headcount(NamedTuple):
    """The workers of a pool, counted for whoever decides how many there should be."""

    #: Those that have a resource, or will have one again without an operator's help.
    present: int
    #: Of these, the ones that are not on their way out.
    staying: int
    #: Of these, the ones that are in use or about to be.
    useful: int
    #: Of these, the ones that are opening for the first time.
    starting: int
    #: Of the useful, the ones that will take a task as soon as they have opened, or been reset.
    coming: int
    #: Of those starting, the ones that the factory has not made yet.
    unmade: int
    #: Those that will not be waited for: their code ignores being stopped, and they are to go.
    written_off: int


class WorkerRecord:
    """Everything the ledger knows about one worker.

    Only the ledger writes to it. The user's worker object and its runner are carried along and
    never touched here.
    """

    __slots__ = (
        "attention",
        "bit",
        "cooling_until",
        "error",
        "failed",
        "grace",
        "grace_at",
        "health",
        "hints_missing",
        "id",
        "idle_since",
        "limit_at",
        "listed",
        "losses",
        "made",
        "max_age",
        "max_tasks",
        "name",
        "needs_rebuild",
        "needs_reset",
        "opened_at",
        "pause_reason",
        "pause_told",
        "quotas",
        "rebuild_at",
        "ref",
        "resume_at",
        "retired",
        "run_seconds",
        "runner",
        "runs",
        "runs_at_open",
        "served",
        "state",
        "stop",
        "suspect",
        "tags",
        "task",
        "throttled",
        "tier",
        "watch_at",
        "weight",
        "wish",
        "worker",
    )

    def __init__(self, id: int, name: str, worker: Any, quotas: tuple[Any, ...]) -> None:
        self.id = id
        self.name = name
        self.ref = WorkerRef(id, name)
        #: This worker's place in every bitmask. Ids are not reused, so neither are bits.
        self.bit = 1 << id
        #: None until the factory has made it.
        self.worker = worker
        #: True for a worker from the factory.
        self.made = False
        self.runner: Any = None
        self.tags: frozenset[str] = frozenset()
        #: Those of its tags that the roster lists it under.
        self.listed: frozenset[str] = frozenset()
        self.weight = 1.0
        self.tier = 0
        self.max_tasks: int | None = None
        self.max_age: float | None = None
        #: All quotas to debit for a run here: the worker's own, then the pool's.
        self.quotas = quotas

        self.state = WorkerState.STARTING
        self.wish = WorkerWish.RUN
        self.pause_reason: str | None = None
        #: The task it holds; set exactly while RESERVED or BUSY.
        self.task: Task | None = None
        #: Why the attempt in progress was told to stop, if it was.
        self.stop: Stop | None = None
        #: When to look again whether a stopped attempt has unwound, and how long to wait then.
        self.grace_at: float | None = None
        self.grace = 0.0
        #: When the attempt in progress must be cut off, and when the agenda next looks.
        self.limit_at: float | None = None
        self.watch_at: float | None = None
        self.cooling_until = 0.0
        self.idle_since = 0.0
        self.resume_at: float | None = None
        #: Throttles in a row for which the service gave no time.
        self.hints_missing = 0
        #: What the breaker knows of it; None without one.
        self.health: Health | None = None
        #: True when a run that succeeds has to be looked at, for one of these two.
        self.suspect = False

        self.needs_reset = False
        self.needs_rebuild = False
        self.rebuild_at: float | None = None
        #: True once the pause hook has run and the resume hook has not.
        self.pause_told = False
        #: True when it must not come back: removed, or lost for good.
        self.retired = False
        #: True when something has to be looked at before it takes the next task.
        self.attention = False
        #: Rebuilds in a row that failed.
        self.losses = 0
        self.error: BaseException | None = None
        self.opened_at = 0.0
        self.runs_at_open = 0

        self.served = 0
        self.failed = 0
        self.throttled = 0
        self.runs = 0
        self.run_seconds = 0.0

    def embody(self, worker: Any, traits: Traits, common: tuple[Any, ...]) -> None:
        """Stand for `worker` from now on. `common` are the pool's quotas."""
        self.worker = worker
        if traits.name is not None:
            self.name = traits.name
            self.ref = WorkerRef(self.id, traits.name)
        self.quotas = traits.quotas + common
        self.tags, self.weight, self.tier = traits.tags, traits.weight, traits.tier
        self.max_tasks, self.max_age = traits.max_tasks, traits.max_age

    def take_up_quotas(self, now: float) -> None:
        """Begin to use its quotas; cool with those that share one, if a service has refused it."""
        for quota in self.quotas:
            quota.begin(now)
            self.cooling_until = max(self.cooling_until, quota.cooling_until)

    def quota_share(self, now: float) -> float:
        """The smallest share of any quota that is left, 1.0 without a quota."""
        share = 1.0
        for quota in self.quotas:
            for dimension, left in quota.left(now).items():
                largest = quota.largest(dimension)
                if largest > 0.0 and largest != inf:
                    share = min(share, left / largest)
        return share

    def affords(self, cost: Cost) -> bool:
        """True when its quotas could ever grant `cost`."""
        return all(
            amount <= quota.largest(dimension)
            for quota in self.quotas
            for dimension, amount in cost
        )

    @property
    def alive(self) -> bool:
        """False once it can never again take a task without being started anew."""
        return self.state is not WorkerState.STOPPED and not self.retired

    @property
    def routable(self) -> bool:
        """True when tasks may expect it to come free without an operator's help."""
        return (
            self.wish is WorkerWish.RUN
            and not self.retired
            and self.state is not WorkerState.STOPPED
            and (self.state is not WorkerState.FAILED or self.needs_rebuild)
        )


def excess(cost: Cost, choices: Iterable[tuple[Any, ...]]) -> tuple[str, float, float] | None:
    """None if the quotas of some choice could ever grant `cost`, or there is no choice.

    Else the dimension that is exceeded, the amount asked, and the most any could grant.
    """
    worst: tuple[str, float, float] | None = None
    for quotas in choices:
        exceeded = None
        for dimension, amount in cost:
            largest = min((quota.largest(dimension) for quota in quotas), default=inf)
            if amount > largest:
                exceeded = (dimension, amount, largest)
        if exceeded is None:
            return None
        if worst is None or exceeded[2] > worst[2]:
            worst = exceeded
    return worst


class Roster:
    """The workers of a pool: by id, by name, by what they can do, and who is free.

    `idle` holds exactly the workers that may be given a task now, longest idle first, and `free`
    is the same set as a bitmask.
    """

    def __init__(self) -> None:
        self.workers: dict[int, WorkerRecord] = {}
        self.idle: OrderedDict[int, WorkerRecord] = OrderedDict()
        self.free = 0
        #: Those whose breakers are open, as a bitmask.
        self.ejected = 0
        self.next_id = 0
        #: Who may take tasks at all, and who of them by each tag, as bitmasks.
        self._alive = 0
        self._tagged: dict[str, int] = {}
        #: The smallest capacity of any worker per dimension, by (tags, pinned id).
        self._floors: dict[tuple[frozenset[str], int | None], dict[str, float]] = {}
        #: Quotas that several workers have; forgotten whenever the membership or a quota changes.
        self._shared: frozenset[Any] | None = None
        #: Counted when asked for; forgotten whenever a worker comes, goes or changes.
        self._headcount: Headcount | None = None

    def add(self, record: WorkerRecord) -> None:
        self.workers[record.id] = record
        self.changed(record)

    def drop(self, record: WorkerRecord) -> None:
        del self.workers[record.id]
        self.ejected &= ~record.bit
        self.changed(record)

    def changed(self, record: WorkerRecord) -> None:
        """Note that a worker has come or gone, or that its tags or quotas are others."""
        bit = record.bit
        for tag in record.listed:
            self._tagged[tag] ^= bit
            if not self._tagged[tag]:
                del self._tagged[tag]
        self._alive &= ~bit
        record.listed = frozenset()
        if record.alive:
            self._alive |= bit
            record.listed = record.tags
            for tag in record.listed:
                self._tagged[tag] = self._tagged.get(tag, 0) | bit
        self._floors.clear()
        self._shared = None
        self._headcount = None

    def is_shared(self, quota: Any) -> bool:
        """True when several workers have this quota."""
        if self._shared is None:
            owned = [quota for record in self.workers.values() for quota in set(record.quotas)]
            self._shared = frozenset(quota for quota, n in Counter(owned).items() if n > 1)
        return quota in self._shared

    def recount(self) -> None:
        """Forget the headcount: a worker has changed its state, or what is wanted of it."""
        self._headcount = None

    def headcount(self) -> Headcount:
        """The workers, counted."""
        if self._headcount is None:
            self._headcount = self._count()
        return self._headcount

    def _count(self) -> Headcount:
        present = staying = useful = starting = coming = unmade = written_off = 0
        for record in self.workers.values():
            state = record.state
            if state is WorkerState.STUCK and record.retired:
                written_off += 1
                continue
            if state is WorkerState.FAILED and not record.needs_rebuild:
                continue  # only an operator's `resume` gives it another try
            present += 1
            if record.retired:
                continue
            staying += 1
            if state is WorkerState.STUCK or state is WorkerState.FAILED:
                continue
            useful += 1
            if state is WorkerState.STARTING:
                starting += 1
                unmade += record.worker is None
            elif state is not WorkerState.RESETTING:
                continue
            coming += record.wish is WorkerWish.RUN
        return Headcount(present, staying, useful, starting, coming, unmade, written_off)

    def find(self, ref: object) -> WorkerRecord | None:
        """Return the worker that a `WorkerRef`, an id or a name means, None when there is none."""
        if isinstance(ref, WorkerRef):
            return self.workers.get(ref.id)
        if isinstance(ref, int) and not isinstance(ref, bool):
            return self.workers.get(ref)
        if isinstance(ref, str):
            # The newest of that name: an older one is on its way out.
            newest = reversed(self.workers.values())
            return next((record for record in newest if record.name == ref), None)
        raise TypeError(f"a worker is named by its WorkerRef, id or name, got {type(ref).__name__}")

    def eligible(self, require: frozenset[str], pinned: int | None) -> int:
        """The workers present that carry the tags and are the pinned one, as a bitmask."""
        mask = self._alive if pinned is None else self._alive & 1 << pinned
        for tag in require:
            mask &= self._tagged.get(tag, 0)
        return mask

    def routable(self, mask: int) -> int:
        """Those of `mask` that will take tasks again without an operator's help."""
        result = 0
        for record in self.of(mask):
            if record.routable:
                result |= record.bit
        return result

    def of(self, mask: int) -> Iterator[WorkerRecord]:
        """The workers of a bitmask, by id."""
        while mask:
            bit = mask & -mask
            mask ^= bit
            yield self.workers[bit.bit_length() - 1]

    def unaffordable(
        self, cost: Cost, require: frozenset[str], pinned: int | None
    ) -> tuple[str, float, float] | None:
        """None if some eligible worker could ever grant `cost`.

        Else the dimension that is exceeded, the amount asked, and the most any could grant.
        """
        key = (require, pinned)
        records: Iterable[WorkerRecord] = self.of(self.eligible(require, pinned))
        floors = self._floors.get(key)
        if floors is None:
            records = list(records)
            floors = self._floors[key] = {}
            for record in records:
                for quota in record.quotas:
                    for dimension in quota.dimensions:
                        largest = quota.largest(dimension)
                        floors[dimension] = min(floors.get(dimension, inf), largest)
        if all(amount <= floors.get(dimension, inf) for dimension, amount in cost):
            return None
        return excess(cost, (record.quotas for record in records))

    def set_free(self, record: WorkerRecord) -> None:
        self.idle[record.id] = record
        self.free |= record.bit

    def unset_free(self, record: WorkerRecord) -> None:
        if self.free & record.bit:
            self.free ^= record.bit
            del self.idle[record.id]
