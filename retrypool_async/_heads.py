"""Queues in a heap by what is at their head, so that the first of many is found at once."""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Sorts before what should start later: (minus the priority, order of becoming ready); where lanes
#: of submitters meet, with the turn of the lane in between.
Key = tuple[float, ...]


class _Headed(Protocol):
    """A queue that knows the key of its first live task."""

    #: The key it is listed under in a `Heads`, a lower bound of its head's; None when unlisted.
    listed: Key | None

    def head_key(self) -> Key | None: ...

    def emptied(self) -> None: ...


Q = TypeVar("Q", bound=_Headed)


class Heads(Generic[Q]):
    """Non-empty queues by the key of their head.

    The key that a queue is listed under is a lower bound: taking a task only makes the head's
    key grow, so nothing needs to be done then, and `in_order` corrects what it meets. A smaller
    key must be announced with `add`, and leaves an entry behind that is skipped later.
    """

    __slots__ = ("_serial", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[Key, int, Q]] = []
        self._serial = 0

    def add(self, queue: Q, key: Key) -> None:
        """List `queue` under `key`, unless it is listed under one as small."""
        listed = queue.listed
        if listed is None or key < listed:
            self._serial += 1
            queue.listed = key
            heappush(self.heap, (key, self._serial, queue))

    def first(self) -> Q | None:
        """The queue whose head comes first, None when nothing waits in any."""
        heap = self.heap
        while heap:
            key, serial, queue = heap[0]
            if key is not queue.listed:
                heappop(heap)  # listed anew under a smaller key since
                continue
            head = queue.head_key()
            if head is None:
                heappop(heap)
                queue.listed = None
                queue.emptied()
            elif head > key:
                # An object of its own, since entries that count are told from others by identity.
                head = queue.listed = (*head,)
                heapreplace(heap, (head, serial, queue))
            else:
                return queue
        return None

    def in_order(self) -> Iterator[Q]:
        """Yield the queues by their heads. The caller may take tasks, and stop at any time."""
        passed: list[tuple[Key, int, Q]] = []
        try:
            while (queue := self.first()) is not None:
                passed.append(heappop(self.heap))
                yield queue
        finally:
            for entry in passed:
                heappush(self.heap, entry)
