"""Hedging: when a second attempt is made of a task whose attempt takes long.

`Hedge` is what a task is given, `Latencies` what its quantiles are taken from. Neither acts.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from ._time import TOLERANCE, count, number, seconds

if TYPE_CHECKING:
    from datetime import timedelta

#: So many of the latest attempts are remembered.
WINDOW = 1000
DEFAULT_SAMPLES = 100


@dataclass(frozen=True, slots=True, init=False)
class Hedge:
    """When a second attempt is made of a task, on another worker, while the first still runs.

    The first of the two to succeed gives the result, and the other is stopped.

    Args:
        after: Seconds from the start of the first attempt.
        quantile: In the place of `after`: wait as long as this share of attempts take at most,
            as observed lately of tasks with such a hedge. Between 0 and 1; 0.95 is usual.
        min_samples: Attempts to observe before a quantile is relied on; until then there are no
            hedges. At most 1000, which are remembered. Default: 100.

    Raises:
        TypeError, ValueError: naming the argument; unless exactly one of `after` and `quantile`
            is given.
    """

    after: float | None
    quantile: float | None
    min_samples: int

    def __init__(
        self,
        after: float | timedelta | None = None,
        *,
        quantile: float | None = None,
        min_samples: int | None = None,
    ) -> None:
        if (after is None) == (quantile is None):
            raise ValueError("a Hedge needs either after or quantile")
        if min_samples is not None:
            if quantile is None:
                raise ValueError("min_samples is for a quantile")
            count("min_samples", min_samples, at_least=1)
            if min_samples > WINDOW:
                raise ValueError(f"min_samples must be at most {WINDOW}, got {min_samples}")
        if quantile is not None:
            quantile = number("quantile", quantile)
            if not 0.0 < quantile < 1.0:
                raise ValueError(f"quantile must be between 0 and 1, got {quantile:g}")
        samples = DEFAULT_SAMPLES if min_samples is None else min_samples
        object.__setattr__(self, "after", None if after is None else seconds("after", after))
        object.__setattr__(self, "quantile", quantile)
        object.__setattr__(self, "min_samples", samples)


class Latencies:
    """How long the latest attempts took, in order of length."""

    __slots__ = ("_latest", "_sorted")

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, length: float) -> None:
        if len(self._latest) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(length)
        insort(self._sorted, length)

    def delay(self, hedge: Hedge) -> float | None:
        """Seconds from the start of an attempt to its hedge; None while too little is known."""
        if hedge.quantile is None:
            return hedge.after
        known = len(self._sorted)
        if known < hedge.min_samples:
            return None
        # The nearest rank: the shortest time that this share of them kept within.
        return self._sorted[max(ceil(hedge.quantile * known - TOLERANCE), 1) - 1]
