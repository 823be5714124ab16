"""Publishers, receivers and servers on loopback: real programs at the other end of a live filter.

Every test clip carries its frame's number as a barcode, so that a receiver knows which frame it got.
"""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import av.error
import imageio_ffmpeg
import numpy as np

_FOLDER = TemporaryDirectory(prefix="diffir-live-")
WIDTH, HEIGHT, RATE = 192, 112, 25
_BITS = 12
SILENT = 2000


def ffmpeg() -> str:
    return imageio_ffmpeg.get_ffmpeg_exe()


@cache
def clip(
    seconds: int = 6, *, size: tuple[int, int] = (WIDTH, HEIGHT), audio: bool = True, noise: int = 0
) -> Path:
    """An FLV of numbered frames, 25 a second, with a beep at every 25th, coded as live encoders do.

    One without sound counts from SILENT on.
    """
    path = Path(_FOLDER.name) / f"clip-{seconds}-{size[0]}x{size[1]}-{audio}-{noise}.flv"
    width, height = size
    beeps = f"aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.1)':s=44100:d={seconds}"
    grain = ["-vf", f"noise=alls={noise}:allf=t"] if noise else []
    tone = ["-f", "lavfi", "-i", beeps] if audio else []
    command = [ffmpeg(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}"]
    command += ["-r", str(RATE), "-i", "pipe:0", *tone, *grain, "-c:v", "libx264", "-tune", "zerolatency"]
    command += ["-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", str(RATE // 2), "-c:a", "aac", str(path)]
    first = 0 if audio else SILENT
    pictures = b"".join(barcode(first + n, width, height).tobytes() for n in range(seconds * RATE))
    subprocess.run(command, input=pictures, check=True)
    return path


def barcode(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(H, W) uint8: a quiet gradient, and at its top the bits of `number` as black and white cells."""
    picture = np.broadcast_to(np.linspace(60, 190, width), (height, width)).astype(np.uint8).copy()
    cell = width // _BITS
    for bit in range(_BITS):
        picture[:cell, bit * cell : (bit + 1) * cell] = 235 if number >> bit & 1 else 16
    return picture


def number_of(luma: np.ndarray) -> int:
    """The number in a picture's barcode."""
    cell = luma.shape[1] // _BITS
    margin = cell // 4
    inside = slice(margin, cell - margin)
    cells = [luma[inside, bit * cell + margin : (bit + 1) * cell - margin].mean() for bit in range(_BITS)]
    return sum(1 << bit for bit, value in enumerate(cells) if value > 128)


class Received:
    """What a recording holds, as an independent decoder sees it. beeps: when each begins, in seconds."""

    def __init__(self, path: Path) -> None:
        self.numbers: list[int] = []
        self.video_seconds: list[float] = []
        self.audio_seconds: list[float] = []
        self.beeps: list[float] = []
        # A recording may begin amid a beep, which then began before.
        self._is_quiet = False
        self.sizes: set[tuple[int, int]] = set()
        self.video_dts: list[float] = []
        with av.open(str(path)) as container:
            for packet in container.demux():
                if packet.pts is None:
                    continue
                if packet.stream.type == "audio":
                    self.audio_seconds.append(float(packet.pts * packet.time_base))
                    self._listen(packet)
                    continue
                self.video_dts.append(float((packet.dts or 0) * packet.time_base))
                self._decode(packet)
            for stream in container.streams.video:
                self._keep(stream.codec_context.decode(None), stream.time_base)

    @property
    def beep_offsets(self) -> list[float]:
        """Seconds by which each beep is late for the 25th picture that it belongs to.

        Reckoned from the first picture after it, which is of the same connection, also where that 25th one
        was lost. A picture that is held, and one that came alone, say nothing.
        """
        offsets = list[float]()
        for beep in self.beeps:
            index = bisect_left(self.video_seconds, beep - 0.005)
            shown = self.numbers[max(index - 1, 0) : index + 1]
            if len(shown) < 2 or shown[0] == shown[1] or shown[1] >= SILENT:
                continue
            late = self.video_seconds[index] - beep
            if late < 0.08:
                since = (shown[1] + RATE // 2) % RATE - RATE // 2
                offsets.append(since / RATE - late)
        return offsets

    def _listen(self, packet) -> None:
        with suppress(av.error.FFmpegError):
            for frame in packet.decode():
                loud = np.abs(frame.to_ndarray().astype(np.float32)).max(axis=0) > 0.1
                if loud.any() and self._is_quiet:
                    self.beeps.append(
                        float(frame.pts * frame.time_base) + int(loud.argmax()) / frame.sample_rate
                    )
                self._is_quiet = not loud[-200:].any()

    def _decode(self, packet) -> None:
        with suppress(av.error.FFmpegError):
            self._keep(packet.decode(), packet.time_base)

    def _keep(self, frames, time_base) -> None:
        for frame in frames:
            self.numbers.append(number_of(frame.to_ndarray(format="gray")))
            self.video_seconds.append(float(frame.pts * time_base))
            self.sizes.add((frame.width, frame.height))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def publish(path: Path, *target: str, loop: bool = False, seek: float = 0.0) -> list[str]:
    """The command that sends a clip in real time, unchanged."""
    again = ["-stream_loop", "-1"] if loop else []
    skip = ["-ss", str(seek)] if seek else []
    return [ffmpeg(), "-v", "error", "-nostdin", "-re", *again, *skip, "-i", str(path), "-c", "copy", *target]


def receive(source: Sequence[str], path: Path) -> list[str]:
    """The command that records what arrives, unchanged."""
    return [ffmpeg(), "-v", "error", "-nostdin", "-y", *source, "-copyts", "-c", "copy", str(path)]


@contextmanager
def running(command: Sequence[str], **options) -> Iterator[subprocess.Popen]:
    """A program for as long as the block lasts; ended politely, so that it finishes its files."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> bool:
    """Whether `condition` became true in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def get(url: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """The status and the body that a web server answers."""
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def is_answered(url: str) -> bool:
    """Whether a web server answers that all is well."""
    try:
        return get(url)[0] == 200
    except OSError:
        time.sleep(0.2)
        return False
