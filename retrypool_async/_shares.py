"""Who has had how much of the workers, so that nobody who submits can crowd out the others.

Start-time fair queueing: each lane has an account of what its starts have cost, divided by its
weight, and the one that has had least is next. An account stands still while its lane has nothing
to run, and then goes on from where the others are: who asked for little yesterday cannot claim it
today, and whoever is new has the next turn but no more than that.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping

    from ._task import Cost


class Share:
    """The account of one lane."""

    __slots__ = ("had", "weight")

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        #: Where its next start stands in the order of turns, unless the turn is past that.
        self.had = 0.0


class Shares:
    """The accounts of the lanes that have tasks, or had some lately."""

    def __init__(self, weights: Mapping[Hashable, float]) -> None:
        self._weights = weights
        #: The turn of the last start. It never goes back.
        self.turn = 0.0
        #: The account of the tasks without a lane.
        self.common = Share(weights.get(None, 1.0))
        self._shares: dict[Hashable, Share] = {None: self.common}
        #: False while all tasks are without a lane, and there is nobody to be fair to.
        self.in_use = False

    def copy(self) -> Shares:
        """The same state, to be played with."""
        twin = copy(self)
        twin._shares = {lane: copy(share) for lane, share in self._shares.items()}
        twin.common = twin._shares[None]
        return twin

    def of(self, lane: Hashable) -> Share:
        """The account of a lane, opened if it has none."""
        share = self._shares.get(lane)
        if share is None:
            share = self._shares[lane] = Share(self._weights.get(lane, 1.0))
            self.in_use = True
        return share

    def next_turn(self, share: Share) -> float:
        """When its next task is due, in turns. Only ever grows."""
        return max(share.had, self.turn)

    def charge(self, share: Share, cost: Cost) -> None:
        """A task of the lane starts, or is about to."""
        self.turn = self.next_turn(share)
        # The largest of its amounts; a task that costs nothing still takes a worker's time.
        amount = max(amount for _, amount in cost)
        share.had = self.turn + (amount or 1.0) / share.weight

    def prune(self, used: Collection[Share]) -> None:
        """Close the accounts of lanes in which nothing waits.

        Their debt is forgiven, which is no more than their last start, and keeps them few.
        """
        self._shares = {
            lane: share
            for lane, share in self._shares.items()
            if share is self.common or share in used
        }
        if len(self._shares) == 1:
            self.in_use = False
            self.turn = self.next_turn(self.common)  # where all stand from now on
