"""The client's side of a key: a worker that holds it, and a connection of its own."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from retrypool_async import (
    Bounce,
    Discard,
    Quota,
    Throttled,
    Verdict,
    Window,
    Worker,
    WorkerLost,
)

from .analysis import Analysis
from .documents import Document
from .keys import Key

#: Seconds by which our windows are longer than the service's. It counts a request when it arrives,
#: we when we send it. If one is slow on its way and the next, a window later, is not, they arrive
#: closer together than they were sent; so the margin is the most that travel times may differ.
TRAVEL_MARGIN = 0.25
REQUEST_TIMEOUT = 30.0


class KeyWorker(Worker[Document, Analysis]):
    """Analyses one document at a time with one key.

    Args:
        key: The key it holds.
        url: Where the service is.
        blind: Leave the pool ignorant of the key's quotas: it will learn by being refused.
    """

    def __init__(self, key: Key, url: str, *, blind: bool) -> None:
        self.name = key.name
        if not blind:
            per = key.per + TRAVEL_MARGIN
            self.quota = Quota(
                requests=Window(key.requests, per=per), tokens=Window(key.tokens, per=per)
            )
        self._url = url
        self._headers = {"Authorization": f"Bearer {key.secret}"}
        self._client: httpx.AsyncClient

    async def on_start(self) -> None:
        """Open the client, and a connection with it, so that the first request is not slower."""
        self._client = httpx.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=REQUEST_TIMEOUT, trust_env=False
        )
        try:
            (await self._client.get("/health")).raise_for_status()
        except BaseException:
            await self._client.aclose()
            raise

    async def on_stop(self) -> None:
        await self._client.aclose()

    async def run(self, data: Document) -> Analysis:
        response = await self._client.post("/analyse", json={"id": data.id, "text": data.text})
        response.raise_for_status()
        analysis: Analysis = response.json()
        return analysis

    def classify(self, error: Exception) -> Verdict | None:
        """Say what a refusal means. A 5xx or a broken connection is an ordinary failure."""
        if not isinstance(error, httpx.HTTPStatusError):
            return None
        match error.response.status_code:
            case 401:
                return WorkerLost(rebuild=False)  # the key is worthless from now on
            case 413:
                return Bounce()  # too long for this key, perhaps not for another
            case 429:
                return Throttled(retry_after(error.response.headers))
            case 400:
                return Discard(error.response.text)
            case _:
                return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds after which the request would be admitted; None when the service does not say.

    The rate-limit headers are exact; `Retry-After` is in whole seconds, rounded up.
    """
    resets = [headers.get(f"x-ratelimit-reset-{name}") for name in ("requests", "tokens")]
    exact = [float(reset) for reset in resets if reset is not None]
    if exact:
        return max(exact)
    return float(headers["retry-after"]) if "retry-after" in headers else None
