"""Tasks wait and no worker is there: it is said once."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from retrypool_async import Event, Hooks, NoWorkers, Pool, WorkersMissing
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, now, takes


class Heard:
    """What the log and the observers of a pool are told of missing workers."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.events: list[Event] = []
        self.hooks = Hooks(on_event=self.events.append)

    @property
    def at(self) -> list[float]:
        """When it was said; in both places alike."""
        told = [event.at for event in self.events if isinstance(event, WorkersMissing)]
        logged = [
            record.levelno
            for record in self._caplog.records
            if record.getMessage() == "tasks wait and no worker is there"
        ]
        assert logged == [logging.WARNING] * len(told)
        return told


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Heard:
    return Heard(caplog)


@pytest.mark.parametrize("policy", ["wait", 60])
async def test_it_is_said_once_and_not_for_every_task(heard: Heard, policy: Any) -> None:
    """Nor every time that somebody looks. Origin: vladkens/twscrape#48."""
    async with Pool([], no_workers=policy, hooks=heard.hooks, debug=True) as pool:
        await asyncio.sleep(1)
        assert heard.at == []  # nobody waits
        tasks = [pool.submit(n) for n in range(3)]
        await settle()
        assert heard.at == [1]
        for n in range(3):
            await asyncio.sleep(1)
            tasks.append(pool.submit(n, require="gpu"))
        await asyncio.sleep(1)
        await pool.add(Probe(tags={"gpu"}))
        for task in tasks:
            await task
        assert (now(), heard.at) == (5, [1])


async def test_it_is_said_again_when_workers_have_been_there(heard: Heard) -> None:
    """Each time that the last one goes while tasks wait, or they come to wait after that."""
    async with Pool(
        [Probe("w", does=takes(1))], no_workers="wait", hooks=heard.hooks, debug=True
    ) as pool:
        pool.submit(0)
        pool.submit(1)
        await settle()
        await pool.remove("w")  # it is of no use to others from that moment on
        assert (now(), heard.at) == (1, [0])
        waiting = pool.submit(2)
        await pool.add(Probe("v"))
        await waiting
        await pool.remove("v")
        await asyncio.sleep(1)
        assert heard.at == [0]
        last = pool.submit(3)
        await settle()
        assert heard.at == [0, 2]
        last.cancel()


async def test_a_retry_may_be_what_comes_to_wait(heard: Heard) -> None:
    """When it falls due."""
    async with Pool(
        [Probe("w", does=fails())], no_workers="wait", hooks=heard.hooks, debug=True
    ) as pool:
        task = pool.submit(0)
        await settle()
        await pool.remove("w")
        assert heard.at == []
        await asyncio.sleep(60)
        assert len(heard.at) == 1
        task.cancel()


async def test_a_worker_that_can_never_open_is_no_worker(heard: Heard) -> None:
    """It is there, and only an operator could bring it to work."""

    class Broken(Probe):
        async def on_start(self) -> None:
            raise OSError

    async with Pool([Probe("w"), Broken("b")], hooks=heard.hooks, debug=True) as pool:
        await pool.remove("w")
        assert heard.at == []
        tasks = [pool.submit(n) for n in range(3)]
        await settle()
        assert heard.at == [0]
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("policy", ["raise", "dead"])
async def test_nothing_is_said_where_nobody_waits(heard: Heard, policy: Any) -> None:
    """The tasks say it."""
    async with Pool(
        [Probe("w", does=takes(1))], no_workers=policy, hooks=heard.hooks, debug=True
    ) as pool:
        pool.submit(0)
        waiting = pool.submit(1)
        await pool.remove("w")
        with pytest.raises(NoWorkers):
            await waiting
        with pytest.raises(NoWorkers):
            await pool.submit(2)
        assert heard.at == []


async def test_workers_on_their_way_up_are_there(heard: Heard) -> None:
    """Those that open, are paused, cool, or are to be made."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(5)

    async with Pool([Slow("w")], hooks=heard.hooks, debug=True) as pool:
        pool.pause("w", until=3)
        await pool.submit(0)
    async with Pool(
        factory=lambda: Slow(), min_workers=0, max_workers=1, hooks=heard.hooks, debug=True
    ) as pool:
        await pool.submit(0)
    assert heard.at == []
