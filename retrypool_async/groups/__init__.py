"""Pools for tasks that belong together."""

from ._blocking import BlockingPool
from ._errors import GroupEnded, GroupFailed, UnknownGroup
from ._group import Group, current_group
from ._group_pool import GroupPool
from ._group_state import GroupMoved, GroupSnapshot, GroupState

__all__ = [
    "BlockingPool",
    "Group",
    "GroupEnded",
    "GroupFailed",
    "GroupMoved",
    "GroupPool",
    "GroupSnapshot",
    "GroupState",
    "UnknownGroup",
    "current_group",
]
