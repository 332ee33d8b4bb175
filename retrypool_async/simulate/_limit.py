"""The quotas of a scenario: what they are in the pool, and the most they could ever grant."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any

from retrypool_async import Bucket, Quota, Window

from ._table import BadScenario, Table, is_list, listed

SHORTEST_PERIOD = 0.001


def most(limit: Window | Bucket, seconds: float) -> float:
    """The most that a limit could grant in so many seconds from the start."""
    if isinstance(limit, Window):
        return limit.limit * (floor(seconds / limit.per) + 1)
    return limit.limit * (1 + seconds / limit.per)


#: The limits per dimension.
Limits = Mapping[str, tuple[Window | Bucket, ...]]


def build_quota(limits: Limits) -> Quota | None:
    """A new quota with these limits; None without any."""
    if not limits:
        return None
    listed_limits: dict[str, Any] = {name: list(some) for name, some in limits.items()}
    return Quota(**listed_limits)


def read_limits(table: Table) -> Limits:
    """What a table says: a limit, or a list of limits, per dimension."""
    limits: dict[str, tuple[Window | Bucket, ...]] = {}
    for name in table:
        value = table.get(name)
        where = table.where(name)
        items = listed(value, where) if is_list(value) else [value]
        limits[name] = tuple(_limit(Table(item, where)) for item in items)
    return limits


def _limit(table: Table) -> Window | Bucket:
    kinds = [kind for kind in ("window", "bucket") if kind in table]
    if len(kinds) != 1:
        raise BadScenario(
            f"{table.path} must be {{ window = amount, per = seconds }} "
            "or { bucket = amount, per = seconds }"
        )
    amount, per = table.number(kinds[0], above=0.0), table.number("per")
    if per < SHORTEST_PERIOD:
        raise BadScenario(f"{table.where('per')} must be at least {SHORTEST_PERIOD:g}")
    table.finish()
    return Window(amount, per=per) if kinds == ["window"] else Bucket(amount, per=per)
