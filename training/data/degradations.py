"""What a camera and a codec do to clean frames; every draw comes from the generator passed in."""

from __future__ import annotations

import os
from functools import partial
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from diffir_video.media import transcode
from training.config import CodecConfig, NoiseConfig, SharpenConfig

# What is made of a colour's own sites: of red and blue, a quarter of all, and of green, a half.
_OF_QUARTER = [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]
_OF_HALF = [[0.0, 0.25, 0.0], [0.25, 1.0, 0.25], [0.0, 0.25, 0.0]]
_BILINEAR = torch.tensor([_OF_QUARTER, _OF_HALF, _OF_QUARTER])[:, None]


def add_camera_noise(
    frames: NDArray[np.uint8], noise: NoiseConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Gaussian or Poisson-Gaussian noise of one random level for the whole sequence.

    frames: (T, H, W, 3) uint8; returns the same, rounded and clipped as a camera does. The variance of
    Poisson-Gaussian noise is a·signal + b (Foi et al. 2008), of the drawn level at mid grey; of noise that
    was interpolated the level is what it was before.
    """
    if rng.random() < noise.clean:
        return frames
    low, high = noise.sigma
    sigma = low + (high - low) * rng.random() ** noise.skew
    deviation: NDArray[np.floating] | np.float32 = np.float32(sigma)
    if rng.random() < noise.poisson:
        signal_share = rng.uniform(0.2, 1.0)
        variance = sigma**2 * (1 - signal_share + signal_share * frames.astype(np.float32) / 127.5)
        deviation = np.sqrt(variance)
    if noise.interpolated and rng.random() < noise.interpolated:
        return _noisy(frames, interpolated_noise(frames.shape, rng) * deviation)
    return _noisy(frames, rng.standard_normal(frames.shape, dtype=np.float32) * deviation)


def add_gaussian_noise(
    frames: NDArray[np.uint8], sigma: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """White Gaussian noise of `sigma` code values of 255; (T, H, W, 3) uint8 → the same, rounded, clipped."""
    return _noisy(frames, rng.standard_normal(frames.shape, dtype=np.float32) * np.float32(sigma))


def interpolated_noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """White noise of deviation 1 that was then interpolated, which makes it weaker, and patches of its dots.

    As often `mosaic_noise` as `enlarged_noise` by 1.2 to 2. shape: (T, H, W, 3); returns that.
    """
    if rng.random() < 0.5:
        return mosaic_noise(shape, rng)
    return enlarged_noise(shape, rng.uniform(1.2, 2.0), rng)


def mosaic_noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """White noise of deviation 1 on a sensor that has one colour at each pixel (RGGB), then in three colours.

    Two of the three are interpolated linearly. What that takes of a picture's detail is not in it.
    """
    height, width = shape[1:3]
    row, column = torch.arange(height + 2)[:, None] % 2, torch.arange(width + 2) % 2
    # The first pixel of a picture is red; around it is a border of one.
    red, blue = row * column, (1 - row) * (1 - column)
    sites = torch.stack([red, 1 - red - blue, blue])
    noise = np.empty(shape, np.float32)
    for frame in noise:
        # Reflected, so that each colour's sites go on past the border.
        sensor = np.pad(rng.standard_normal((height, width), dtype=np.float32), 1, mode="reflect")
        known = torch.as_tensor(sensor) * sites
        frame[...] = F.conv2d(known, _BILINEAR, groups=3).permute(1, 2, 0).numpy()
    return noise


def enlarged_noise(shape: tuple[int, ...], factor: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """White noise of deviation 1 in a picture `factor` times as small, then enlarged, bicubically."""
    height, width, channels = shape[1:]
    small = (channels, ceil(height / factor), ceil(width / factor))
    noise = np.empty(shape, np.float32)
    for frame in noise:
        white = torch.as_tensor(rng.standard_normal(small, dtype=np.float32))
        frame[...] = F.interpolate(white[None], (height, width), mode="bicubic")[0].permute(1, 2, 0).numpy()
    return noise


def _noisy(frames: NDArray[np.uint8], noise: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(noise + frames), 0, 255).astype(np.uint8)


def compress_randomly(
    frames: NDArray[np.uint8], codec: CodecConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The sequence through a random codec at a random rate, or (share) untouched.

    frames: (T, H, W, 3) uint8 with even H and W; returns the same. Raises EncoderError.
    """
    if rng.random() >= codec.share:
        return frames
    if codec.twice and rng.random() < codec.twice:
        frames = _compress(frames, codec, rng)
    return _compress(frames, codec, rng)


def _compress(frames: NDArray[np.uint8], codec: CodecConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    # Files are made by other converters than ours, and their chroma noise is another.
    through = partial(
        transcode,
        swscale_in=bool(rng.random() < 0.8),
        swscale_out=bool(rng.random() < codec.decoded_by_swscale),
    )
    odds = np.array([codec.x264, codec.x265, codec.mpeg2, codec.jpeg, codec.vp9, codec.av1])
    choice = rng.choice(["x264", "x265", "mpeg2", "jpeg", "vp9", "av1"], p=odds / odds.sum())
    if choice == "jpeg":
        qscale = _integer(codec.jpeg_qscale, rng)
        return through(frames, "mjpeg", qscale=qscale, pixel_format="yuvj420p")
    gop = {"g": str(_integer(codec.gop, rng))} if codec.gop[1] else {}
    if choice == "mpeg2":
        return through(frames, "mpeg2video", options=gop, qscale=_integer(codec.mpeg2_qscale, rng))
    encoder, options = _rate_controlled(str(choice), codec, rng)
    return through(frames, encoder, options=options | gop)


def _rate_controlled(choice: str, codec: CodecConfig, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """The encoder and its options at a random constant rate factor and, where it matters, preset."""
    if choice == "x264":
        preset = str(rng.choice(["veryfast", "fast", "medium"], p=[0.4, 0.2, 0.4]))
        options = {"crf": str(_integer(codec.x264_crf, rng)), "preset": preset}
        return "libx264", options
    if choice == "x265":
        one_thread = "log-level=none:pools=none"
        preset = str(rng.choice(["veryfast", "medium"], p=[0.6, 0.4]))
        options = {"crf": str(_integer(codec.x265_crf, rng)), "preset": preset, "x265-params": one_thread}
        return "libx265", options
    if choice == "vp9":
        return "libvpx-vp9", {"crf": str(_integer(codec.vp9_crf, rng)), "b": "0", "cpu-used": "6"}
    # It would fill the screen with its settings, clip after clip.
    os.environ.setdefault("SVT_LOG", "1")
    return "libsvtav1", {"crf": str(_integer(codec.av1_crf, rng)), "preset": "9", "svtav1-params": "lp=1"}


def draw_sharpening(sharpen: SharpenConfig, rng: np.random.Generator) -> float:
    """An amount for `sharpen`; 0 in all but `sharpen.share` of the draws."""
    amount = rng.uniform(0, sharpen.most)
    return float(amount) if rng.random() < sharpen.share else 0.0


def sharpen(frames: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Unsharp masking: the frames plus `amount` times what they differ from their 3x3 mean.

    (T, H, W, 3) uint8 → the same, rounded and clipped; `amount` 0 returns the frames themselves.
    """
    if amount == 0:
        return frames
    return np.concatenate(
        [_sharpen_few(few, amount) for few in np.array_split(frames, -(-len(frames) // 16))]
    )


def _sharpen_few(frames: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    rows = np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge").astype(np.float32)
    rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    mean = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return np.clip(np.rint(frames + amount * (frames - mean)), 0, 255).astype(np.uint8)


def _integer(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))
