"""What a node and a graph can be."""

from __future__ import annotations

from enum import Enum, auto


class NodeState(Enum):
    """Where a node is in its life. The last four are final: nothing leaves them."""

    WAITING = auto()  #: for its dependencies, or for room in the pool
    QUEUED = auto()  #: taken by the pool
    RUNNING = auto()  #: has begun; stays so through retries
    SUCCEEDED = auto()  #: ended with a value
    FAILED = auto()  #: ended with an error
    SKIPPED = auto()  #: never ran, since another node failed
    CANCELLED = auto()  #: ended because its group was cancelled, or stopped at a failure

    @property
    def final(self) -> bool:
        """True when the node has ended."""
        return self.value >= NodeState.SUCCEEDED.value


class GraphState(Enum):
    """Where a submitted graph is in its life. The last three are final."""

    RUNNING = auto()  #: nodes run, wait, or are being stopped
    SUCCEEDED = auto()  #: every node did
    FAILED = auto()  #: a node failed
    CANCELLED = auto()  #: `cancel` was called

    @property
    def final(self) -> bool:
        """True when all its nodes have ended."""
        return self is not GraphState.RUNNING
