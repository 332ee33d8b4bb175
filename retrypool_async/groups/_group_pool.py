"""The pool for many groups of tasks, each of which has its workers to itself until it is ended."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

from ._checks import flag
from ._errors import GroupEnded
from ._group import Group
from ._grouped import GroupedPool

if TYPE_CHECKING:
    from datetime import timedelta

    from retrypool_async import Pool, Worker

    from ._group_state import GroupMoved

T = TypeVar("T")
R = TypeVar("R")


class GroupPool(GroupedPool[T, R]):
    """Runs groups of tasks, each on workers of its own from its first task to its end.

    A group ends when `group(id).end()` was called and all of its tasks have ended. Its id is then
    used up, for as long as the group is remembered. Groups beyond `max_groups` wait, those that
    have been ended before those that may still grow.

    The pool stays its owner's, who starts and closes it: its retries, quotas and hooks are in
    force. It should run nothing else. Leaving `async with` normally ends all groups and waits for
    them, leaving it by an error cancels them.

    Args:
        pool: Runs the tasks. It needs no workers.
        factory: Makes a worker: a plain function without arguments. Its `on_start` opens what it
            holds. Workers stay open from one group to the next.
        max_groups: Groups that may have workers at once.
        max_workers: Workers that one group may have. One is made for each task that finds none
            free, up to so many.
        must_succeed: True fails a group when one of its tasks does: the others are cancelled. False
            lets it go on; each handle has the error of its task.
        on_group: A plain function that is called with `GroupMoved` when a group is created, gets
            its workers, and has ended. What it raises is logged.
        shutdown_timeout: Seconds that leaving the block normally may wait for groups, before it
            cancels them.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """

    def __init__(
        self,
        pool: Pool[T, R],
        factory: Callable[[], Worker[T, R]],
        *,
        max_groups: int | None = None,
        max_workers: int | None = 1,
        must_succeed: bool = False,
        on_group: Callable[[GroupMoved], object] | None = None,
        shutdown_timeout: float | timedelta | None = 60.0,
    ) -> None:
        super().__init__(
            pool,
            factory,
            max_groups=max_groups,
            max_workers=max_workers,
            must_succeed=flag("must_succeed", must_succeed),
            ends_by_itself=False,
            on_group=on_group,
            shutdown_timeout=shutdown_timeout,
        )

    def _refuse_id(self, id: Hashable) -> None:
        ended = self._past.get(id)
        if ended is not None:
            raise GroupEnded(id) from ended.error()

    def _next(self) -> Group[T, R]:
        complete = next((group for group in self._waiting if group.closed), self._waiting[0])
        self._waiting.remove(complete)
        return complete
