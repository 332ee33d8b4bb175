"""Tools to test code that uses a pool, and the ones this library is tested with.

Time is virtual (`VirtualLoop`, `run_virtual`, `settle`), workers follow a script
(`ScriptedWorker`), events are gathered (`collect`), and nothing may be left behind (`no_leaks`).
"""

from ._events import collect
from ._leaks import LeakError, no_leaks
from ._loop import (
    RealTimeLimit,
    VirtualLoop,
    VirtualTimeDeadlock,
    VirtualTimeLivelock,
    run_virtual,
    settle,
)
from ._workers import Call, ScriptedWorker, Step

__all__ = [
    "VirtualLoop",
    "run_virtual",
    "settle",
    "RealTimeLimit",
    "VirtualTimeDeadlock",
    "VirtualTimeLivelock",
    "ScriptedWorker",
    "Step",
    "Call",
    "collect",
    "no_leaks",
    "LeakError",
]
