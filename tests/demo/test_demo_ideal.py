"""The ideal time is a bound: what must hold in theory, and no schedule ever beats it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrypool_async.demo.documents import Document, python_topics
from retrypool_async.demo.ideal import ideal_seconds
from retrypool_async.demo.keys import MOST_TOKENS, Key, make_keys, revoke_last
from retrypool_async.demo.service import SlidingWindow


def documents(*tokens: int) -> list[Document]:
    """Documents of these lengths."""
    return [Document(str(n), "", length) for n, length in enumerate(tokens)]


def key(requests: int = 1_000, tokens: int = 1_000_000, per: float = 10.0, **more: float) -> Key:
    """A key that is limited only where it is said."""
    return Key(name="", secret="", requests=requests, tokens=tokens, per=per, **more)


def about(seconds: float) -> object:
    """Within the precision of the search."""
    return pytest.approx(seconds, abs=0.002)


def test_requests_bind() -> None:
    """Five requests, two per window: the fifth starts in the third window."""
    assert ideal_seconds([key(requests=2)], documents(*[0] * 5)) == about(20 + key().latency(0))


def test_tokens_bind() -> None:
    """Three hundred tokens, a hundred per window: the last third starts in the third window."""
    assert ideal_seconds([key(tokens=100)], documents(*[50] * 6)) == about(20 + key().latency(0))


def test_time_binds() -> None:
    """Without limits the answers take their time, one after the other, on all keys at once."""
    keys = [key(), key(slowness=3.0)]
    texts = documents(*[1_000] * 40)
    assert ideal_seconds(keys, texts) == about(40 * keys[0].latency(1_000) * 3 / 4)


def test_a_single_document_takes_its_own_time() -> None:
    """However many keys there are."""
    fast, slow = key(tokens=900), key(slowness=2.0)
    assert ideal_seconds([fast] * 5, documents(800)) == fast.latency(800)
    assert ideal_seconds([fast, slow], documents(1_000)) == slow.latency(1_000)


def test_long_documents_need_large_keys() -> None:
    """Small keys do not help with what they cannot take."""
    keys = [key(tokens=100)] + [key(tokens=50)] * 9
    assert ideal_seconds(keys, documents(*[100] * 3)) == about(20 + key().latency(0))


def test_a_revoked_key_ends() -> None:
    """What it could have done after that, others have to do."""
    lasting = key(requests=2)
    brief = key(requests=2, revoked_after=15.0)
    texts = documents(*[0] * 12)
    assert ideal_seconds([lasting, lasting], texts) == about(20 + key().latency(0))
    assert ideal_seconds([lasting, brief], texts) == about(30 + key().latency(0))


def test_impossible_documents_do_not_count() -> None:
    """No key takes them, or only one that does not last."""
    keys = [key(tokens=100), key(tokens=200, revoked_after=5.0)]
    assert ideal_seconds(keys, documents(300, 150)) == 0.0
    assert ideal_seconds(keys, documents(300, 50)) == ideal_seconds(keys, documents(50))
    assert ideal_seconds(keys, []) == 0.0


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 13, 64])
def test_any_number_of_keys_can_do_the_topics(count: int) -> None:
    """Quotas differ, one key is slow, one is revoked, and what remains can finish."""
    keys = make_keys(count)
    assert len({(key.requests, key.tokens, key.per) for key in keys}) == count
    assert len({key.secret for key in keys}) == count
    assert max(key.tokens for key in keys) == keys[0].tokens == MOST_TOKENS
    assert sum(key.slowness > 1 for key in keys) == (count > 1)
    before = ideal_seconds(keys, python_topics())
    revoked = revoke_last(keys, after=before / 2)
    assert sum(key.revoked_after is not None for key in revoked) == (count > 2)
    assert before <= ideal_seconds(revoked, python_topics()) < 100


KEYS = st.builds(
    key,
    requests=st.integers(1, 5),
    tokens=st.integers(10, 500),
    per=st.sampled_from([0.1, 1.0, 1.5, 4.0]),
    slowness=st.sampled_from([1.0, 5.0]),
)


@given(
    st.lists(KEYS, min_size=1, max_size=4),
    st.lists(st.integers(0, 500), min_size=1, max_size=25),
    st.one_of(st.none(), st.floats(0.0, 5.0)),
)
def test_no_schedule_beats_the_bound(
    keys: list[Key], lengths: list[int], revoked_after: float | None
) -> None:
    """A greedy scheduler that knows everything never ends before the bound."""
    if revoked_after is not None:
        keys.append(
            key(requests=3, tokens=300, per=1.0, revoked_after=revoked_after)  # type: ignore
        )
    largest = max(key.tokens for key in keys if key.revoked_after is None)
    texts = documents(*(min(length, largest) for length in lengths))
    bound = ideal_seconds(keys, texts)
    for order in (texts, sorted(texts, key=lambda text: -text.tokens)):
        assert greedy_seconds(keys, order) >= bound - 1e-9


def greedy_seconds(keys: Sequence[Key], texts: Sequence[Document]) -> float:
    """Give each document to the key that would have it ready first, and return the end."""
    lines = [
        (key, SlidingWindow(key.requests, key.per), SlidingWindow(key.tokens, key.per), [0.0])
        for key in keys
    ]
    end = 0.0
    for text in texts:
        options = []
        for key, requests, tokens, free in lines:
            if text.tokens > key.tokens:
                continue
            start = free[0]
            start += max(requests.until(1, start), tokens.until(text.tokens, start), 0.0)
            if key.revoked_after is None or start < key.revoked_after:
                options.append((start + key.latency(text.tokens), start, requests, tokens, free))
        ready, start, requests, tokens, free = min(options, key=lambda option: option[0])
        requests.take(1, start)
        tokens.take(text.tokens, start)
        free[0] = ready
        end = max(end, ready)
    return end
