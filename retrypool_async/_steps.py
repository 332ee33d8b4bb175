"""Taking the steps of an attempt's coroutine, each inside the task's own context."""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any

from ._context import current

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context

    from ._task import Task

make_current = current.set  # looked up once: it is called at every attempt


def first_step(task: Task, call: Coroutine[Any, Any, Any]) -> Any:
    """Take the first step of an attempt. To be called inside its context.

    Returns what it waits for, or the `StopIteration` with its result: returned and not raised,
    since most attempts that never wait would be dearer by a tenth.
    """
    make_current(task)
    del task  # an error's traceback keeps this frame, and the task keeps the error
    try:
        return call.send(None)
    except StopIteration as result:
        return result


@coroutine
def other_steps(
    context: Context, call: Coroutine[Any, Any, Any], waits_for: Any
) -> Generator[Any, Any, Any]:
    """Drive a coroutine that has taken its first step, in its own context.

    What `await` does, but each step runs inside `context`. A child task would do the same for
    ten times the price.
    """
    enter, send, throw = context.run, call.send, call.throw
    while True:
        try:
            value = yield waits_for
        except BaseException as error:
            try:
                waits_for = enter(throw, error)
            except StopIteration as result:
                return result.value
        else:
            try:
                waits_for = enter(send, value)
            except StopIteration as result:
                return result.value


@coroutine
def one_turn() -> Generator[None, None, None]:
    """Let the loop turn once."""
    yield


def cut_own_frames(error: BaseException) -> None:
    """Cut the frames of this package off an error's traceback: they lead users nowhere.

    They would also tie the error, which the task keeps, to the runner, which has the task.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals.get("__package__") == __package__:
        traceback = traceback.tb_next
    error.__traceback__ = traceback
