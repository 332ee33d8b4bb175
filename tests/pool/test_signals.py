"""Ctrl-C and the end of a whole program, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import asyncio, os, signal, sys, time
from retrypool_async import Pool, PoolClosed, ThreadWorker, Worker

class Slow(Worker):
    def __init__(self, name):
        self.name = name
    async def on_start(self):
        print("opened", self.name, flush=True)
    async def on_stop(self):
        await asyncio.sleep(0.01)
        print("closed", self.name, flush=True)
    async def run(self, data, /):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            print("cleaned", self.name, flush=True)

def interrupt(after=0.1):
    loop = asyncio.get_running_loop()
    loop.call_later(after, os.kill, os.getpid(), signal.SIGINT)
"""


def run(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *flags, "-c", PREAMBLE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def quiet(errors: str) -> bool:
    """Nothing that asyncio or the interpreter says of things left behind."""
    return not any(word in errors for word in ("destroyed", "never", "Unclosed", "unhandled"))


@pytest.mark.parametrize("flags", [(), ("-X", "dev")])
def test_ctrl_c_lets_attempts_clean_up_and_closes_every_resource(flags: tuple[str, ...]) -> None:
    """The program ends by KeyboardInterrupt, in well under two seconds."""
    done = run(
        """
        began = time.monotonic()
        async def main():
            async with Pool([Slow(f"w{n}") for n in range(4)]) as pool:
                tasks = [pool.submit(n) for n in range(8)]
                interrupt()
                await asyncio.gather(*tasks)
        try:
            asyncio.run(main())
        finally:
            print("took", time.monotonic() - began < 2)
        """,
        *flags,
    )
    lines = done.stdout.splitlines()
    for word in ("opened", "cleaned", "closed"):
        assert sorted(line for line in lines if line.startswith(word)) == [
            f"{word} w{n}" for n in range(4)
        ]
    assert lines[-1] == "took True"
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert quiet(done.stderr)


def test_ctrl_c_during_a_drain_turns_it_into_the_end() -> None:
    """The close that was waiting is not waited for; resources are closed all the same."""
    done = run(
        """
        async def main():
            async with Pool([Slow("w")]) as pool:
                pool.submit(1)
                await asyncio.sleep(0.05)
                interrupt()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert done.stdout.split("\n")[-2] == "interrupted"
    assert "closed w" in done.stdout
    assert quiet(done.stderr)
    assert done.returncode == 0


def test_ctrl_c_in_a_blocking_attempt_reaches_the_task_and_not_only_the_program() -> None:
    """Python raises it in whatever runs: the handle has it, the pool goes on."""
    done = run(
        """
        class Blocking(Slow):
            async def run(self, data, /):
                if data == "block":
                    signal.raise_signal(signal.SIGINT)
                return data

        async def main():
            # Without asyncio's own handler, which would cancel the main task instead.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            async with Pool([Blocking("w")]) as pool:
                task = pool.submit("block")
                try:
                    await task
                except KeyboardInterrupt:
                    print("caught")
                print(await pool.submit("next"))
        asyncio.run(main())
        """
    )
    assert done.stdout.splitlines() == ["opened w", "caught", "next", "closed w"]
    assert done.returncode == 0, done.stderr


def test_an_exit_that_nobody_catches_ends_the_program_with_its_code() -> None:
    """A worker's SystemExit is raised where the handle is awaited."""
    done = run(
        """
        class Exits(Slow):
            async def run(self, data, /):
                sys.exit(7)

        async def main():
            async with Pool([Exits("w")]) as pool:
                await pool.submit(1)
        asyncio.run(main())
        """
    )
    assert done.stdout.splitlines() == ["opened w", "closed w"]
    assert done.returncode == 7
    assert quiet(done.stderr)


def test_a_program_that_forgets_to_close_ends_quietly() -> None:
    """Handles are settled, resources closed, nothing is said."""
    done = run(
        """
        async def main():
            pool = Pool([Slow("w")])
            await pool.start()
            tasks = [pool.submit(n) for n in range(3)]
            await asyncio.sleep(0.05)
            return tasks
        tasks = asyncio.run(main())
        print([type(task.error()).__name__ for task in tasks])
        """
    )
    lines = done.stdout.splitlines()
    assert lines[:3] == ["opened w", "cleaned w", "closed w"]
    assert lines[3] == "['PoolClosed', 'PoolClosed', 'PoolClosed']"
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_term_signal_can_be_made_a_graceful_end() -> None:
    """First signal: finish what runs; second: stop it."""
    done = run(
        """
        async def main():
            pool = Pool([Slow("w")])
            await pool.start()
            loop = asyncio.get_running_loop()
            modes = iter(["running", "cancel"])
            ended = asyncio.Event()
            def stop():
                pool.request_close(next(modes)).add_done_callback(lambda _: ended.set())
            loop.add_signal_handler(signal.SIGTERM, stop)
            running, waiting = pool.submit(1), pool.submit(2)
            loop.call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
            try:
                await waiting
            except PoolClosed:
                print("waiting ended,", running.state.name)
            os.kill(os.getpid(), signal.SIGTERM)
            await ended.wait()
            print(running.state.name)
        asyncio.run(main())
        """
    )
    assert done.stdout.splitlines() == [
        "opened w",
        "waiting ended, RUNNING",
        "cleaned w",
        "closed w",
        "CANCELLED",
    ]
    assert done.stderr == ""


def test_a_thread_that_does_not_end_is_left_alone_by_the_close() -> None:
    """The program waits for it only at its very end, as for any thread."""
    done = run(
        """
        def work(data):
            time.sleep(0.5)
            return data

        async def main():
            pool = Pool([ThreadWorker(work, name="t")], stop_grace=0.05, stop_timeout=0.05)
            await pool.start()
            pool.submit(1)
            await asyncio.sleep(0.05)
            began = time.monotonic()
            report = await pool.close("cancel")
            print(report.stuck, time.monotonic() - began < 0.4)
        asyncio.run(main())
        """
    )
    assert done.stdout.splitlines() == ["('t',) True"]
    assert quiet(done.stderr)
    assert done.returncode == 0, done.stderr
