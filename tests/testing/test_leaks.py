"""The leak check finds each kind of leak, names it, and stays silent otherwise."""

import asyncio
import logging
import warnings

import anyio
import pytest

from retrypool_async.testing import LeakError, no_leaks, run_virtual, settle


async def test_clean_code_passes() -> None:
    """Finished tasks and cancelled timers are no leaks."""
    with no_leaks():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            with anyio.move_on_after(3):
                await anyio.sleep(10)
        asyncio.get_running_loop().call_later(5, int).cancel()
        task = asyncio.create_task(asyncio.sleep(5))
        task.cancel()
        await asyncio.wait([task])


async def test_a_pending_task_is_found() -> None:
    """It is named with its coroutine function."""
    with pytest.raises(LeakError, match=r"task is pending: lost \(Event.wait\)"), no_leaks():
        task = asyncio.create_task(asyncio.Event().wait(), name="lost")
    task.cancel()
    await asyncio.wait([task])


async def test_a_timer_is_found() -> None:
    """It is named with its time."""
    with pytest.raises(LeakError, match=r"timer is set for 5\.0 s"), no_leaks():
        timer = asyncio.get_running_loop().call_later(5, int)
    timer.cancel()


async def test_a_coroutine_nobody_awaited_is_found() -> None:
    """Also when it dies inside the block, and without a warning besides."""
    with pytest.raises(LeakError, match=r"coroutine 'sleep' was never awaited"), no_leaks():
        asyncio.sleep(5)


async def test_other_warnings_are_passed_on() -> None:
    """Only what is listed in the error is taken out of the ordinary way."""
    with pytest.warns(UserWarning, match="mine"), no_leaks():
        warnings.warn("mine", UserWarning, stacklevel=1)


async def test_an_exception_nobody_retrieved_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """A task that failed unseen says so only when it is collected."""

    async def fail() -> None:
        raise ValueError("unseen")

    with pytest.raises(LeakError, match=r"never retrieved: ValueError\('unseen'\)"), no_leaks():
        asyncio.create_task(fail())  # noqa: RUF006
        await settle()
    assert caplog.records[0].levelno == logging.ERROR  # asyncio's own record is kept


async def test_an_exception_in_a_callback_is_found() -> None:
    """The loop reports those to its exception handler alone."""
    with pytest.raises(LeakError, match=r"Exception in callback .*ZeroDivisionError"), no_leaks():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await settle()


async def test_all_leaks_are_listed() -> None:
    """One line each."""
    with pytest.raises(LeakError) as caught, no_leaks():
        timers = [asyncio.get_running_loop().call_later(n, int) for n in (1, 2)]
        asyncio.sleep(5)
    assert len(str(caught.value).splitlines()) == 4
    assert str(caught.value).startswith("3 left behind:")
    for timer in timers:
        timer.cancel()


async def test_what_was_there_before_does_not_count() -> None:
    """The block answers for itself only."""
    timer = asyncio.get_running_loop().call_later(5, int)
    task = asyncio.create_task(asyncio.Event().wait())
    with no_leaks():
        await settle()
    timer.cancel()
    task.cancel()
    await asyncio.wait([task])


async def test_an_error_of_the_block_is_not_hidden() -> None:
    """What failed first is what is reported."""
    with pytest.raises(LookupError), no_leaks():
        timer = asyncio.get_running_loop().call_later(5, int)
        raise LookupError
    timer.cancel()


async def test_the_exception_handler_is_put_back() -> None:
    """A handler of the user's own survives."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def mine(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None: ...

    loop.set_exception_handler(mine)
    with no_leaks():
        await settle()
    assert loop.get_exception_handler() is mine
    loop.set_exception_handler(before)


def test_run_virtual_checks_unless_told_not_to() -> None:
    """Leaks are an error by default."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(5, int)

    run_virtual(main, leaks=False)
    with pytest.raises(LeakError):
        run_virtual(main)
