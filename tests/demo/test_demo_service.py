"""The service is as strict as the ones it stands for: to the instant, and by its own count."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrypool_async.demo.keys import Key
from retrypool_async.demo.service import ERROR_STATUSES, Service, SlidingWindow

KEY = Key(name="key-1", secret="sk-1", requests=3, tokens=100, per=10.0)


def serve(*keys: Key, seed: int = 1, error_rate: float = 0.0) -> httpx.AsyncClient:
    """A client of a service in this very process."""
    app = Service(keys, seed=seed, error_rate=error_rate).app
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def ask(
    client: httpx.AsyncClient, tokens: int = 1, key: Key = KEY, id: str = "a"
) -> httpx.Response:
    """Have a text of so many tokens analysed."""
    return await client.post(
        "/analyse",
        json={"id": id, "text": "word " * tokens},
        headers={"authorization": f"Bearer {key.secret}"},
    )


async def stats(client: httpx.AsyncClient) -> dict[str, int]:
    """What the service counted for `KEY`, without the zeros."""
    counts: dict[str, int] = (await client.get("/stats")).json()[KEY.name]
    return {kind: count for kind, count in counts.items() if count}


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 7)), max_size=30), st.integers(1, 10))
def test_a_window_is_strict_and_no_stricter(steps: list[tuple[int, int]], per: int) -> None:
    """No span ever holds more than the limit, and nothing that fits is made to wait."""
    limit, now, log = 7, 0, list[tuple[int, int]]()
    window = SlidingWindow(limit, per)
    for pause, amount in steps:
        now += pause
        used = sum(taken for at, taken in log if at > now - per)
        assert window.remaining(now) == limit - used
        wait = window.until(amount, now)
        assert (wait <= 0) == (used + amount <= limit)
        if wait > 0:
            later = now + wait
            assert sum(taken for at, taken in log if at > later - per) + amount <= limit
            assert sum(taken for at, taken in log if at > later - 0.5 - per) + amount > limit
        else:
            window.take(amount, now)
            log.append((now, amount))


async def test_requests_are_limited() -> None:
    """The fourth within a window is refused, told when to come back, and then admitted."""
    loop = asyncio.get_running_loop()
    async with serve(KEY) as client:
        assert [(await ask(client)).status_code for _ in range(3)] == [200] * 3
        refused = await ask(client)
        assert refused.status_code == 429
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-reset-tokens"] == "0.000"
        wait = float(refused.headers["x-ratelimit-reset-requests"])
        assert loop.time() + wait == pytest.approx(KEY.per, abs=0.001)
        assert int(refused.headers["retry-after"]) == 10
        await asyncio.sleep(wait - 0.002)
        assert (await ask(client)).status_code == 429
        await asyncio.sleep(0.002)
        assert (await ask(client)).status_code == 200
        assert await stats(client) == {"served": 4, "refused": 2}


async def test_tokens_are_limited() -> None:
    """A text that does not fit is refused whole, and a shorter one still fits."""
    async with serve(KEY) as client:
        answer = await ask(client, tokens=60)
        assert answer.json()["tokens"] == 60
        assert answer.headers["x-ratelimit-limit-tokens"] == "100"
        assert answer.headers["x-ratelimit-remaining-tokens"] == "40"
        assert float(answer.headers["x-ratelimit-reset-tokens"]) > 9
        assert answer.headers["x-ratelimit-reset-requests"] == "0.000"
        assert "retry-after" not in answer.headers
        refused = await ask(client, tokens=41)
        assert refused.status_code == 429
        assert refused.headers["x-ratelimit-remaining-tokens"] == "40"
        assert refused.headers["x-ratelimit-remaining-requests"] == "2"
        assert (await ask(client, tokens=40)).status_code == 200


async def test_each_key_has_its_own_windows() -> None:
    """One key's use is not another's."""
    other = Key(name="key-2", secret="sk-2", requests=1, tokens=100, per=10.0)
    async with serve(KEY, other) as client:
        assert (await ask(client, key=other)).status_code == 200
        assert (await ask(client, key=other)).status_code == 429
        assert (await ask(client)).status_code == 200


async def test_what_could_never_fit_is_too_large() -> None:
    """It costs nothing and is no 429: waiting would not help."""
    async with serve(KEY) as client:
        assert (await ask(client, tokens=101)).status_code == 413
        assert (await ask(client, tokens=100)).status_code == 200
        assert await stats(client) == {"served": 1, "too_large": 1}


async def test_a_revoked_key_stays_revoked() -> None:
    """Counted from the first request of all, on whatever key."""
    brief = Key(name=KEY.name, secret="sk-3", requests=9, tokens=100, per=10.0, revoked_after=5)
    other = Key(name="key-2", secret="sk-2", requests=9, tokens=100, per=10.0)
    async with serve(brief, other) as client:
        await asyncio.sleep(60)
        await ask(client, key=other)
        await asyncio.sleep(4.9)
        assert (await ask(client, key=brief)).status_code == 200
        await asyncio.sleep(0.1)
        for _ in range(2):
            assert (await ask(client, key=brief)).status_code == 401
        assert (await ask(client, key=other)).status_code == 200
        assert await stats(client) == {"served": 1, "unauthorised": 2}


async def test_an_unknown_key_is_unauthorised() -> None:
    """So is none at all."""
    stranger = Key(name="?", secret="sk-?", requests=1, tokens=1, per=1.0)
    async with serve(KEY) as client:
        assert (await ask(client, key=stranger)).status_code == 401
        assert (await client.post("/analyse", json={})).status_code == 401
        assert await stats(client) == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": "a"}', b'{"id": 1, "text": ""}'])
async def test_a_malformed_request_is_refused(body: bytes) -> None:
    """With a 400 that says what is expected, and without using any quota."""
    async with serve(KEY) as client:
        headers = {"authorization": f"Bearer {KEY.secret}"}
        answer = await client.post("/analyse", content=body, headers=headers)
        assert answer.status_code == 400
        assert '"text"' in answer.text.replace('\\"', '"')
        assert await stats(client) == {}


async def test_errors_follow_from_the_seed_alone() -> None:
    """The same document fails at the same try, in whatever order documents come."""
    key = Key(name=KEY.name, secret="sk-4", requests=10_000, tokens=10_000, per=1.0)

    async def outcomes(names: list[str], seed: int) -> dict[str, list[int]]:
        seen: dict[str, list[int]] = {name: [] for name in names}
        async with serve(key, seed=seed, error_rate=0.3) as client:
            for _ in range(3):
                for name in names:
                    seen[name].append((await ask(client, key=key, id=name)).status_code)
            counts: Any = Counter(code == 200 for codes in seen.values() for code in codes)
            assert await stats(client) == {"served": counts[True], "errors": counts[False]}
        return seen

    names = [f"document {n}" for n in range(40)]
    first = await outcomes(names, seed=1)
    assert first == await outcomes(names[::-1], seed=1)
    assert first != await outcomes(names, seed=2)
    codes = Counter(code for codes in first.values() for code in codes)
    assert set(codes) == {200, *ERROR_STATUSES}
    assert 20 < 120 - codes[200] < 52


async def test_an_answer_takes_its_time() -> None:
    """More for a longer text, and more on a slow key."""
    slow = Key(name="key-2", secret="sk-2", requests=9, tokens=100, per=10.0, slowness=7.0)
    loop = asyncio.get_running_loop()
    seconds = []
    async with serve(KEY, slow) as client:
        for key, tokens in ((KEY, 1), (KEY, 90), (slow, 1)):
            started = loop.time()
            await ask(client, key=key, tokens=tokens)
            seconds.append(loop.time() - started)
    assert seconds == pytest.approx([KEY.latency(1), KEY.latency(90), 7 * KEY.latency(1)], abs=1e-6)
    assert seconds[1] > seconds[0]
