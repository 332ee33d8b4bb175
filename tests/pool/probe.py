"""A worker that records when it starts, and does what a function says."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from retrypool_async import Worker


def now() -> float:
    """The time on the test's clock."""
    return asyncio.get_running_loop().time()


class Probe(Worker[Any, Any]):
    """Runs `does(data)`, awaiting what it returns if need be; returns the data without one."""

    def __init__(
        self, name: str | None = None, does: Callable[[Any], Any] | None = None, **attributes: Any
    ) -> None:
        self.name = name
        self.does = does
        self.starts: list[float] = []
        self.log: list[str] = []
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    async def on_start(self) -> None:
        self.log.append("start")

    async def on_stop(self) -> None:
        self.log.append("stop")

    async def on_pause(self) -> None:
        self.log.append("pause")

    async def on_resume(self) -> None:
        self.log.append("resume")

    async def on_remove(self) -> None:
        self.log.append("remove")

    async def run(self, data: Any, /) -> Any:
        self.starts.append(now())
        result = data if self.does is None else self.does(data)
        return await result if inspect.isawaitable(result) else result


def takes(seconds: float) -> Callable[[Any], Any]:
    """Does nothing for some seconds, then returns the data."""
    return lambda data: asyncio.sleep(seconds, result=data)


def fails(error: type[BaseException] | BaseException = ValueError) -> Callable[[Any], Any]:
    """Raises, always."""

    def does(data: Any) -> Any:
        raise error

    return does


def in_turn(*outcomes: Any) -> Callable[[Any], Any]:
    """Raises or returns one outcome after the other, the last one for ever."""
    left = list(outcomes)

    def does(data: Any) -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, BaseException) or (
            isinstance(outcome, type) and issubclass(outcome, BaseException)
        ):
            raise outcome
        return outcome

    return does
