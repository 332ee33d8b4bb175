"""The command `simulate`, as people and programs use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retrypool_async.__main__ import main
from retrypool_async.simulate import cli

SCENARIO = """
[arrivals]
tasks = 10
seconds = 10
pattern = "even"

[[workers]]
name = "key"
latency = 2
quota = { requests = { window = 5, per = 10 } }
"""
TABLE = """\
tasks       10 succeeded
time        20.0 s simulated
throughput  0.500 succeeded/s, 10 attempts
wait        p50 4.00 s  p95 9.00 s  p99 9.00 s  most 9.00 s
latency     p50 6.00 s  p95 11.00 s  p99 11.00 s  most 11.00 s

workers  count  served  failed  throttled  lost       busy  requests
key          1      10       0          0     0  100-100 %   67-67 %
"""
GOAL = """
[goal]
workers = "key"
within = 2
share = 1
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


def simulate(*arguments: str | Path) -> int:
    return main(["simulate", *map(str, arguments)])


def test_a_table_says_how_it_went(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else is printed."""
    assert simulate(scenario) == 0
    assert capsys.readouterr() == (TABLE, "")


def test_json_is_one_object(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With every worker in it."""
    assert simulate(scenario, "--json") == 0
    printed, complaints = capsys.readouterr()
    assert printed.count("\n") == 1
    assert not complaints
    spread = {"p50": 4.0, "p95": 9.0, "p99": 9.0, "most": 9.0}
    assert json.loads(printed) == {
        "seconds": 20.0,
        "tasks": 10,
        "outcomes": {"succeeded": 10},
        "attempts": 10,
        "throughput": 0.5,
        "wait": spread,
        "latency": {name: value + 2 for name, value in spread.items()},
        "quota_use": {},
        "workers": {
            "key-1": {
                "served": 10,
                "failed": 0,
                "throttled": 0,
                "lost": 0,
                "busy": 1.0,
                "quota_use": {"requests": 10 / 15},
            }
        },
    }


def test_a_goal_is_answered(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what was tried, and how it goes with the answer."""
    scenario.write_text(SCENARIO + GOAL, encoding="utf-8")
    assert simulate(scenario) == 0
    answer, _, report = capsys.readouterr().out.partition("\n\n")
    assert answer.splitlines() == ["1 x key: too few", "2 x key: enough", "needed: 2 x key"]
    assert report.startswith("tasks       10 succeeded")
    assert simulate(scenario, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"] == {"kind": "key", "workers": 2, "tried": {"1": False, "2": True}}
    assert set(found["workers"]) == {"key-1", "key-2"}


def test_a_goal_out_of_reach_is_a_failure(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says so."""
    text = SCENARIO + GOAL.replace("within = 2", "within = 1\nmost = 3")
    scenario.write_text(text, encoding="utf-8")
    assert simulate(scenario) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "the goal cannot be met with 3 x key",
        "",
    ]
    assert simulate(scenario, "--json") == 1
    assert json.loads(capsys.readouterr().out)["answer"]["workers"] is None


def test_the_seed_can_be_given(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Instead of the one in the file."""
    scenario.write_text(SCENARIO.replace("even", "random"), encoding="utf-8")
    printed: list[str] = []
    for seed in ("0", "1", "1"):
        assert simulate(scenario, "--seed", seed) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] != printed[1] == printed[2]


@pytest.mark.parametrize("name", ["chart.png", "chart.svg", "chart.SVG"])
@pytest.mark.parametrize("seconds", [0, 10])
def test_a_chart_is_written(scenario: Path, name: str, seconds: int) -> None:
    """As its name says, even of a run that takes no time."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    text = SCENARIO.replace("seconds = 10", f"seconds = {seconds}")
    if not seconds:
        text = text.replace("latency = 2", "latency = 0").replace("window = 5", "window = 50")
    scenario.write_text(text, encoding="utf-8")
    chart = scenario.parent / name
    assert simulate(scenario, "--chart", chart) == 0
    begin = chart.read_bytes()[:200]
    assert begin.startswith(b"\x89PNG") if name.endswith("png") else b"<?xml" in begin


def test_without_matplotlib_there_is_no_chart(
    scenario: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But all the rest, and a word about it."""
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert simulate(scenario, "--chart", scenario.parent / "chart.png") == 0
    assert capsys.readouterr() == (
        TABLE,
        'no chart: it needs matplotlib, pip install "retrypool-async[simulate]"\n',
    )


def test_a_chart_that_cannot_be_written_is_an_error(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the report, which is worth having all the same."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    chart = scenario.parent / "nowhere" / "chart.png"
    assert simulate(scenario, "--chart", chart) == 2
    printed, complaints = capsys.readouterr()
    assert printed == TABLE
    assert complaints == f"{chart}: No such file or directory\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "No such file or directory"),
        (b"\xff", "not UTF-8"),
        (b"seed = ", "Invalid value (at end of document)"),
        (b"", "arrivals is missing"),
        (b"[arrivals]\ntasks = 1.5", "arrivals.tasks must be a whole number, got 1.5"),
    ],
)
def test_a_wrong_scenario_is_refused(
    text: bytes | None, complaint: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line that names the file and the field."""
    scenario.unlink()
    if text is not None:
        scenario.write_bytes(text)
    assert simulate(scenario) == 2
    assert capsys.readouterr() == ("", f"{scenario}: {complaint}\n")


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--chart", "chart.jpeg", "must end in .png or .svg, got 'chart.jpeg'"),
        ("--seed", "x", "must be a whole number from 0 up, got 'x'"),
    ],
)
def test_wrong_options_are_refused(
    option: str, value: str, complaint: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is allowed."""
    with pytest.raises(SystemExit) as caught:
        simulate(scenario, option, value)
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_it_runs_as_a_program(scenario: Path) -> None:
    """Without matplotlib being loaded, and with nothing but the library."""
    command = [sys.executable, "-X", "importtime", "-m", "retrypool_async", "simulate"]
    done = subprocess.run(
        [*command, str(scenario)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, TABLE)
    assert "matplotlib" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_day_of_traffic_takes_less_than_a_minute(scenario: Path) -> None:
    """A hundred thousand tasks, fifty workers with quotas."""
    text = SCENARIO.replace("tasks = 10\nseconds = 10", "tasks = 100_000\nseconds = 86_400")
    text = text.replace("latency = 2", "latency = { exponential = 30 }\ncount = 50")
    scenario.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "retrypool_async", "simulate", str(scenario), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcomes"] == {"succeeded": 100_000}
