"""`PictureWriter`: each frame a picture file, PNG of 8 or 16 bits or JPEG."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffir_video.errors import OutputError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media.inputs import StrPath
from diffir_video.media.pictures import PICTURE_SUFFIXES, is_pattern, numbered, numbered_pictures
from diffir_video.media.pixel_layout import unpacked_layout
from diffir_video.media.read_options import check_path
from diffir_video.small_files import write_whole

WRITTEN_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})

_JPEG_QUALITY = 95

Samples = NDArray[Any]


def names_pictures(path: StrPath, *, from_pictures: bool) -> bool:
    """Whether an output's name asks for pictures: by its ending or, made `from_pictures`, by having none."""
    place = Path(path)
    return place.suffix.lower() in PICTURE_SUFFIXES or (
        from_pictures and (not place.suffix or place.is_dir())
    )


def picture_names(path: StrPath, names: Sequence[str] | None) -> Callable[[int], Path]:
    """Where frame 0, 1, 2 … go: into the numbers of a pattern, from 1 on, the one file, or a folder.

    names: what the pictures of a folder are called; those that aren't PNG or JPEG become PNG.
    Raises OutputError for a folder without `names`, and for a kind of picture that isn't written here.
    """
    check_path(path, "output")
    place = Path(path)
    if is_pattern(place):
        _check_suffix(place)
        return lambda index: numbered(place, index + 1)
    if place.suffix:
        _check_suffix(place)
        return lambda _: place
    if names is None:
        raise OutputError(f"{str(path)!r} names no pictures; write to {str(place / '%06d.png')!r} instead")
    return lambda index: place / _written_name(names[index])


def _check_suffix(place: Path) -> None:
    if place.suffix.lower() not in WRITTEN_SUFFIXES:
        raise OutputError(f"can't write {str(place)!r}: pictures are written as .png or .jpg")


def _written_name(name: str) -> str:
    return name if Path(name).suffix.lower() in WRITTEN_SUFFIXES else f"{Path(name).stem}.png"


class PictureWriter:
    """Writes frames as pictures, which get their names, all of them, when `close` is called.

    name_of: the path of frame 0, 1, 2 …. indices: the pts of the frames to come, where these say which
    frame each is, as with a sequence of pictures; else frames are counted. PNG has 16 bits where the source
    has more than 8.
    Raises OutputError for a name that exists (without `overwrite`), is given twice, or can't be written;
    where `indices` are known, before the first frame.
    """

    def __init__(
        self,
        path: StrPath,
        info: StreamInfo,
        name_of: Callable[[int], Path],
        *,
        indices: Sequence[int] | None = None,
        overwrite: bool = False,
    ) -> None:
        self._path, self._name_of, self._overwrite = Path(path), name_of, overwrite
        self._has_indices = indices is not None
        self._layout = unpacked_layout(info.pixel_format)
        self._is_deep = self._layout.bit_depth > 8
        self._names: list[Path] = []
        expected = [name_of(0)] if indices is None else [name_of(index) for index in indices]
        if not overwrite and (taken := self._first_taken(expected)):
            raise OutputError(
                f"output {str(taken)!r} exists; choose another name or allow overwriting it (--overwrite, "
                "overwrite=True)"
            )
        if twice := [name for name, count in Counter(expected).items() if count > 1]:
            raise self._given_twice(twice[0])
        folder = name_of(0).parent
        try:
            self._has_made_folder = _make_folder(folder)
            self._part = Path(mkdtemp(prefix=".diffir-", suffix=".part", dir=folder))
        except OSError as exc:
            raise OutputError(f"can't write in {str(folder)!r}: {exc.strerror}") from exc

    def write(self, frame: Frame) -> None:
        name = self._name_of(frame.pts if self._has_indices else len(self._names))
        if self._names and name == self._names[-1]:
            raise self._given_twice(name)
        data = self._encoded(frame.data, name.suffix.lower())
        try:
            (self._part / name.name).write_bytes(data)
        except OSError as exc:
            raise OutputError(f"can't write {str(name)!r}: {exc.strerror}") from exc
        self._names.append(name)

    def close(self) -> None:
        try:
            for name in self._names:
                if name.exists() and not self._overwrite:
                    raise OutputError(f"output {str(name)!r} appeared meanwhile; nothing replaced")
            for name in self._names:
                part = self._part / name.name
                if name.is_symlink():
                    write_whole(name, part.read_bytes())
                else:
                    part.replace(name)
        except OSError as exc:
            raise OutputError(f"can't write {str(self._names[0])!r}: {exc.strerror}") from exc
        finally:
            self.abort()

    def abort(self) -> None:
        rmtree(self._part, ignore_errors=True)
        if self._has_made_folder:
            # Not where pictures are in it by now.
            with suppress(OSError):
                self._part.parent.rmdir()

    def _first_taken(self, names: Sequence[Path]) -> Path | None:
        if is_pattern(self._path) and not self._has_indices:
            found = numbered_pictures(self._path)
            return found[min(found)] if found else None
        return next((name for name in names if name.exists()), None)

    def _given_twice(self, name: Path) -> OutputError:
        if self._path.suffix:
            return OutputError(
                f"{str(name)!r} holds one picture, and there are more; write to "
                f"{name.stem}-%06d{name.suffix} instead"
            )
        return OutputError(
            f"more than one picture would become {str(name)!r}; give them other names, or write to "
            f"{str(self._path / '%06d.png')!r} instead"
        )

    def _encoded(self, data: Tensor, suffix: str) -> bytes:
        largest = 65535 if self._is_deep and suffix == ".png" else 255
        codes = data.detach().to("cpu").float().mul(largest).add(0.5).clamp(0, largest + 0.5)
        if self._layout.model == "gray":
            codes = codes[:1]
        samples = codes.permute(1, 2, 0).numpy().astype(np.uint16 if largest > 255 else np.uint8)
        return _png(samples) if suffix == ".png" else _jpeg(samples)


def _png(samples: Samples) -> bytes:
    is_gray, is_deep = samples.shape[2] == 1, samples.dtype == np.uint16
    shallow, deep = ("gray", "gray16le") if is_gray else ("rgb24", "rgb48le")
    kind = deep if is_deep else shallow
    samples = np.ascontiguousarray(samples[..., 0] if is_gray else samples)
    # PNG has the high byte first.
    frame = VideoFrame.from_ndarray(samples, format=kind).reformat(format=kind.replace("le", "be"))
    context = CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base = Fraction(1)
    packets: list[Packet[Any]] = [*context.encode(frame), *context.encode(None)]
    return b"".join(map(bytes, packets))


def _jpeg(samples: Samples) -> bytes:
    data = io.BytesIO()
    picture = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    picture.save(data, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return data.getvalue()


def _make_folder(folder: Path) -> bool:
    """Have a folder there; returns whether it is new."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True
