"""The steps of a folded block as kernels in C, compiled once for the processor they run on."""

from diffir_video.inference.native.steps import NativeSteps

__all__ = ["NativeSteps"]
