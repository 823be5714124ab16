"""`TrainConfig`: one recipe, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffir_video.errors import UsageError
from diffir_video.network import ModelConfig
from training.options import ClipDamageConfig, DamageConfig, GanConfig, PhaseConfig
from training.settings import require, require_odds, require_range, require_shares

STEP_COUNTS = (
    "max_steps", "prior_steps", "cpen_frozen_steps", "warmup_steps", "decay_steps", "prior_decay_steps",
)  # fmt: skip

_NOT_NEGATIVE = (
    *STEP_COUNTS[1:], "threads", "log_every", "validate_every", "checkpoint_every", "clip_gradient_norm",
    "psnr_weight", "temporal_weight", "final_learning_rate",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One folder of ground truth.

    root: folder, read recursively. kind: "clips" are videos, "photos" are pictures, which for windows of
    frames a pan sets in motion, "pairs" are pictures whose LQ lies beside them (blur/ and sharp/, input/ and
    target/, lq/ and gt/).
    weight: how often a sample comes from here, relative to the other sources. shrink: area-average by this
    factor first, so that the compression of the source itself disappears. max_frames: of each clip.
    exclude: name stems that are never read (kept for validation, say). only: read nothing but these stems.
    encoded_variants: of each clip are made in advance, noisy and through a codec from end to end; compressed
    samples then come from these instead of a few frames encoded for each sample. picked: share of pans over
    photographs that pick pixels instead of averaging them, which leaves detail as sharp as any camera's.
    """

    root: Path
    kind: Literal["clips", "photos", "pairs"]
    weight: float = 1.0
    shrink: int = 2
    max_frames: int = 400
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    encoded_variants: int = 0
    picked: float = 0.0

    def __post_init__(self) -> None:
        where = f"the source {self.root}"
        require(self.weight >= 0, f"weight of {where}", self.weight, "0 or more")
        require(self.shrink >= 1, f"shrink of {where}", self.shrink, "1 or more")
        require(self.max_frames >= 1, f"max_frames of {where}", self.max_frames, "1 or more")
        require(
            self.encoded_variants >= 0, f"encoded_variants of {where}", self.encoded_variants, "0 or more"
        )
        require_shares(f"the source {self.root}", {"picked": self.picked})


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Camera-like noise, drawn per sequence.

    sigma: range of the standard deviation at mid grey, in code values of 255. skew: of its draw,
    low + (high - low) · u**skew with u uniform; above 1 favours weak noise. poisson: share of sequences whose
    variance grows with the signal. clean: share without any noise. interpolated: share of those with noise
    whose noise isn't white, as it was interpolated after it arose: see `degradations.interpolated_noise`.
    """

    sigma: tuple[float, float] = (2.0, 50.0)
    skew: float = 1.0
    poisson: float = 0.3
    clean: float = 0.05
    interpolated: float = 0.0

    def __post_init__(self) -> None:
        require_range("data.noise.sigma", self.sigma, lowest=0)
        require(self.skew >= 0, "data.noise.skew", self.skew, "0 or more")
        shares = ("poisson", "clean", "interpolated")
        require_shares("data.noise", {name: getattr(self, name) for name in shares})


@dataclass(frozen=True, kw_only=True)
class SharpenConfig:
    """Sharpening of the ground truth, drawn per sequence: many cameras do it, and shrunk material lacks it.

    share: of sequences. most: amount of unsharp masking, drawn evenly from 0.
    """

    share: float = 0.0
    most: float = 1.5

    def __post_init__(self) -> None:
        require_shares("data.sharpen", {"share": self.share})
        require(self.most >= 0, "data.sharpen.most", self.most, "0 or more")


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Compression after the noise, drawn per sequence.

    share: of sequences that are compressed; twice: of those, the share that another codec had before.
    x264, x265, mpeg2, jpeg, vp9, av1: relative odds. x264_crf, x265_crf, vp9_crf, av1_crf: constant rate
    factors. mpeg2_qscale, jpeg_qscale: quantiser scales. gop: range of the distance of key frames of all but
    JPEG, (0, 0) for the encoder's own. decoded_by_swscale: of compressed sequences, the share that FFmpeg's
    default conversion decodes, with nearest chroma and luma a level too dark, and not the engine's own.
    """

    share: float = 0.5
    x264: float = 0.75
    x265: float = 0.05
    mpeg2: float = 0.1
    jpeg: float = 0.1
    x264_crf: tuple[int, int] = (18, 36)
    x265_crf: tuple[int, int] = (18, 36)
    mpeg2_qscale: tuple[int, int] = (2, 16)
    jpeg_qscale: tuple[int, int] = (2, 16)
    vp9: float = 0.0
    av1: float = 0.0
    vp9_crf: tuple[int, int] = (24, 50)
    av1_crf: tuple[int, int] = (24, 55)
    twice: float = 0.0
    gop: tuple[int, int] = (0, 0)
    decoded_by_swscale: float = 0.0

    def __post_init__(self) -> None:
        names = ("x264", "x265", "mpeg2", "jpeg", "vp9", "av1")
        odds = {name: getattr(self, name) for name in names}
        shares = ("share", "twice", "decoded_by_swscale")
        require_shares("data.codec", {name: getattr(self, name) for name in shares})
        if self.share:
            require_odds("data.codec", odds)
        for name in ("x264_crf", "x265_crf", "vp9_crf", "av1_crf", "mpeg2_qscale", "jpeg_qscale", "gop"):
            require_range(f"data.codec.{name}", getattr(self, name), lowest=0)


@dataclass(frozen=True, kw_only=True)
class DownscaleConfig:
    """How the LQ of a model of scale 2 or 4 is made, before noise and codec.

    area, bilinear, bicubic, lanczos: relative odds of the kernel, drawn per sequence; none aliases.
    """

    area: float = 0.2
    bilinear: float = 0.1
    bicubic: float = 0.4
    lanczos: float = 0.3

    def __post_init__(self) -> None:
        odds = {name: getattr(self, name) for name in ("area", "bilinear", "bicubic", "lanczos")}
        require_odds("data.downscale", odds)


@dataclass(frozen=True, kw_only=True)
class ValidationDamage:
    """Analogue tape of the wear `tape`, Gaussian noise of `sigma` code values, then x264 at `crf`.

    tape: 0 is none, 1 the worst. crf: None is no codec.
    """

    sigma: float = 0.0
    crf: int | None = None
    tape: float = 0.0

    def __str__(self) -> str:
        tape = f"tape{self.tape:g}_" if self.tape else ""
        return f"{tape}sigma{self.sigma:g}" + ("" if self.crf is None else f"_crf{self.crf}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where samples come from and what is done to them.

    samples: "windows" of frames, cut from clips and pans, or single "pictures", damaged as `damage` says.
    cache: folder for decoded, shrunk frames, made once. sequence_frames: frames degraded together.
    windows_per_sequence: training samples cut from each. workers: loader processes. downscale: for models
    of scale 2 and 4. validation_damage: what the validation clips go through.
    """

    train: tuple[SourceConfig, ...]
    validation: tuple[SourceConfig, ...] = ()
    cache: Path = Path("runs/cache")
    noise: NoiseConfig = NoiseConfig()
    codec: CodecConfig = CodecConfig()
    sharpen: SharpenConfig = SharpenConfig()
    downscale: DownscaleConfig = DownscaleConfig()
    sequence_frames: int = 9
    windows_per_sequence: int = 2
    workers: int = 1
    validation_damage: tuple[ValidationDamage, ...] = (
        ValidationDamage(sigma=25),
        ValidationDamage(sigma=25, crf=23),
        ValidationDamage(sigma=10, crf=30),
    )
    samples: Literal["windows", "pictures"] = "windows"
    damage: DamageConfig = field(default_factory=DamageConfig)
    clip_damage: ClipDamageConfig = field(default_factory=ClipDamageConfig)

    def __post_init__(self) -> None:
        require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        require(self.sequence_frames >= 1, "data.sequence_frames", self.sequence_frames, "1 or more")
        require(
            self.windows_per_sequence >= 1,
            "data.windows_per_sequence",
            self.windows_per_sequence,
            "1 or more",
        )
        for name, sources in (("data.train", self.train), ("data.validation", self.validation)):
            if sources:
                require_odds(name, {f"weight of {source.root}": source.weight for source in sources})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A recipe for one stage.

    output: run folder. model: the network. stage1: checkpoint that stage 2 starts from. init: checkpoint to
    go on from: stage 1 takes its DIRformer, of either stage; stage 2 takes one of stage 2 whole, instead of a
    fresh CPEN and denoiser and stage 1's DIRformer. Each of the checkpoints may be a built-in model's name.
    batch_size: samples per step; patch_size: of the ground truth, in pixels. max_steps: of all phases.
    prior_steps: of stage 2's first phase, which trains the prior alone. learning_rate falls along a cosine to
    `final_learning_rate` at the end of the run, after `warmup_steps`; in stage 2's first phase
    `prior_learning_rate` does, without a warm-up, to a tenth of `learning_rate`. cpen_frozen_steps:
    of stage 1, in which CPEN stays as it was initialised: DIRformer learns what a prior tells before CPEN
    can learn to say nothing. psnr_weight: of PSNR-Y in dB, subtracted from the pixel loss; 0 is the published
    loss. precision: "bf16" computes under autocast, weights stay float32. threads: for torch, 0 leaves
    torch's choice. log_every, validate_every, checkpoint_every: in steps; what they say is done at the end,
    too, and with 0 only there.

    schedule: "step" keeps the learning rate but for a factor of `decay_factor` every `decay_steps` (0: none),
    in the prior phase of `prior_decay_factor` every `prior_decay_steps`, counted from each phase's start.
    phases: growing patches, instead of one patch_size and batch_size. accumulate: parts that a process's
    share of a batch is worked through in; the gradient stays that of the whole. device, devices, nodes: where
    to run; batch_size is of all processes together, so a recipe means the same on any number of them.
    compile: the network by torch.compile. channels_last: memory format. temporal_weight: of the difference
    between frame differences of output and ground truth, of two neighbouring windows of a sequence.
    shared_prior: one random window of each sequence gives the prior that restores all of them, as held priors
    do at inference. stage2: checkpoint that the GAN stage starts from; gan: its losses.
    """

    output: Path
    model: ModelConfig
    data: DataConfig
    stage1: Path | None = None
    init: Path | None = None
    seed: int = 0
    batch_size: int = 8
    patch_size: int = 96
    max_steps: int = 1000
    prior_steps: int = 0
    cpen_frozen_steps: int = 0
    learning_rate: float = 2e-4
    prior_learning_rate: float = 2e-4
    final_learning_rate: float = 1e-6
    warmup_steps: int = 0
    adam_betas: tuple[float, float] = (0.9, 0.999)
    ema_decay: float = 0.999
    clip_gradient_norm: float = 0.0
    psnr_weight: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 0
    log_every: int = 100
    validate_every: int = 1000
    checkpoint_every: int = 500
    schedule: Literal["cosine", "step"] = "cosine"
    decay_steps: int = 0
    decay_factor: float = 0.5
    prior_decay_steps: int = 0
    prior_decay_factor: float = 0.1
    phases: tuple[PhaseConfig, ...] = ()
    accumulate: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    compile: bool = False
    channels_last: bool = True
    temporal_weight: float = 0.0
    shared_prior: bool = False
    stage2: Path | None = None
    gan: GanConfig = field(default_factory=GanConfig)

    def __post_init__(self) -> None:
        for phase in self.all_phases:
            self._check_sizes(phase)
        self._check_samples()
        self._check_ranges()
        if min(self.prior_steps, self.accumulate - 1, self.devices - 1, self.nodes - 1) < 0:
            raise UsageError(
                f"prior_steps = {self.prior_steps}, accumulate = {self.accumulate}, devices = {self.devices} "
                f"and nodes = {self.nodes}: expected 0 or more of the first, 1 or more of the others"
            )
        if not self.data.train:
            raise UsageError("data.train names no source of ground truth")

    @property
    def all_phases(self) -> tuple[PhaseConfig, ...]:
        """The phases of the run; one, where the recipe names none."""
        whole = PhaseConfig(steps=self.max_steps, patch_size=self.patch_size, batch_size=self.batch_size)
        return self.phases or (whole,)

    def _check_sizes(self, phase: PhaseConfig) -> None:
        multiple = self.model.multiple * self.model.scale
        if phase.patch_size < 1 or phase.patch_size % multiple:
            raise UsageError(
                f"patch_size = {phase.patch_size} is no multiple of {multiple}, which this model needs"
            )
        per_item = self.data.windows_per_sequence if self.data.samples == "windows" else 1
        parts = self.accumulate * self.devices * self.nodes
        if phase.batch_size < 1 or phase.batch_size % (per_item * parts):
            raise UsageError(
                f"batch_size = {phase.batch_size} is no multiple of {per_item * parts}: samples cut from one "
                f"sequence ({per_item}) times processes and parts ({parts})"
            )

    def _check_ranges(self) -> None:
        require(self.max_steps >= 1, "max_steps", self.max_steps, "1 or more")
        require(0 <= self.seed < 1 << 32, "seed", self.seed, f"0 to {(1 << 32) - 1}")
        for name in ("learning_rate", "prior_learning_rate", "decay_factor", "prior_decay_factor"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in _NOT_NEGATIVE:
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 <= self.ema_decay <= 1, "ema_decay", self.ema_decay, "0 to 1")
        require(all(0 <= beta < 1 for beta in self.adam_betas), "adam_betas", self.adam_betas, "two below 1")
        for number, phase in enumerate(self.phases):
            require(phase.steps >= 1, f"phases.{number}.steps", phase.steps, "1 or more")

    def _check_samples(self) -> None:
        data = self.data
        self._check_kinds()
        if data.samples == "pictures":
            if self.model.frames > 1:
                raise UsageError("data.samples = 'pictures' is for models of one frame")
            if (data.damage.kind == "holes") != (self.model.image_channels == 4):
                raise UsageError("data.damage.kind = 'holes' and model.image_channels = 4 belong together")
            if self.shared_prior or self.temporal_weight:
                raise UsageError(
                    f"shared_prior = {self.shared_prior} and temporal_weight = {self.temporal_weight:g} are "
                    "of windows of one sequence; data.samples = 'pictures' have nothing to do with each other"
                )
            return
        if self.model.image_channels != 3:
            raise UsageError("data.samples = 'windows' is for models of three channels")
        if data.sequence_frames < self.model.frames:
            raise UsageError(
                f"data.sequence_frames = {data.sequence_frames} is less than the model's window of "
                f"{self.model.frames} frames"
            )
        if self.model.recurrent and data.sequence_frames <= data.windows_per_sequence:
            raise UsageError(
                "a recurrent model sees windows in a row: data.sequence_frames = "
                f"{data.sequence_frames} has to be above data.windows_per_sequence = "
                f"{data.windows_per_sequence}"
            )
        if self.shared_prior and data.windows_per_sequence < 2:
            raise UsageError(
                "shared_prior needs windows of one sequence that share it: data.windows_per_sequence = "
                f"{data.windows_per_sequence}, expected 2 or more"
            )
        if self.temporal_weight and (
            data.windows_per_sequence % 2 or data.sequence_frames == self.model.frames
        ):
            raise UsageError(
                f"temporal_weight needs neighbouring windows in twos: data.windows_per_sequence = "
                f"{data.windows_per_sequence} out of data.sequence_frames = {data.sequence_frames}"
            )

    def _check_kinds(self) -> None:
        """Raise UsageError for a source that samples of the recipe's kind can't be cut from."""
        samples = self.data.samples
        kinds = {"pictures": ("photos", "pairs"), "windows": ("clips", "photos")}[samples]
        if samples == "pictures" and self.model.image_channels == 4:
            # The LQ of a pair brings no mask.
            kinds = ("photos",)
        for source in (*self.data.train, *self.data.validation):
            if source.kind not in kinds:
                raise UsageError(
                    f"the source {source.root} is of the kind {source.kind!r}: data.samples = {samples!r} of "
                    f"this model are cut from {' or '.join(kinds)}"
                )

    def refuse(self, *names: str, stage: str) -> None:
        """Raise UsageError if a checkpoint is set that this stage does not start from."""
        for name in names:
            path = getattr(self, name)
            if path is not None:
                raise UsageError(
                    f"{name} = {path}: {stage} does not start from it; is the recipe another stage's?"
                )


__all__ = [
    "CodecConfig",
    "DataConfig",
    "DownscaleConfig",
    "NoiseConfig",
    "SharpenConfig",
    "SourceConfig",
    "TrainConfig",
]
