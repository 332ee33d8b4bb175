"""Checks for numbers that users give us: times in seconds, amounts, counts.

Each returns the value as the type the pool computes with, or raises with the field named.
`bool` is refused everywhere: `timeout=True` is always a mistake.
"""

from __future__ import annotations

import inspect
import time
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from datetime import timedelta
from math import inf, isfinite, nextafter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Seconds = float | timedelta

#: A shortage below this share of a limit counts as none: it is rounding, not demand.
TOLERANCE = 1e-9


def is_finite(value: float) -> bool:
    """True for what a float can hold. A Python int may be far too large for that."""
    try:
        return isfinite(value)
    except OverflowError:
        return False


def number(name: str, value: object, *, at_least: float | None = None) -> float:
    """Return `value` as a finite float, at least `at_least`.

    Raises:
        TypeError: it is not an int or a float.
        ValueError: it is not finite or is too small.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not is_finite(value):
        raise ValueError(f"{name} must be finite and fit a float")
    if at_least is not None and value < at_least:
        raise ValueError(f"{name} must be at least {at_least:g}, got {value:g}")
    return float(value)


def seconds(name: str, value: object, *, at_least: float = 0.0) -> float:
    """Return a duration in seconds; a `timedelta` is accepted."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return number(name, value, at_least=at_least)


def share(name: str, value: object) -> float:
    """Return `value` as a share of something: a float between 0 and 1.

    Raises:
        TypeError, ValueError: it is not.
    """
    result = number(name, value, at_least=0.0)
    if result > 1.0:
        raise ValueError(f"{name} must be at most 1, got {result:g}")
    return result


def optional_seconds(name: str, value: object, *, at_least: float = 0.0) -> float | None:
    """Return a duration in seconds, or None for "no limit"."""
    return None if value is None else seconds(name, value, at_least=at_least)


def count(name: str, value: object, *, at_least: int = 0) -> int:
    """Return a whole number that is at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}")
    return value


def optional_count(name: str, value: object, *, at_least: int = 0) -> int | None:
    """Return a whole number, or None for "no limit"."""
    return None if value is None else count(name, value, at_least=at_least)


def wall_time() -> float:
    """POSIX time; on a loop that keeps a calendar of its own, what that says.

    Looked up at every call, so that virtual time has its days too, and anybody may set the clock.
    """
    own: Callable[[], float] | None = getattr(_get_running_loop(), "wall_time", None)
    return time.time() if own is None else own()


def is_async(function: object) -> bool:
    """True for a coroutine function, and for an object whose call is one."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its kind, not its presence
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def flag(name: str, value: object) -> bool:
    """Return a bool, refusing everything that merely looks true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return value


def later(when: float, now: float) -> float:
    """A time that is not now any more: what is too near for the clock would fall due for ever."""
    return max(when, nextafter(now, inf))
