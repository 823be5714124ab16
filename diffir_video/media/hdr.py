"""HDR's static metadata: read from a decoded picture, said to the encoders that can write it.

What changes from scene to scene, of HDR10+, HDR Vivid and Dolby Vision, nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

from diffir_video.frame import ContentLight, MasteringDisplay, StreamInfo
from diffir_video.media.encoders import with_private_settings
from diffir_video.media.side_data import side_bytes_of, side_data_of

# What each encoder's own settings call the metadata.
_NAMES = {
    "libx264": ("mastering-display", "cll"),
    "libx265": ("master-display", "max-cll"),
    "libsvtav1": ("mastering-display", "content-light"),
}

_DYNAMIC = {
    SideDataType.DYNAMIC_HDR_PLUS: "the HDR10+ metadata of each scene are not carried over",
    SideDataType.DYNAMIC_HDR_VIVID: "the HDR Vivid metadata of each scene are not carried over",
    SideDataType.DOVI_RPU_BUFFER: "the Dolby Vision metadata of each scene are not carried over; "
    "without them pictures of profile 5 have wrong colours",
}


def mastering_display_of(picture: VideoFrame) -> MasteringDisplay | None:
    """The mastering display of a picture, None where it has none or only half of it."""
    values = side_data_of(picture, SideDataType.MASTERING_DISPLAY_METADATA)
    # AVMasteringDisplayMetadata: ten rationals, then whether primaries and luminance are there.
    if values is None or len(values) < 22 or not (values[20] and values[21]):
        return None
    ratios = [Fraction(int(n), int(d)) if d else Fraction(0) for n, d in values[:20].reshape(10, 2)]
    red, green, blue, white = zip(ratios[0:8:2], ratios[1:8:2], strict=True)
    return MasteringDisplay(red, green, blue, white, max_luminance=ratios[9], min_luminance=ratios[8])


def content_light_of(picture: VideoFrame) -> ContentLight | None:
    values = side_data_of(picture, SideDataType.CONTENT_LIGHT_LEVEL)
    return None if values is None else ContentLight(int(values[0]), int(values[1]))


def notes_on_dynamic_metadata(picture: VideoFrame) -> tuple[str, ...]:
    """What is lost of a picture's metadata, as it belongs to its scene."""
    return tuple(note for kind, note in _DYNAMIC.items() if side_bytes_of(picture, kind) is not None)


def with_hdr_metadata(encoder: str, options: Mapping[str, str], info: StreamInfo) -> dict[str, str]:
    """`options` with the stream's HDR metadata, for the encoders that `writes_hdr_metadata` names."""
    if encoder not in _NAMES:
        return dict(options)
    display, light = _NAMES[encoder]
    settings: list[str] = []
    if info.mastering_display is not None:
        settings.append(f"{display}={_display_text(encoder, info.mastering_display)}")
    if info.content_light is not None:
        content = info.content_light
        settings.append(f"{light}={content.max_pixel},{content.max_frame_average}")
    return with_private_settings(encoder, ":".join(settings), options) if settings else dict(options)


def writes_hdr_metadata(encoder: str) -> bool:
    return encoder in _NAMES


def _display_text(encoder: str, display: MasteringDisplay) -> str:
    chromaticity: Callable[[Fraction], object]
    luminance: Callable[[Fraction], object]
    if encoder == "libsvtav1":
        chromaticity = luminance = float
    else:
        chromaticity, luminance = (lambda x: round(x * 50000)), (lambda y: round(y * 10000))
    points = {"G": display.green, "B": display.blue, "R": display.red, "WP": display.white}
    colours = "".join(f"{name}({chromaticity(x)},{chromaticity(y)})" for name, (x, y) in points.items())
    return f"{colours}L({luminance(display.max_luminance)},{luminance(display.min_luminance)})"
