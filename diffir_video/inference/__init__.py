"""The network made fast for a held prior: exact, whatever the frame's size."""

from diffir_video.inference.backends import (
    Products,
    cpu_has_fast_half,
    hasten_motion,
    terms_of,
)
from diffir_video.inference.engine import FoldedDIRformer
from diffir_video.inference.native import limit_threads
from diffir_video.inference.options import Backend, Batch, InferenceOptions, Tile

__all__ = [
    "Backend",
    "Batch",
    "FoldedDIRformer",
    "InferenceOptions",
    "Products",
    "Tile",
    "cpu_has_fast_half",
    "hasten_motion",
    "limit_threads",
    "terms_of",
]
