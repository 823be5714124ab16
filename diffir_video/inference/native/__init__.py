"""A folded network's blocks and convolutions as kernels in C, compiled once for the processor they run on."""

from diffir_video.inference.native.convolutions import NativeConvolutions
from diffir_video.inference.native.library import can_limit_threads, limit_threads, load_kernels
from diffir_video.inference.native.packing import Terms
from diffir_video.inference.native.products import NativeProduct
from diffir_video.inference.native.steps import NativeSteps

__all__ = [
    "NativeConvolutions",
    "NativeProduct",
    "NativeSteps",
    "Terms",
    "can_limit_threads",
    "limit_threads",
    "load_kernels",
]
