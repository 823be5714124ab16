"""Raw pictures through the FFmpeg program that imageio-ffmpeg carries: one build on every machine.

Pictures are uint8 arrays (T, H, W, 3) RGB here, or (T, 3, H, W) planar where a function says so.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from numpy.typing import NDArray

from diffir_video.errors import DiffirVideoError, MediaInputError

Codec = Literal["x264", "x265"]

# Bicubic chroma with exact rounding; both directions alike, so that RGB → YUV → RGB loses what it must only.
_EXACT_SWSCALE = ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"]


class FilterError(DiffirVideoError):
    """FFmpeg refused a filter, an encoder or its settings."""


def read_rgb(path: Path, frame_limit: int) -> NDArray[np.uint8]:
    """The first `frame_limit` frames as (T, H, W, 3) uint8; raises MediaInputError when there are none."""
    cut = ["-frames:v", str(frame_limit), "-fps_mode", "passthrough"]
    # PPM carries its own size, and FFmpeg's `image2pipe` writes one after the other.
    sink = [*_EXACT_SWSCALE, "-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe", "-"]
    try:
        stream = BytesIO(_run(["-i", str(path), *cut, *sink], b""))
    except FilterError as exc:
        raise MediaInputError(f"{path}: can't be decoded ({exc})") from exc
    frames = list(_read_ppm_pictures(stream))
    if not frames:
        raise MediaInputError(f"{path}: no frames")
    return np.stack(frames)


def encode(frames: NDArray[np.uint8], crf: int, path: Path, *, codec: Codec = "x264") -> None:
    """Write RGB frames at 25 fps in Matroska: x264 or x265, preset medium, yuv420p, one thread.

    One thread because an encoder's decisions, and so its bytes, follow from the number of threads.
    """
    height, width = frames.shape[1:3]
    one_thread = ["-threads", "1"]
    if codec == "x265":
        one_thread = ["-x265-params", "log-level=none:pools=none:frame-threads=1"]
    arguments = [
        *_raw_input("rgb24", width, height),
        *_EXACT_SWSCALE,
        *["-c:v", f"lib{codec}", "-preset", "medium", "-crf", str(crf), "-pix_fmt", "yuv420p"],
        *one_thread,
        *["-f", "matroska", "-y", str(path)],
    ]
    _run(arguments, frames.tobytes())


def cut_lossless(source: Path, target: Path, *, first_frame: int, frames: int) -> None:
    """Write `frames` frames of a file, from `first_frame` on, as FFV1 in Matroska, pixels unchanged."""
    cut = f"trim=start_frame={first_frame}:end_frame={first_frame + frames},setpts=PTS-STARTPTS"
    sink = ["-an", "-sn", "-c:v", "ffv1", "-fps_mode", "passthrough", "-f", "matroska", "-y", str(target)]
    _run(["-i", str(source), "-vf", cut, *sink], b"")


def filter_planes(planes: NDArray[np.uint8], filter_graph: str) -> NDArray[np.uint8]:
    """Run (T, 3, H, W) uint8 planes, tagged yuv444p and never converted, through an FFmpeg filter graph."""
    height, width = planes.shape[2:]
    sink = ["-pix_fmt", "yuv444p", "-f", "rawvideo", "-"]
    answer = _run([*_raw_input("yuv444p", width, height), "-vf", filter_graph, *sink], planes.tobytes())
    return np.frombuffer(answer, np.uint8).reshape(planes.shape)


def _read_ppm_pictures(stream: BytesIO) -> Iterator[NDArray[np.uint8]]:
    while stream.readline():
        width, height = map(int, stream.readline().split())
        stream.readline()
        yield np.frombuffer(stream.read(width * height * 3), np.uint8).reshape(height, width, 3)


def _raw_input(pixel_format: str, width: int, height: int) -> list[str]:
    layout = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-video_size", f"{width}x{height}"]
    return [*layout, "-framerate", "25", "-i", "-"]


def _run(arguments: Sequence[str], data: bytes) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        raise FilterError(f"FFmpeg failed: {complaint[-1] if complaint else done.returncode}")
    return done.stdout
