"""Everything diffir-video raises on purpose.

::

    DiffirVideoError                 exit 1   anything not named below
    ├── UsageError (ValueError)      exit 2   an option, argument or configuration makes no sense
    │   ├── UnknownModelError                 no built-in model and no file of that name
    │   └── BackendError                      a backend this machine can't offer
    ├── InputError                   exit 3   a file that can't be read as what it should be
    │   ├── MediaInputError                   a video, picture or stream
    │   │   └── LiveInputError                a live source that is absent, refuses, or fell silent
    │   └── CheckpointError                   weights
    └── OutputError                  exit 4   refused (exists, is the input) or not writable
        └── EncoderError                      the encoder or container took no frames

Exit 5, "restored with losses", is no exception: the run ended, and its report says what was lost.
Errors of libraries (PyAV, torch, safetensors) are translated where they are called, with ``from exc``.
"""

from __future__ import annotations

from typing import ClassVar


class DiffirVideoError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the commands exit with."""

    exit_code: ClassVar[int] = 1


class UsageError(DiffirVideoError, ValueError):
    """An option, argument or configuration that makes no sense; the message shows the value."""

    exit_code: ClassVar[int] = 2


class UnknownModelError(UsageError):
    """Neither a built-in model nor a file has this name."""


class BackendError(UsageError):
    """A backend that this machine, its compiler or its libraries can't offer; the message says why."""


class InputError(DiffirVideoError):
    """A file that can't be read as what it should be."""

    exit_code: ClassVar[int] = 3


class MediaInputError(InputError):
    """A video, picture or stream that is missing or can't be decoded."""


class LiveInputError(MediaInputError):
    """A live source gave nothing; `reason` is refused, absent, silent, no_video or broken.

    Waiting helps against all of them but "refused". The message never holds the address.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def untraced(self) -> LiveInputError:
        """The same without its trace, which keeps alive whatever was at work: to be kept, or raised anew."""
        return LiveInputError(str(self), reason=self.reason)


class CheckpointError(InputError):
    """Weights that are missing, malformed, unsafe, or of no architecture known here."""


class OutputError(DiffirVideoError):
    """An output that exists, is the input, or can't be written."""

    exit_code: ClassVar[int] = 4


class EncoderError(OutputError):
    """The encoder or the container refused its settings or its frames."""
