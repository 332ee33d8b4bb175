"""Attempts that wait for each other at random, against a search through all that may still happen.

Nobody is told who could have waited on, and nobody waits for ever: a hang stops the virtual clock.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from retrypool_async import DeadlockDetected, Pool, RetryPolicy, TaskHandle, TaskState
from retrypool_async.testing import run_virtual
from tests.pool.probe import Probe

HELD = (TaskState.RESERVED, TaskState.RUNNING)


@dataclass
class Job:
    """A task: what it waits for, one after the other, and which workers may run it."""

    naps: int
    waits: list[int]
    require: frozenset[str]
    fails_first: bool


jobs = st.builds(
    Job,
    naps=st.integers(0, 2),
    waits=st.lists(st.integers(0, 5), max_size=2),
    require=st.sampled_from([frozenset[str](), frozenset("a"), frozenset("b")]),
    fails_first=st.booleans(),
)
#: What an operator does, and how long after what came before it.
operations = st.tuples(st.sampled_from(["pause", "cool", "pause all"]), st.sampled_from([0.5, 1.5]))


class World:
    """A pool at work, and the search."""

    def __init__(self, plan: list[Job], room: int, concurrency: int | None) -> None:
        self.plan = plan
        self.room = room
        self.concurrency = concurrency
        self.handles: list[TaskHandle[Any]] = []
        self.waiting: dict[int, int] = {}
        self.tags: dict[str, frozenset[str]] = {}
        #: Who was told, of whom, though it could have waited on.
        self.mistaken: list[tuple[int, int]] = []

    async def run(self, number: int) -> None:
        """One attempt."""
        job = self.plan[number]
        await asyncio.sleep(job.naps)
        for awaited in job.waits:
            self.waiting[number] = awaited = awaited % len(self.plan)
            try:
                await self.handles[awaited].wait()
            except DeadlockDetected:
                if awaited in self.may_end():
                    self.mistaken.append((number, awaited))
            finally:
                del self.waiting[number]
        if job.fails_first and self.handles[number].attempt_count == 0:
            raise ZeroDivisionError

    def may_end(self) -> set[int]:
        """The tasks that may still end, found by letting go on whatever can, until nothing can."""
        ends = {n for n, handle in enumerate(self.handles) if handle.done()}
        places = {
            n: handle.worker.name
            for n, handle in enumerate(self.handles)
            if handle.state in HELD and handle.worker is not None
        }
        while True:
            stuck = [n for n in places if n in self.waiting and self.waiting[n] not in ends]
            taken = {places[n] for n in stuck}
            crowded = self.concurrency is not None and len(stuck) >= self.concurrency
            grows = len(self.tags) < self.room
            more = {n for n in places if n not in stuck}
            for n, job in enumerate(self.plan):
                if n not in places and not crowded:
                    able = {name for name, tags in self.tags.items() if job.require <= tags}
                    if able - taken or (grows and not job.require):
                        more.add(n)
            if more <= ends:
                return ends
            ends |= more


@settings(max_examples=200, deadline=None)
@given(
    plan=st.lists(jobs, min_size=1, max_size=6),
    tags=st.lists(st.sampled_from(["", "a", "b", "ab"]), max_size=3),
    more=st.integers(0, 2),
    concurrency=st.none() | st.integers(1, 3),
    bounce=st.booleans(),
    back_off=st.sampled_from([0, 3]),
    acts=st.lists(operations, max_size=2),
)
def test_those_are_told_whose_wait_could_never_end_and_no_others(
    plan: list[Job],
    tags: list[str],
    more: int,
    concurrency: int | None,
    bounce: bool,
    back_off: int,
    acts: list[tuple[str, float]],
) -> None:
    """With back-off, bounces, cooldowns, pauses that end, a factory, and a limit on attempts."""
    given_tags = ["ab", *tags]  # somebody who may run everything, so that nobody waits for staff
    world = World(plan, len(given_tags) + more, concurrency)

    def worker(tags: str = "") -> Probe:
        name = f"w{len(world.tags)}"
        world.tags[name] = frozenset(tags)
        return Probe(name, does=world.run, tags=frozenset(tags))

    async def main() -> None:
        growing: dict[str, Any] = {"factory": worker, "min_workers": 0, "max_workers": world.room}
        async with Pool(
            [worker(each) for each in given_tags],
            retry=RetryPolicy.fixed(back_off, attempts=2),
            concurrency=concurrency,
            bounce=bounce,
            debug=True,
            **(growing if more else {}),
        ) as pool:
            world.handles.extend(
                pool.submit(number, require=job.require) for number, job in enumerate(plan)
            )
            for act, after in acts:
                await asyncio.sleep(after)
                if act == "pause":
                    pool.pause("w0", until=5)
                elif act == "cool":
                    pool.cooldown("w0", 3)
                else:
                    pool.pause(until=2)
            for handle in world.handles:
                await handle.wait()

    run_virtual(main)
    assert not world.mistaken
