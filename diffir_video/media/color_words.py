"""Colour tags and HDR metadata in FFmpeg's words, as `ffprobe` prints them."""

from __future__ import annotations

from diffir_video.frame import ColorTags, ContentLight, MasteringDisplay

# ITU-T H.273, tables 2 to 4.
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
    10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_TRANSFER = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100",
    10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12",
    16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_MATRIX = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
_RANGE = {1: "limited", 2: "full"}
_UNSPECIFIED = "unspecified"


def color_words(tags: ColorTags) -> str:
    """All four tags in one line, those that the stream doesn't have after the others."""
    said: list[str] = []
    unsaid: list[str] = []
    for name, known, value in (
        ("matrix", _MATRIX, tags.matrix),
        ("primaries", _PRIMARIES, tags.primaries),
        ("transfer", _TRANSFER, tags.transfer),
        ("range", _RANGE, tags.color_range),
    ):
        if value in known:
            said.append(f"{name} {known[value]}")
        else:
            unsaid.append(name)
    if not said:
        return _UNSPECIFIED
    rest = f"; {', '.join(unsaid)} {_UNSPECIFIED}" if unsaid else ""
    return ", ".join(said) + rest


def hdr_words(display: MasteringDisplay | None, light: ContentLight | None) -> str:
    """Mastering display and content light level in one line, in cd/m²; empty without either."""
    words: list[str] = []
    if display is not None:
        lowest, highest = float(display.min_luminance), float(display.max_luminance)
        words.append(f"graded on {lowest:g} to {highest:g} cd/m²")
    if light is not None:
        words.append(f"MaxCLL {light.max_pixel}, MaxFALL {light.max_frame_average} cd/m²")
    return ", ".join(words)
