"""The pool for tasks that submit tasks of their own group and wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ._grouped import GroupedPool

if TYPE_CHECKING:
    from datetime import timedelta

    from retrypool_async import Pool, Worker

    from ._group_state import GroupMoved

T = TypeVar("T")
R = TypeVar("R")


class BlockingPool(GroupedPool[T, R]):
    """Runs groups of tasks that submit further tasks of their group, and wait for them.

    A group has workers of its own, and ends when all of its tasks have ended, or when one fails:
    then the others are cancelled. Groups beyond `max_groups` wait for their turn.

    A task that awaits another keeps its worker, unless it does so inside `current_group().lend()`.
    When no worker is left for what it waits for, it gets `DeadlockDetected`; with `lend`, never.

    The pool stays its owner's, who starts and closes it: its retries, quotas and hooks are in
    force. It should run nothing else. Leaving `async with` normally waits for all groups, leaving
    it by an error cancels them.

    Args:
        pool: Runs the tasks. It needs no workers.
        factory: Makes a worker: a plain function without arguments. Its `on_start` opens what it
            holds. Workers stay open from one group to the next.
        max_groups: Groups that may have workers at once.
        max_workers: Workers that one group may have. One is made for each task that finds none
            free, up to so many.
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
        max_groups: int | None = 1,
        max_workers: int | None = None,
        on_group: Callable[[GroupMoved], object] | None = None,
        shutdown_timeout: float | timedelta | None = 60.0,
    ) -> None:
        super().__init__(
            pool,
            factory,
            max_groups=max_groups,
            max_workers=max_workers,
            must_succeed=True,
            ends_by_itself=True,
            on_group=on_group,
            shutdown_timeout=shutdown_timeout,
        )
