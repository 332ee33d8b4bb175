"""The demo as a program: a real service in another process, real requests, real time."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrypool_async.__main__ import main
from retrypool_async.demo.documents import python_topics
from retrypool_async.demo.keys import make_keys
from retrypool_async.demo.server import serving

PROGRAM = [sys.executable, "-m", "retrypool_async"]
FIGURES = {
    "documents", "completed", "in_order", "refused", "retries", "bounces",
    "seconds", "ideal_seconds", "workers",
}  # fmt: skip

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120)]


def demo(*options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = [*PROGRAM, "demo", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def figures(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What `--json` printed, which must be one line."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    result: dict[str, Any] = json.loads(done.stdout)
    assert set(result) == FIGURES
    return result


def write_documents(path: Path, texts: dict[str, str]) -> None:
    """Write documents as the demo reads them."""
    lines = (json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items())
    path.write_text("".join(lines), encoding="utf-8")


@pytest.mark.slow
def test_known_quotas_are_never_exceeded() -> None:
    """By the service's own count, through random errors, a slow key and a revoked one."""
    result = figures(demo("--json"))
    assert result["documents"] == result["completed"] == len(python_topics())
    assert result["in_order"] is True
    assert result["refused"] == 0
    assert result["retries"] > 0
    assert result["ideal_seconds"] <= result["seconds"] < 30
    assert len(result["workers"]) == 6
    for worker in result["workers"].values():
        assert set(worker) == {"requests", "refused", "state"}
        assert worker["requests"] > 0
        assert worker["refused"] == 0
    states = [worker["state"] for worker in result["workers"].values()]
    assert states.count("retired") == 1


@pytest.mark.slow
def test_a_blind_pool_loses_nothing() -> None:
    """It is refused often, and finishes everything all the same."""
    result = figures(demo("--json", "--blind"))
    assert result["documents"] == result["completed"] == len(python_topics())
    assert result["in_order"] is True
    assert result["refused"] > 0
    assert result["refused"] == sum(worker["refused"] for worker in result["workers"].values())


def test_documents_from_a_file_to_a_file(tmp_path: Path) -> None:
    """In order, with a summary for people; the secrets appear nowhere."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    texts = {f"é {n}": "Some words here. " * (12 - n) for n in range(12)}
    write_documents(source, texts)
    done = demo("--input", source, "--output", target)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 documents analysed, in order" in done.stdout
    assert "refused 0 requests" in done.stdout
    assert "key-6" in done.stdout
    assert "sk-" not in done.stdout + done.stderr
    analyses = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [analysis["id"] for analysis in analyses] == list(texts)
    assert [analysis["words"] for analysis in analyses] == [3 * (12 - n) for n in range(12)]


def test_what_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the summary, in its place in the output, and by exit code 1."""
    monkeypatch.setattr("retrypool_async.demo.server.ERROR_RATE", 0.5)
    monkeypatch.setattr("retrypool_async.demo.run.FAILURES_ALLOWED", 0)
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    names = [f"document {n}" for n in range(9)]
    write_documents(source, dict.fromkeys(names, "some words"))
    options = ["--keys", "1", "--input", str(source), "--output", str(target)]
    assert main(["demo", *options]) == 1
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == names
    failed = [line for line in lines if "error" in line]
    assert 0 < len(failed) < 9
    shown = capsys.readouterr().out
    assert f"{9 - len(failed)} of 9 documents analysed, in order" in shown
    for line in failed:
        assert line["error"].startswith("HTTPStatusError: Server error '50")
        assert f"{line['id']}: {line['error']}" in shown


def test_bad_input_stops_before_anything_starts(tmp_path: Path) -> None:
    """One line of complaint, exit code 2, and the output is not touched."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": "a", "text": "one"}\n{"id": "b"}\n', encoding="utf-8")
    done = demo("--input", source, "--output", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'{source}, line 2: "text" is missing\n'
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--keys", "0"], "must be a number from 1 to 64"),
        (["--keys", "six"], "must be a number from 1 to 64"),
        (["--seed", "x"], "invalid int value"),
        (["--input", "/nowhere/in.jsonl"], "No such file"),
        (["--output", "/nowhere/out.jsonl"], "No such file"),
        (["--fast"], "unrecognized arguments"),
    ],
)
def test_wrong_usage(options: list[str], complaint: str) -> None:
    """Says what is wrong, with exit code 2."""
    done = demo(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_missing_dependencies_are_named_once() -> None:
    """Help works without them, and the demo says what to install."""
    program = (
        "import sys\n"
        "for name in ('httpx', 'rich', 'starlette', 'uvicorn'): sys.modules[name] = None\n"
        "from retrypool_async.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    for options, code in ((["--help"], 0), (["demo", "--help"], 0), (["demo"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", program, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr == 'the demo needs more: pip install "retrypool-async[demo]"\n'


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_ends_everything() -> None:
    """Exit code 130, one word, and no service left behind."""
    with subprocess.Popen(
        [*PROGRAM, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "documents" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, complaint = process.communicate(timeout=20)
    assert process.returncode == 130
    assert complaint == "interrupted\n"
    assert "Traceback" not in rest


def test_the_service_ends_with_its_context() -> None:
    """After that nobody listens any more."""
    with serving(make_keys(1), seed=1) as url:
        assert httpx.get(f"{url}/health", trust_env=False).json() == {"status": "ok"}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", trust_env=False)


def test_the_service_does_not_outlive_its_client() -> None:
    """A client that is killed cannot end it: the end of its pipe does."""
    program = (
        "import os, sys\n"
        "from retrypool_async.demo.keys import make_keys\n"
        "from retrypool_async.demo.server import serving\n"
        "with serving(make_keys(1), seed=1) as url:\n"
        "    print(url, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    # The service has inherited standard error, so this waits for its end too.
    killed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert killed.stdout.startswith("http://")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{killed.stdout.strip()}/health", trust_env=False)
