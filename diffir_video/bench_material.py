"""What a benchmark works on: a network, untrained if it has to be, and a clip made for it."""

from __future__ import annotations

from collections.abc import Callable
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

# What its condition and its prior are made to be, root mean square: as the noise that the diffusion starts
# from. The built-in networks' priors are of 0.4, those of an untrained one as initialised of 10 to 80.
_PRIOR = 1.0


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
    """Scale last layers so that a noisy frame's prior, and what is added to it, are as a trained one's."""
    config, size = net.config, 4 * net.multiple
    frame = _noisy(_texture(size, size), torch.Generator().manual_seed(1))
    lq = frame.repeat(1, config.frames, 1, 1)
    # As the restorers draw it: an untrained network depends on it a good deal.
    noise = torch.randn(1, config.prior_width, generator=torch.Generator().manual_seed(0))

    def estimate() -> Tensor:
        return net.estimate_prior(lq, noise)

    _scale(_last_linear(net.condition), estimate, _PRIOR)
    # Each step of the diffusion takes what the one before it made, so once isn't enough.
    for _ in range(10):
        _scale(_last_linear(net.denoise), estimate, _PRIOR)
    last = net.G.output if config.tail == "conv" else net.G.tail[1]
    _scale(cast(nn.Module, last), lambda: net.restore(lq, estimate()), _ADDED)


def _last_linear(module: nn.Module) -> nn.Module:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]


def _scale(layer: nn.Module, run: Callable[[], object], size: float) -> None:
    """So that the last thing it makes in `run` is of this size, root mean square."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output)

    handle = layer.register_forward_hook(keep)
    run()
    handle.remove()
    factor = size / float(outputs[-1].square().mean().sqrt())
    for parameter in layer.parameters():
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
