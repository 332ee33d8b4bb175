"""Which worker served an affinity last."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

#: Affinities that are remembered; beyond, those used longest ago are forgotten.
MOST_BINDINGS = 100_000


class Bindings:
    """The worker of each affinity, by id."""

    def __init__(self, most: int = MOST_BINDINGS) -> None:
        self._most = most
        self._workers: OrderedDict[Hashable, int] = OrderedDict()

    def bind(self, affinity: Hashable, worker: int) -> None:
        """A task of an affinity goes to a worker."""
        self._workers[affinity] = worker
        self._workers.move_to_end(affinity)
        if len(self._workers) > self._most:
            self._workers.popitem(last=False)

    def worker_of(self, affinity: Hashable) -> int:
        """The id of the worker of an affinity, which may have left; -1 for none."""
        return self._workers.get(affinity, -1)

    def __len__(self) -> int:
        return len(self._workers)
