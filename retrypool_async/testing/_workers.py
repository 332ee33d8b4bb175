"""A worker that does what a script says, and remembers it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from retrypool_async import Worker

from ._leaks import open_resources


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt of a script.

    Attributes:
        outcome: An exception instance or class is raised, a function is called with the data (and
            awaited if need be), anything else is returned.
        seconds: How long the attempt takes, in seconds of the loop's time.
    """

    outcome: Any = None
    seconds: float = 0.0


@dataclass(slots=True)
class Call:
    """What a `ScriptedWorker` was asked to do, and what came of it.

    Attributes:
        data: What was submitted.
        started: When the attempt began, in seconds of the loop's time.
        ended: When it was over; None while it runs.
        outcome: What it returned or raised, a cancellation included; None while it runs.
    """

    data: Any
    started: float
    ended: float | None = None
    outcome: Any = None


class ScriptedWorker(Worker[Any, Any]):
    """A worker whose attempts follow a list of steps, one each; the last step repeats.

        ScriptedWorker([Throttled(30), (2.5, "ok")], name="a", quota=Quota(Window(1, per=1)))

    is throttled once and then takes 2.5 seconds for each task. Without steps it returns its data at
    once. It counts how often its resource was opened and closed, and `no_leaks` finds one that is
    still open.

    Args:
        steps: Each a `Step`, a tuple `(seconds, outcome)`, or an outcome alone, which takes no
            time. A tuple to be returned needs a `Step`.
        attributes: Those of a `Worker`, such as `name`, `quota` or `tags`. A method can be given
            as well: `classify=lambda error: Throttled()`.

    Attributes:
        calls: Every attempt so far, in order.
        overlaps: How many attempts began while another was running. Each of them raises
            `AssertionError` and is reported to the loop, so that `no_leaks` fails too.
        opens, closes: Calls of `on_start` and `on_stop`.

    Raises:
        TypeError: An attribute that a worker does not have.
    """

    def __init__(self, steps: Iterable[Any] = (), **attributes: Any) -> None:
        self.calls: list[Call] = []
        self.overlaps = 0
        self.opens = 0
        self.closes = 0
        self._steps = [_as_step(step) for step in steps] or [Step(_same)]
        self._running = False
        for name, value in attributes.items():
            if not hasattr(Worker, name):
                raise TypeError(f"a worker has no attribute {name!r}")
            setattr(self, name, value)

    async def on_start(self) -> None:
        """Open the resource, which is a count."""
        self.opens += 1
        open_resources().add(self)

    async def on_stop(self) -> None:
        """Close it."""
        self.closes += 1
        if self.closes == self.opens:
            open_resources().discard(self)

    async def run(self, data: Any) -> Any:
        """Do the next step of the script."""
        loop = asyncio.get_running_loop()
        if self._running:
            self._report_overlap(loop)
        self._running = True
        step = self._steps[min(len(self.calls), len(self._steps) - 1)]
        call = Call(data, started=loop.time())
        self.calls.append(call)
        try:
            call.outcome = await _perform(step, data)
        except BaseException as error:
            call.outcome = error
            raise
        finally:
            call.ended = loop.time()
            self._running = False
        return call.outcome

    def _report_overlap(self, loop: asyncio.AbstractEventLoop) -> None:
        self.overlaps += 1
        error = AssertionError(f"two attempts at once on worker {self.name!r}")
        loop.call_exception_handler({"message": "Exclusivity broken", "exception": error})
        raise error


async def _perform(step: Step, data: Any) -> Any:
    if step.seconds:
        await asyncio.sleep(step.seconds)
    outcome = step.outcome
    if isinstance(outcome, BaseException):
        raise outcome.with_traceback(None)  # raised again and again, it would grow
    if _is_exception_class(outcome):
        raise outcome
    if callable(outcome):
        outcome = outcome(data)
        return await outcome if inspect.isawaitable(outcome) else outcome
    return outcome


def _is_exception_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _as_step(step: Any) -> Step:
    if isinstance(step, Step):
        return step
    if isinstance(step, tuple):
        seconds, outcome = cast("tuple[float, Any]", step)
        return Step(outcome, seconds)
    return Step(step)


def _same(data: Any) -> Any:
    return data
