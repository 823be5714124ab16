"""`Backoff`: how long to wait before the next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Waits that double from `first_seconds` up to `cap_seconds`, each shortened at random by up to half.

    The randomness keeps a hundred filters from returning to a restarted server in the same instant.
    """

    first_seconds: float = 0.25
    cap_seconds: float = 3.0
    attempts: int = field(default=0, init=False)

    def next_seconds(self) -> float:
        """The wait before the attempt to come."""
        whole = min(self.first_seconds * 2.0 ** min(self.attempts, 30), self.cap_seconds)
        self.attempts += 1
        return whole * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The last attempt gave a frame: begin again with short waits."""
        self.attempts = 0
