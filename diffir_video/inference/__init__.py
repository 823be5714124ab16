"""The network made fast for a held prior: exact, whatever the frame's size."""

from diffir_video.inference.engine import FoldedDIRformer

__all__ = ["FoldedDIRformer"]
