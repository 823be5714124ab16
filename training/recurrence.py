"""Windows through a network, each by itself or, where the network is recurrent, one after the other."""

from __future__ import annotations

from torch import Tensor

from diffir_video.network import DiffIR


def restore_windows(net: DiffIR, lq: Tensor, priors: Tensor, in_a_row: int) -> Tensor:
    """Restore N windows: (N, lq_channels, H, W), (N, prior_width) → (N, 3, s·H, s·W), not clamped.

    in_a_row: how many windows, one frame apart and in time order, each sequence of the batch has; a recurrent
    network sees its own output in all but the first of them, and gradients run back through it.
    """
    if not net.config.recurrent:
        return net.restore(lq, priors)
    windows = lq.reshape(-1, in_a_row, *lq.shape[1:])
    restored = net.restore_in_turn(windows, priors.reshape(-1, in_a_row, priors.shape[1]))
    return restored.flatten(0, 1)
