"""Documents come from Python itself, or whole from a file, or not at all."""

import json
from pathlib import Path

import pytest

from retrypool_async.demo.analysis import analyse
from retrypool_async.demo.documents import BadFile, Document, python_topics, read_documents

GOOD = json.dumps({"id": "a", "text": "one two"}).encode()


def test_the_topics_are_real_texts() -> None:
    """A few dozen documents of very different lengths, with unique ids."""
    documents = python_topics()
    assert 60 < len(documents) < 120
    assert len({document.id for document in documents}) == len(documents)
    assert max(document.tokens for document in documents) > 5_000


def test_a_file_is_read_in_order(tmp_path: Path) -> None:
    """One document a line; other fields and blank lines do not matter."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(GOOD + b'\n\n{"text": "", "id": "\xc3\xa9", "more": 1}\n')
    assert read_documents(path, longest=3) == [Document("a", "one two", 2), Document("é", "", 0)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[1]", "expected an object"),
        (b'{"id": "b"}', '"text" is missing'),
        (b'{"id": 2, "text": ""}', '"id" must be a string'),
        (b'{"id": "b", "text": null}', '"text" must be a string'),
        (b'{"id": "b", "text": "\\ud800"}', "lone surrogate"),
        (b'{"id": "b", "text": "1 2 3 4"}', "4 words, but no key takes more than 3"),
        (GOOD, "id 'a' is taken by line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, complaint: str) -> None:
    """The message says where and why, and no document is returned."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n")
    with pytest.raises(BadFile, match=f"in.jsonl, line 2: .*{complaint}"):
        read_documents(path, longest=3)


def test_a_file_without_documents_is_refused(tmp_path: Path) -> None:
    """So is one that is not there."""
    path = tmp_path / "in.jsonl"
    with pytest.raises(BadFile, match="No such file"):
        read_documents(path, longest=3)
    path.write_bytes(b"\n")
    with pytest.raises(BadFile, match="no documents"):
        read_documents(path, longest=3)


def test_a_text_is_analysed() -> None:
    """Words, sentences, the telling words, and a grade."""
    analysis = analyse("x", "Cats chase mice. Do mice chase cats? Mice don't.")
    assert analysis["tokens"] == analysis["words"] == 9
    assert analysis["distinct_words"] == 5
    assert analysis["sentences"] == 3
    assert analysis["frequent"] == ["chase", "don't"]
    assert analysis["readability"] == round(4.71 * 37 / 9 + 0.5 * 3 - 21.43, 1)


def test_an_empty_text_is_analysed() -> None:
    """Nothing is divided by zero."""
    analysis = analyse("x", " ... ")
    assert (analysis["words"], analysis["sentences"], analysis["readability"]) == (0, 0, 0.0)
