"""Capacity planning: the real pool, on virtual time, against workers and traffic that are modelled.

A scenario says what arrives and who serves it; a run of it says how that goes, and a search how
many workers are needed. `python -m retrypool_async simulate scenario.toml` does both.
"""

from ._report import KindReport, Percentiles, Report, WorkerReport
from ._run import simulate
from ._scenario import Scenario
from ._search import Answer, Trial, workers_needed
from ._table import BadScenario

__all__ = [
    "Scenario",
    "BadScenario",
    "simulate",
    "Report",
    "Percentiles",
    "KindReport",
    "WorkerReport",
    "workers_needed",
    "Answer",
    "Trial",
]
