"""How fast the best of all schedulers could have been: a bound from below.

The bound is a *price argument*. Put any price on a request and on a token. All documents together
then have a value, and within `t` seconds a key can earn only so much: its windows admit a known
number of requests and tokens, and its answers, one at a time, take their time. If at some prices
all keys together earn less than the documents are worth, `t` seconds are not enough, in whatever
order and by whomever the documents are served. The bound is the shortest time that passes at
every price tried. (These are dual solutions of the linear programme that spreads the documents
over the keys in fractions; trying more prices could only raise the bound.)

Documents too long for the smaller keys are also judged apart, against the larger keys alone.

It is a bound, not a plan: it lets a document be split over keys, knows every revocation in
advance, and knows neither random errors nor the network. No real run can be faster, and the best
real schedule is somewhat slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from .documents import Document
from .keys import SECONDS_PER_REQUEST, SECONDS_PER_TOKEN, Key, takers

#: What a request is worth, in the tokens of the mean document.
_EXCHANGE_RATES = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_PRECISION = 1e-3


def ideal_seconds(keys: Sequence[Key], documents: Sequence[Document]) -> float:
    """Return the seconds that any scheduler needs for the documents, at the least.

    Documents that no lasting key can take are left out.
    """
    lasting = [key for key in keys if key.revoked_after is None]
    possible = [document for document in documents if takers(lasting, document)]
    if not possible:
        return 0.0
    too_short = max(
        min(key.latency(document.tokens) for key in takers(keys, document)) for document in possible
    )
    if _could_do(keys, possible, too_short):
        return too_short
    enough = 2 * too_short
    while not _could_do(keys, possible, enough):
        too_short, enough = enough, 2 * enough
    while enough - too_short > _PRECISION:
        middle = (too_short + enough) / 2
        if _could_do(keys, possible, middle):
            enough = middle
        else:
            too_short = middle
    return too_short


def _could_do(keys: Sequence[Key], documents: Sequence[Document], seconds: float) -> bool:
    for size in {-1, *(key.tokens for key in keys)}:
        longer = [document for document in documents if document.tokens > size]
        if longer and not _can_afford([key for key in keys if key.tokens > size], longer, seconds):
            return False
    return True


def _can_afford(keys: Sequence[Key], documents: Sequence[Document], seconds: float) -> bool:
    requests, tokens = len(documents), sum(document.tokens for document in documents)
    prices = [(rate * tokens / requests, 1.0) for rate in _EXCHANGE_RATES]
    prices += [(1.0, 0.0), (SECONDS_PER_REQUEST, SECONDS_PER_TOKEN)]
    return all(
        sum(_earnings(key, seconds, per_request, per_token) for key in keys)
        >= per_request * requests + per_token * tokens
        for per_request, per_token in prices
    )


def _earnings(key: Key, seconds: float, per_request: float, per_token: float) -> float:
    """The most that a key can earn: what pays best for its time comes first."""
    # The last answer has to be there at the end, so requests start before that.
    last_start = seconds - key.latency(0)
    busy = seconds
    if key.revoked_after is not None:
        last_start = min(last_start, key.revoked_after)
        busy = min(busy, key.revoked_after + key.latency(key.tokens))
    if last_start < 0:
        return 0.0
    # Any stretch of time shorter than this many windows is covered by them.
    windows = floor(last_start / key.per) + 1
    kinds = [
        (per_request, windows * key.requests, key.slowness * SECONDS_PER_REQUEST),
        (per_token, windows * key.tokens, key.slowness * SECONDS_PER_TOKEN),
    ]
    earned = 0.0
    for price, most, time in sorted(kinds, key=lambda kind: kind[0] / kind[2], reverse=True):
        amount = min(most, busy / time)
        earned += price * amount
        busy -= amount * time
    return earned
