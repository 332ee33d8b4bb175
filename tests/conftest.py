"""Async tests run in virtual time, within a limit of real time, and leave nothing behind."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

import pytest
import pytest_asyncio

from retrypool_async.testing import VirtualLoop, no_leaks


def pytest_configure() -> None:
    # A shell that runs the tests in the background has them ignore SIGINT, and then the programs
    # that they start and interrupt would ignore it too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    # The loop notices a hang by itself and names the tasks; pytest-timeout, a little later, is for
    # a callback that never returns.
    timeout = item.get_closest_marker("timeout")
    seconds = timeout.args[0] if timeout else float(config.getini("timeout"))
    return {"virtual": partial(VirtualLoop, limit=0.9 * seconds)}


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("async_leak_check")


@pytest_asyncio.fixture
async def async_leak_check() -> AsyncIterator[None]:
    with no_leaks():
        yield
