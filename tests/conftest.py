"""Without a GPU Triton's kernels run in its interpreter, which has to be chosen before Triton is imported."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """A command run in this process has messages printed to a stream that ends with its test."""
    before, level = [*logging.root.handlers], logging.root.level
    yield
    for handler in [handler for handler in logging.root.handlers if handler not in before]:
        logging.root.removeHandler(handler)
    logging.root.setLevel(level)


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Does what Ctrl-C does; a shell's background jobs would ignore it."""
    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.pthread_kill(main, signal.SIGINT)
    signal.signal(signal.SIGINT, before)
