"""What a benchmark works on: a network, untrained if it has to be, and a clip made for it."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media import VideoWriter
from diffir_video.network import DiffIR, DiffIRS2, ModelConfig
from diffir_video.restorer import Restorer
from diffir_video.zoo import find_weights

_TICK = Fraction(1, 25)

# What an untrained network is made to add to a frame, root mean square: the damage in a frame of 20 dB.
_ADDED = 0.1


def load_network(name_or_path: str) -> DiffIRS2:
    """A stage-2 network: a built-in one, a checkpoint, or an untrained one of a .yaml config.

    An untrained one adds to a frame about what a trained one does, so that dB mean what they mean there.
    Raises UnknownModelError, CheckpointError, and UsageError for a config or network that can't be used.
    """
    is_config = Path(name_or_path).suffix in {".yaml", ".yml"}
    net: DiffIR = _untrained(Path(name_or_path)) if is_config else load_checkpoint(find_weights(name_or_path))
    # Refuses what can't restore video.
    Restorer(deepcopy(net), device="cpu", backend="eager")
    net = cast(DiffIRS2, net).eval()
    if is_config:
        _calm(net)
    return net


def _untrained(config: Path) -> DiffIRS2:
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise UsageError(f"can't read model config {str(config)!r}: {exc}") from exc
    if not isinstance(settings, dict):
        raise UsageError(f"model config {str(config)!r} holds no settings")
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    return DiffIRS2(ModelConfig.from_dict(cast(dict[str, Any], settings))).eval()


@torch.inference_mode()
def _calm(net: DiffIRS2) -> None:
    """Scale the last convolution so that the network adds `_ADDED` to a noisy frame, root mean square."""
    config, size = net.config, 4 * net.multiple
    frame = _noisy(_texture(size, size), torch.Generator().manual_seed(1))
    lq = frame.repeat(1, config.frames, 1, 1)
    # As the restorers draw it: an untrained network depends on it a good deal.
    noise = torch.randn(1, config.prior_width, generator=torch.Generator().manual_seed(0))
    last = net.G.output if config.tail == "conv" else net.G.tail[1]
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output)

    handle = cast(nn.Module, last).register_forward_hook(keep)
    net.restore(lq, net.estimate_prior(lq, noise))
    handle.remove()
    factor = _ADDED / float(outputs[0].square().mean().sqrt())
    for parameter in cast(nn.Module, last).parameters():
        parameter.mul_(factor)


def write_sample_clip(path: Path, width: int, height: int, frames: int) -> None:
    """A noisy pan over a smooth texture, for a benchmark without a file: x264 at its defaults."""
    generator = torch.Generator().manual_seed(1)
    texture = _texture(width + frames, height + frames)
    info = StreamInfo(width, height, _TICK, "yuv420p", average_rate=1 / _TICK)
    with VideoWriter(path, info) as writer:
        for t in range(frames):
            noisy = _noisy(texture[:, t : t + height, t : t + width], generator)
            writer.write(Frame(noisy, t, _TICK, 1))


def _texture(width: int, height: int) -> Tensor:
    coarse = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]


def _noisy(picture: Tensor, generator: torch.Generator) -> Tensor:
    return (picture + 0.04 * torch.randn(picture.shape, generator=generator)).clamp(0, 1)
