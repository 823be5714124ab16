"""Keeps the encoders' hands off how the system schedules this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress


@contextmanager
def ordinary_scheduling() -> Generator[None]:
    """Threads of this process are scheduled after the block as they were before it.

    SVT-AV1, opened by root, makes all of them real-time (SCHED_FIFO at 99), and what else the machine does
    comes to a halt. On systems other than Linux it does nothing.
    """
    if sys.platform != "linux":
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            for thread in os.listdir("/proc/self/task"):
                # It may have ended meanwhile.
                with suppress(ProcessLookupError):
                    os.sched_setscheduler(int(thread), policy, priority)
