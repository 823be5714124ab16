"""What is raised on purpose can be caught by a name of the package."""

from __future__ import annotations

import inspect

import diffir_video as dv
from diffir_video import errors


def test_every_error_is_exported() -> None:
    raised = {
        name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
    }
    assert raised <= set(dv.__all__)
