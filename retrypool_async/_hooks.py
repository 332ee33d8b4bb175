"""Hooks and subscriptions: how others see what happens, without being able to disturb it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ._moves import Event, TaskMoved, WorkerMoved
from ._states import FailureAction, TaskState
from ._time import is_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextvars import Context

    from ._attempt import Attempt
    from ._dead import DeadTask

logger = logging.getLogger("retrypool_async")

#: Events that a subscriber may be behind before the oldest are dropped.
BACKLOG = 10_000


class AttemptEnded(NamedTuple):
    """An attempt has ended: the task's handle, and the attempt."""

    task: Any
    attempt: Attempt


class AttemptFailed(NamedTuple):
    """An attempt has failed, and what follows is about to be decided.

    `number` is that of the attempt, counting only those that count.
    """

    task: Any
    number: int
    worker: str
    error: BaseException

    def __repr__(self) -> str:
        return f"<AttemptFailed {self.number} on {self.worker}: {type(self.error).__name__}>"


class Hooks:
    """Functions that are called with one frozen record when something has happened.

    All but `on_failure` may be sync or async, and only look: raising is logged, an async one is
    cut off after `hook_timeout` seconds, and the pool goes on either way. Each may be replaced
    at any time: `pool.hooks.on_dead = f`.

    Args:
        on_attempt: After every attempt, with `AttemptEnded`.
        on_success: When a task succeeds, with `TaskMoved`.
        on_failure: A plain function that decides: called with `AttemptFailed` after an ordinary
            failure, it may return a `FailureAction`; None leaves it to the retry policy.
        on_dead: When a task dies, with `DeadTask`.
        on_state: On every change of a task's state, with `TaskMoved`.
        on_worker: On every change of a worker's state, with `WorkerMoved`.
        on_event: On both, with either.

    Raises:
        TypeError: a hook is neither callable nor None, or `on_failure` is a coroutine function.
    """

    NAMES = (
        "on_attempt",
        "on_success",
        "on_failure",
        "on_dead",
        "on_state",
        "on_worker",
        "on_event",
    )

    on_attempt: Callable[[AttemptEnded], object] | None
    on_success: Callable[[TaskMoved], object] | None
    on_failure: Callable[[AttemptFailed], FailureAction | None] | None
    on_dead: Callable[[DeadTask], object] | None
    on_state: Callable[[TaskMoved], object] | None
    on_worker: Callable[[WorkerMoved], object] | None
    on_event: Callable[[Event], object] | None

    def __init__(
        self,
        *,
        on_attempt: Callable[[AttemptEnded], object] | None = None,
        on_success: Callable[[TaskMoved], object] | None = None,
        on_failure: Callable[[AttemptFailed], FailureAction | None] | None = None,
        on_dead: Callable[[DeadTask], object] | None = None,
        on_state: Callable[[TaskMoved], object] | None = None,
        on_worker: Callable[[WorkerMoved], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
    ) -> None:
        self._changed: Callable[[], None] | None = None
        self.on_attempt = on_attempt
        self.on_success = on_success
        self.on_failure = on_failure
        self.on_dead = on_dead
        self.on_state = on_state
        self.on_worker = on_worker
        self.on_event = on_event

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.NAMES and value is not None:
            if not callable(value):
                raise TypeError(f"{name} must be callable or None, got {type(value).__name__}")
            if name == "on_failure" and is_async(value):
                raise TypeError("on_failure decides, so it must be a plain function")
        elif name not in self.NAMES and name != "_changed":
            raise AttributeError(f"unknown hook {name!r}; known: {', '.join(self.NAMES)}")
        object.__setattr__(self, name, value)
        changed = getattr(self, "_changed", None)
        if changed is not None and name != "_changed":
            changed()

    def attach(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever a hook is replaced."""
        self._changed = changed
        changed()

    @property
    def watching(self) -> bool:
        """True when some hook wants to see moves."""
        return any(
            getattr(self, name) is not None
            for name in self.NAMES
            if name not in ("on_failure", "on_dead")
        )


class Subscription:
    """An async iterator over events. The pool never waits for it: see `dropped`."""

    def __init__(self, close: Callable[[Subscription], None]) -> None:
        self._events: deque[Event] = deque()
        self._close = close
        self._ended = False
        self._readers: list[asyncio.Future[None]] = []
        #: Events lost because the reader was too far behind.
        self.dropped = 0

    def push(self, event: Event) -> None:
        """Hand over an event. For the pool's own use."""
        if len(self._events) >= BACKLOG:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        self._ring()

    def end(self) -> None:
        """No more events will come. For the pool's own use."""
        self._ended = True
        self._ring()

    def _ring(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.append(wake)
            try:
                await wake
            finally:
                self._readers.remove(wake)
        return self._events.popleft()

    async def aclose(self) -> None:
        """Stop listening."""
        self._ended = True
        self._close(self)
        self._ring()


class Observers:
    """Calls hooks, callbacks and subscribers, and contains whatever they do."""

    def __init__(self, hooks: Hooks, hook_timeout: float) -> None:
        self.hooks = hooks
        self.subscriptions: list[Subscription] = []
        self._hook_timeout = hook_timeout
        # The loop keeps only weak references to tasks.
        self._running: set[asyncio.Task[None]] = set()

    def tell(self, event: Event) -> None:
        """Show an event to everybody who wants it."""
        for subscription in self.subscriptions:
            subscription.push(event)
        hooks = self.hooks
        if isinstance(event, TaskMoved):
            context = event.task.context
            self.call("on_state", hooks.on_state, event, context)
            if event.old is TaskState.RUNNING and hooks.on_attempt is not None:
                self.attempt_ended(event.task, event.task.engine.last_attempt(event.task))
            if event.new is TaskState.SUCCEEDED:
                self.call("on_success", hooks.on_success, event, context)
        else:
            context = None
            if isinstance(event, WorkerMoved):
                self.call("on_worker", hooks.on_worker, event, None)
        self.call("on_event", hooks.on_event, event, context)

    def attempt_ended(self, task: Any, attempt: Attempt) -> None:
        """Tell the hook for attempts."""
        ended = AttemptEnded(task, attempt)
        self.call("on_attempt", self.hooks.on_attempt, ended, task.context)

    def call(
        self,
        name: str,
        function: Callable[[Any], object] | None,
        record: Any,
        context: Context | None,
    ) -> None:
        """Call a user's function; whatever it raises is logged, whatever it awaits is bounded."""
        if function is None:
            return
        try:
            if context is None:
                result = function(record)
            else:
                # A copy: the attempt itself may be inside the context at this moment.
                context = context.copy()
                result = context.run(function, record)
        except BaseException:
            # Also a CancelledError, which a callback gets from asking a cancelled task.
            logger.exception("%s raised", name)
            return
        if inspect.iscoroutine(result):
            task = asyncio.get_running_loop().create_task(
                self._bounded(name, result), name=f"retrypool {name}", context=context
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _bounded(self, name: str, call: Coroutine[Any, Any, object]) -> None:
        try:
            async with asyncio.timeout(self._hook_timeout):
                await call
        except TimeoutError:
            logger.warning("%s did not end within hook_timeout", name)
        except BaseException:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            logger.exception("%s raised", name)

    async def close(self) -> None:
        """End the subscriptions, and wait for hooks under way; they are bounded."""
        for subscription in self.subscriptions:
            subscription.end()
        self.subscriptions.clear()
        if self._running:
            await asyncio.wait(self._running, timeout=self._hook_timeout)
