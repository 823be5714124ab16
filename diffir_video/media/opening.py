"""`open_video`: a video file, or pictures that stand for one, as frames."""

from __future__ import annotations

from fractions import Fraction

import torch

from diffir_video.errors import UsageError
from diffir_video.media.deinterlace import Deinterlace, FieldOrder
from diffir_video.media.geometry import Crop
from diffir_video.media.hardware import Hwaccel
from diffir_video.media.inputs import StrPath
from diffir_video.media.isolated import IsolatedReader
from diffir_video.media.pictures import DEFAULT_RATE, PictureReader, find_pictures
from diffir_video.media.read_options import ReadOptions, check_read_options
from diffir_video.media.reader import VideoReader


def open_video(
    path: StrPath,
    *,
    deinterlace: Deinterlace = "off",
    field_order: FieldOrder = "auto",
    start: Fraction | None = None,
    end: Fraction | None = None,
    crop: Crop | None = None,
    rate: Fraction | None = None,
    excursions: bool = False,
    device: torch.device | str = "cpu",
    hwaccel: Hwaccel = "off",
    isolate: bool = False,
) -> VideoReader | PictureReader | IsolatedReader:
    """The frames of a video file, a still, a folder of pictures or a pattern such as `shot-%04d.png`.

    ::

        for frame in open_video("clip.mp4", start=Fraction(90)):
            frame.data, frame.pts_seconds

    rate: frames per second of pictures, by default 25; UsageError for a video, which has timestamps of its
    own. isolate: decode a video in another process, so that a crash of its decoder is an error, or ends the
    frames. device: where a video's frames are made; those of pictures, and of another process, are made
    on the CPU. hwaccel: "cuda" has a GPU decode a video, but not in another process. For the others, what a
    frame holds and what is raised, see `VideoReader`.
    """
    options = ReadOptions(deinterlace=deinterlace, field_order=field_order, start=start, end=end, crop=crop)
    check_read_options(**options, rate=rate, hwaccel=hwaccel)
    pictures = find_pictures(path)
    if pictures is None:
        if rate is not None:
            raise UsageError(
                f"a rate of {rate} frames per second is for pictures; {str(path)!r} has timestamps of its own"
            )
        if isolate and hwaccel != "off":
            raise UsageError(f"hwaccel {hwaccel!r} decodes in this process; drop it or isolate")
        if isolate:
            return IsolatedReader(path, **options, excursions=excursions)
        return VideoReader(path, **options, excursions=excursions, device=device, hwaccel=hwaccel)
    if hwaccel != "off":
        raise UsageError(f"hwaccel {hwaccel!r} is for a video; {str(path)!r} is pictures")
    return PictureReader(
        pictures, rate=rate or DEFAULT_RATE, start=start, end=end, crop=crop, excursions=excursions
    )
