"""Options are checked where they are given, and not when a file is half restored."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from diffir_video import Restorer
from diffir_video.errors import UsageError
from diffir_video.job import (
    JobOptions,
    plan_file,
    restore_file,
    restore_folder,
    restore_pictures,
    restore_pipe,
    sample_file,
)
from diffir_video.media import Crop, VideoReader, open_video
from tests.media_samples import sample


@pytest.mark.parametrize(
    "given",
    [
        {"alpha": "Refuse"},
        {"deinterlace": "x"},
        {"field_order": "tff"},
        {"segment_frames": 2.5},
        {"segment_frames": 0},
        {"segment_frames": True},
        {"max_size": (0, 1)},
        {"size": (0, 0)},
        {"size": "96x64"},
        {"size": [96, 64]},
        {"start": "0.2"},
        {"end": float("nan")},
        {"rate": 0},
        {"crop": (1, 2, 3, 4)},
        {"encoder": None},
        {"encoder_options": "crf=18"},
        {"overwrite": "no"},
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_name(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=name.replace("_", "[_ ]")):
        JobOptions(**given)


def test_an_order_of_fields_is_for_deinterlacing() -> None:
    with pytest.raises(UsageError, match="field_order 'top' is for deinterlacing"):
        JobOptions(deinterlace="off", field_order="top")


@pytest.mark.parametrize("open_with", [VideoReader, open_video])
@pytest.mark.parametrize(
    "given",
    [{"deinterlace": "x"}, {"start": "0.2"}, {"crop": (1, 2, 3, 4)}, {"device": "gpu"}, {"device": "xla"}],
)
def test_readers_refuse_them_too(open_with: Any, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        open_with(sample("upright.mp4"), **given)


NO_PATHS = pytest.mark.parametrize("path", [b"in.mp4", 7, None])


@NO_PATHS
@pytest.mark.parametrize("open_with", [VideoReader, open_video, partial(open_video, isolate=True)])
def test_readers_refuse_what_is_no_path(open_with: Any, path: Any) -> None:
    with pytest.raises(UsageError, match=f"path {path!r}: expected a path, as text or a Path"):
        open_with(path)


@NO_PATHS
@pytest.mark.parametrize(
    "job",
    [
        *(restore_file, plan_file, restore_pipe, restore_pictures),
        partial(sample_file, seconds=Fraction(1)),
        lambda input, output, restorer: list(restore_folder(input, output, restorer)),
    ],
)
def test_jobs_refuse_what_is_no_path(job: Any, path: Any, tmp_path: Path) -> None:
    for given in ((path, tmp_path / "out.mkv"), (sample("upright.mp4"), path)):
        with pytest.raises(UsageError, match=f"{path!r}: expected a path, as text or a Path"):
            job(*given, restorer=Restorer(None))
    assert list(tmp_path.iterdir()) == []


def test_times_may_be_plain_numbers_and_encoder_options_numbers() -> None:
    options = JobOptions(start=1, end=2.5, crop=Crop(4, 4), encoder_options={"crf": 18, "g": 10})  # pyright: ignore[reportArgumentType]
    assert options.encoder_options == {"crf": "18", "g": "10"}
    assert options.longest_segment == 250
    assert options.part.holds(Fraction(2))


def test_a_model_s_name_is_no_restorer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"restorer 'denoise-nano': .*from_pretrained"):
        restore_file(sample("upright.mp4"), tmp_path / "out.mkv", restorer="denoise-nano")  # pyright: ignore[reportArgumentType]
