"""diffir-video: video restoration with DiffIR, whose diffused quantity is one compact vector, the prior."""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]

# What is public is in __init__.pyi. Its modules, and torch with them, are imported when a name is asked for:
# help, completion and usage errors of the commands come at once.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]
