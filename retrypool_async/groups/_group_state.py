"""What a group can be, and the records that tell of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from retrypool_async import TaskState, WorkerRef

    from ._group import Group


class GroupState(Enum):
    """Where a group is in its life. The last three are final."""

    WAITING = auto()  #: it has tasks, and no workers yet
    RUNNING = auto()  #: it has workers of its own
    SUCCEEDED = auto()  #: all of its tasks have ended
    FAILED = auto()  #: a task failed, which ended the others
    CANCELLED = auto()  #: by `cancel`, or with its pool

    @property
    def final(self) -> bool:
        """True when it has ended."""
        return self not in (GroupState.WAITING, GroupState.RUNNING)


class GroupMoved(NamedTuple):
    """A group was created (`old` is None), has got its workers, or has ended."""

    group: Group[Any, Any]
    old: GroupState | None
    new: GroupState


class GroupSnapshot(NamedTuple):
    """A picture of a moment: how many tasks are in each state, and who works for them."""

    id: Hashable
    state: GroupState
    submitted: int
    tasks: Mapping[TaskState, int]
    workers: tuple[WorkerRef, ...]
