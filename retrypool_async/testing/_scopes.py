"""The one place where a replay could differ: anyio cancels child scopes in the order of a set."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest.mock import patch


class InsertionOrderedSet(dict[object, None]):
    """As much of a set as a cancel scope uses of one."""

    def add(self, item: object) -> None:
        self[item] = None

    def discard(self, item: object) -> None:
        self.pop(item, None)

    def remove(self, item: object) -> None:
        del self[item]


@contextmanager
def scopes_in_order() -> Generator[None]:
    """Make scopes created in the block cancel their children in the order of entry.

    The order of a set of scopes follows their addresses in memory, so the same seed would not
    replay the same run. anyio has no switch for it; the original is put back after the block.
    """
    scope_class: Any = import_module("anyio._backends._asyncio").CancelScope
    init = scope_class.__init__

    def ordered_init(scope: Any, *args: Any, **kwargs: Any) -> None:
        init(scope, *args, **kwargs)
        scope._child_scopes = InsertionOrderedSet()

    with patch.object(scope_class, "__init__", ordered_init):
        yield
