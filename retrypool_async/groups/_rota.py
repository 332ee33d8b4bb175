"""Who works for whom: gives workers to the groups that wait, as far as they may have any."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from retrypool_async import Pool, Worker

from ._callbacks import check_callback, tell
from ._checks import limit, optional_seconds
from ._crew import Crew
from ._group import Group, calling_group
from ._group_books import GroupBooks
from ._group_state import GroupMoved, GroupState

T = TypeVar("T")
R = TypeVar("R")

#: Groups that have ended and are remembered: the newest.
REMEMBERED = 1000


class Rota(Generic[T, R]):
    """The groups of a pool of groups, and the crews that serve them."""

    def __init__(
        self,
        pool: Pool[T, R],
        factory: Callable[[], Worker[T, R]],
        *,
        max_groups: int | None,
        max_workers: int | None,
        must_succeed: bool,
        ends_by_itself: bool,
        on_group: Callable[[GroupMoved], object] | None,
        shutdown_timeout: float | timedelta | None,
    ) -> None:
        if not isinstance(cast("Any", pool), Pool):
            raise TypeError(f"pool must be a Pool, got {type(pool).__name__}")
        if not callable(factory):
            raise TypeError(f"factory must be callable, got {type(factory).__name__}")
        if on_group is not None:
            check_callback("on_group", on_group)
        #: The pool that runs the tasks.
        self.pool = pool
        self._factory = factory
        self.most_groups = limit("max_groups", max_groups)
        self.most_workers = limit("max_workers", max_workers)
        #: True when a failed task fails its group.
        self.must_succeed = must_succeed
        #: True when a group ends with its last task, False when it must be ended.
        self.ends_by_itself = ends_by_itself
        self._on_group = on_group
        self._shutdown_timeout = optional_seconds("shutdown_timeout", shutdown_timeout)
        self._context = copy_context()
        self._open = False
        self._groups: dict[Hashable, Group[T, R]] = {}
        self._waiting: deque[Group[T, R]] = deque()
        self._crews: list[Crew[T, R]] = []
        self._past: dict[Hashable, Group[T, R]] = {}
        self._number = 0
        #: True while `_advance` is at it: what that leads to is seen to by the same loop.
        self._advancing = False

    # -- for groups --------------------------------------------------------------------------------

    def refuse_attempts(self, what: str) -> None:
        """Refuse a call inside a task of a group, which the task may itself be in the way of."""
        if self._caller() is not None:
            raise RuntimeError(f"a task of a group cannot {what}")

    def moved(self, books: GroupBooks[T, R], new: GroupState) -> None:
        """A group has got its workers, or has ended."""
        group = self._groups[books.id]
        old, group.state = group.state, new
        if new.final:
            self._forget(group)
            crew = group.crew
            group.ended()
            if crew is not None:
                crew.serve(None)
                self._rest(crew)
        self._tell(GroupMoved(group, old, new))
        if new.final:
            self._advance()

    def tell(self, name: str, callback: Callable[[Any], object], record: Any) -> None:
        """Call a user's function, and contain what it raises."""
        tell(name, callback, record, self._context)

    # -- who is next -------------------------------------------------------------------------------

    def _refuse_id(self, id: Hashable) -> None:
        """Refuse a new group of this id, if it may not be used again."""

    def _next(self) -> Group[T, R]:
        """Take out the group whose turn it is."""
        return self._waiting.popleft()

    def _advance(self) -> None:
        """Give workers to the groups that wait, as far as they may have any."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._waiting and (crew := self._free_crew()) is not None:
                self._next().begin(crew)
        finally:
            self._advancing = False

    def _free_crew(self) -> Crew[T, R] | None:
        idle = [crew for crew in self._crews if crew.group is None]
        busy = len(self._crews) - len(idle)
        if self.most_groups is not None and busy >= self.most_groups:
            return None
        if not idle:
            idle = [Crew(self.pool, self._factory)]
            self._crews += idle
        return max(idle, key=len)

    def _rest(self, crew: Crew[T, R]) -> None:
        """Keep the workers of an idle crew for the next group, unless there are too many crews."""
        staffed = sum(len(crew) > 0 for crew in self._crews)
        if crew.group is None and self.most_groups is not None and staffed > self.most_groups:
            crew.trim(0)

    def _forget(self, group: Group[T, R]) -> None:
        del self._groups[group.id]
        if group in self._waiting:
            self._waiting.remove(group)
        self._past.pop(group.id, None)
        self._past[group.id] = group
        if len(self._past) > REMEMBERED:
            del self._past[next(iter(self._past))]

    def _caller(self) -> Group[Any, Any] | None:
        """The group of this pool whose task the calling code is."""
        group = calling_group()
        return None if group is None or self._groups.get(group.id) is not group else group

    def _tell(self, move: GroupMoved) -> None:
        if self._on_group is not None:
            self.tell("on_group", self._on_group, move)
