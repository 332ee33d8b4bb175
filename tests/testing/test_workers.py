"""A scripted worker does what its script says, and keeps a true record."""

import asyncio
from typing import Any

import pytest

from retrypool_async.testing import Call, LeakError, ScriptedWorker, Step, no_leaks


async def outcome_of(worker: ScriptedWorker, data: Any = "data") -> Any:
    """What one attempt returns, or raises."""
    try:
        return await worker.run(data)
    except Exception as error:
        return error


async def test_each_attempt_takes_the_next_step() -> None:
    """Values are returned, exceptions raised, functions called, and time passes as written."""
    broken = ValueError("broken")

    async def later(data: str) -> str:
        await asyncio.sleep(4)
        return data * 2

    worker = ScriptedWorker(
        ["at once", (2.5, "slow"), broken, (1, LookupError), str.upper, later, Step((1, 2), 3)]
    )
    outcomes = [await outcome_of(worker, "x") for _ in range(7)]
    assert outcomes[:3] == ["at once", "slow", broken]
    assert isinstance(outcomes[3], LookupError)
    assert outcomes[4:] == ["X", "xx", (1, 2)]
    assert [(call.started, call.ended) for call in worker.calls] == [
        (0, 0),
        (0, 2.5),
        (2.5, 2.5),
        (2.5, 3.5),
        (3.5, 3.5),
        (3.5, 7.5),
        (7.5, 10.5),
    ]
    assert [call.outcome for call in worker.calls] == outcomes


async def test_the_last_step_repeats() -> None:
    """A script needs no more steps than it has something to say."""
    worker = ScriptedWorker([ValueError, "ok"])
    await outcome_of(worker)
    assert [await outcome_of(worker) for _ in range(3)] == ["ok"] * 3


async def test_without_steps_it_returns_its_data() -> None:
    """The shortest useful worker."""
    assert await ScriptedWorker().run("data") == "data"


async def test_an_exception_instance_can_be_raised_again_and_again() -> None:
    """It is the same object each time, and its traceback does not grow."""
    error = ValueError()
    worker = ScriptedWorker([error])
    lengths = set()
    for _ in range(3):
        assert await outcome_of(worker) is error
        traceback, length = error.__traceback__, 0
        while traceback:
            traceback, length = traceback.tb_next, length + 1
        lengths.add(length)
    assert len(lengths) == 1


async def test_a_cancelled_attempt_is_recorded() -> None:
    """With the time it was cut off at."""
    worker = ScriptedWorker([(10, None)])
    attempt = asyncio.create_task(worker.run("data"))
    await asyncio.sleep(4)
    assert worker.calls == [Call("data", started=0)]
    attempt.cancel()
    await asyncio.wait([attempt])
    assert worker.calls[0].ended == 4
    assert isinstance(worker.calls[0].outcome, asyncio.CancelledError)


async def test_attempts_that_overlap_are_a_loud_failure() -> None:
    """The second attempt fails, the count says so, and a leak check fails as well."""
    worker = ScriptedWorker([(10, "ok")], name="a")
    broken = r"Exclusivity broken.*two attempts at once on worker 'a'"
    with pytest.raises(LeakError, match=broken), no_leaks():
        first = asyncio.create_task(worker.run(1))
        await asyncio.sleep(1)
        assert isinstance(await outcome_of(worker, 2), AssertionError)
        assert await first == "ok"
    assert worker.overlaps == 1
    assert await worker.run(3) == "ok"


async def test_an_open_resource_is_a_leak() -> None:
    """Every opening needs its closing."""
    worker = ScriptedWorker(name="a")
    with no_leaks():
        await worker.on_start()
        await worker.on_stop()
    with pytest.raises(LeakError, match="worker 'a' opened 2 times, closed 1"), no_leaks():
        await worker.on_start()
    await worker.on_stop()
    assert (worker.opens, worker.closes) == (2, 2)


async def test_attributes_and_methods_of_a_worker_can_be_given() -> None:
    """Misspelt ones are refused."""
    worker = ScriptedWorker(name="a", tags={"gpu"}, classify=lambda error: None)
    assert (worker.name, worker.tags) == ("a", {"gpu"})
    assert worker.classify(ValueError()) is None
    with pytest.raises(TypeError, match="qouta"):
        ScriptedWorker(qouta=None)
