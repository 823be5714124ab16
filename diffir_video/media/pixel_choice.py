"""Which pixel format an encoder is given: the source's, or the nearest that loses nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import av.error
from av.codec import Codec

from diffir_video.errors import EncoderError
from diffir_video.frame import ColorTags, StreamInfo
from diffir_video.media.captions import captions_left_out, carries_captions
from diffir_video.media.color import (
    BT601_MATRICES,
    MATRIX_BT470BG,
    MATRIX_RGB,
    MATRIX_UNSPECIFIED,
    RANGE_LIMITED,
    resolved_tags,
)
from diffir_video.media.hdr import writes_hdr_metadata
from diffir_video.media.pixel_layout import PixelLayout, native_layout, unpacked_layout
from diffir_video.media.siting import siting_name, within_format, written_location

_ENCODERS_OF_ODD_SIZES = frozenset({"ffv1", "libvpx", "libvpx-vp9"})


@dataclass(frozen=True, slots=True)
class PixelChoice:
    """The pixel format an encoder is given, the colour tags that go with it, and what changed."""

    layout: PixelLayout
    color: ColorTags
    notes: tuple[str, ...] = ()


def choose_pixel_format(
    encoder: str,
    info: StreamInfo,
    container: str | None = None,
    *,
    allowed: Collection[str] | None = None,
) -> PixelChoice:
    """The encoder's pixel format closest to the source's: nothing lost if possible, then nothing wasted.

    container: FFmpeg's name of what the packets go into, None if they go without one. allowed: FFmpeg's names
    of the pixel formats that may be chosen, None for all that the encoder knows.
    The chroma siting is the source's where encoder or container can say so, else what readers assume.
    Raises EncoderError for an unknown encoder, one that can't hold this size exactly, and one that knows none
    of those allowed.
    """
    source = unpacked_layout(info.pixel_format)
    candidates = _candidates(encoder, info, allowed)
    layout = min(candidates, key=lambda candidate: _distance(source, candidate))
    color, notes = _color_for(layout, source, info), list[str]()
    if encoder == "libvpx":
        color, changed = _color_of_vp8(color, layout, info)
        notes += changed
    if layout.bit_depth < source.bit_depth:
        notes.append(f"{encoder} holds {layout.bit_depth} bits, the source has {source.bit_depth}")
    if layout.name != source.name and not source.forces_full_range:
        notes.append(f"pixel format {info.pixel_format} becomes {layout.name}")
    if (info.mastering_display or info.content_light) and not writes_hdr_metadata(encoder):
        notes.append(f"{encoder} can't write the HDR mastering metadata; libx265, libx264 and libsvtav1 can")
    if info.has_captions and not carries_captions(encoder):
        notes.append(captions_left_out(encoder))
    wanted = within_format(color.chroma_location, layout.log2_chroma)
    written = written_location(wanted, layout.log2_chroma, encoder, container)
    if siting_name(wanted) != siting_name(written):
        notes.append(
            f"chroma siting {siting_name(wanted)} becomes {siting_name(written)}: {encoder}"
            f"{f' in {container}' if container else ''} can't say it"
        )
    return PixelChoice(layout, replace(color, chroma_location=written), tuple(notes))


def _candidates(encoder: str, info: StreamInfo, allowed: Collection[str] | None) -> list[PixelLayout]:
    layouts = [layout for name in _formats_of(encoder) if (layout := native_layout(name))]
    layouts = [layout for layout in layouts if not layout.forces_full_range]
    if allowed is not None:
        layouts = [layout for layout in layouts if layout.name in allowed]
        if not layouts:
            raise EncoderError(f"encoder {encoder} has no pixel format {' or '.join(sorted(allowed))}")
    if encoder not in _ENCODERS_OF_ODD_SIZES:
        layouts = [layout for layout in layouts if _divides(layout, info.width, info.height)]
    if not layouts:
        raise EncoderError(
            f"encoder {encoder} has no pixel format for {info.width}x{info.height}; try libx264 or libvpx-vp9"
        )
    return layouts


def _color_of_vp8(
    color: ColorTags, layout: PixelLayout, info: StreamInfo
) -> tuple[ColorTags, tuple[str, ...]]:
    """VP8 knows BT.601 alone (RFC 6386, section 9.2), and its encoder limited range."""
    meant = resolved_tags(color, layout, info.width, info.height)
    is_kept = meant.matrix in BT601_MATRICES and meant.color_range == RANGE_LIMITED
    note = "colours become those of BT.601 in limited range: VP8 has no others"
    return replace(color, matrix=MATRIX_BT470BG, color_range=RANGE_LIMITED), () if is_kept else (note,)


def _divides(layout: PixelLayout, width: int, height: int) -> bool:
    log2_x, log2_y = layout.log2_chroma
    return width % (1 << log2_x) == 0 and height % (1 << log2_y) == 0


def _formats_of(encoder: str) -> list[str]:
    try:
        codec = Codec(encoder, "w")
    except (av.error.FFmpegError, ValueError) as exc:
        raise EncoderError(f"this build of FFmpeg has no encoder {encoder!r}") from exc
    if codec.type != "video":
        raise EncoderError(f"{encoder!r} is no video encoder")
    return [format.name for format in codec.video_formats or []]


def _distance(source: PixelLayout, candidate: PixelLayout) -> tuple[int, int, int, int]:
    """Orders candidates: lost components, lost bits, lost chroma, then what is needlessly spent."""
    models = {"gray": 0, "yuv": 1, "rgb": 1}
    lost_model = int(models[candidate.model] < models[source.model])
    other_model = int(candidate.model != source.model)
    depth = candidate.bit_depth - source.bit_depth
    if source.model == "gray":
        lost_chroma, spent_chroma = 0, 4 - sum(candidate.log2_chroma)
    else:
        chroma = [c - s for c, s in zip(candidate.log2_chroma, source.log2_chroma, strict=True)]
        lost_chroma, spent_chroma = sum(max(c, 0) for c in chroma), sum(max(-c, 0) for c in chroma)
    return lost_model * 8 + max(-depth, 0), lost_chroma, other_model * 5 + spent_chroma, max(depth, 0)


def _color_for(layout: PixelLayout, source: PixelLayout, info: StreamInfo) -> ColorTags:
    """The source's tags; those that its pixel format implied are spelled out where the new one doesn't."""
    color = info.color
    if source.forces_full_range or (source.model == "gray" and layout.model != "gray"):
        color_range = resolved_tags(color, source, info.width, info.height).color_range
        color = replace(color, color_range=color_range)
    if layout.model == "rgb":
        return replace(color, matrix=MATRIX_RGB)
    if source.model == "rgb":
        color = replace(color, matrix=MATRIX_UNSPECIFIED, color_range=0)
        return replace(
            color, matrix=resolved_tags(color, layout, info.width, info.height).matrix, color_range=1
        )
    return color
