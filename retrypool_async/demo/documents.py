"""The documents to analyse, and what one costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import cast


class BadFile(Exception):
    """A file cannot be used. The message says where and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text to analyse, and its length as the service counts it."""

    id: str
    text: str
    tokens: int

    @classmethod
    def of(cls, id: str, text: str) -> Document:
        """A document whose tokens are counted now, once."""
        return cls(id, text, count_tokens(text))


def count_tokens(text: str) -> int:
    """What a text costs: its words. The service and its clients count alike."""
    return len(text.split())


def python_topics() -> list[Document]:
    """The help texts of Python itself, from `help("topics")`: a few dozen, short and long."""
    return [Document.of(topic, text) for topic, text in topics.items()]


def read_documents(path: Path, *, longest: int) -> list[Document]:
    """Read all documents of a JSONL file, `{"id": ..., "text": ...}` on each line.

    Raises:
        BadFile: The file cannot be read, or a line is not a document of at most `longest` tokens;
            nothing is returned then.
    """
    try:
        with path.open("rb") as lines:
            return list(_parse(path, lines, longest))
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error


def _parse(path: Path, lines: Iterable[bytes], longest: int) -> Iterator[Document]:
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = _document(line)
            if document.id in seen:
                raise ValueError(f"id {document.id!r} is taken by line {seen[document.id]}")
            if document.tokens > longest:
                raise ValueError(f"{document.tokens} words, but no key takes more than {longest}")
        except ValueError as error:
            raise BadFile(f"{path}, line {number}: {error}") from error
        seen[document.id] = number
        yield document
    if not seen:
        raise BadFile(f"{path}: no documents in it")


def _document(line: bytes) -> Document:
    try:
        value: object = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError('expected an object with "id" and "text"')
    fields = cast("dict[str, object]", value)
    return Document.of(_string(fields, "id"), _string(fields, "text"))


def _string(fields: Mapping[str, object], name: str) -> str:
    if name not in fields:
        raise ValueError(f'"{name}" is missing')
    value = fields[name]
    if not isinstance(value, str):
        raise ValueError(f'"{name}" must be a string')
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f'"{name}" has half a character: a lone surrogate')
    return value
