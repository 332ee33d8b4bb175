"""Checks of what users pass to the pools of groups."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from math import inf, isfinite
from typing import TypeVar

H = TypeVar("H", bound=Hashable)


def hashable(name: str, value: H) -> H:
    """An id."""
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"{name} must be hashable, got {type(value).__name__}") from None
    return value


def flag(name: str, value: object) -> bool:
    """A bool, and nothing that merely looks true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return value


def optional_seconds(name: str, value: object) -> float | None:
    """A duration in seconds, or a `timedelta`; None for no limit."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be in seconds, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an int may be larger than any float
        number = inf
    if not isfinite(number) or number < 0:
        raise ValueError(f"{name} must be finite and at least 0, got {number:g}")
    return number


def limit(name: str, value: int | None) -> int | None:
    """An option that bounds a number, or None for no bound."""
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int or None, got {type(value).__name__}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    return value
