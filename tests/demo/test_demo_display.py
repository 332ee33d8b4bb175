"""What is shown while it lasts comes from the pool itself."""

import asyncio
import io

import pytest
from rich.console import Console

from retrypool_async import FunctionWorker, Pool, Quota, RetryPolicy, TaskHandle, Throttled, Window
from retrypool_async.demo.analysis import Analysis, analyse
from retrypool_async.demo.display import display, line, table
from retrypool_async.demo.documents import Document
from retrypool_async.demo.progress import Progress


async def progress_after(seconds: float) -> Progress:
    """How far two workers have come, one of which fails once and throttles once."""
    trouble = [Throttled(30.0), OSError()]

    async def fast(document: Document) -> Analysis:
        await asyncio.sleep(1)
        return analyse(document.id, document.text)

    async def troubled(document: Document) -> Analysis:
        await asyncio.sleep(1)
        if trouble:
            raise trouble.pop()
        return analyse(document.id, document.text)

    handles: dict[int, TaskHandle[Analysis]] = {}
    quota = Quota(requests=Window(4, per=60), tokens=Window(100, per=60))
    workers = [
        FunctionWorker(fast, name="key-1", quota=quota),
        FunctionWorker(troubled, name="key-2"),
    ]
    retry = RetryPolicy.fixed(0.5)
    async with Pool(workers, bounce=True, retry=retry, cost=lambda one: {"tokens": 10}) as pool:
        started = pool.snapshot().at
        for number in range(4):
            handle = pool.submit(Document.of(f"[document {number}]", "some words"))
            handles[handle.id] = handle
        await asyncio.sleep(seconds)
        progress = Progress(pool.snapshot(), handles, 4, started)
        shown = Console(file=io.StringIO(), width=120)
        shown.print(table(progress))
        assert isinstance(shown.file, io.StringIO)
        for part in ("key-1", "key-2", line(progress)):
            assert part in shown.file.getvalue()
        for worker in progress.pool.workers:
            if worker.task is not None:
                assert handles[worker.task].data.id in shown.file.getvalue()
        await pool.drain()
        return Progress(pool.snapshot(), handles, 4, started)


async def test_the_table_shows_each_worker() -> None:
    """And the totals: every attempt after a failure, every move to another worker."""
    final = await progress_after(1.5)
    assert final.finished == 4
    assert final.hops.retries == {"key-2": 1}
    assert final.hops.bounces == 2
    assert "4/4 documents" in line(final)
    assert "1 retries  2 bounces" in line(final)


async def test_nothing_to_show_yet() -> None:
    """The rate of no time at all is not an error."""
    async with Pool([FunctionWorker(asyncio.sleep, name="key-1")]) as pool:
        progress = Progress(pool.snapshot(), {}, 4, pool.snapshot().at)
    assert line(progress).startswith("  0.0 s  0/4 documents  0.0/s")


async def test_the_display_suits_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    """A table on a terminal, lines elsewhere, silence on request."""
    async with Pool([FunctionWorker(asyncio.sleep, name="key-1")]) as pool:
        progress = Progress(pool.snapshot(), {}, 4, pool.snapshot().at)
    terminal = Console(file=io.StringIO(), force_terminal=True)
    for console, quiet in ((terminal, False), (Console(), False), (Console(), True)):
        with display(console, quiet=quiet) as shown:
            shown.show(progress)
    assert capsys.readouterr().out == line(progress) + "\n"
    assert isinstance(terminal.file, io.StringIO)
    assert "key-1" in terminal.file.getvalue()
