"""What the code of an attempt reports about quotas: its use, and what the service says is left.

Reports come where a result or an error is being handled, so none of them raises: an odd value
counts as none given, with a warning in the log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, NamedTuple

from ._time import number, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("retrypool_async")


class Settlement(NamedTuple):
    """What an attempt has really used, per dimension."""

    used: dict[str, float]


class Allowance(NamedTuple):
    """What the service says is left of a dimension, and for how many seconds that holds."""

    dimension: str
    remaining: float
    reset_after: float
    scope: Literal["worker", "quota"]


def settlement(used: Mapping[str, object]) -> Settlement:
    """A settlement of all that is a usable amount. None says nothing of a dimension."""
    amounts = {name: usable_amount(f"settle {name}", value) for name, value in used.items()}
    return Settlement({name: value for name, value in amounts.items() if value is not None})


def allowance(
    dimension: str, remaining: object, reset_after: object, scope: object, longest: float
) -> Allowance | None:
    """An allowance, if all of it is usable. A reset further off than `longest` is a mistake."""
    if not isinstance(dimension, str):
        logger.warning("sync_quota dimension must be a string; ignored")
        return None
    left = usable_amount(f"sync_quota {dimension} remaining", remaining)
    if left is None or reset_after is None:
        return None
    try:
        length = seconds(f"sync_quota {dimension} reset_after", reset_after)
    except (TypeError, ValueError) as problem:
        logger.warning("%s; ignored", problem)
        return None
    if length > longest:
        logger.warning(
            "sync_quota %s reset_after is %g s, more than max_retry_after; ignored",
            dimension,
            length,
        )
        return None
    if scope not in ("worker", "quota"):
        logger.warning("sync_quota scope must be 'worker' or 'quota'; taken as 'worker'")
    return Allowance(dimension, left, length, "quota" if scope == "quota" else "worker")


def usable_amount(what: str, value: object) -> float | None:
    """Return an amount as a float; None, with a warning, for anything odd."""
    if value is None:
        return None
    try:
        return number(what, value, at_least=0.0)
    except (TypeError, ValueError) as problem:
        logger.warning("%s; ignored", problem)
        return None
