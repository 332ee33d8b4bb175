"""Pools for tasks that belong together."""

from ._errors import (
    CycleError,
    DuplicateGroup,
    DuplicateTask,
    GraphError,
    GroupFailed,
    MissingDependency,
    TaskCancelled,
    TaskSkipped,
)
from ._graph import Graph
from ._graph_run import GraphRun
from ._independent import IndependentPool
from ._node import Node, current_node
from ._records import GraphMoved, GraphSnapshot, NodeMoved
from ._states import GraphState, NodeState

__all__ = [
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
    "GroupFailed",
    "TaskSkipped",
    "TaskCancelled",
    "GraphError",
    "CycleError",
    "MissingDependency",
    "DuplicateTask",
    "DuplicateGroup",
]
