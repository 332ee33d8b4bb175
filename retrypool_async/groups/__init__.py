"""Pools for tasks that belong together."""

from ._blocking import BlockingPool
from ._errors import (
    CycleError,
    DuplicateGroup,
    DuplicateTask,
    GraphError,
    GroupEnded,
    GroupFailed,
    MissingDependency,
    TaskCancelled,
    TaskSkipped,
    UnknownGroup,
)
from ._graph import Graph
from ._graph_run import GraphRun
from ._group import Group, current_group
from ._group_pool import GroupPool
from ._group_state import GroupMoved, GroupSnapshot, GroupState
from ._independent import IndependentPool
from ._node import Node, current_node
from ._records import GraphMoved, GraphSnapshot, NodeMoved
from ._states import GraphState, NodeState

__all__ = [
    # graphs
    "IndependentPool",
    "Graph",
    "GraphRun",
    "GraphSnapshot",
    "GraphState",
    "GraphMoved",
    "Node",
    "NodeState",
    "NodeMoved",
    "current_node",
    # groups
    "BlockingPool",
    "GroupPool",
    "Group",
    "GroupSnapshot",
    "GroupState",
    "GroupMoved",
    "current_group",
    # errors
    "GroupFailed",
    "GroupEnded",
    "UnknownGroup",
    "TaskSkipped",
    "TaskCancelled",
    "GraphError",
    "CycleError",
    "MissingDependency",
    "DuplicateTask",
    "DuplicateGroup",
]
