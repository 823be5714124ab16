"""How many frames per second: file to file, each stage alone, and the network against itself.

All figures of a report come from one process on one machine, in turns, so that ratios between them hold even
where the machine's speed doesn't.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.inference import FoldedDIRformer
from diffir_video.job import JobOptions, restore_file
from diffir_video.machine import Machine, this_machine
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.network import DiffIR, DiffIRS2, ModelConfig
from diffir_video.pipeline import NullSink, run
from diffir_video.restorer import Device, Restorer
from diffir_video.zoo import find_weights

# Frames of a file that the stages are measured on alone; they are held in memory.
_FRAMES_IN_MEMORY = 120

_TICK = Fraction(1, 25)


@dataclass(frozen=True, slots=True)
class FileBench:
    """Frames per second, each the median of `repeats` rounds after one that doesn't count.

    decode, restore, encode: each stage alone, frames from and to memory. file_to_file: `restore_file`, all
    of them at once. settings: the restorer's and the encoder's.
    """

    clip: str
    settings: dict[str, str]
    repeats: int
    decode: float
    restore: float
    encode: float
    file_to_file: float
    machine: Machine = field(default_factory=this_machine)

    @property
    def slowest_stage(self) -> float:
        """The rate that no loop can beat: of the slowest stage alone."""
        return min(self.decode, self.restore, self.encode)

    @property
    def share_of_slowest(self) -> float:
        """file_to_file over slowest_stage; 1 when the loop costs nothing."""
        return self.file_to_file / self.slowest_stage

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"share_of_slowest": self.share_of_slowest}

    def format(self) -> str:
        """A table for people."""
        lines = [
            f"{self.clip}; " + ", ".join(f"{k} {v}" for k, v in self.settings.items()),
            f"decode alone   {self.decode:9.2f} fps",
            f"restore alone  {self.restore:9.2f} fps",
            f"encode alone   {self.encode:9.2f} fps",
            f"file to file   {self.file_to_file:9.2f} fps, {self.share_of_slowest:.2f} of the slowest stage",
            str(self.machine),
        ]
        return "\n".join(lines)


def bench_file(
    restorer: Restorer,
    path: Path,
    *,
    encoder: str = "libx264",
    encoder_options: Mapping[str, str] | None = None,
    repeats: int = 3,
) -> FileBench:
    """Restore the file at `path` again and again, whole and stage by stage.

    Raises UsageError for `repeats` < 1, MediaInputError and EncoderError as `restore_file` does.
    """
    with VideoReader(path) as reader:
        info, frames = reader.info, list(islice(reader, _FRAMES_IN_MEMORY))
    restored = _Kept()
    run(_Held(info, frames), restorer, restored)
    with tempfile.TemporaryDirectory(prefix="diffir-bench-") as folder:
        output = Path(folder) / "restored.mkv"

        def decode() -> int:
            with VideoReader(path) as reader:
                return sum(1 for _ in reader)

        def restore() -> int:
            return run(_Held(info, frames), restorer, NullSink()).frames_out

        def encode() -> int:
            with VideoWriter(
                output,
                info.scaled(restorer.scale),
                encoder=encoder,
                encoder_options=encoder_options,
                overwrite=True,
            ) as writer:
                for frame in restored.kept:
                    writer.write(frame)
            return len(restored.kept)

        def file_to_file() -> int:
            return restore_file(
                path,
                output,
                restorer=restorer,
                options=JobOptions(encoder=encoder, encoder_options=encoder_options or {}, overwrite=True),
            ).run.frames_out

        stages = {"decode": decode, "restore": restore, "encode": encode, "file_to_file": file_to_file}
        seconds = _seconds_per_frame(stages, repeats)
    return FileBench(
        clip=f"{path.name} {info.width}x{info.height}",
        settings=restorer.settings | {"encoder": encoder} | dict(encoder_options or {}),
        repeats=repeats,
        decode=1 / seconds["decode"],
        restore=1 / seconds["restore"],
        encode=1 / seconds["encode"],
        file_to_file=1 / seconds["file_to_file"],
    )


@dataclass(frozen=True, slots=True)
class NetworkRate:
    """One way to run the network. ratio: the reference's time over this one's.

    psnr: in dB, from the reference's output with the same prior, None for the reference; its peak is 1 or,
    of an untrained network, the largest value.
    """

    path: str
    milliseconds: float
    ratio: float
    psnr: float | None

    @property
    def fps(self) -> float:
        return 1000 / self.milliseconds


@dataclass(frozen=True, slots=True)
class NetworkBench:
    """The network alone, per frame, medians of `repeats` rounds after one that doesn't count."""

    model: str
    width: int
    height: int
    batch: int
    repeats: int
    fold_milliseconds: float
    rates: tuple[NetworkRate, ...]
    machine: Machine = field(default_factory=this_machine)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def format(self) -> str:
        """A table for people."""
        lines = [f"{self.model}, LQ {self.width}x{self.height}, {self.batch} frames at a time"]
        lines += [
            f"{rate.path:<24}{rate.milliseconds:10.2f} ms {rate.fps:9.2f} fps {rate.ratio:7.2f}x"
            + ("" if rate.psnr is None else f" {rate.psnr:7.1f} dB")
            for rate in self.rates
        ]
        lines += [f"folding a prior: {self.fold_milliseconds:.2f} ms", str(self.machine)]
        return "\n".join(lines)


def bench_network(
    net: DiffIRS2, *, model: str, width: int, height: int, batch: int = 4, repeats: int = 5
) -> NetworkBench:
    """The ways to run a network, on its device, side by side; speed does not depend on its weights.

    reference: as it was trained, eager, float32, a prior for each frame. The others hold one prior: folded
    into the weights, then with the attention maps held as well, in float32 and at half precision.
    Raises UsageError for `repeats` < 1 or a size the network doesn't take.
    """
    multiple = net.multiple
    if width % multiple or height % multiple:
        raise UsageError(f"size {width}x{height}: {model} takes multiples of {multiple}")
    lq, noise = _similar_frames(net, batch, width, height)
    engines = {"float32": FoldedDIRformer(net.G), "bfloat16": FoldedDIRformer(net.G, dtype=torch.bfloat16)}
    with torch.inference_mode():
        prior = net.estimate_prior(lq[:1], noise[:1])
        expected = net.restore(lq, prior.expand(batch, -1))
    for engine in engines.values():
        engine.fold(prior[0])
        engine.restore_keeping_maps(lq[:1])

    def fold() -> int:
        engines["float32"].fold(prior[0])
        return 1

    ways: dict[str, Callable[[], Tensor]] = {}
    for name, engine in engines.items():
        ways[f"prior, {name}"] = partial(engine.restore, lq)
        ways[f"statistics, {name}"] = partial(engine.restore_with_held_maps, lq)
    timed: dict[str, Callable[[], int]] = {"reference": lambda: _restore_as_trained(net, lq, noise)}
    timed |= {name: partial(_count_frames, way) for name, way in ways.items()}
    seconds = _seconds_per_frame(timed | {"fold": fold}, repeats)
    reference = seconds["reference"]
    rates = [NetworkRate("reference, float32", 1000 * reference, 1.0, None)]
    rates += [
        NetworkRate(name, 1000 * seconds[name], reference / seconds[name], _psnr(way(), expected))
        for name, way in ways.items()
    ]
    return NetworkBench(
        model=model,
        width=width,
        height=height,
        batch=batch,
        repeats=repeats,
        fold_milliseconds=1000 * seconds["fold"],
        rates=tuple(rates),
    )


def load_network(name_or_path: str, device: Device = "auto") -> DiffIRS2:
    """A stage-2 network on a device: a built-in one, a checkpoint, or an untrained one of a .yaml config.

    Raises UnknownModelError, CheckpointError, and UsageError for a config or network that can't be used.
    """
    if Path(name_or_path).suffix in {".yaml", ".yml"}:
        net: DiffIR = _untrained(Path(name_or_path))
    else:
        net = load_checkpoint(find_weights(name_or_path))
    # Checks that it is one to restore video with, and moves it.
    Restorer(net, device=device)
    return cast(DiffIRS2, net)


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
def _restore_as_trained(net: DiffIRS2, lq: Tensor, noise: Tensor) -> int:
    return len(net.restore(lq, net.estimate_prior(lq, noise)))


def _count_frames(way: Callable[[], Tensor]) -> int:
    return len(way())


def _similar_frames(net: DiffIRS2, count: int, width: int, height: int) -> tuple[Tensor, Tensor]:
    """`count` noisy windows of one still picture, and noise for their priors, on the network's device."""
    generator = torch.Generator().manual_seed(0)
    config = net.config
    picture = _texture(width, height, generator).repeat(config.frames, 1, 1)
    holes = torch.zeros(config.lq_channels - len(picture), height, width)
    still = torch.cat([picture, holes])
    lq = still + 0.05 * torch.randn(count, *still.shape, generator=generator)
    noise = torch.randn(count, config.prior_width, generator=generator)
    device = net.G.patch_embed.proj.weight.device
    return lq.clamp(0, 1).to(device), noise.to(device)


def _texture(width: int, height: int, generator: torch.Generator) -> Tensor:
    coarse = torch.rand(1, 3, 12, 16, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]


def _psnr(restored: Tensor, expected: Tensor) -> float:
    peak = expected.abs().max().clamp_min(1).double()
    squared = ((restored.double() - expected.double()) / peak).square().mean()
    return float(-10 * squared.log10())


def _seconds_per_frame(ways: Mapping[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Median seconds per frame of each way; they take turns, and their first turns don't count.

    A way returns how many frames it made. Raises UsageError for `repeats` < 1.
    """
    if repeats < 1:
        raise UsageError(f"repeats must be at least 1, got {repeats}")
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            _wait_for_device()
            started = time.perf_counter()
            frames = way()
            _wait_for_device()
            spent[name].append((time.perf_counter() - started) / frames)
    return {name: median(seconds[1:]) for name, seconds in spent.items()}


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class _Held:
    """A source whose frames are in memory already."""

    def __init__(self, info: StreamInfo, frames: Sequence[Frame]) -> None:
        self.info, self._frames = info, frames

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def close(self) -> None:
        pass


class _Kept(NullSink):
    """A sink that keeps the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Frame] = []

    def write(self, frame: Frame) -> None:
        self.kept.append(frame)


def write_sample_clip(path: Path, width: int, height: int, frames: int) -> None:
    """A noisy pan over a smooth texture, for a benchmark without a file: x264 at its defaults."""
    generator = torch.Generator().manual_seed(0)
    texture = _texture(width + frames, height + frames, generator)
    info = StreamInfo(width, height, _TICK, "yuv420p", average_rate=1 / _TICK)
    with VideoWriter(path, info) as writer:
        for t in range(frames):
            clean = texture[:, t : t + height, t : t + width]
            noisy = clean + 0.04 * torch.randn(clean.shape, generator=generator)
            writer.write(Frame(noisy.clamp(0, 1), t, _TICK, 1))
