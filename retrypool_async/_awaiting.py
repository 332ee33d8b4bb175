"""Whether one asyncio task waits for another, as far as asyncio lets us see.

asyncio does not say who awaits whom (before Python 3.14), but what is to happen at the end of a
future is in its callbacks, and those lead to who will be woken: a task, or the future of a
`gather`, a `wait`, a `shield` or a task group, which has callbacks in turn. Where they lead nowhere
the answer is no.
"""

from __future__ import annotations

from asyncio import Future, Task
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_awaited_by(task: Task[Any], waiter: Task[Any]) -> bool:
    """True when `waiter` is suspended at least until `task` has ended."""
    seen: set[Future[Any]] = {task}
    pending: list[Future[Any]] = [task]
    while pending:
        for callback, _ in getattr(pending.pop(), "_callbacks", None) or ():
            for woken in _woken_by(callback):
                if woken is waiter:
                    return True
                if woken not in seen:
                    seen.add(woken)
                    pending.append(woken)
    return False


def _woken_by(callback: Any) -> Iterator[Future[Any]]:
    """The tasks and futures that a callback may be there for."""
    while isinstance(callback, partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, Future):
        yield owner  # a task whose step it is
    else:
        yield from _plain_futures(owner)
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            held = cell.cell_contents
        except ValueError:
            continue  # empty
        yield from _plain_futures(held)


def _plain_futures(thing: object) -> Iterator[Future[Any]]:
    """A future, or those that an object keeps; not tasks, which are kept for other reasons too."""
    kept = (thing, *getattr(thing, "__dict__", {}).values())
    for each in kept:
        if isinstance(each, Future) and not isinstance(each, Task):
            yield each
