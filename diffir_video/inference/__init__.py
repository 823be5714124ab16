"""The network made fast for a held prior: exact, whatever the frame's size."""

from diffir_video.inference.backends import cpu_has_fast_half
from diffir_video.inference.engine import FoldedDIRformer
from diffir_video.inference.options import Backend, Batch, InferenceOptions, Tile

__all__ = ["Backend", "Batch", "FoldedDIRformer", "InferenceOptions", "Tile", "cpu_has_fast_half"]
