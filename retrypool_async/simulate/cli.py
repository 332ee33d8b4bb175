"""The command `simulate`: its options, its output, and its exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ._chart import SUFFIXES, draw
from ._report import Report
from ._run import simulate
from ._scenario import Scenario
from ._search import workers_needed
from ._table import BadScenario
from ._text import data_of_answer, data_of_report, lines_of_answer, lines_of_report

DONE, NOT_MET, USAGE, INTERRUPTED = 0, 1, 2, 130


def set_up(parser: argparse.ArgumentParser) -> None:
    """Give the command's parser its options, and `main` as what to run."""
    parser.description = (
        "Run the pool on virtual time against the workers and the traffic of a scenario, and "
        "report how it goes. With a goal in the scenario, find how many workers meet it."
    )
    parser.epilog = "Exit codes: 0 done, 1 the goal cannot be met, 2 wrong usage, 130 interrupted."
    parser.add_argument("scenario", type=Path, metavar="FILE", help="a scenario in TOML")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object at the end and nothing else"
    )
    parser.add_argument(
        "--chart",
        type=_chart_path,
        metavar="FILE",
        help="write a chart there, .png or .svg; needs matplotlib",
    )
    parser.add_argument(
        "--seed", type=_seed, metavar="N", help="instead of the seed in the scenario"
    )
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Simulate as asked, and return the exit code."""
    try:
        return _simulate(arguments)
    except BadScenario as error:
        return _stop(USAGE, str(error))
    except KeyboardInterrupt:
        return _stop(INTERRUPTED, "interrupted")


def _simulate(arguments: argparse.Namespace) -> int:
    scenario = Scenario.read(arguments.scenario)
    if arguments.seed is not None:
        scenario = replace(scenario, seed=arguments.seed)
    data: dict[str, Any] = {}
    lines: list[str] = []
    if scenario.goal is None:
        report: Report | None = simulate(scenario)
    else:
        answer = workers_needed(scenario)
        report = answer.report
        data["answer"] = data_of_answer(answer)
        lines += [*lines_of_answer(answer), ""]
    if report is not None:
        data |= data_of_report(report)
        lines += lines_of_report(report)
    _print([json.dumps(data)] if arguments.json else lines)
    if report is None:
        return NOT_MET
    if arguments.chart is not None:
        return _write_chart(report, arguments.chart)
    return DONE


def _write_chart(report: Report, path: Path) -> int:
    if find_spec("matplotlib") is None:
        _stop(DONE, 'no chart: it needs matplotlib, pip install "retrypool-async[simulate]"')
        return DONE
    try:
        draw(report, path)
    except OSError as error:
        return _stop(USAGE, f"{path}: {error.strerror}")
    return DONE


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _stop(code: int, why: str) -> int:
    print(why, file=sys.stderr)
    return code


def _chart_path(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"must end in {' or '.join(SUFFIXES)}, got {text!r}")
    return path


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 up, got {text!r}")
    return int(text)
