"""What the code of an attempt reports about quotas: what it has used.

Reports come where a result or an error is being handled, so none of them raises: an odd value
counts as none given, with a warning in the log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from ._time import number

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("retrypool_async")


class Settlement(NamedTuple):
    """What an attempt has really used, per dimension."""

    used: dict[str, float]


def settlement(used: Mapping[str, object]) -> Settlement:
    """A settlement of all that is a usable amount. None says nothing of a dimension."""
    amounts = {name: usable_amount(f"settle {name}", value) for name, value in used.items()}
    return Settlement({name: value for name, value in amounts.items() if value is not None})


def usable_amount(what: str, value: object) -> float | None:
    """Return an amount as a float; None, with a warning, for anything odd."""
    if value is None:
        return None
    try:
        return number(what, value, at_least=0.0)
    except (TypeError, ValueError) as problem:
        logger.warning("%s; ignored", problem)
        return None
