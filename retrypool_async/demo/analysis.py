"""What the service does for its users: describe a text."""

from __future__ import annotations

import re
from collections import Counter
from typing import TypedDict, final

from .documents import count_tokens

_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?:]+(?=\s|$)")
#: Shorter words are mostly those that every text is full of.
_TELLING_LENGTH = 5


@final
class Analysis(TypedDict):
    """The answer about one document."""

    id: str
    tokens: int
    words: int
    distinct_words: int
    sentences: int
    frequent: list[str]
    readability: float


def analyse(id: str, text: str) -> Analysis:
    """Count, rank and grade the words of a text."""
    words = [word.lower() for word in _WORD.findall(text)]
    counts = Counter(words)
    sentences = max(len(_SENTENCE_END.findall(text)), 1)
    telling = Counter({word: n for word, n in counts.items() if len(word) >= _TELLING_LENGTH})
    return Analysis(
        id=id,
        tokens=count_tokens(text),
        words=len(words),
        distinct_words=len(counts),
        sentences=sentences if words else 0,
        frequent=[word for word, _ in telling.most_common(5)],
        readability=_readability(words, sentences),
    )


def _readability(words: list[str], sentences: int) -> float:
    """The Automated Readability Index: about the school grade at which a text can be read."""
    if not words:
        return 0.0
    letters_per_word = sum(map(len, words)) / len(words)
    return round(4.71 * letters_per_word + 0.5 * len(words) / sentences - 21.43, 1)
