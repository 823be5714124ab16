"""Colours are converted where frames are restored: codes travel, not their RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffir_video import DiffIRS2, Frame, Restorer, VideoReader, restore_file
from diffir_video.frame import ColorTags
from diffir_video.job import JobOptions
from diffir_video.media.color import PictureDecoder, PictureEncoder
from diffir_video.media.geometry import Crop
from diffir_video.pipeline import run
from diffir_video.stages import NullSink
from tests.media.test_color import plane, random_picture
from tests.media_samples import sample
from tests.network.test_variants import tiny

FORMATS = ("yuv420p", "yuv422p10le", "yuv444p16le", "yuv410p", "gbrp", "gbrp12le", "gray")
# It holds no numbers, and what is there says so.
ELSEWHERE = torch.device("meta")

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class OneDevice(TorchDispatchMode):
    """Fails where anything but a copy takes tensors of two devices, as a GPU does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device for tensor in tensors if tensor.dim() > 0}
        assert len(devices) <= 1 or "copy" in str(func), f"{func} of {devices}"
        return func(*args, **(kwargs or {}))


def codes_of(picture: av.VideoFrame) -> list[list[list[int]]]:
    return [plane(picture, index).tolist() for index in range(len(picture.planes))]


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_both_ways_are_gone_on_the_device_that_is_asked_for(pixel_format: str) -> None:
    picture = random_picture(pixel_format, 65, 49)
    decoder = PictureDecoder(pixel_format, 65, 49, ColorTags(), device=ELSEWHERE)
    encoder = PictureEncoder(pixel_format, 65, 49, ColorTags())
    with OneDevice():
        rgb = decoder.decode(picture)
        planes = encoder.planes(rgb)
    assert rgb.device == ELSEWHERE
    assert rgb.shape == (3, 49, 65)
    assert {plane.device for plane in planes} == {ELSEWHERE}
    assert [tuple(plane.shape) for plane in planes] == [
        encoder.layout.plane_size(index, 65, 49) for index in range(encoder.layout.plane_count)
    ]


def test_one_encoder_takes_pictures_of_several_devices() -> None:
    encoder = PictureEncoder("yuv420p", 8, 8, ColorTags())
    picture = torch.rand(3, 8, 8)
    before = codes_of(encoder.encode(picture))
    with OneDevice():
        encoder.planes(picture.to(ELSEWHERE))
        assert codes_of(encoder.encode(picture)) == before


def test_frames_are_upright_and_cropped_on_the_device() -> None:
    path = sample("rotated.mp4")
    with VideoReader(path) as reader:
        expected = next(iter(reader)).data.shape
    with OneDevice(), VideoReader(path, device=ELSEWHERE) as reader:
        assert {(frame.data.device, frame.data.shape) for frame in reader} == {(ELSEWHERE, expected)}
    with OneDevice(), VideoReader(path, device="meta", crop=Crop(16, 32, 0, 0)) as reader:
        assert next(iter(reader)).data.shape == (3, 32, 16)
        assert (reader.info.width, reader.info.height) == (16, 32)


@needs_gpu
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_codes_survive_the_way_over_a_gpu(pixel_format: str) -> None:
    picture = random_picture(pixel_format, 65, 49)
    there = PictureDecoder(pixel_format, 65, 49, ColorTags(), device=torch.device("cuda")).decode(picture)
    here = PictureDecoder(pixel_format, 65, 49, ColorTags()).decode(picture)
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-6)
    encoder = PictureEncoder(pixel_format, 65, 49, ColorTags())
    assert codes_of(encoder.encode(there)) == codes_of(encoder.encode(here))


@needs_gpu
def test_a_sink_gets_frames_where_the_source_made_them() -> None:
    class Devices(NullSink):
        def write(self, frame: Frame) -> None:
            super().write(frame)
            assert frame.data.is_cuda
            assert torch.cuda.current_stream() != torch.cuda.default_stream()

    restorer = Restorer(DiffIRS2(tiny(past=1)), device="cuda", precision="fp32")
    sink = Devices()
    run(VideoReader(sample("bframes.mp4"), device="cuda"), restorer, sink)
    assert sink.frames > 0


@needs_gpu
def test_a_file_restored_on_a_gpu_is_that_of_frames_made_on_the_cpu(tmp_path: Path) -> None:
    path, output = sample("bframes.mp4"), tmp_path / "out.mkv"
    torch.manual_seed(0)
    restorer = Restorer(DiffIRS2(tiny(past=1)), device="cuda", precision="fp32")
    restore_file(path, output, restorer=restorer, options=JobOptions(encoder="ffv1"))
    with VideoReader(path, excursions=True) as reader, VideoReader(output) as restored:
        stream = restorer.open_stream()
        expected = [*stream.push(list(reader)), *stream.finish()]
        for ours, wanted in zip(restored, expected, strict=True):
            assert ours.pts_seconds == wanted.pts_seconds
            # Of 4:2:0 what the codes can't hold is gone; that is so of both.
            assert float((ours.data - wanted.data).abs().mean()) < 2 / 255
