"""Writing: the frame's own time, size, depth and colour in the file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from threading import Event

import av
import av.logging
import numpy as np
import pytest
import torch

from diffir_video import JobOptions, Restorer, restore_file
from diffir_video.errors import EncoderError, OutputError
from diffir_video.frame import ColorTags, Frame, StreamInfo
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.metrics import psnr_y
from tests.media_samples import decoded_bytes, ffmpeg, packets, sample, video_pts

MP4_CLOCK = Fraction(1, 12800)


def info(width: int = 64, height: int = 48, **changes) -> StreamInfo:
    described = {"time_base": MP4_CLOCK, "pixel_format": "yuv420p", "average_rate": Fraction(25), **changes}
    return StreamInfo(width, height, **described)


def frames(stream: StreamInfo, pts: Sequence[int], duration: int | None = None) -> list[Frame]:
    """A gradient that drifts."""
    ramp = torch.linspace(0, 1, stream.width).expand(3, stream.height, -1)
    return [Frame(ramp.roll(i, -1), time, stream.time_base, duration) for i, time in enumerate(pts)]


def write(path: Path, stream: StreamInfo, pictures: Sequence[Frame], **options) -> VideoWriter:
    with VideoWriter(path, stream, **options) as writer:
        for picture in pictures:
            writer.write(picture)
    return writer


@pytest.mark.parametrize("start", [0, 7, 64000])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_uneven_pts_and_their_start_are_kept_despite_b_frames(
    suffix: str, start: int, tmp_path: Path
) -> None:
    clock = {".mkv": Fraction(1, 1000), ".ts": Fraction(1, 90000)}.get(suffix, MP4_CLOCK)
    stream = info(time_base=clock)
    pts = [start + step for step in (0, 40, 41, 100, 260, 261, 300, 307, 500, 530, 531, 600)]
    write(tmp_path / f"out{suffix}", stream, frames(stream, pts), encoder_options={"bf": "3"})
    assert video_pts(tmp_path / f"out{suffix}") == [time * clock for time in pts]


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24), Fraction(1, 2)])
def test_a_clock_of_one_tick_per_frame_stays_exact_in_mp4(rate: Fraction, tmp_path: Path) -> None:
    stream = info(time_base=1 / rate, average_rate=rate)
    write(tmp_path / "out.mp4", stream, frames(stream, range(20)))
    assert video_pts(tmp_path / "out.mp4") == [time / rate for time in range(20)]


def test_the_last_frame_keeps_its_duration(tmp_path: Path) -> None:
    stream = info()
    pictures = frames(stream, range(0, 5 * 512, 512), duration=512)
    pictures[-1] = Frame(pictures[-1].data, pictures[-1].pts, stream.time_base, 1700)
    write(tmp_path / "out.mp4", stream, pictures)
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert [frame.duration for frame in reader] == [512, 512, 512, 512, 1700]


@pytest.mark.parametrize("size", [(65, 48), (64, 49), (65, 49), (161, 97)])
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "ffv1"])
def test_odd_sizes_are_kept_to_the_pixel(encoder: str, size: tuple[int, int], tmp_path: Path) -> None:
    stream = info(*size)
    fast = {"libvpx-vp9": {"cpu-used": "8"}, "ffv1": {}}.get(encoder, {"preset": "ultrafast"})
    write(tmp_path / "out.mkv", stream, frames(stream, [0, 512]), encoder=encoder, encoder_options=fast)
    with VideoReader(tmp_path / "out.mkv") as reader:
        assert (reader.info.width, reader.info.height) == size
        assert len(list(reader)) == 2


def test_a_note_tells_when_an_odd_size_costs_chroma_subsampling(tmp_path: Path) -> None:
    stream = info(65, 48)
    writer = write(tmp_path / "out.mkv", stream, frames(stream, [0]))
    assert writer.pixel_format == "yuv444p"
    assert writer.notes == ("pixel format yuv420p becomes yuv444p",)


@pytest.mark.parametrize(
    ("source", "encoder", "chosen"),
    [
        ("yuv420p", "libx264", "yuv420p"),
        ("yuvj420p", "libx264", "yuv420p"),
        ("nv12", "libx264", "yuv420p"),
        ("yuv422p", "libx264", "yuv422p"),
        ("yuv420p10le", "libx264", "yuv420p10le"),
        ("yuv420p10le", "libx265", "yuv420p10le"),
        ("yuv422p12le", "libx265", "yuv422p12le"),
        ("p010le", "libx265", "yuv420p10le"),
        ("gray", "libx264", "gray"),
        ("gray", "libvpx-vp9", "yuv420p"),
        ("gbrp", "libx264", "yuv444p"),
        ("gbrp", "ffv1", "gbrp9le"),
        ("gbrp10le", "ffv1", "gbrp10le"),
        ("bgr0", "libx265", "gbrp"),
        ("yuv444p16le", "ffv1", "yuv444p16le"),
    ],
)
def test_depth_and_chroma_follow_the_source(source: str, encoder: str, chosen: str, tmp_path: Path) -> None:
    stream = info(pixel_format=source)
    writer = write(tmp_path / "out.mkv", stream, frames(stream, [0, 40]), encoder=encoder)
    assert writer.pixel_format == chosen


def test_fewer_bits_than_the_source_are_told(tmp_path: Path) -> None:
    stream = info(pixel_format="yuv420p12le", bit_depth=12)
    writer = write(tmp_path / "out.mkv", stream, frames(stream, [0]))
    assert "libx264 holds 10 bits, the source has 12" in writer.notes


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    "tags",
    [
        ColorTags(matrix=1, primaries=1, transfer=1, color_range=2),
        ColorTags(matrix=6, primaries=6, transfer=6, color_range=1),
        ColorTags(matrix=9, primaries=9, transfer=16, color_range=1),
    ],
)
def test_colour_tags_are_written(tags: ColorTags, suffix: str, tmp_path: Path) -> None:
    stream = info(color=tags, pixel_format="yuv420p10le", bit_depth=10)
    write(tmp_path / f"out{suffix}", stream, frames(stream, range(0, 20 * 512, 512)))
    with VideoReader(tmp_path / f"out{suffix}") as reader:
        assert reader.info.color == tags


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    stream = info(sample_aspect_ratio=Fraction(4, 3))
    write(tmp_path / "out.mp4", stream, frames(stream, [0]))
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.info.sample_aspect_ratio == Fraction(4, 3)


def test_ten_bits_reach_the_file(tmp_path: Path) -> None:
    stream = info(1024, 16, pixel_format="yuv420p10le", bit_depth=10, color=ColorTags(color_range=2))
    write(tmp_path / "out.mkv", stream, frames(stream, [0]), encoder="ffv1")
    luma = np.frombuffer(decoded_bytes(tmp_path / "out.mkv", "yuv420p10le"), np.uint16)[:1024]
    assert len(np.unique(luma)) == 1024


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "ffv1"])
def test_the_shortest_clips_can_be_written(encoder: str, count: int, tmp_path: Path) -> None:
    stream = info(time_base=Fraction(1, 1000))
    write(tmp_path / "out.mkv", stream, frames(stream, range(40, 40 + 40 * count, 40)), encoder=encoder)
    assert video_pts(tmp_path / "out.mkv") == [Fraction(40 + 40 * index, 1000) for index in range(count)]


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9"])
def test_the_same_frames_give_the_same_file(encoder: str, tmp_path: Path) -> None:
    stream = info()
    for name in ("a.mkv", "b.mkv"):
        write(tmp_path / name, stream, frames(stream, range(0, 6400, 40)), encoder=encoder)
    assert decoded_bytes(tmp_path / "a.mkv") == decoded_bytes(tmp_path / "b.mkv")


def film(stream: StreamInfo, count: int) -> list[Frame]:
    """A texture that pans by whole pixels, so that every frame is as hard to encode as the others."""
    torch.manual_seed(0)
    texture = torch.rand(1, 3, stream.height // 4, stream.width)
    wide = torch.nn.functional.interpolate(texture, (stream.height, 4 * stream.width), mode="bicubic")[0]
    pictures = (wide.roll(-2 * time, -1)[:, :, : stream.width].clamp(0, 1) for time in range(count))
    return [Frame(picture, 512 * time, stream.time_base, None) for time, picture in enumerate(pictures)]


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
def test_nothing_after_a_keyframe_needs_a_frame_before_it(encoder: str, tmp_path: Path) -> None:
    stream = info(128, 96)
    write(tmp_path / "out.mkv", stream, film(stream, 72), encoder=encoder, encoder_options={"g": "24"})
    coded = packets(tmp_path / "out.mkv")[0]
    keyframes = [index for index, packet in enumerate(coded) if packet.is_keyframe]
    assert len(keyframes) == 3
    for index in keyframes:
        assert all(packet.pts >= coded[index].pts for packet in coded[index:])
        assert all(packet.pts < coded[index].pts for packet in coded[:index])


def test_the_first_keyframe_of_x265_is_as_good_as_the_later_ones(tmp_path: Path) -> None:
    stream = info(320, 192)
    pictures = film(stream, 72)
    write(tmp_path / "out.mkv", stream, pictures, encoder="libx265", encoder_options={"g": "24"})
    with VideoReader(tmp_path / "out.mkv") as reader:
        decoded = [frame.data for frame in reader]
    first, *others = (psnr_y(decoded[i][None], pictures[i].data[None]).item() for i in (0, 24, 48))
    assert 0 <= first - sum(others) / len(others) < 1


def test_the_name_appears_only_when_the_file_is_whole(tmp_path: Path) -> None:
    stream = info()
    writer = VideoWriter(tmp_path / "out.mp4", stream)
    for picture in frames(stream, [0, 40]):
        writer.write(picture)
    assert not (tmp_path / "out.mp4").exists()
    writer.close()
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert oct((tmp_path / "out.mp4").stat().st_mode & 0o777) == oct(0o666 & ~current_umask())


def test_an_exception_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("precious")
    with (
        suppress(ZeroDivisionError),
        VideoWriter(tmp_path / "out.mp4", info(), overwrite=True) as writer,
    ):
        writer.write(frames(info(), [0])[0])
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "precious"


def test_overwriting_a_link_replaces_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "out.mp4").symlink_to("there/new.mp4")
    with VideoWriter(tmp_path / "out.mp4", info(), overwrite=True) as writer:
        writer.write(frames(info(), [0])[0])
    assert (tmp_path / "out.mp4").is_symlink()
    assert len(video_pts(tmp_path / "there" / "new.mp4")) == 1
    assert sorted(os.listdir(tmp_path)) == ["out.mp4", "there"]
    assert os.listdir(tmp_path / "there") == ["new.mp4"]


def test_a_video_without_frames_is_none(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"no frame was written to .*out\.mp4"):
        VideoWriter(tmp_path / "out.mp4", info()).close()
    assert os.listdir(tmp_path) == []


def test_a_frame_with_nan_is_refused_with_its_time(tmp_path: Path) -> None:
    (frame,) = frames(info(), [6400])
    broken = frame.data.clone()
    broken[2, 7, 9] = torch.nan
    with (
        pytest.raises(EncoderError, match=r"the frame at 0\.500 s .* holds NaN"),
        VideoWriter(tmp_path / "out.mp4", info()) as writer,
    ):
        writer.write(frame.with_data(broken))
    assert os.listdir(tmp_path) == []


def test_abort_and_close_may_be_called_again(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "out.mp4", info())
    writer.abort()
    writer.abort()
    writer.close()
    assert os.listdir(tmp_path) == []


def test_an_existing_output_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        VideoWriter(tmp_path / "out.mp4", info())
    assert (tmp_path / "out.mp4").read_text() == "precious"


def test_two_jobs_on_one_output_have_one_winner(tmp_path: Path) -> None:
    first, second = (VideoWriter(tmp_path / "out.mp4", info()) for _ in range(2))
    for writer in (first, second):
        writer.write(frames(info(), [0])[0])
    first.close()
    whole = (tmp_path / "out.mp4").read_bytes()
    with pytest.raises(OutputError, match="appeared"):
        second.close()
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == whole


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_the_input_is_never_the_output(link: str, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(sample("upright.mp4").read_bytes())
    output = {"same": source, "symlink": tmp_path / "s.mp4", "hardlink": tmp_path / "h.mp4"}[link]
    if link == "symlink":
        output.symlink_to(source)
    if link == "hardlink":
        output.hardlink_to(source)
    with pytest.raises(OutputError, match="is the input"):
        VideoWriter(output, info(), copy_from=source, overwrite=True)
    assert source.read_bytes() == sample("upright.mp4").read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "error", "reason"),
    [
        ("nowhere/out.mp4", {}, OutputError, "no folder"),
        ("out.xyz", {}, OutputError, "no container"),
        ("out", {}, OutputError, "without ending"),
        ("out.avi", {}, OutputError, "no container"),
        ("out.webm", {}, OutputError, "can't hold the video"),
        ("out.ts", {"encoder": "ffv1"}, OutputError, "mpegts can't hold ffv1.*; write to .mkv"),
        ("out.m2ts", {"encoder": "libvpx-vp9"}, OutputError, "mpegts can't hold vp9.*; write to .mkv"),
        ("out.mov", {"encoder": "libvpx-vp9"}, OutputError, "mov can't hold vp9.*; write to .mkv"),
        ("out.mov", {"encoder": "libsvtav1"}, OutputError, "mov can't hold av1.*; write to .mkv"),
        ("out.mp4", {"encoder": "nonsense"}, EncoderError, "no encoder"),
        ("out.mp4", {"encoder": "aac"}, EncoderError, "no video encoder"),
        ("out.mp4", {"encoder_options": {"crff": "3"}}, EncoderError, "no option crff"),
        ("out.mp4", {"encoder_options": {"crf": "high"}}, EncoderError, "refused"),
    ],
)
def test_what_can_not_be_written_is_refused_before_any_work(
    name: str, options: dict, error: type[OutputError], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=reason) as caught:
        VideoWriter(tmp_path / name, info(), **options)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine may have what the encoder needs")
def test_an_encoder_without_its_hardware_is_told_from_an_output_that_can_not_be_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(EncoderError, match=r"h264_nvenc refused .*or this machine lacks what it needs"):
        VideoWriter(tmp_path / "out.mp4", info(), encoder="h264_nvenc")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Frame(torch.zeros(3, 48, 66), 900, MP4_CLOCK), "66x48"),
        (Frame(torch.zeros(3, 48, 64), 900, Fraction(1, 25)), "1/25"),
        (Frame(torch.zeros(3, 48, 64), 0, MP4_CLOCK), "must increase"),
    ],
)
def test_a_frame_that_does_not_fit_is_an_error(wrong: Frame, reason: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=reason):
        write(tmp_path / "out.mp4", info(), [frames(info(), [0])[0], wrong])
    assert os.listdir(tmp_path) == []


def test_encoder_options_may_be_numbers(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", info(), frames(info(), [0, 512]), encoder_options={"crf": 18, "g": 5})
    assert len(video_pts(tmp_path / "out.mp4")) == 2


def test_options_reach_the_encoder(tmp_path: Path) -> None:
    noise = torch.rand(3, 48, 64)
    for name, crf in (("fine.mp4", "1"), ("coarse.mp4", "50")):
        write(tmp_path / name, info(), [Frame(noise, 0, MP4_CLOCK)], encoder_options={"crf": crf})
    assert (tmp_path / "fine.mp4").stat().st_size > 3 * (tmp_path / "coarse.mp4").stat().st_size


@pytest.mark.parametrize(
    ("encoder", "options", "refused"),
    [
        ("libx264", {"x264-params": "crff=30:me=hex"}, "crff=30 of x264-params"),
        ("libx264", {"x264-params": "me=hex:keyint=abc:bla=2"}, "keyint=abc, bla=2 of x264-params"),
        ("libx264", {"x264-params": "alone"}, "refused its settings"),
        ("libx265", {"x265-params": "foo=1"}, "foo=1 of x265-params"),
        ("libx265", {"x265-params": "rd=2:crf=abc"}, "crf=abc of x265-params"),
        ("libsvtav1", {"svtav1-params": "foo=1"}, "foo=1 of svtav1-params"),
        ("libsvtav1", {"svtav1-params": "tune=abc:lp=2"}, "tune=abc of svtav1-params"),
    ],
)
def test_a_setting_the_encoder_would_go_on_without_is_refused_by_name(
    encoder: str, options: dict[str, str], refused: str, tmp_path: Path
) -> None:
    for _ in range(2):  # FFmpeg's log keeps quiet about what it said just before
        with pytest.raises(EncoderError, match=refused):
            VideoWriter(tmp_path / "out.mp4", info(), encoder=encoder, encoder_options=options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", {"x264-params": "keyint=5:no-cabac=1:me=hex"}),
        ("libx265", {"x265-params": "keyint=5:no-sao=1"}),
        ("libsvtav1", {"svtav1-params": "tune=0:lp=2"}),
    ],
)
def test_settings_the_encoder_knows_are_taken(encoder: str, options: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", info(), frames(info(), [0, 512]), encoder=encoder, encoder_options=options)
    assert len(video_pts(tmp_path / "out.mp4")) == 2


def test_an_unknown_setting_is_refused_while_other_threads_log(tmp_path: Path) -> None:
    stop = Event()

    def chatter() -> None:
        while not stop.is_set():
            av.logging.log(av.logging.WARNING, "libx264", "Error parsing option 'me = hex'.")

    with ThreadPoolExecutor() as threads:
        threads.submit(chatter)
        try:
            options = {"x264-params": "me=hex"}
            write(tmp_path / "out.mp4", info(), frames(info(), [0, 512]), encoder_options=options)
            with pytest.raises(EncoderError, match="foo=1"):
                VideoWriter(tmp_path / "no.mp4", info(), encoder_options={"x264-params": "foo=1"})
        finally:
            stop.set()


def test_what_is_written_is_what_ffmpeg_reads(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", info(), frames(info(), range(0, 20 * 512, 512)))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("color", [ColorTags(matrix=1, color_range=1), ColorTags(matrix=6, color_range=2)])
def test_vp8_gets_the_only_colours_that_it_has(color: ColorTags, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    tags = {1: "bt709", 6: "smpte170m"}[color.matrix], {1: "tv", 2: "pc"}[color.color_range]
    filters = f"scale=out_color_matrix={tags[0]}:out_range={tags[1]},format=yuv444p"
    ffmpeg(
        *["-f", "lavfi", "-i", "smptebars=size=64x48:rate=25:duration=0.2"],
        *["-vf", filters, "-c:v", "ffv1", "-colorspace", tags[0], "-color_range", tags[1], str(source)],
    )
    options = JobOptions(encoder="libvpx", encoder_options={"crf": "4", "b": "4M"})
    report = restore_file(source, tmp_path / "out.webm", restorer=Restorer(None), options=options)
    assert report.exit_code == 0
    assert "colours become those of BT.601 in limited range: VP8 has no others" in report.notes
    with VideoReader(source) as before, VideoReader(tmp_path / "out.webm") as after:
        for frame, copy in zip(before, after, strict=True):
            # Inside the bars: VP8 blurs their chroma.
            difference = (frame.data - copy.data)[:, 8:24, 3:7].abs().max() * 255
            assert difference <= 4
