"""What is kept of which quotas for tasks that wait for them, so that nobody starves."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._quota import Quota
    from ._task import Cost


class Holds:
    """What may not be taken, of each dimension of each quota.

    A task that waits holds every dimension that keeps it waiting: nobody behind it may take from
    that. Of the others it takes, its own amount is put by, or while it waits for one somebody could
    use up the other, in turns, for ever. Nothing is put by of `requests`, which nearly every task
    takes: that comes last, when all else is there.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        #: By the id of the quota and the dimension; infinite where all is held.
        self._kept: dict[int, dict[str, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def keep(self, quotas: Collection[Quota], cost: Cost, now: float) -> tuple[list[Quota], float]:
        """Keep for a task what it needs of the quotas that it waits for.

        Return those, and the seconds until a dimension that is held now need not be any more: the
        task can start then, or waits for others.
        """
        waiting: list[Quota] = []
        scarce: set[str] = set()
        soonest = inf
        for quota in quotas:
            for dimension, amount in cost:
                wait = quota.until_room(dimension, amount, now) if amount else 0.0
                if wait > 0.0:
                    waiting.append(quota)
                    scarce.add(dimension)
                    soonest = min(soonest, wait)
                    self._kept.setdefault(id(quota), {})[dimension] = inf
        for dimension, amount in cost:
            if amount and dimension != "requests" and dimension not in scarce:
                for quota in quotas:
                    if dimension in quota.dimensions:
                        kept = self._kept.setdefault(id(quota), {})
                        kept[dimension] = kept.get(dimension, 0.0) + amount
        return waiting, soonest

    def concern(self, quotas: Collection[Quota]) -> bool:
        """True when something is kept of any of these quotas."""
        return any(id(quota) in self._kept for quota in quotas)

    def bar(self, quotas: Collection[Quota], cost: Cost, now: float) -> bool:
        """True when a task of `cost` would take what is kept of these quotas."""
        for quota in quotas:
            kept = self._kept.get(id(quota))
            if kept is None:
                continue
            for dimension, amount in cost:
                put_by = kept.get(dimension) if amount else None
                if put_by is not None and (
                    put_by == inf or quota.until_room(dimension, amount + put_by, now) > 0.0
                ):
                    return True
        return False
