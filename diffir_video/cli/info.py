"""`diffir-video info`: what a media file or a checkpoint holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from diffir_video.cli.printing import print_fields

_CHECKPOINT_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".safetensors"})


def add_info(commands: Any, shared: argparse.ArgumentParser) -> None:
    info = commands.add_parser("info", parents=[shared], help="say what a media file or a model holds")
    info.add_argument("file", metavar="FILE", help="media file, checkpoint, or name of a built-in model")
    info.set_defaults(command=_info)


def _info(arguments: argparse.Namespace) -> int:
    print_fields(_fields_of(arguments.file))
    return 0


def _fields_of(file: str) -> dict[str, object]:
    from diffir_video.zoo import list_models

    path = Path(file)
    model = next((model for model in list_models() if model.name == file and not path.exists()), None)
    if model is not None and model.path is None:
        return {"model": model.name, "summary": model.summary}
    is_checkpoint = model is not None or path.suffix.lower() in _CHECKPOINT_SUFFIXES
    return _checkpoint_fields(file) if is_checkpoint else _media_fields(file)


def _media_fields(path: str) -> dict[str, object]:
    from diffir_video.media import probe_media

    info = probe_media(path)
    as_fields = "interlaced; --deinterlace auto-fields makes a frame of each field"
    scan = as_fields if info.interlaced else "progressive, or not said"
    duration = "unknown" if info.duration_seconds is None else f"{info.duration_seconds:.3f} s"
    fields: dict[str, object] = {
        "file": info.path,
        "container": info.container,
        "video": f"{info.codec} {info.width}x{info.height} {info.pixel_format}",
        "scan": scan,
        "frame rate": info.average_rate or "unknown",
        "duration": duration,
        "frames": info.frame_count or "unknown until decoded",
        "chapters": info.chapters,
        **_picture_fields(path),
    }
    for track in info.tracks:
        described = [
            track.kind,
            track.codec,
            track.language,
            track.title,
            "default" if track.default else None,
        ]
        fields[f"track {track.index}"] = " ".join(filter(None, described))
    if info.missing_bytes:
        fields["damaged"] = f"{info.missing_bytes} bytes missing at the end"
    return fields


def _picture_fields(path: str) -> dict[str, object]:
    """What only a decoded picture tells; nothing where none can be decoded."""
    from diffir_video.errors import MediaInputError
    from diffir_video.media import VideoReader, color_words, hdr_words

    try:
        with VideoReader(path) as reader:
            info = reader.info
    except MediaInputError as exc:
        return {"unreadable": exc}
    shown = f"{info.width}x{info.height} upright"
    if info.sample_aspect_ratio not in (None, 1):
        shown += f", each pixel {info.sample_aspect_ratio} as wide as it is high"
    fields: dict[str, object] = {"picture": shown, "colour": color_words(info.color)}
    if hdr := hdr_words(info.mastering_display, info.content_light):
        fields["HDR"] = hdr
    if info.has_captions:
        fields["captions"] = "in the first frame"
    return fields


def _checkpoint_fields(path: str) -> dict[str, object]:
    from diffir_video.checkpoint import load_checkpoint
    from diffir_video.floors import macs_per_pixel
    from diffir_video.zoo import find_weights

    weights = find_weights(path)
    net = load_checkpoint(weights)
    return {
        "file": weights,
        "stage": net.stage,
        "parameters": f"{sum(p.numel() for p in net.parameters()):,}",
        "DIRformer": f"{macs_per_pixel(net.config) / 1000:.1f} kMAC per input pixel",
        "config": net.config,
    }
