"""Attempts that wait for tasks of their own pool, and which of those waits can never end.

An attempt that waits holds its worker, so it must not wait for what only that worker could run.
Told from the books alone: a wait is *vain* when its task is on the worker of an attempt that
waits in vain itself, or when all workers that may run it are held by such attempts. What quota, a
cooldown, a back-off or a free worker will bring is no reason for concern, nor is a time limit one
for hope: it would turn a deadlock into a slow one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ._ready import RouteKey
from ._record import WorkerRecord
from ._states import FINAL_STATES, TaskState, WorkerWish
from ._task import Task

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from ._ready import ReadyQueue
    from ._roster import Roster
    from ._sequences import Sequences
    from ._task import Cost

RUNNING, RESERVED, QUEUED = TaskState.RUNNING, TaskState.RESERVED, TaskState.QUEUED


#: Who waits for whom, as in `DeadlockDetected`: task, worker, the task waited for.
Chain = tuple[tuple[int, str, int | None], ...]


class Room(NamedTuple):
    """Room in the queue for a task with these wishes, as something to wait for."""

    key: RouteKey


Target = Task | WorkerRecord | Room


class Wait:
    """One wait of an attempt: for a task to end, a worker to be left alone, or room in the queue.

    Attributes:
        task: The task that waits.
        run: Which of its runs: a later one has nothing to do with it.
        target: What it waits for.
        bell: What its code awaits; rung with a `Chain` if the wait is in vain.
        holds: Tells whether it holds up the attempt; None when the attempt itself does the waiting,
            and not code that it has started.
    """

    __slots__ = ("bell", "holds", "run", "serial", "target", "task")

    def __init__(
        self,
        task: Task,
        target: Target,
        bell: Future[Any],
        holds: Callable[[], bool] | None = None,
    ) -> None:
        self.task = task
        self.run = task.run_count
        self.target = target
        self.bell = bell
        self.holds = holds
        self.serial = 0

    @property
    def counts(self) -> bool:
        """False once it is over, or its attempt is, and while it does not hold that up."""
        task = self.task
        in_progress = task.state is RUNNING and task.run_count == self.run and not self.bell.done()
        return in_progress and (self.holds is None or self.holds())


class Books(Protocol):
    """What is looked at to tell whether a wait can end."""

    roster: Roster
    ready: ReadyQueue
    sequences: Sequences
    concurrency: int | None

    def may_come(self, key: RouteKey, cost: Cost, staying: int = 0) -> bool: ...


class Waits:
    """The waits in progress."""

    def __init__(self) -> None:
        self._by_task: dict[Task, dict[Wait, None]] = {}
        self._serial = 0
        #: Those that may come to hold up their attempts without anybody being told.
        self.indirect: set[Wait] = set()
        #: Who was free for the last: mostly for the next as well, as one that waits is not.
        self._free_for_last: WorkerRecord | None = None

    def __bool__(self) -> bool:
        return bool(self._by_task)

    def add(self, wait: Wait) -> None:
        self._serial += 1
        wait.serial = self._serial
        self._by_task.setdefault(wait.task, {})[wait] = None
        if wait.holds is not None:
            self.indirect.add(wait)

    def discard(self, wait: Wait) -> None:
        """End a wait. One that was found to be in vain has been taken out already."""
        self.indirect.discard(wait)
        waits = self._by_task.get(wait.task)
        if waits is not None:
            waits.pop(wait, None)
            if not waits:
                del self._by_task[wait.task]

    def may_be_vain(self, wait: Wait, books: Books) -> bool:
        """Whether a wait would be vain if all others were: a quick look that is nearly always
        enough, for mostly some worker that may run the task holds nobody who waits."""
        outlook = Outlook(books, self._by_task.keys(), self._free_for_last)
        vain = outlook.vain(wait)
        self._free_for_last = outlook.found
        return vain

    def stalled(self, books: Books) -> dict[Task, None]:
        """The tasks whose attempts wait in vain, the youngest first. Usually none."""
        # An attempt that waits for one that began to wait later is struck out right after that.
        stalled = {
            task: None
            for task, waits in reversed(self._by_task.items())
            if any(wait.counts for wait in waits)
        }
        found = True
        while stalled and found:
            found = False
            outlook = Outlook(books, stalled)
            for task in list(stalled):
                if not any(self._vain(task, outlook)):
                    del stalled[task]
                    found = True
        return stalled

    def youngest_vain(self, stalled: Collection[Task], books: Books) -> list[Wait]:
        """The vain waits of the attempt that has the one that began last; that one first."""
        outlook = Outlook(books, stalled)
        vain = [[*self._vain(task, outlook)] for task in stalled]
        youngest = max(vain, key=lambda waits: max(wait.serial for wait in waits))
        return sorted(youngest, key=lambda wait: -wait.serial)

    def chain(self, wait: Wait, stalled: Collection[Task], books: Books) -> Chain:
        """Who waits for whom: a vain wait, and those behind it, back to the oldest."""
        outlook = Outlook(books, stalled)
        found = {wait.task: wait}
        for link in (pending := [wait]):
            for task in outlook.blockers(link.target):
                if task not in found:
                    found[task] = next(self._vain(task, outlook))
                    pending.append(found[task])
        return tuple(
            (link.task.id, link.task.holder.name, _task_id(link.target))
            for link in sorted(found.values(), key=lambda link: (link is not wait, -link.serial))
        )

    def _vain(self, task: Task, outlook: Outlook) -> Iterator[Wait]:
        return (wait for wait in self._by_task[task] if wait.counts and outlook.vain(wait))


class Outlook:
    """What can still start or end, supposing that certain attempts never do.

    Attributes:
        found: The worker that was found last to come free; given, it is looked at first.
    """

    def __init__(
        self, books: Books, stalled: Collection[Task], found: WorkerRecord | None = None
    ) -> None:
        self._books = books
        self._stalled = stalled
        self.found = found
        #: Answers, by what decides them: an attempt may wait for thousands of like tasks.
        self._known: dict[tuple[RouteKey, Cost], bool] = {}

    def vain(self, wait: Wait) -> bool:
        """True when it can never end."""
        target = wait.target
        if isinstance(target, Room):
            # It comes when a task that waits can start, or when the new one could at once.
            return not self._may_start(target.key, ()) and not any(
                self._may_start(route.key, lane.cost)
                for route in self._books.ready.routes.values()
                for lane in route.lanes.values()
                if any(True for _ in lane)
            )
        if isinstance(target, WorkerRecord):
            return target.task in self._stalled
        return self._never_ends(target)

    def _never_ends(self, target: Task) -> bool:
        if target.state in FINAL_STATES or target.state is RESERVED:
            return False
        if target.state is RUNNING:
            return target in self._stalled
        ahead = self._ahead_of(target)
        if ahead is not None and self._never_ends(ahead):
            return True
        return not self._may_start(_key(target), target.cost)

    def _ahead_of(self, task: Task) -> Task | None:
        """The task that has to end before this one may start, if any."""
        ahead = self._books.sequences.ahead_of(task) if task.state is QUEUED else None
        return None if ahead is task else ahead

    def _may_start(self, key: RouteKey, cost: Cost) -> bool:
        answer = self._known.get((key, cost))
        if answer is None:
            answer = self._known[key, cost] = self._finds_worker(key, cost)
        return answer

    def _finds_worker(self, key: RouteKey, cost: Cost) -> bool:
        limit = self._books.concurrency
        if limit is not None and len(self._stalled) >= limit:
            return False
        able = False
        for record in self._workers(key):
            if record.affords(cost):
                able = True
                tried = key.tried & record.bit
                if not tried and _comes_free(record) and record.task not in self._stalled:
                    self.found = record
                    return True
        # A worker on its way out makes room for another, unless its attempt waits in vain.
        leaving = (task.holder for task in self._stalled if task.holder.task is task)
        staying = sum(record.retired and record.stop is None for record in leaving)
        if self._books.may_come(key, cost, staying):
            return True
        # Where none is able nor may come, what becomes of the task is for others to say.
        return not able and not (staying and self._books.may_come(key, cost))

    def _workers(self, key: RouteKey) -> Iterator[WorkerRecord]:
        roster = self._books.roster
        mask = roster.eligible(key.require, key.worker) & ~key.spent
        first = self.found
        if first is not None and mask & first.bit:
            yield first
            mask ^= first.bit
        yield from roster.of(mask)

    def blockers(self, target: Target) -> Iterator[Task]:
        """The stalled tasks that something waits for in vain."""
        if isinstance(target, Room):
            yield from self._stalled
        elif isinstance(target, WorkerRecord):
            assert target.task is not None
            yield target.task
        elif target.state is RUNNING:
            yield target
        elif (ahead := self._ahead_of(target)) is not None and self._never_ends(ahead):
            yield from self.blockers(ahead)
        elif self._books.concurrency is not None:
            yield from self._stalled
        else:
            for record in self._workers(_key(target)):
                if record.task is not None and record.task in self._stalled:
                    yield record.task


def _task_id(target: Target) -> int | None:
    task = target.task if isinstance(target, WorkerRecord) else target
    return task.id if isinstance(task, Task) else None


def _key(task: Task) -> RouteKey:
    options = task.options
    # Whether tried workers stay excluded is decided anew when a task falls due.
    spent = task.spent_mask
    tried = task.tried_mask if task.state is QUEUED else spent
    return RouteKey(options.require, options.worker, tried, spent)


def _comes_free(record: WorkerRecord) -> bool:
    """True when a worker can be expected to take tasks once its attempt, if any, has ended."""
    resumes = record.wish is WorkerWish.PAUSE and record.resume_at is not None
    return record.routable or resumes
