"""`ModelConfig`: everything that tells one DiffIR from another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, cast, get_args

from diffir_video.errors import UsageError

Norm = Literal["bias", "bias_free"]
Tail = Literal["conv", "upsample"]
ResidualUpsample = Literal["nearest", "bilinear", "bicubic"]

# CPEN compares LQ and GT on one grid: that of the ground truth unshuffled by 4 (paper, section 3.1).
GT_UNSHUFFLE = 4

# The published models take 4; what asks for millions is no schedule but a broken file.
MOST_TIMESTEPS = 10_000

# Smoothed pictures that a blend may use: two pictures, three ways.
SMOOTHED = 6


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Hyper-parameters of both stages; the defaults are the published deblurring model's.

    dim: channels of DIRformer's first level; each level below has twice as many, decoder level 1 and the
        refinement ``2 * dim``.
    blocks, heads: transformer blocks and attention heads of each level; four levels in the published models.
    refinement_blocks: 0 leaves the module out.
    ffn_expansion: hidden channels of a feed-forward are ``int(channels * ffn_expansion)``.
    norm: "bias" is LayerNorm over channels; "bias_free" divides by the deviation, keeps the mean.
    tail: "conv" is one 3x3 convolution, followed by a pixel shuffle where ``scale * unshuffle`` > 1;
        "upsample" is the published super-resolution tail, for ``scale * unshuffle`` = 4.
    residual: add the middle frame to the output. residual_upsample: how it is brought to the output's size
        where `scale` > 1; "nearest" is the published way, a smoother one leaves a small network less to undo.
    blend: add a blend of the window's frames instead. Their weights, which sum to 1, come from the network,
        for each cell of `unshuffle` x `unshuffle` pixels; so the detail of neighbours need not fit in its
        channels. blend_smoothed: six smoothed pictures take part in the blend, see `smoothed_pictures`; a
        network of very few channels then chooses where to smooth, and along which direction.
    image_channels: 3 for RGB; 4 for inpainting, RGB with holes at 0 and then the mask, 1 in a hole.
    scale: output size over input size, 1, 2 or 4. unshuffle: pixel-unshuffle before DIRformer, 1, 2 or 4.
    past, future: neighbouring frames the network sees before and after the one it restores.
    recurrent: the frame before is seen as the network restored it, not as it came; so what many frames tell
        gathers in one. Only with `past` 1, `future` 0 and `scale` 1. The first frame of a shot sees itself.
    compensated: neighbours are moved to where the middle frame has their content, see `motion`.
    cpen_blocks, cpen_width: residual blocks and channels of CPEN. prior_width: width of the prior.
    cpen_zero_sum: keep the sum of each of CPEN's first filters at zero: the prior then tells of noise,
        artefacts and texture, not of brightness and colour.
    timesteps, linear_start, linear_end: the diffusion's schedule. denoiser_blocks: its hidden layers.

    Raises UsageError on values that make no network.
    """

    dim: int = 48
    blocks: tuple[int, ...] = (3, 5, 6, 6)
    refinement_blocks: int = 4
    heads: tuple[int, ...] = (1, 2, 4, 8)
    ffn_expansion: float = 2.0
    norm: Norm = "bias"
    tail: Tail = "conv"
    residual: bool = True
    residual_upsample: ResidualUpsample = "nearest"
    blend: bool = False
    blend_smoothed: bool = False
    image_channels: int = 3
    scale: int = 1
    unshuffle: int = 1
    past: int = 0
    future: int = 0
    recurrent: bool = False
    compensated: bool = False
    cpen_blocks: int = 5
    cpen_width: int = 64
    cpen_zero_sum: bool = False
    prior_width: int = 256
    timesteps: int = 4
    linear_start: float = 0.1
    linear_end: float = 0.99
    denoiser_blocks: int = 1

    def __post_init__(self) -> None:
        self._check_types()
        _require(self.dim > 0 and self.dim % 2 == 0, "dim", self.dim, "an even number above 0")
        _require(len(self.blocks) >= 2 and min(self.blocks) >= 0, "blocks", self.blocks, "two counts or more")
        _require(
            len(self.heads) == len(self.blocks) and min(self.heads) >= 1,
            "heads",
            self.heads,
            f"{len(self.blocks)} counts above 0, as many as blocks",
        )
        for level, heads in enumerate(self.heads):
            channels = self.dim * 2**level
            _require(
                channels % heads == 0, "heads", self.heads, f"a divisor of {channels} at level {level + 1}"
            )
        _require(self.refinement_blocks >= 0, "refinement_blocks", self.refinement_blocks, "0 or more")
        _require(
            1 <= self.dim * self.ffn_expansion < math.inf,
            "ffn_expansion",
            self.ffn_expansion,
            f"a hidden channel or more for {self.dim}",
        )
        _require(self.norm in get_args(Norm), "norm", self.norm, f"one of {get_args(Norm)}")
        _require(self.tail in get_args(Tail), "tail", self.tail, f"one of {get_args(Tail)}")
        _require(self.image_channels in (3, 4), "image_channels", self.image_channels, "3 or 4")
        _require(self.scale in (1, 2, 4), "scale", self.scale, "1, 2 or 4")
        _require(self.unshuffle in (1, 2, 4), "unshuffle", self.unshuffle, "1, 2 or 4")
        if self.tail == "upsample":
            _require(
                self.scale * self.unshuffle == 4, "scale", self.scale, "4 / unshuffle with the upsample tail"
            )
        _require(
            self.residual_upsample in get_args(ResidualUpsample),
            "residual_upsample",
            self.residual_upsample,
            f"one of {get_args(ResidualUpsample)}",
        )
        _require(self.past >= 0 and self.future >= 0, "past, future", (self.past, self.future), "0 or more")
        if self.recurrent:
            _require(
                (self.past, self.future, self.scale, self.image_channels) == (1, 0, 1, 3),
                "recurrent",
                self.recurrent,
                "past 1, future 0, scale 1 and three image channels",
            )
        if self.blend:
            _require(
                self.residual and self.tail == "conv" and self.frames > 1 and self.image_channels == 3,
                "blend",
                self.blend,
                "a residual, the conv tail, RGB and a window of more than one frame",
            )
        _require(
            self.blend or not self.blend_smoothed,
            "blend_smoothed",
            self.blend_smoothed,
            "False without blend",
        )
        _require(
            not self.compensated or (self.frames > 1 and self.image_channels == 3),
            "compensated",
            self.compensated,
            "False without RGB and a window of more than one frame",
        )
        _require(self.cpen_blocks >= 0, "cpen_blocks", self.cpen_blocks, "0 or more")
        _require(self.cpen_width > 0, "cpen_width", self.cpen_width, "above 0")
        _require(self.prior_width > 0, "prior_width", self.prior_width, "above 0")
        _require(0 < self.timesteps <= MOST_TIMESTEPS, "timesteps", self.timesteps, f"1 to {MOST_TIMESTEPS}")
        for name in ("linear_start", "linear_end"):
            _require(0 < getattr(self, name) < 1, name, getattr(self, name), "above 0 and below 1")
        _require(self.denoiser_blocks >= 0, "denoiser_blocks", self.denoiser_blocks, "0 or more")

    def _check_types(self) -> None:
        for field in fields(self):
            value: object = getattr(self, field.name)
            if isinstance(field.default, bool):
                _require(isinstance(value, bool), field.name, value, "true or false")
            elif isinstance(field.default, int):
                _require(_is_whole(value), field.name, value, "a whole number")
            elif isinstance(field.default, float):
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                _require(is_number, field.name, value, "a number")
            elif isinstance(field.default, tuple):
                _require(_are_whole(value), field.name, value, "whole numbers")

    @property
    def frames(self) -> int:
        """Frames the network sees at once."""
        return self.past + 1 + self.future

    @property
    def blended(self) -> int:
        """Pictures that the blend weighs; 0 without one."""
        return (self.frames + (SMOOTHED if self.blend_smoothed else 0)) if self.blend else 0

    @property
    def lq_channels(self) -> int:
        """Channels of the `lq` tensor: the window's frames one after the other, oldest first."""
        return self.image_channels * self.frames

    @property
    def lq_unshuffle(self) -> int:
        """Pixel-unshuffle of the LQ before CPEN, so that it lies on the grid of the unshuffled GT."""
        return GT_UNSHUFFLE // self.scale

    @property
    def multiple(self) -> int:
        """Height and width of the LQ must be multiples of this: a halving per level after the unshuffle."""
        return math.lcm(2 ** (len(self.blocks) - 1) * self.unshuffle, self.lq_unshuffle)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict that `from_dict` takes back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values (lists for tuples); raises UsageError naming unknown keys."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"unknown model settings {unknown}; known are {sorted(known)}")
        plain: dict[str, Any] = {
            name: tuple(cast(list[Any], value)) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)


def _are_whole(value: object) -> bool:
    return isinstance(value, (tuple, list)) and all(map(_is_whole, cast(list[Any], value)))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise UsageError(f"model setting {name} = {value!r}: expected {expected}")
