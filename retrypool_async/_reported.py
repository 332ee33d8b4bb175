"""What a service says is left of a limit that it counts itself."""

from __future__ import annotations

from copy import copy
from math import inf

from ._time import TOLERANCE

#: Resets that are reported this near to each other are one: services round, answers take time.
SAME_RESET = 1.0


class Reported:
    """What a service says is left of one dimension, until its own window ends.

    It only ever forbids: what is granted is for the limits to say. An answer may have been under
    way for long, so within one window the smallest report holds, less what was taken since.
    """

    def __init__(self) -> None:
        self.resets_at = -inf
        self._latest_reset = -inf  # at which a report still means this window
        self._forget(inf)

    def _forget(self, remaining: float) -> None:
        self._remaining = remaining
        self._taken: dict[float, float] = {}  # by when it was taken
        self._used = 0.0

    def sync(self, remaining: float, reset_after: float, now: float) -> None:
        """Take down a report."""
        resets_at = now + reset_after
        in_force = now < self.resets_at - TOLERANCE
        if in_force and resets_at < self.resets_at - SAME_RESET:
            return  # of a window that had ended before this one began
        if in_force and resets_at <= self._latest_reset:
            self.resets_at = max(self.resets_at, resets_at)
            self._remaining = min(self._remaining, remaining + self._used)
            return
        self.resets_at, self._latest_reset = resets_at, resets_at + SAME_RESET
        self._forget(remaining)

    def until(self, amount: float, now: float) -> float:
        wait = self.resets_at - now
        enough = self._used + amount <= self._remaining * (1 + TOLERANCE)
        return 0.0 if enough or wait <= TOLERANCE else wait

    def take(self, amount: float, now: float) -> None:
        if now < self.resets_at - TOLERANCE:
            self._taken[now] = self._taken.get(now, 0.0) + amount
            self._used += amount

    def refund(self, amount: float, at: float) -> None:
        # What was taken before the report is in the report.
        given_back = min(amount, self._taken.get(at, 0.0))
        if given_back:
            self._taken[at] -= given_back
            self._used -= given_back

    def settle(self, estimate: float, used: float, at: float, now: float) -> None:
        """Count what was taken at `at` as if it had been `used` from the start."""
        if used < estimate:
            self.refund(estimate - used, at)
        elif at in self._taken:
            self._taken[at] += used - estimate
            self._used += used - estimate

    def left(self, now: float) -> float:
        if now >= self.resets_at - TOLERANCE:
            return inf
        return max(self._remaining - self._used, 0.0)

    def copy(self) -> Reported:
        """The same state, to be played with."""
        twin = copy(self)
        twin._taken = self._taken.copy()
        return twin
