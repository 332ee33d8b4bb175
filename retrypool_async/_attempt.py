"""One run of a task, as it is kept and shown after it has ended."""

from __future__ import annotations

from traceback import format_exception_only
from typing import TYPE_CHECKING, NamedTuple

from ._states import AttemptOutcome

if TYPE_CHECKING:
    from types import CodeType, TracebackType

#: Exception texts longer than this are cut in what we keep and emit.
TEXT_LIMIT = 4096


class Frame(NamedTuple):
    """One level of a traceback, without the frame object and all that it would keep alive."""

    file: str
    line: int
    function: str


#: A traceback reduced to code objects and line numbers, outermost first.
Trace = tuple[tuple["CodeType", int], ...]


def trace_of(traceback: TracebackType | None) -> Trace:
    """Return where a traceback passed, holding no frames."""
    trace: list[tuple[CodeType, int]] = []
    while traceback is not None:
        trace.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return tuple(trace)


class Attempt(NamedTuple):
    """One run of a task.

    Attributes:
        number: 1 for the first run, counting every run.
        worker: The name of the worker.
        started: When it started, in loop time.
        ended: When it ended, in loop time.
        outcome: How it ended.
        error: What was raised, if anything, without its traceback.
        counted: True when it spent an attempt; throttles and lost workers do not.
        trace: Where the error was raised, as `frames` spells out.
        secrets: Texts that are masked in `traceback`.
        hedge: True when it was begun while another attempt of the task was running.
    """

    number: int
    worker: str
    started: float
    ended: float
    outcome: AttemptOutcome
    error: BaseException | None = None
    counted: bool = True
    trace: Trace = ()
    secrets: tuple[str, ...] = ()
    hedge: bool = False

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.ended - self.started

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Where the error was raised, outermost first."""
        return tuple(Frame(code.co_filename, line, code.co_name) for code, line in self.trace)

    @property
    def traceback(self) -> str:
        """The error's traceback as text, "" when nothing was raised."""
        if self.error is None:
            return ""
        lines = [f'  File "{f.file}", line {f.line}, in {f.function}\n' for f in self.frames]
        # Masked before it is cut: half a secret would be no match for the whole.
        text = masked("".join(format_exception_only(self.error)), self.secrets)
        if len(text) > TEXT_LIMIT:
            text = f"{text[:TEXT_LIMIT]}... ({len(text)} characters)\n"
        return "".join(lines) + text

    def __repr__(self) -> str:
        # Never the error's text, which may hold what the service was sent.
        kind = "" if self.error is None else f" {type(self.error).__name__}"
        return f"<Attempt {self.number} on {self.worker}: {self.outcome.name}{kind}>"


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` with every secret replaced."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be part of another
        text = text.replace(secret, "***")
    return text
