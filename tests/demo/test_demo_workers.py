"""A worker says whose fault each answer is, and leaves no client open."""

import httpx
import pytest

from retrypool_async import Bounce, Discard, Throttled, WorkerLost
from retrypool_async.demo.keys import Key
from retrypool_async.demo.workers import TRAVEL_MARGIN, KeyWorker, retry_after

KEY = Key(name="key-1", secret="sk-1", requests=3, tokens=100, per=10.0)
WORKER = KeyWorker(KEY, "http://service", blind=False)


def refusal(status: int, **headers: str) -> httpx.HTTPStatusError:
    """The error of an answer with this status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = httpx.Request("POST", "http://service/analyse")
    response = httpx.Response(status, headers=named, text="why", request=request)
    return httpx.HTTPStatusError("refused", request=request, response=response)


def test_a_throttled_worker_cools_as_long_as_it_is_told() -> None:
    """The longest of the exact figures counts, and beats the one in whole seconds."""
    verdict = WORKER.classify(
        refusal(
            429,
            retry_after="3",
            x_ratelimit_reset_requests="0.000",
            x_ratelimit_reset_tokens="2.125",
        )
    )
    assert isinstance(verdict, Throttled)
    assert verdict.retry_after == 2.125


def test_whole_seconds_are_better_than_nothing() -> None:
    """A service may send `Retry-After` alone, or no hint at all."""
    assert retry_after({"retry-after": "3"}) == 3.0
    assert retry_after({}) is None


def test_a_revoked_key_retires_its_worker() -> None:
    """There is nothing to rebuild."""
    verdict = WORKER.classify(refusal(401))
    assert isinstance(verdict, WorkerLost)
    assert not verdict.rebuild


def test_a_document_too_long_goes_elsewhere() -> None:
    """And one the service does not understand goes nowhere."""
    assert isinstance(WORKER.classify(refusal(413)), Bounce)
    assert isinstance(WORKER.classify(refusal(400)), Discard)


@pytest.mark.parametrize("error", [refusal(500), refusal(503), httpx.ReadError("gone")])
def test_trouble_of_the_service_is_an_ordinary_failure(error: Exception) -> None:
    """The retry policy decides."""
    assert WORKER.classify(error) is None


def test_only_a_seeing_worker_knows_its_quota() -> None:
    """Its windows are a little longer than the service's, for the way there."""
    assert WORKER.quota is not None
    now = 50.0
    assert WORKER.quota.left(now) == {"requests": 3, "tokens": 100}
    WORKER.quota.take((("requests", 3), ("tokens", 1)), now)
    assert WORKER.quota.until((("requests", 1),), now) == KEY.per + TRAVEL_MARGIN
    assert KeyWorker(KEY, "http://service", blind=True).quota is None


@pytest.mark.real_time
async def test_a_worker_does_not_start_without_the_service(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes what it opened, since `on_stop` follows only a start that succeeded."""
    closed: list[httpx.AsyncClient] = []

    async def aclose(client: httpx.AsyncClient) -> None:
        closed.append(client)

    monkeypatch.setattr(httpx.AsyncClient, "aclose", aclose)
    worker = KeyWorker(KEY, f"http://127.0.0.1:{unused_tcp_port}", blind=False)
    with pytest.raises(httpx.ConnectError):
        await worker.on_start()
    assert len(closed) == 1
