"""Settings of the encoders: good defaults, and what makes equal input give equal output."""

from __future__ import annotations

from collections.abc import Mapping

import torch

# Near-transparent quality: what restoring gained should not be lost again to the encoder.
DEFAULT_ENCODER_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"crf": "16", "preset": "medium"},
    "libx265": {"crf": "18", "preset": "medium"},
    "libvpx-vp9": {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "2"},
    "libsvtav1": {"crf": "22", "preset": "6"},
    "h264_nvenc": {"rc": "vbr", "cq": "18", "preset": "p6", "b": "0"},
    "hevc_nvenc": {"rc": "vbr", "cq": "20", "preset": "p6", "b": "0"},
    "av1_nvenc": {"rc": "vbr", "cq": "24", "preset": "p6", "b": "0"},
    "prores_ks": {"profile": "hq"},
}

# What an output is for: the encoder and its options.
PRESETS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "archive": ("ffv1", {"level": "3", "slicecrc": "1", "g": "1"}),
    "web": ("libx264", {"crf": "20", "preset": "slow"}),
    "fast": ("libx264", {"crf": "18", "preset": "veryfast"}),
}

# The option of FFmpeg's that holds the encoder's own settings.
_PRIVATE_OPTIONS: Mapping[str, str] = {
    "libx264": "x264-params",
    "libx265": "x265-params",
    "libsvtav1": "svtav1-params",
}

# At a constant rate factor x265 begins a stream with a coarser keyframe than the later ones; its zones end
# before the frame that they name. With open GOPs, its default, what follows a keyframe in time may need
# frames before it.
_X265_STREAM = "open-gop=0:zones=0,1,b=1.25"

_RATE_OPTIONS = frozenset({"crf", "qp", "cq", "rc", "b", "qscale", "global_quality", "bitrate"})


def with_defaults(encoder: str, options: Mapping[str, str]) -> dict[str, str]:
    """`options` over DEFAULT_ENCODER_OPTIONS; a rate option of the caller's replaces all of the defaults'."""
    defaults = dict(DEFAULT_ENCODER_OPTIONS.get(encoder, {}))
    if _RATE_OPTIONS & set(options):
        defaults = {key: value for key, value in defaults.items() if key not in _RATE_OPTIONS}
    return {**defaults, **options}


def with_stream_settings(encoder: str, options: Mapping[str, str]) -> dict[str, str]:
    """`options` with closed GOPs, and a first keyframe as good as the others; the caller's values win.

    For encoders whose own settings give neither and that can be told.
    """
    if encoder == "libx265":
        return with_private_settings(encoder, _X265_STREAM, options)
    return dict(options)


def made_repeatable(encoder: str, options: Mapping[str, str], *, x265_frame_threads: int) -> dict[str, str]:
    """`options` with what the encoder needs to give the same stream every time; the caller's values win."""
    if encoder == "libx265":
        return with_private_settings(encoder, f"log-level=error:frame-threads={x265_frame_threads}", options)
    if encoder == "libx264" and torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        # The AVX-512 code of x264's lookahead reads memory it never wrote: on some content B-frames and
        # quantisers differ from run to run. With AVX2 they do not.
        return with_private_settings(encoder, "asm=avx2", options)
    return dict(options)


def with_private_settings(encoder: str, settings: str, options: Mapping[str, str]) -> dict[str, str]:
    """`options` with the encoder's own `settings`, "name=value:name=value"; the caller's values win.

    encoder: libx264, libx265 or libsvtav1.
    """
    private = _PRIVATE_OPTIONS[encoder]
    given = options.get(private)
    return {**options, private: f"{settings}:{given}" if given else settings}
