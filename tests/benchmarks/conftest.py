from __future__ import annotations

from collections.abc import Generator

import pytest
import torch

from diffir_video.allocator import NETWORK_KEEPS_BYTES, prepare_allocator


@pytest.fixture(scope="session", autouse=True)
def malloc_as_restoring_has_it() -> None:
    prepare_allocator(NETWORK_KEEPS_BYTES)


@pytest.fixture
def one_thread() -> Generator[None]:
    """Torch works in one thread until the test ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
