from __future__ import annotations

from collections.abc import Generator

import pytest
import torch


@pytest.fixture
def one_thread() -> Generator[None]:
    """Torch works in one thread until the test ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
