"""Callbacks of groups: plain functions, which are told and can change nothing by failing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any

# The one logger whose records the pool masks secrets in.
logger = logging.getLogger("retrypool_async")


def check_callback(name: str, value: object) -> None:
    """Refuse what is no plain function: a group does not wait for those that it tells."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {type(value).__name__}")
    call = getattr(type(value), "__call__", None)  # noqa: B004 - its kind, not its presence
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call):
        raise TypeError(f"{name} must be a plain function; it may start a task of its own")


def tell(name: str, callback: Callable[[Any], object], record: Any, context: Context) -> None:
    """Call a user's function in a copy of a context; whatever it raises is logged."""
    try:
        context.copy().run(callback, record)
    except BaseException:
        # Also a CancelledError, which a callback gets from asking a cancelled task.
        logger.exception("%s raised", name)
