"""The workers of a pool: who is there, who can do what, and who is free."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from ._record import WorkerRecord, WorkerRef
from ._states import WorkerState, WorkerWish

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._task import Cost


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
        #: Who has which place in the bitmasks, the places for whoever comes next, and those of
        #: workers that have gone: not to be given away while a task may have its mark on them.
        self._places: list[WorkerRecord | None] = []
        self._vacant: list[int] = []
        self.departed: int = 0
        #: Those whose breakers are open, as a bitmask.
        self.ejected = 0
        self.next_id = 0
        #: Who may take tasks at all, and who of them by each tag, as bitmasks.
        self._alive = 0
        self._tagged: dict[str, int] = {}
        #: The smallest capacity of any worker per dimension, by (tags, pinned id).
        self._floors: dict[tuple[frozenset[str], int | None], dict[str, float]] = {}
        #: Who has each quota, as bitmasks; forgotten whenever the membership or a quota changes.
        self._owners: dict[Any, int] | None = None
        self._steady: bool | None = None
        #: Counted when asked for; forgotten whenever a worker comes, goes or changes.
        self._headcount: Headcount | None = None

    def add(self, record: WorkerRecord) -> None:
        if self._vacant:
            place = self._vacant.pop()
            self._places[place] = record
        else:
            place = len(self._places)
            self._places.append(record)
        record.bit = 1 << place
        self.workers[record.id] = record
        self.changed(record)

    def drop(self, record: WorkerRecord) -> None:
        del self.workers[record.id]
        self.ejected &= ~record.bit
        self.departed |= record.bit
        self.changed(record)

    def vacate(self) -> None:
        """Let the places of those that have gone be had by others: no task remembers them."""
        while self.departed:
            place = self.departed.bit_length() - 1
            self.departed ^= 1 << place
            self._places[place] = None
            self._vacant.append(place)

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
        self._owners = self._steady = None
        self._headcount = None

    def is_shared(self, quota: Any) -> bool:
        """True when several workers have this quota."""
        owners = self._owners_of(quota)
        return owners & (owners - 1) != 0

    def all_in(self, mask: int, quota: Any) -> bool:
        """True when all workers that have this quota are among those of a bitmask."""
        return not self._owners_of(quota) & ~mask

    @property
    def steady(self) -> bool:
        """True when all quotas have room at the time they say, unless the pool changes them."""
        if self._steady is None:
            self._steady = all(quota.steady for quota in self._all_owners())
        return self._steady

    def _owners_of(self, quota: Any) -> int:
        return self._all_owners().get(quota, 0)

    def _all_owners(self) -> dict[Any, int]:
        if self._owners is None:
            self._owners = {}
            for record in self.workers.values():
                for owned in record.quotas:
                    self._owners[owned] = self._owners.get(owned, 0) | record.bit
        return self._owners

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
        mask = self._alive
        if pinned is not None:
            record = self.workers.get(pinned)
            mask &= 0 if record is None else record.bit
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
        """The workers of a bitmask, by their places."""
        while mask:
            bit = mask & -mask
            mask ^= bit
            record = self._places[bit.bit_length() - 1]
            assert record is not None
            yield record

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
