"""What pools of groups have in common: what users may do."""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from retrypool_async import PoolClosed, TaskHandle

from ._checks import hashable, limit
from ._errors import UnknownGroup
from ._group import Group
from ._group_state import GroupMoved, GroupSnapshot, GroupState
from ._rota import Rota
from ._waiting import within

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, Unpack

    from retrypool_async import SubmitOptions

T = TypeVar("T")
R = TypeVar("R")


class GroupedPool(Rota[T, R]):
    """The common part of `BlockingPool` and `GroupPool`."""

    def submit(self, group: Hashable, data: T, **options: Unpack[SubmitOptions]) -> TaskHandle[R]:
        """Submit a task to a group, which is created by its first. Never waits.

        Args:
            group: The id of the group. Shown in errors and logs, so never a secret.
            data: Handed to the worker's `run`.
            options: As of `Pool.submit`, but for `worker`, `require` and `wait_for_worker`.

        Raises:
            PoolClosed: outside of `async with`, or the pool is not running.
            GroupEnded: the group takes no more tasks.
            RuntimeError: called inside a task of another group, which could wait for ever for one
                that has to wait for its turn.
            TypeError, ValueError: the id or an option is wrong.
            Other errors: as `Pool.submit`.
        """
        if hashable("group", group) is None:
            raise TypeError("group must not be None")
        own = self._caller()
        if own is not None and own.id != group:
            raise RuntimeError(f"a task of group {own.id!r} may submit to its own group only")
        known = self._groups.get(group)
        if known is not None:
            return known.submit(data, **options)
        if not self._open:
            raise PoolClosed("groups are taken only inside of `async with`")
        self._refuse_id(group)
        self._number += 1
        new = self._groups[group] = Group(self, group, self._number)
        try:
            handle = new.submit(data, **options)
        except BaseException:
            if not new.snapshot().submitted:  # nor has a callback submitted another task
                del self._groups[group]
            raise
        self._waiting.append(new)
        self._tell(GroupMoved(new, None, GroupState.WAITING))
        self._advance()
        return handle

    def group(self, id: Hashable) -> Group[T, R]:
        """Return a group, also one that has ended: the newest 1000 are remembered.

        Raises:
            UnknownGroup: there is none.
        """
        group = self._groups.get(id) or self._past.get(id)
        if group is None:
            raise UnknownGroup(id)
        return group

    @property
    def groups(self) -> tuple[Group[T, R], ...]:
        """The groups that have not ended, in the order of their first tasks."""
        return tuple(self._groups.values())

    async def join(self) -> None:
        """Wait until no group is left. New ones may still be submitted.

        Raises:
            RuntimeError: called inside a task of a group.
        """
        self.refuse_attempts("wait for all groups")
        while self._groups:
            await next(iter(self._groups.values())).wait()

    def snapshot(self) -> tuple[GroupSnapshot, ...]:
        """A picture of every group that has not ended."""
        return tuple(group.snapshot() for group in self._groups.values())

    @property
    def max_groups(self) -> int | None:
        """Groups that may have workers at once. May be changed live."""
        return self.most_groups

    @max_groups.setter
    def max_groups(self, most: int | None) -> None:
        self.most_groups = limit("max_groups", most)
        for crew in self._crews:
            self._rest(crew)
        self._advance()

    @property
    def max_workers(self) -> int | None:
        """Workers that one group may have. May be changed live."""
        return self.most_workers

    @max_workers.setter
    def max_workers(self, most: int | None) -> None:
        self.most_workers = limit("max_workers", most)
        for crew in self._crews:
            if most is not None:
                crew.trim(most)
            if crew.group is not None:
                crew.group.staff_up()

    async def __aenter__(self) -> Self:
        self._context = copy_context()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        try:
            if error is None:
                for group in self.groups:
                    group.end()
                await within(self._shutdown_timeout, self.join())
        finally:
            for group in self.groups:
                group.cancel()
            await self.join()
            for crew in self._crews:
                await crew.dismiss()
            self._crews.clear()
