"""How much of a quota is used, in a form that outlives the process: ages, not moments."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from ._time import number

#: What was taken from one limit: (seconds ago, amount), the oldest first.
Taken = list[tuple[float, float]]


class Levels(NamedTuple):
    """The state of a quota at one moment."""

    #: POSIX time at which this was so.
    at: float
    #: Seconds for which a service has refused all that share the quota.
    cooling: float
    #: Per dimension, what was taken from each of its limits.
    taken: dict[str, list[Taken]]
    #: Per dimension, what the service said is left, and for how many seconds.
    reported: dict[str, tuple[float, float]]

    def plain(self) -> dict[str, Any]:
        """As what JSON knows."""
        return {
            "at": self.at,
            "cooling": self.cooling,
            "taken": {
                name: [[list(pair) for pair in taken] for taken in limits]
                for name, limits in self.taken.items()
            },
            "reported": {name: list(pair) for name, pair in self.reported.items()},
        }

    @classmethod
    def parse(cls, data: object) -> Levels:
        """Read what `plain` has written.

        Raises:
            ValueError: it is something else.
        """
        try:
            plain = cast("dict[str, Any]", data)
            return cls(
                at=number("at", plain["at"]),
                cooling=number("cooling", plain["cooling"], at_least=0.0),
                taken={
                    str(name): [sorted(map(_pair, taken), reverse=True) for taken in limits]
                    for name, limits in plain["taken"].items()
                },
                reported={str(name): _pair(pair) for name, pair in plain["reported"].items()},
            )
        except (TypeError, ValueError, LookupError, AttributeError) as problem:
            raise ValueError(f"these are not levels that a quota has exported: {problem}") from None

    def later(self, seconds: float) -> Levels:
        """What is left of them so many seconds later."""
        return Levels(
            at=self.at + seconds,
            cooling=max(self.cooling - seconds, 0.0),
            taken={
                name: [[(age + seconds, amount) for age, amount in taken] for taken in limits]
                for name, limits in self.taken.items()
            },
            reported={
                name: (left, lasts - seconds)
                for name, (left, lasts) in self.reported.items()
                if lasts > seconds
            },
        )


def _pair(value: Any) -> tuple[float, float]:
    first, second = value
    return number("a time", first, at_least=0.0), number("an amount", second, at_least=0.0)
