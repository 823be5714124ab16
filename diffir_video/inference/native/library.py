"""The kernels as a library: compiled by the machine's C compiler for its own processor, and kept."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from diffir_video.errors import BackendError
from diffir_video.inference.cache import cache_folder

_FOLDER = Path(__file__).parent
_SOURCES = [_FOLDER / name for name in ("blocks.c", "convolutions.c", "motion.c")]
_HEADERS = [_FOLDER / name for name in ("pieces.h", "products.h")]
_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-std=gnu11", "-shared", "-fPIC", "-pthread")
_COMPILERS = ("cc", "gcc", "clang")
# The extra `compiler`.
_PACKAGED_COMPILER = "ziglang"
_SECONDS_TO_COMPILE = 300

_log = logging.getLogger(__name__)


class PointwiseArgument(ctypes.Structure):
    """`Pointwise` of products.h."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("scales", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
    )


class GridArgument(ctypes.Structure):
    """`Grid` of pieces.h."""

    _fields_ = tuple(
        (name, ctypes.c_int64) for name in ("frames", "height", "width", "columns", "rows", "threads")
    )


class FeaturesArgument(ctypes.Structure):
    """`Features` of blocks.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("grid", GridArgument),
        ("channels", ctypes.c_int64),
        ("terms", ctypes.c_int64),
    )


class ConvolutionArgument(ctypes.Structure):
    """`Convolution` of convolutions.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("taps", ctypes.POINTER(PointwiseArgument)),
        ("grid", GridArgument),
        *((name, ctypes.c_int64) for name in ("height", "width", "channels")),
        *((name, ctypes.c_int64) for name in ("size", "stride", "padding", "terms", "planes")),
    )


class StoredArgument(ctypes.Structure):
    """`Stored` of convolutions.c."""

    _fields_ = (
        ("convolution", ConvolutionArgument),
        ("out", ctypes.c_void_p),
        ("skip", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("channels", "step", "shuffled")),
    )


class BlendArgument(ctypes.Structure):
    """`Blend` of convolutions.c."""

    _fields_ = (
        ("convolution", ConvolutionArgument),
        ("lq", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("pictures", "middle", "unshuffle", "smoothed")),
    )


class PicturesArgument(ctypes.Structure):
    """`Pictures` of motion.c."""

    _fields_ = (
        ("pictures", ctypes.POINTER(ctypes.c_void_p)),
        ("pyramids", ctypes.POINTER(ctypes.c_void_p)),
        *((name, ctypes.c_int64) for name in ("count", "height", "width", "threads")),
    )


class WindowArgument(ctypes.Structure):
    """`Window` of motion.c."""

    _fields_ = (
        ("of", PicturesArgument),
        ("middle", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("memory", "vectors", "out")),
    )


class Kernels:
    """The compiled library. lanes: floats in a vector. has_half: whether it multiplies in bfloat16.
    has_tiles: whether it may do so with AMX, which use_tiles turns on and off. has_bytes: whether it
    multiplies in integers of 8 bits.

    team: what starts its work in threads; without a value they are its own.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        features, pointwise = ctypes.POINTER(FeaturesArgument), ctypes.POINTER(PointwiseArgument)
        step = (features, pointwise, ctypes.c_void_p, ctypes.c_int64)
        self.sums, self.attend, self.feed_forward = (
            getattr(library, f"diffir_{name}") for name in ("sums", "attend", "feed_forward")
        )
        self.sums.argtypes = (*step, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
        self.attend.argtypes = (*step, pointwise, ctypes.c_int64)
        self.feed_forward.argtypes = (*step, pointwise)
        self.convolve, self.blend = library.diffir_convolve, library.diffir_blend
        self.convolve.argtypes = (ctypes.POINTER(StoredArgument),)
        self.blend.argtypes = (ctypes.POINTER(BlendArgument),)
        self.put_pyramids = library.diffir_put_pyramids
        self.put_pyramids.argtypes = (ctypes.POINTER(PicturesArgument),)
        self.find_motion, self.move = library.diffir_find_motion, library.diffir_move
        self.find_motion.argtypes = self.move.argtypes = (ctypes.POINTER(WindowArgument),)
        self.pyramid_bytes, self.search_bytes = library.diffir_pyramid_bytes, library.diffir_search_bytes
        self.pyramid_bytes.argtypes = (ctypes.c_int64,) * 2
        self.search_bytes.argtypes = (ctypes.c_int64,) * 3
        self.pyramid_bytes.restype = self.search_bytes.restype = ctypes.c_int64
        self.lanes: int = library.diffir_lanes()
        self.has_half = bool(library.diffir_has_half())
        self.has_bytes = bool(library.diffir_has_bytes())
        self.use_tiles = library.diffir_use_tiles
        self.has_tiles = bool(self.use_tiles(True))
        self.team = ctypes.c_void_p.in_dll(library, "diffir_team")
        self.team.value = torch_team()


@lru_cache(maxsize=1)
def load_kernels() -> Kernels:
    """Compile the kernels, or take them from where they were kept.

    Raises BackendError where there is no C compiler or it fails.
    """
    compiler = _find_compiler()
    key = hashlib.blake2b(digest_size=12)
    sources = [path.read_bytes() for path in (*_SOURCES, *_HEADERS)]
    for part in (*sources, _version_of(compiler), shlex.join([*compiler, *_FLAGS]).encode(), _processor()):
        key.update(part)
    library = cache_folder() / f"kernels-{key.hexdigest()}.so"
    if not library.is_file():
        _compile(compiler, library)
    return Kernels(ctypes.CDLL(str(library)))


def torch_team() -> int | None:
    """The address of GOMP_parallel, which starts work in torch's own threads; None if its OpenMP lacks it."""
    function = _torch_function("GOMP_parallel")
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def limit_threads(count: int) -> None:
    """Have the calling thread, and no other, share its work among `count` threads at most.

    `torch.set_num_threads` would have all threads do so that begin later. Without effect unless
    `can_limit_threads`.
    """
    # At its first use in a thread torch sets a number itself.
    torch.get_num_threads()
    if (function := _torch_function("omp_set_num_threads")) is not None:
        function(count)


def can_limit_threads() -> bool:
    """Whether torch's OpenMP, by which it and the kernels share their work, was found."""
    return _torch_function("omp_set_num_threads") is not None


@lru_cache
def _torch_function(name: str) -> Any | None:
    """A C function of torch's, or of what it is linked with; None if there is none of this name."""
    try:
        return getattr(ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")), name)
    except (OSError, AttributeError):
        return None


def _find_compiler() -> list[str]:
    """The words of a command: what CC says, options and wrapper too, a usual name, or what PyPI has."""
    if named := shlex.split(os.environ.get("CC", "")):
        if shutil.which(named[0]) is None:
            raise BackendError(
                f"backend compile needs a C compiler, and CC={os.environ['CC']!r} is not one that is here; "
                "unset CC, or use backend eager"
            )
        return named
    if found := next(filter(None, map(shutil.which, _COMPILERS)), None):
        return [found]
    if find_spec(_PACKAGED_COMPILER) is not None:
        return [sys.executable, "-m", _PACKAGED_COMPILER, "cc"]
    raise BackendError(
        f"backend compile needs a C compiler, and none of {', '.join(_COMPILERS)} is here; "
        "install gcc or diffir-video[compiler], or use backend eager"
    )


def _compile(compiler: Sequence[str], library: Path) -> None:
    _log.info("compiling the kernels for this machine's processor, once")
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        part = Path(folder) / library.name
        command = [*compiler, *_FLAGS, *map(str, _SOURCES), "-o", str(part), "-lm"]
        # Zig would keep what it makes on the way, a hundred megabytes.
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        try:
            subprocess.run(
                command, check=True, capture_output=True, timeout=_SECONDS_TO_COMPILE, env=environment
            )
        except (OSError, subprocess.SubprocessError) as exc:
            said = getattr(exc, "stderr", None) or b""
            lines = said.decode(errors="replace").strip().splitlines() or [str(exc)]
            raise BackendError(
                f"{shlex.join(compiler)} can't compile the kernels ({lines[0]}); use backend eager"
            ) from exc
        part.replace(library)


def _version_of(compiler: Sequence[str]) -> bytes:
    try:
        run = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as exc:
        raise BackendError(f"{shlex.join(compiler)} doesn't start ({exc}); use backend eager") from exc
    return run.stdout


def _processor() -> bytes:
    """What -march=native looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor().encode()
    telling = ("model", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(telling)})).encode()
