"""The service: it analyses documents, and it is strict about who may ask how often.

Every key has a sliding window of requests and one of tokens. A request that does not fit is
refused (429) and told when it would; one that could never fit is too large (413); a revoked or
unknown key is unauthorised (401); and now and then the service itself fails (5xx).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from math import ceil

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .analysis import analyse
from .documents import count_tokens
from .keys import Key

ERROR_STATUSES = (500, 502, 503)


class SlidingWindow:
    """At most `limit` within any span of `per` seconds, to the instant."""

    def __init__(self, limit: float, per: float) -> None:
        self.limit = limit
        self._per = per
        self._used = 0.0
        self._log: deque[tuple[float, float]] = deque()

    def remaining(self, now: float) -> float:
        """What may still be taken now."""
        while self._log and self._log[0][0] <= now - self._per:
            self._used -= self._log.popleft()[1]
        return self.limit - self._used

    def until(self, amount: float, now: float) -> float:
        """Seconds until `amount`, which is at most `limit`, may be taken."""
        remaining = self.remaining(now)
        wait = 0.0
        for at, taken in self._log:
            if remaining >= amount:
                break
            remaining += taken
            wait = at + self._per - now
        return wait

    def take(self, amount: float, now: float) -> None:
        """Count `amount` as used from now on."""
        self._log.append((now, amount))
        self._used += amount


class Account:
    """What the service knows about one key."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.windows = {
            "requests": SlidingWindow(key.requests, key.per),
            "tokens": SlidingWindow(key.tokens, key.per),
        }
        self.counts = Counter(served=0, refused=0, errors=0, unauthorised=0, too_large=0)

    def revoked(self, age: float) -> bool:
        """True when the key is no longer accepted, `age` seconds after the first request."""
        return self.key.revoked_after is not None and age >= self.key.revoked_after

    def admit(self, cost: Mapping[str, float], now: float) -> float:
        """Debit all of `cost`, or nothing and return the seconds until all of it will fit."""
        wait = max(self.windows[name].until(amount, now) for name, amount in cost.items())
        if wait <= 0:
            for name, amount in cost.items():
                self.windows[name].take(amount, now)
        return wait

    def headers(self, cost: Mapping[str, float], now: float) -> dict[str, str]:
        """The limits, what is left, and the seconds until the same request would (again) fit."""
        headers: dict[str, str] = {}
        for name, window in self.windows.items():
            headers[f"x-ratelimit-limit-{name}"] = f"{window.limit:g}"
            headers[f"x-ratelimit-remaining-{name}"] = f"{window.remaining(now):g}"
            wait = window.until(cost[name], now)
            # Rounded up: who comes back at the time given is not refused again.
            headers[f"x-ratelimit-reset-{name}"] = f"{ceil(wait * 1000) / 1000:.3f}"
        return headers


class Service:
    """The application's state and its end points.

    Args:
        keys: The keys that are accepted.
        seed: Which documents fail at which try follows from this alone, not from the order in
            which they arrive.
        error_rate: Share of the admitted requests that end in a 5xx.
    """

    def __init__(self, keys: Sequence[Key], *, seed: int, error_rate: float) -> None:
        self._accounts = {f"Bearer {key.secret}": Account(key) for key in keys}
        self._seed = seed
        self._error_rate = error_rate
        self._tries: Counter[str] = Counter()
        self._opened_at: float | None = None
        self.app = Starlette(
            routes=[
                Route("/analyse", self._analyse, methods=["POST"]),
                Route("/health", self._health),
                Route("/stats", self._stats),
            ]
        )

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(
            {account.key.name: account.counts for account in self._accounts.values()}
        )

    async def _analyse(self, request: Request) -> Response:
        account = self._accounts.get(request.headers.get("authorization", ""))
        if account is None:
            return _problem(401, "unknown key")
        document = await _read_document(request)
        now = asyncio.get_running_loop().time()
        if self._opened_at is None:
            self._opened_at = now
        if account.revoked(now - self._opened_at):
            account.counts["unauthorised"] += 1
            return _problem(401, "this key has been revoked")
        if document is None:
            return _problem(400, 'expected {"id": <string>, "text": <string>}')
        return await self._answer(account, *document, now)

    async def _answer(self, account: Account, id: str, text: str, now: float) -> Response:
        tokens = count_tokens(text)
        if tokens > account.key.tokens:
            account.counts["too_large"] += 1
            return _problem(413, f"{tokens} tokens; this key takes {account.key.tokens}")
        cost = {"requests": 1, "tokens": tokens}
        wait = account.admit(cost, now)
        headers = account.headers(cost, now)
        if wait > 0:
            account.counts["refused"] += 1
            headers["retry-after"] = str(ceil(wait))  # HTTP knows whole seconds only
            return _problem(429, "over the limit of this key", headers)

        result = analyse(id, text)
        failure = self._failure(id)
        await asyncio.sleep(account.key.latency(tokens))
        if failure is not None:
            account.counts["errors"] += 1
            return _problem(failure, "something broke", headers)
        account.counts["served"] += 1
        return JSONResponse(result, headers=headers)

    def _failure(self, id: str) -> int | None:
        self._tries[id] += 1
        chance = random.Random(f"{self._seed}/{id}/{self._tries[id]}")
        return chance.choice(ERROR_STATUSES) if chance.random() < self._error_rate else None


async def _read_document(request: Request) -> tuple[str, str] | None:
    try:
        body = await request.json()
    except (ValueError, ClientDisconnect):
        return None
    match body:
        case {"id": str(id), "text": str(text)}:
            return id, text
        case _:
            return None


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)
