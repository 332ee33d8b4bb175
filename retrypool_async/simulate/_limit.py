"""The quotas of a scenario: what they are in the pool, and the most they could ever grant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Any

from retrypool_async import Bucket, Quota, Window

from ._table import BadScenario, Table, is_list, listed

SHORTEST_PERIOD = 0.001


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on one dimension."""

    kind: str
    amount: float
    per: float

    def build(self) -> Window | Bucket:
        """The limit as the pool takes it."""
        kind = Window if self.kind == "window" else Bucket
        return kind(self.amount, per=self.per)

    def most(self, seconds: float) -> float:
        """The most that it could grant in so many seconds from the start."""
        if self.kind == "window":
            return self.amount * (floor(seconds / self.per) + 1)
        return self.amount * (1 + seconds / self.per)


#: The limits per dimension.
Limits = Mapping[str, tuple[Limit, ...]]


def build_quota(limits: Limits) -> Quota | None:
    """A new quota with these limits; None without any."""
    if not limits:
        return None
    built: dict[str, Any] = {
        name: [limit.build() for limit in some] for name, some in limits.items()
    }
    return Quota(**built)


def read_limits(table: Table) -> Limits:
    """What a table says: a limit, or a list of limits, per dimension."""
    limits: dict[str, tuple[Limit, ...]] = {}
    for name in table:
        value = table.get(name)
        where = table.where(name)
        items = listed(value, where) if is_list(value) else [value]
        limits[name] = tuple(_limit(Table(item, where)) for item in items)
    return limits


def _limit(table: Table) -> Limit:
    kinds = [kind for kind in ("window", "bucket") if kind in table]
    if len(kinds) != 1:
        raise BadScenario(
            f"{table.path} must be {{ window = amount, per = seconds }} "
            "or { bucket = amount, per = seconds }"
        )
    limit = Limit(kinds[0], table.number(kinds[0], above=0.0), table.number("per"))
    if limit.per < SHORTEST_PERIOD:
        raise BadScenario(f"{table.where('per')} must be at least {SHORTEST_PERIOD:g}")
    table.finish()
    return limit
