"""What the documents show is run, and what is public is documented."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from retrypool_async.testing import run_virtual

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
LINKING = [
    *PAGES,
    *(
        ROOT / name
        for name in (
            "CONTRIBUTING.md",
            "examples/README.md",
            "examples/fastapi_app/README.md",
            "benchmarks/README.md",
        )
    ),
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDING_REAL_TIME = {"threads", "http_api"}
BLOCK = re.compile(
    r"^```python(?P<real> real-time)?\n(?P<code>.*?)^```\n(?:\n*^```text\n(?P<output>.*?)^```)?",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A program on a page."""

    where: str
    code: str
    output: str | None
    real_time: bool


def blocks() -> list[Block]:
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 1
            where = f"{page.relative_to(ROOT)}:{line}"
            found.append(Block(where, match["code"], match["output"], bool(match["real"])))
    return found


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.where)
def test_every_block_runs_and_prints_what_is_shown(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a program of its own, in virtual time unless it is marked `real-time`."""
    if "from fastapi import" in block.code:
        pytest.importorskip("fastapi", reason="FastAPI is not installed")
    if not block.real_time:
        monkeypatch.setattr(asyncio, "run", run_virtual)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.code, block.where, "exec"), {"__name__": "__main__"})
    if block.output is not None:
        assert printed.getvalue() == block.output


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_every_example_prints_what_its_docstring_says(path: Path) -> None:
    """After the line "Output:". In virtual time, unless it needs threads or sockets."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        (asyncio.run if path.stem in NEEDING_REAL_TIME else run_virtual)(module.main())
    assert printed.getvalue() == (module.__doc__ or "").split("Output:\n", 1)[1]


def test_every_example_is_in_the_index() -> None:
    """Nobody finds what is not listed."""
    index = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if path.name not in index] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative ones, anchors included."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        goal = page.parent / file if file else page
        assert goal.exists(), target
        assert not anchor or anchor in anchors(goal), target
