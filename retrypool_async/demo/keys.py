"""The keys of the service: what each may use, and what is wrong with two of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .documents import Document

#: How long an answer takes on an ordinary key: a fixed part, and a part per token.
SECONDS_PER_REQUEST = 0.02
SECONDS_PER_TOKEN = 60e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One bearer key and its terms. Both limits are strict sliding windows of `per` seconds."""

    name: str
    secret: str = field(repr=False)
    requests: int
    tokens: int
    per: float
    #: Factor on the time every answer takes.
    slowness: float = 1.0
    #: Seconds from the first request of all until this key is no longer accepted.
    revoked_after: float | None = None

    def latency(self, tokens: int) -> float:
        """Seconds that an answer about so many tokens takes."""
        return self.slowness * (SECONDS_PER_REQUEST + SECONDS_PER_TOKEN * tokens)


# Requests, tokens and seconds. No two are alike, and only the first takes the longest of Python's
# own help texts, so it matters where a document goes.
_TERMS = (
    (5, 9_000, 3.0),
    (4, 3_500, 2.5),
    (4, 3_600, 2.0),
    (6, 7_500, 3.5),
    (5, 4_000, 3.0),
    (3, 2_500, 1.5),
)
#: The longest text that the first of them, which is in every set of keys, takes.
MOST_TOKENS = max(tokens for _, tokens, _ in _TERMS)


def make_keys(count: int) -> list[Key]:
    """Keys with different quotas and fresh secrets. The second, if any, is slow.

    When the terms are used up they come round again, slightly changed.
    """
    keys: list[Key] = []
    for index in range(count):
        turn, position = divmod(index, len(_TERMS))
        requests, tokens, per = _TERMS[position]
        keys.append(
            Key(
                name=f"key-{index + 1}",
                secret=f"sk-{secrets.token_hex(16)}",
                requests=requests + turn,
                tokens=tokens - 10 * turn,
                per=per,
                slowness=5.0 if index == 1 else 1.0,
            )
        )
    return keys


def revoke_last(keys: Sequence[Key], after: float) -> list[Key]:
    """The same keys, but that the last is revoked after so many seconds, if two others remain."""
    if len(keys) < 3:
        return list(keys)
    return [*keys[:-1], replace(keys[-1], revoked_after=after)]


def takers(keys: Sequence[Key], document: Document) -> list[Key]:
    """The keys whose window is large enough for a document at all."""
    return [key for key in keys if key.tokens >= document.tokens]
