"""Networks as the evaluation takes them: as trained, on the CPU, but with motion found by kernels."""

from __future__ import annotations

from pathlib import Path

from diffir_video.checkpoint import load_checkpoint
from diffir_video.inference import hasten_motion
from diffir_video.network import DiffIRS1, DiffIRS2
from diffir_video.zoo import find_weights


def load_network(model: str | Path) -> DiffIRS1 | DiffIRS2:
    """A built-in name's network or a checkpoint's, of either stage.

    Raises UnknownModelError and CheckpointError as `find_weights` and `load_checkpoint` do.
    """
    net = load_checkpoint(find_weights(model))
    hasten_motion(net.G)
    return net
