"""Still pictures and sequences of them: a name that stands for them, and reading them like a video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Self

from diffir_video.errors import MediaInputError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media.geometry import Crop
from diffir_video.media.inputs import StrPath
from diffir_video.media.losses import ReadLosses
from diffir_video.media.opacity import palette_shows_through
from diffir_video.media.picture_kinds import PictureKind, kind_of, kinds_of
from diffir_video.media.pixel_layout import unpacked_layout
from diffir_video.media.publish import VIDEO_SUFFIXES
from diffir_video.media.read_options import check_path, check_read_options
from diffir_video.media.reader import VideoReader
from diffir_video.media.time_range import TimeRange

PICTURE_SUFFIXES = frozenset(
    {".bmp", ".dpx", ".exr", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}
)
DEFAULT_RATE = Fraction(25)

_NUMBER = re.compile(r"%(?:0(\d+))?d")


def find_pictures(path: StrPath) -> list[Path] | None:
    """The pictures that a name stands for, in their order; None where it stands for something else.

    A picture file stands for itself, `shot-%04d.png` for all that have a number there, and a folder for
    the pictures right in it, unless a video is there too. Raises MediaInputError for a pattern that
    nothing fits.
    """
    check_path(path)
    source = Path(path)
    if source.is_file():
        return [source] if source.suffix.lower() in PICTURE_SUFFIXES else None
    if source.is_dir():
        return _pictures_in(source)
    if not is_pattern(source):
        return None
    found = numbered_pictures(source)
    if not found:
        raise MediaInputError(f"no picture is named like {str(path)!r}; check the folder and the digits")
    return [found[number] for number in sorted(found)]


def is_pattern(path: StrPath) -> bool:
    """Whether the name holds a place for numbers, such as `%05d`, and is no file's own."""
    place = Path(path)
    is_picture = place.suffix.lower() in PICTURE_SUFFIXES
    return is_picture and _NUMBER.search(place.name) is not None and not place.is_file()


def numbered(pattern: Path, number: int) -> Path:
    """The name that `pattern` gives to a number."""
    return pattern.with_name(_NUMBER.sub(lambda m: str(number).zfill(int(m[1] or 0)), pattern.name, count=1))


def numbered_pictures(pattern: Path) -> dict[int, Path]:
    """The files there are that fit a pattern, by their numbers."""
    before, after = _NUMBER.split(pattern.name, maxsplit=1)[::2]
    fits = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    if not pattern.parent.is_dir():
        return {}
    found = ((fits.fullmatch(path.name), path) for path in pattern.parent.iterdir())
    # With another number of leading zeros a name isn't the pattern's.
    return {int(m[1]): path for m, path in found if m and numbered(pattern, int(m[1])) == path}


def _pictures_in(folder: Path) -> list[Path] | None:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    if any(path.suffix.lower() in VIDEO_SUFFIXES for path in files):
        return None
    pictures = [p for p in files if p.parent == folder and p.suffix.lower() in PICTURE_SUFFIXES]
    return sorted(pictures, key=_natural_order) or None


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """frame9 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


class PictureReader:
    """Pictures as the frames of a video of `rate` frames per second; otherwise as `VideoReader`.

    info: has the pixel format of those that hold the most, where some are gray or shallower than others.
    has_alpha: whether something might show through one of them; `losses` tell whether it did.
    Raises MediaInputError for a picture that can't be read, has another size than the first one, or holds
    more than its header said.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        rate: Fraction = DEFAULT_RATE,
        start: Fraction | None = None,
        end: Fraction | None = None,
        crop: Crop | None = None,
        excursions: bool = False,
    ) -> None:
        check_read_options(start=start, end=end, crop=crop, rate=rate)
        self._paths, self._crop, self._excursions = paths, crop, excursions
        tick = 1 / rate
        part = TimeRange(start, end)
        self._indices = [index for index in range(len(paths)) if part.holds(index * tick)]
        kinds = kinds_of(paths)
        infos = [self._look_at(index) for index in sorted({0, *kinds.values()})]
        richest = max((info for info, _ in infos), key=_richness)
        self.info = replace(
            infos[0][0],
            pixel_format=richest.pixel_format,
            bit_depth=richest.bit_depth,
            color=richest.color,
            time_base=tick,
            average_rate=rate,
            frame_count=len(paths),
            duration_seconds=float(len(paths) * tick),
        )
        self.has_alpha = any(alpha for _, alpha in infos) or any(kind.has_transparent_color for kind in kinds)
        self.losses = ReadLosses()
        self.notes = (*_notes_on_gaps(paths), *_notes_on_animation(paths, kinds))
        self.other_tracks = 0
        self.has_captions = False
        self._frames = self._deliver()

    @property
    def indices(self) -> tuple[int, ...]:
        """Which of the pictures will be read, counted from 0: the pts of their frames."""
        return tuple(self._indices)

    @property
    def is_intact(self) -> bool:
        """Whether nothing was lost so far."""
        return not self.losses

    def skip_before(self, pts: int, *, decode: bool) -> None:
        """Leave out the frames before `pts`; decode: but read them, for what is wrong with them."""
        for index in self._indices:
            if decode and index < pts:
                self._read(index)
        self._indices = [index for index in self._indices if index >= pts]

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Nothing is held open between two pictures."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self) -> Iterator[Frame]:
        for index in self._indices:
            yield self._read(index)

    def _look_at(self, index: int) -> tuple[StreamInfo, bool]:
        """What a picture is, and whether it has an alpha channel that is of any use."""
        with self._open(index) as reader:
            return reader.info, reader.has_alpha and not kind_of(self._paths[index]).is_opaque

    def _read(self, index: int) -> Frame:
        with self._open(index) as reader:
            size = (reader.info.width, reader.info.height)
            if size != (self.info.width, self.info.height):
                raise MediaInputError(
                    f"{str(self._paths[index])!r} is {size[0]}x{size[1]}, the pictures before it are "
                    f"{self.info.width}x{self.info.height}; restore it by itself"
                )
            if _holds_more(reader.info, self.info):
                raise MediaInputError(
                    f"{str(self._paths[index])!r} ({reader.info.pixel_format}) holds more than the other "
                    f"pictures ({self.info.pixel_format}) can show; convert them to one kind"
                )
            frame = next(iter(reader))
            self.losses = _added(self.losses, self._losses_of(index, reader))
        return Frame(frame.data, index, self.info.time_base, 1)

    def _losses_of(self, index: int, reader: VideoReader) -> ReadLosses:
        losses, path = reader.losses, self._paths[index]
        kind = kind_of(path)
        # FFmpeg decodes a palette into a format without alpha, whatever its colours are.
        alpha = palette_shows_through(path) if kind.has_transparent_color else losses.alpha
        return replace(losses, alpha=alpha and not kind.is_opaque)

    def _open(self, index: int) -> VideoReader:
        return VideoReader(self._paths[index], crop=self._crop, excursions=self._excursions)


def _richness(info: StreamInfo) -> tuple[bool, int, int, bool]:
    """What a pixel format can hold, to be compared: colours, depth, their resolution, RGB itself."""
    layout = unpacked_layout(info.pixel_format)
    return layout.model != "gray", layout.bit_depth, -sum(layout.log2_chroma), layout.model == "rgb"


def _holds_more(one: StreamInfo, other: StreamInfo) -> bool:
    """Whether a picture has colours or depth that are lost in the other's format."""
    (has_colors, depth, *_), (other_has_colors, other_depth, *_) = _richness(one), _richness(other)
    return has_colors > other_has_colors or depth > other_depth


def _added(before: ReadLosses, more: ReadLosses) -> ReadLosses:
    """Both losses; a picture has no timestamp to be inferred."""
    summed = {field.name: getattr(before, field.name) + getattr(more, field.name) for field in fields(before)}
    return replace(
        ReadLosses(**summed),
        alpha=before.alpha or more.alpha,
        crashed=before.crashed or more.crashed,
        inferred_pts=0,
    )


def _notes_on_animation(paths: Sequence[Path], kinds: Mapping[PictureKind, int]) -> tuple[str, ...]:
    animated = [index for kind, index in kinds.items() if kind.is_animated]
    if not animated:
        return ()
    return (f"{str(paths[min(animated)])!r} holds several pictures; of such files the first one is read",)


def _notes_on_gaps(paths: Sequence[Path]) -> tuple[str, ...]:
    numbers = [int(found[-1]) for path in paths if (found := re.findall(r"\d+", path.stem))]
    if len(numbers) != len(paths):
        return ()
    gaps = [(a + 1, b - 1) for a, b in pairwise(numbers) if b > a + 1]
    spans = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in gaps)
    return (f"no pictures have the numbers {spans}; the others follow each other",) if gaps else ()
