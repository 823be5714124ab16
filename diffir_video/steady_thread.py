"""`SteadyThread`: a thread that is at work until it has ended, also for whoever was interrupted waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SteadyThread(threading.Thread):
    """A daemon that can be joined again after an interrupt, and then is waited for.

    Python before 3.13 takes a thread for ended where KeyboardInterrupt ends its `join`, although it goes on.
    """

    def __init__(self, target: Callable[[], None], *, name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self._has_run = threading.Event()

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._has_run.set()

    def join(self, timeout: float | None = None) -> None:
        if self.ident is None or self._has_run.wait(timeout):
            super().join()
