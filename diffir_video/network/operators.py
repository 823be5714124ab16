"""Functions of tensors that compilers take whole, as they take torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])

# `torch.compiler.disable` would cut what is compiled in two, and takes seconds to import.
_library = cast(Any, torch.library.Library("diffir_video", "FRAGMENT"))


def operator(
    name: str, arguments: str, result: Callable[..., torch.Tensor]
) -> Callable[[_Function], _Function]:
    """Makes a function the operator ``diffir_video::name``, which is not traced and has no gradient.

    arguments: as in a schema of torch's, ``Tensor x, int count``. The function returns one tensor, no view of
    what it is given. result: of the same arguments, an empty tensor of the shape, dtype and device of that.
    """

    def register(function: _Function) -> _Function:
        _library.define(f"{name}({arguments}) -> Tensor")
        _library.impl(name, function, "CompositeExplicitAutograd")
        cast(Any, torch.library).register_fake(f"diffir_video::{name}", result, lib=_library)
        return cast(_Function, getattr(torch.ops.diffir_video, name).default)

    return register
