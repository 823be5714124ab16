"""A GPU decodes where it is asked to and can; where it can't, that is said before any work, or in a note."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from av.codec.hwaccel import HWAccel

from diffir_video import JobOptions, LiveInputError, UsageError, VideoReader, open_video
from diffir_video.cli import main
from diffir_video.media import LiveInput
from diffir_video.media.hardware import notes_on_decoder
from streams import LiveFilter, SourceConfig
from streams.config import LiveConfig, read_service
from tests.media_samples import sample
from tests.test_restorer import restorer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@needs_none
def test_a_gpu_that_is_not_there_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="no CUDA device 0 here"):
        VideoReader(sample("bframes.mp4"), hwaccel="cuda")
    command = ["restore", str(sample("bframes.mp4")), str(tmp_path / "out.mkv"), "--model", "identity"]
    assert main([*command, "--hwaccel", "cuda"]) == 2
    assert "no CUDA device 0 here" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@needs_none
def test_a_live_filter_refuses_it_before_it_connects(tmp_path: Path) -> None:
    config = LiveConfig(source=SourceConfig(hwaccel="cuda"))
    with pytest.raises(UsageError, match="no CUDA device 0 here"):
        LiveFilter("rtmp://127.0.0.1:9/live", restorer(), str(tmp_path / "out.mkv"), config)


def test_it_is_a_setting_of_a_live_input(tmp_path: Path) -> None:
    (tmp_path / "live.yaml").write_text("input: {hwaccel: cuda}\n")
    assert read_service(tmp_path / "live.yaml", {})["live"].source.hwaccel == "cuda"


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hwaccel 'vulkan'"):
        JobOptions(hwaccel="vulkan")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="hwaccel 'cuda' decodes in this process"):
        JobOptions(hwaccel="cuda", isolate=True)
    with pytest.raises(UsageError, match="hwaccel 'cuda' decodes in this process"):
        open_video(sample("bframes.mp4"), hwaccel="cuda", isolate=True)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UsageError, match="is for a video"):
        open_video(tmp_path, hwaccel="cuda")


def test_a_job_is_told_from_one_that_another_decodes() -> None:
    assert JobOptions(hwaccel="cuda").settings != JobOptions().settings


def test_a_codec_that_no_gpu_knows_is_decoded_by_the_processor_and_a_note_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def there(*_: object) -> HWAccel:
        return HWAccel("cuda", allow_software_fallback=True)

    with VideoReader(sample("gray.mkv")) as reader:
        expected = [frame.data for frame in reader]
        assert reader.notes == ()
    monkeypatch.setattr("diffir_video.media.reader.hardware_of", there)
    with VideoReader(sample("gray.mkv"), hwaccel="cuda") as reader:
        assert all(map(torch.equal, [frame.data for frame in reader], expected))
        assert reader.notes == ("FFmpeg's decoder ffv1 works on no GPU; the processor decodes",)


@pytest.mark.parametrize(
    ("agreed", "notes"),
    [("cuda", ()), ("yuv444p", ("the GPU doesn't decode this h264; the processor does",))],
)
def test_what_is_agreed_on_with_the_gpu_says_who_decodes(agreed: str, notes: tuple[str, ...]) -> None:
    context = SimpleNamespace(name="h264", is_hwaccel=True, pix_fmt=agreed)
    assert notes_on_decoder("cuda", context) == notes  # pyright: ignore[reportArgumentType]


def test_a_live_input_that_finds_no_gpu_any_more_says_so_as_of_a_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object) -> None:
        raise UsageError("no CUDA device 0 here")

    monkeypatch.setattr("diffir_video.media.live_input.hardware_of", gone)
    with pytest.raises(LiveInputError, match="camera: no CUDA device 0 here"):
        LiveInput(str(sample("bframes.mp4")), name="camera", hwaccel="cuda")


@needs_gpu
def test_a_gpu_that_torch_has_begun_to_use_decodes_too() -> None:
    torch.zeros(1, device="cuda")
    with VideoReader(sample("bframes.mp4"), hwaccel="cuda", device="cuda") as reader:
        assert all(frame.data.is_cuda for frame in reader)
        assert reader.notes == ()


@needs_gpu
@pytest.mark.parametrize("name", ["bframes.mp4", "ten_bit.mp4", "vp9_opus.webm", "rotated.mp4", "vfr.mp4"])
def test_a_gpu_decodes_to_the_same_codes(name: str) -> None:
    with VideoReader(sample(name)) as ours, VideoReader(sample(name), hwaccel="cuda") as theirs:
        assert theirs.info.bit_depth == ours.info.bit_depth
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine.pts, mine.duration) == (other.pts, other.duration)
            assert torch.equal(mine.data, other.data)
