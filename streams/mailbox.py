"""`Mailbox`: between a source that can't wait and a loop that may be late; only here frames are dropped."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, TypeVar, get_args

from diffir_video.errors import UsageError

Policy = Literal["newest", "oldest", "wait"]
ItemT = TypeVar("ItemT")


class Mailbox(Generic[ItemT]):
    """Holds at most `capacity` items between two threads.

    What happens to an item that finds it full is the policy: "newest" drops the one that has waited
    longest, "oldest" drops the one that comes, "wait" lets its sender wait. `on_drop` is called with each
    dropped item, in the sender's thread. Raises UsageError on an unknown policy or a capacity below 1.
    """

    def __init__(
        self, capacity: int = 2, policy: Policy = "newest", on_drop: Callable[[ItemT], None] | None = None
    ) -> None:
        if policy not in get_args(Policy):
            raise UsageError(f"drop policy {policy!r}: expected one of {', '.join(get_args(Policy))}")
        if capacity < 1:
            raise UsageError(f"a mailbox needs room for at least 1 frame, got {capacity}")
        self._capacity, self._policy, self._on_drop = capacity, policy, on_drop
        self._items: deque[ItemT] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def put(self, item: ItemT) -> None:
        """Hand over an item, by the policy; once closed, nothing is taken any more."""
        dropped: ItemT | None = None
        with self._changed:
            if self._policy == "wait":
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return
            if len(self._items) < self._capacity:
                self._items.append(item)
            elif self._policy == "newest":
                dropped = self._items.popleft()
                self._items.append(item)
            else:
                dropped = item
            self._changed.notify_all()
        if dropped is not None and self._on_drop is not None:
            self._on_drop(dropped)

    def get(self, timeout: float | None = None) -> ItemT | None:
        """The item that has waited longest; None after `timeout` seconds, or when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items), timeout)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """No more items; what is in it can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
