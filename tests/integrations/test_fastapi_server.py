"""The example application over real HTTP, under a uvicorn in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx

pytestmark = pytest.mark.real_time

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(app: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL of an application that listens on a free port, and its process."""
    command = ["-m", "uvicorn", f"examples.fastapi_app.{app}", "--port", "0", "--no-access-log"]
    with subprocess.Popen(
        [sys.executable, "-W", "error::RuntimeWarning", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        log: list[str] = []
        try:
            for line in process.stderr:
                log.append(line)
                if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                    yield found[1], process
                    break
            else:
                pytest.fail("".join(log))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with serving("upstream:app") as (url, _):
        yield url


class Service:
    """The application, as its clients and its supervisor see it."""

    def __init__(self, url: str, upstream: str, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.client = httpx.AsyncClient(base_url=url, timeout=20)
        self.upstream = upstream

    def ask(
        self, question: str, seconds: float = 0, **options: Any
    ) -> asyncio.Future[httpx.Response]:
        params: dict[str, str | float] = {"question": question, "seconds": seconds}
        return asyncio.ensure_future(self.client.get("/answers", params=params, **options))

    async def until(self, condition: Callable[[dict[str, int]], bool]) -> None:
        """Wait until the status page's counts of tasks are as wanted."""
        while not condition((await self.client.get("/status")).json()["tasks"]):
            await asyncio.sleep(0.02)

    async def counts(self) -> dict[str, list[int]]:
        """What was served and what was refused upstream, by key."""
        async with httpx.AsyncClient() as client:
            found: dict[str, list[int]] = (await client.get(f"{self.upstream}/counts")).json()
            return found

    async def exit_code(self) -> int:
        return await asyncio.to_thread(self.process.wait, 20)


@asynccontextmanager
async def service(upstream: str, **environment: str) -> AsyncIterator[Service]:
    with serving("app:app", UPSTREAM=upstream, **environment) as (url, process):
        running = Service(url, upstream, process)
        async with running.client:
            yield running


async def test_requests_share_the_pool_and_its_quotas_hold(upstream: str) -> None:
    """By the count of the service upstream, which refuses what is too much for a key."""
    async with service(upstream) as app:
        before = await app.counts()
        answers = await asyncio.gather(*(app.ask(f"q{n}") for n in range(25)))
        after = await app.counts()
        assert [answer.json() for answer in answers] == [f"q{n}? 42." for n in range(25)]
        served = {name: after[name][0] - before[name][0] for name in after}
        assert sum(served.values()) == 25
        assert all(served.values())
        assert [after[name][1] - before[name][1] for name in after] == [0, 0]

        # And a client who leaves takes the task along.
        with pytest.raises(httpx.ReadTimeout):
            await app.ask("slow", seconds=600, timeout=0.3)
        await app.until(lambda tasks: tasks["CANCELLED"] == 1 and tasks["RUNNING"] == 0)


async def test_at_sigterm_running_requests_finish_and_the_others_get_a_503(upstream: str) -> None:
    """Those that wait and those that come late; then the process ends by the signal."""
    async with service(upstream) as app:
        running = [app.ask(f"running {n}", seconds=2) for n in range(2)]
        await app.until(lambda tasks: tasks["RUNNING"] == 2)
        waiting = [app.ask(f"waiting {n}", seconds=2) for n in range(6)]
        await app.until(lambda tasks: tasks["QUEUED"] == 6)
        served = sum(count for count, _ in (await app.counts()).values())

        began = time.monotonic()
        app.process.send_signal(signal.SIGTERM)
        refused = await asyncio.gather(*waiting)
        async with httpx.AsyncClient() as newcomer:
            refused.append(await newcomer.get(f"{app.client.base_url}/answers?question=late"))
        assert not any(response.done() for response in running)
        assert [response.status_code for response in refused] == [503] * 7
        assert {response.headers["content-type"] for response in refused} == {
            "application/problem+json"
        }

        assert [(await response).json() for response in running] == [
            "running 0? 42.",
            "running 1? 42.",
        ]
        assert await app.exit_code() == -signal.SIGTERM
        assert time.monotonic() - began < 10
        assert sum(count for count, _ in (await app.counts()).values()) == served


async def test_at_sigterm_a_request_without_end_is_ended(upstream: str) -> None:
    """With a 503 as well, within the grace."""
    async with service(upstream, GRACE="0.5") as app:
        endless = app.ask("endless", seconds=600)
        await app.until(lambda tasks: tasks["RUNNING"] == 1)
        began = time.monotonic()
        app.process.send_signal(signal.SIGTERM)
        assert (await endless).status_code == 503
        assert await app.exit_code() == -signal.SIGTERM
        assert time.monotonic() - began < 10
