"""A marker is put wherever a secret may be, and looked for in everything the pool emits."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from retrypool_async import (
    Discard,
    Hooks,
    Pool,
    PoolClosed,
    Quota,
    RetryPolicy,
    RetryPoolError,
    Snooze,
    Throttled,
    Verdict,
    Window,
    WorkerLost,
    WorkerStartFailed,
)
from tests.pool.probe import Probe

MARK = "sk-CANARY-77"
ONE = RetryPolicy.fixed(0, attempts=1)


class KeyWorker(Probe):
    """Holds the marker as its key, and lets it slip in every error."""

    def __init__(self, name: str, mode: str = "error") -> None:
        super().__init__(name, tags={"t"}, quota=Quota(Window(50, per=1)))
        self.key = MARK
        self.mode = mode

    async def on_start(self) -> None:
        if self.mode == "start":
            raise OSError(f"cannot open {self.key}")

    async def on_stop(self) -> None:
        raise OSError(f"cannot close {self.key}")

    async def on_pause(self) -> None:
        raise OSError(f"cannot pause {self.key}")

    async def on_reset(self) -> None:
        raise OSError(f"cannot reset {self.key}")

    async def run(self, data: Any, /) -> Any:
        try:
            raise KeyError(f"inner {self.key}")
        except KeyError as inner:
            outer: dict[str, Callable[[], BaseException]] = {
                "error": lambda: ValueError(f"refused {self.key}", {"auth": self.key}),
                "throttled": lambda: Throttled(1),
                "lost": lambda: WorkerLost(),
                "discard": lambda: Discard("no"),
                "snooze": lambda: Snooze(1),
                "exit": lambda: SystemExit(self.key),
                "cancel": lambda: asyncio.CancelledError(self.key),
            }
            if self.mode in outer:
                raise outer[self.mode]() from inner
        return await asyncio.sleep(100)

    def classify(self, error: Exception) -> Verdict | None:
        return None


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that this library logs, formatted with tracebacks as a program would."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter())
    logger = logging.getLogger("retrypool_async")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


MODES = ["error", "throttled", "lost", "discard", "snooze", "exit", "cancel", "hangs"]


@pytest.mark.parametrize("mode", MODES)
async def test_no_record_shows_what_a_worker_or_a_task_holds(mode: str, log: io.StringIO) -> None:
    """Without any registered secret: texts of errors, data and metadata are never printed."""
    shown: list[object] = []
    hooks = Hooks(
        on_attempt=shown.append,
        on_success=shown.append,
        on_failure=shown.append,  # type: ignore[arg-type]
        on_dead=shown.append,
        on_state=shown.append,
        on_worker=shown.append,
        on_event=shown.append,
    )
    worker = KeyWorker("key-1", mode)
    retry = RetryPolicy.fixed(0, attempts=2)
    pool = Pool([worker], hooks=hooks, retry=retry, max_snoozes=1, max_throttles=1, debug=True)
    await pool.start()
    shown += [pool, pool.retry, pool.hooks, pool.strategy, worker, pool.snapshot()]
    events = pool.events()
    tasks = [
        pool.submit(MARK, metadata={"key": MARK}, attempt_timeout=5),
        pool.submit({"auth": MARK}, timeout=2),
        pool.submit(MARK, queue_timeout=1),
    ]
    await asyncio.sleep(0)
    shown += [*tasks, pool.snapshot(), *(task.explain() for task in tasks)]
    await pool.join()
    pool.pause()
    last = pool.submit(MARK)
    shown += [pool.dead, *pool.dead, last, last.explain(), *pool.workers(), pool.snapshot()]
    for task in tasks:
        shown += [*task.attempts, *task.history, task.times, task.attempts, task.history]
        error = task.error()
        if isinstance(error, RetryPoolError) and not isinstance(error, Verdict):
            shown += [error, str(error)]
    report = await pool.close("cancel")
    shown += [report, *report.unfinished, last.error()]
    shown += [event async for event in events]
    text = "\n".join(map(repr, shown))
    assert "key-1" in text
    assert MARK not in text
    assert MARK not in log.getvalue()


async def test_a_worker_that_cannot_start_does_not_tell_its_key(log: io.StringIO) -> None:
    """The error names the worker and the kind of trouble; the cause is there for who asks."""
    pool = Pool([KeyWorker("key-1", "start")])
    with pytest.raises(WorkerStartFailed) as failed:
        await pool.start()
    shown = f"{failed.value!r} {failed.value} {pool.snapshot()} {pool!r}"
    report = await pool.close()
    assert MARK not in shown + repr(report)
    assert MARK not in log.getvalue()
    assert MARK in str(failed.value.causes[0][1])


def bad(record: Any = None) -> Any:
    raise RuntimeError(f"user code saw {MARK}")


async def async_bad(record: Any = None) -> Any:
    await asyncio.sleep(0)
    bad()


@pytest.mark.parametrize("hook", [bad, async_bad])
async def test_tracebacks_in_the_log_have_registered_secrets_masked(
    hook: Any, log: io.StringIO
) -> None:
    """Whatever raised: hooks, callbacks, strategies, with causes and all."""
    hooks = Hooks(on_state=hook, on_worker=hook, on_dead=hook, on_attempt=hook, on_event=hook)
    if hook is bad:
        hooks.on_failure = bad
    pool = Pool([KeyWorker("key-1")], hooks=hooks, secrets=[MARK], retry=ONE, debug=True)
    async with pool:
        task = pool.submit(MARK, on_queued=hook, on_running=hook, on_done=hook)
        await task.wait()
        assert "ValueError" in task.attempts[0].traceback
        assert MARK not in task.attempts[0].traceback
    text = log.getvalue()
    assert "RuntimeError" in text
    assert "***" in text
    assert MARK not in text


async def test_a_broken_policy_does_not_tell_what_it_was_given(log: io.StringIO) -> None:
    """Neither of cost, nor of classify, nor of a retry strategy."""

    def wait(state: Any) -> float:
        return bad()  # type: ignore[no-any-return]

    worker = KeyWorker("key-1")
    async with Pool([worker], cost=bad, debug=True) as pool:
        with pytest.raises(RetryPoolError):
            pool.submit(MARK)
    for policy, classify in ((RetryPolicy(wait=wait), None), (ONE, bad)):
        worker = KeyWorker("key-2")
        if classify is not None:
            worker.classify = classify  # type: ignore[method-assign]
        async with Pool([worker], retry=policy, debug=True) as pool:
            task = pool.submit(MARK)
            await task.wait()
            shown = [repr(task.error()), repr(pool.dead[task.id]), repr(task.attempts)]
            assert MARK not in "".join(shown)
    assert MARK not in log.getvalue()


async def test_a_leftover_reference_in_asyncios_own_reprs_shows_nothing() -> None:
    """Tasks and timers of the pool, as asyncio prints them when something is wrong."""
    loop = asyncio.get_running_loop()
    async with Pool([Probe("w", does=lambda data: asyncio.sleep(5))], debug=True) as pool:
        pool.submit(MARK, metadata={"k": MARK}, timeout=50, attempt_timeout=40)
        await asyncio.sleep(1)
        timers = loop._scheduled  # type: ignore[attr-defined]
        assert MARK not in f"{asyncio.all_tasks()} {timers}"
        task = pool.submit(MARK)
        await pool.close("cancel")
        with pytest.raises(PoolClosed) as closed:
            await task
        assert MARK not in f"{closed.value!r} {getattr(closed.value, '__notes__', '')}"


def test_masking_leaves_no_part_of_a_secret() -> None:
    """Where one secret begins like another, and where a long text is cut."""
    from retrypool_async import Attempt, AttemptOutcome
    from retrypool_async._attempt import TEXT_LIMIT, masked

    canary = "sk-SECRET-123"
    assert "SECRET" not in masked(canary, ("sk-", canary))
    error = ValueError("x" * (TEXT_LIMIT - len("ValueError: ") - 9) + canary)
    attempt = Attempt(1, "w", 0, 1, AttemptOutcome.ERROR, error, secrets=(canary,))
    assert "SECRE" not in attempt.traceback


async def test_a_close_report_shows_no_text_of_a_failed_teardown() -> None:
    """Only which worker, and what kind of error."""
    from retrypool_async import Pool
    from tests.pool.probe import Probe

    class FailsToStop(Probe):
        async def on_stop(self) -> None:
            raise ValueError("sk-SECRET-123")

    pool = Pool([FailsToStop("w")])
    await pool.start()
    report = await pool.close()
    assert report.failed_teardowns[0][0] == "w"
    assert "SECRET" not in repr(report)
