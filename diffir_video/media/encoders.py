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

_RATE_OPTIONS = frozenset({"crf", "qp", "cq", "rc", "b", "qscale", "global_quality", "bitrate"})


def with_defaults(encoder: str, options: Mapping[str, str]) -> dict[str, str]:
    """`options` over DEFAULT_ENCODER_OPTIONS; a rate option of the caller's replaces all of the defaults'."""
    defaults = dict(DEFAULT_ENCODER_OPTIONS.get(encoder, {}))
    if _RATE_OPTIONS & set(options):
        defaults = {key: value for key, value in defaults.items() if key not in _RATE_OPTIONS}
    return {**defaults, **options}


def made_repeatable(encoder: str, options: Mapping[str, str], *, x265_frame_threads: int) -> dict[str, str]:
    """`options` with what the encoder needs to give the same stream every time; the caller's values win."""
    private = {"libx264": "x264-params", "libx265": "x265-params"}.get(encoder)
    if private is None:
        return dict(options)
    settings = ""
    if encoder == "libx265":
        settings = f"log-level=error:frame-threads={x265_frame_threads}"
    elif torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        # The AVX-512 code of x264's lookahead reads memory it never wrote: on some content B-frames and
        # quantisers differ from run to run. With AVX2 they do not.
        settings = "asm=avx2"
    joined = ":".join(filter(None, [settings, options.get(private)]))
    return {**options, private: joined} if joined else dict(options)
