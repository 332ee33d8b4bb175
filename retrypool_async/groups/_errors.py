"""What groups of tasks raise for reasons of their own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

from retrypool_async import RetryPoolError

if TYPE_CHECKING:
    from typing import Self

#: Tasks that the message of a `GroupFailed` names.
FAILURES_SHOWN = 8


class GroupFailed(RetryPoolError, ExceptionGroup[Exception]):
    """Tasks of a group have failed. An `ExceptionGroup` of all their errors.

    The message and the representation name the tasks and the kinds of their errors, not what
    these say.

    Attributes:
        group: The id of the group.
        failures: The error of each task that failed, by id, in the order of failing; `exceptions`
            has the errors in the same order.
    """

    def __new__(cls, group: Hashable, failures: Mapping[Hashable, Exception]) -> Self:
        shown = [f"{task!r} ({type(error).__name__})" for task, error in failures.items()]
        if len(shown) > FAILURES_SHOWN:
            shown[FAILURES_SHOWN:] = [f"and {len(shown) - FAILURES_SHOWN} more"]
        return super().__new__(cls, f"in group {group!r}: {', '.join(shown)}", [*failures.values()])

    def __init__(self, group: Hashable, failures: Mapping[Hashable, Exception]) -> None:
        super().__init__(self.message, self.exceptions)
        self.group = group
        self.failures = dict(failures)

    def __repr__(self) -> str:
        return f"<GroupFailed {self.message}>"


class GroupEnded(RetryPoolError):
    """The group takes no more tasks.

    Attributes:
        id: Of the group.
    """

    def __init__(self, id: Hashable) -> None:
        super().__init__(f"group {id!r} takes no more tasks")
        self.id = id


class UnknownGroup(RetryPoolError):
    """There is no such group, or it ended long ago.

    Attributes:
        id: What was asked for.
    """

    def __init__(self, id: Hashable) -> None:
        super().__init__(f"no group {id!r}")
        self.id = id
