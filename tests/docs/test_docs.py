"""What the documents show is run, and what is public is documented."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import re
from pathlib import Path

import pytest

import retrypool_async
from retrypool_async.testing import run_virtual

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            found.append((f"{page.name}:{line}", match[1]))
    return found


@pytest.mark.parametrize(("where", "code"), blocks(), ids=[where for where, _ in blocks()])
def test_every_block_runs(where: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a program of its own, in virtual time."""
    monkeypatch.setattr(asyncio, "run", run_virtual)
    exec(compile(code, where, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_every_example_prints_what_its_docstring_says(path: Path) -> None:
    """After the line "Output:"."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_virtual(module.main())
    expected = (module.__doc__ or "").split("Output:\n", 1)[1]
    assert [line.strip() for line in printed.getvalue().splitlines()] == [
        line.strip() for line in expected.strip().splitlines()
    ]


def test_every_public_name_is_in_the_reference() -> None:
    """With a line of its own."""
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    missing = [name for name in retrypool_async.__all__ if f"| `{name}` |" not in reference]
    assert not missing


def test_every_example_is_in_the_index() -> None:
    """Nobody finds what is not listed."""
    index = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if path.name not in index] == []


def test_links_between_pages_lead_somewhere() -> None:
    """Relative ones."""
    for page in [*PAGES, ROOT / "examples" / "README.md", ROOT / "benchmarks" / "README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
