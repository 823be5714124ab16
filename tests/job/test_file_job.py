"""A file job: what comes out is what went in, restored, and the report can be believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from diffir_video import EncoderError, JobOptions, MediaInputError, OutputError, Restorer, StreamInfo
from diffir_video.bench_material import write_sample_clip
from diffir_video.job import FileReport, plan_file, restore_file, save_report
from diffir_video.media import VideoReader, read_timeline
from diffir_video.media.segment import _read_packets
from diffir_video.prior import ReuseLevel
from diffir_video.run_report import Progress
from tests.media_samples import decoded_bytes, ffmpeg, packets, sample, video_pts

FAST = {"preset": "ultrafast"}

# The clips of the issue, each with the container it is restored into.
CLIPS = [
    ("bframes.mp4", "out.mp4"),
    ("bframes.mp4", "out.mkv"),
    ("fragmented.mp4", "out.mp4"),
    ("vp9_opus.webm", "out.mkv"),
    ("mpeg2.ts", "out.ts"),
    ("odd.mkv", "out.mkv"),
    ("silent.mp4", "out.mp4"),
    ("vfr.mp4", "out.mp4"),
    ("vfr.mp4", "out.mkv"),
    ("ten_bit.mp4", "out.mp4"),
    ("start_offset.mkv", "out.mkv"),
    ("start_offset.mp4", "out.mp4"),
    ("full_range_bt709.mp4", "out.mp4"),
    ("bt601.mp4", "out.mp4"),
    ("everything.mkv", "out.mkv"),
]


@pytest.fixture(scope="module")
def identity() -> Restorer:
    return Restorer.from_pretrained("identity")


@pytest.mark.parametrize(("name", "output"), CLIPS)
def test_frames_times_duration_and_audio_are_the_sources(
    name: str, output: str, identity: Restorer, tmp_path: Path
) -> None:
    report = restore_file(
        sample(name), tmp_path / output, restorer=identity, options=JobOptions(encoder_options=FAST)
    )
    before, after = packets(sample(name)), packets(tmp_path / output)
    assert len(after[0]) == len(before[0]) == report.run.frames_out
    assert video_pts(tmp_path / output) == video_pts(sample(name))
    if not output.endswith(".ts"):  # which carries no durations
        assert end_of_video(tmp_path / output) == end_of_video(sample(name))
    for index in set(before) - {0}:
        assert [bytes(packet) for packet in after[index]] == [bytes(packet) for packet in before[index]]
    assert report.verification.pts_exact
    assert report.lost() == []
    assert report.exit_code == 0


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4", "out.ts", "out.mov"])
def test_a_frame_of_each_field_is_written_at_its_time_beside_the_same_sound(
    output: str, identity: Restorer, tmp_path: Path
) -> None:
    source = sample("interlaced_sound.mp4")
    options = JobOptions(encoder_options=FAST, deinterlace="auto-fields", verify=True, segment_frames=30)
    report = restore_file(source, tmp_path / output, restorer=identity, options=options)
    assert (report.exit_code, report.lost()) == (0, [])
    assert report.run.frames_out == 2 * len(video_pts(source))
    assert report.notes == ("each field of interlaced pictures is made a frame (bwdif)",)
    # Matroska counts in milliseconds.
    half = Fraction(1, 50)
    for index, time in enumerate(video_pts(tmp_path / output)):
        assert abs(time - video_pts(source)[0] - index * half) <= Fraction(1, 1000)
    # MPEG-TS puts a header before each.
    sound = zip(packets(source)[1], packets(tmp_path / output)[1], strict=True)
    assert all(bytes(after).endswith(bytes(before)) for before, after in sound)
    assert stream_of(tmp_path / output).average_rate == 50


def test_a_timecode_is_of_the_same_moment_where_each_field_is_a_frame(
    identity: Restorer, tmp_path: Path
) -> None:
    options = JobOptions(encoder_options=FAST, deinterlace="auto-fields")
    restore_file(sample("interlaced_timecode.mov"), tmp_path / "out.mov", restorer=identity, options=options)
    with av.open(str(tmp_path / "out.mov")) as container:
        assert {s.metadata["timecode"] for s in container.streams if "timecode" in s.metadata} == {
            "01:00:00:40"
        }


def test_a_plan_counts_the_frames_that_fields_become(identity: Restorer) -> None:
    options = JobOptions(encoder_options=FAST, deinterlace="auto-fields")
    plan = plan_file(sample("interlaced.mp4"), Path("out.mkv"), restorer=identity, options=options)
    assert plan.frames == 100


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
def test_a_clip_that_tells_no_frame_rate_is_restored(output: str, identity: Restorer, tmp_path: Path) -> None:
    """ASF counts in milliseconds, and MPEG-4's own clock has no frames to count."""
    source = tmp_path / "rateless.wmv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-c:v", "mpeg4", str(source))
    with VideoReader(source) as reader:
        assert reader.info.average_rate is None
    report = restore_file(source, tmp_path / output, restorer=identity)
    assert report.exit_code == 0
    assert video_pts(tmp_path / output) == video_pts(source)


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4", "out.mov", "out.ts"])
def test_a_recording_that_begins_before_its_clock_goes_round_keeps_its_times(
    output: str, identity: Restorer, tmp_path: Path
) -> None:
    """FFmpeg counts it from below 0, where MPEG-TS alone has times; elsewhere all tracks move together."""
    source = tmp_path / "wrapped.ts"
    picture = "-f lavfi -i testsrc2=s=64x48:r=25:d=2 -f lavfi -i sine=r=48000:d=2"
    ffmpeg(*f"{picture} -c:v libx264 -c:a aac -output_ts_offset 95440".split(), str(source))
    before = packets(source)
    assert before[0][0].pts < 0
    # The sound begins a packet before the pictures.
    origin = Fraction(0) if output == "out.ts" else before[1][0].pts * before[1][0].time_base
    report = restore_file(
        source, tmp_path / output, restorer=identity, options=JobOptions(segment_frames=20, verify=True)
    )
    assert report.lost() == []
    assert any("later" in note for note in report.notes) == (output != "out.ts")
    after = packets(tmp_path / output)
    for index in before:
        tick = after[index][0].time_base
        wanted = sorted(packet.pts * packet.time_base - origin for packet in before[index])
        found = sorted(packet.pts * tick for packet in after[index])
        assert len(found) == len(wanted)
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= tick


@pytest.mark.parametrize("name", ["ten_bit.mp4", "full_range_bt709.mp4", "bt601.mp4"])
def test_colour_and_depth_are_the_sources(name: str, identity: Restorer, tmp_path: Path) -> None:
    restore_file(
        sample(name), tmp_path / "out.mp4", restorer=identity, options=JobOptions(encoder_options=FAST)
    )
    assert stream_of(tmp_path / "out.mp4").color == stream_of(sample(name)).color
    assert stream_of(tmp_path / "out.mp4").pixel_format.replace("j", "") == (
        stream_of(sample(name)).pixel_format.replace("j", "")
    )


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("calm_bt601.mkv", "ffv1"),
        ("calm_bt601.mkv", "libx264"),
        ("calm_full_range_bt709.mkv", "ffv1"),
        ("calm_full_range_bt709.mkv", "libx264"),
        ("calm_ten_bit.mkv", "ffv1"),
        ("calm_odd.mkv", "ffv1"),
    ],
)
def test_the_identity_and_a_lossless_encoder_change_no_code_at_all(
    name: str, encoder: str, identity: Restorer, tmp_path: Path
) -> None:
    options = {"qp": "0"} if encoder == "libx264" else {}
    restore_file(
        sample(name),
        tmp_path / "out.mkv",
        restorer=identity,
        options=JobOptions(encoder=encoder, encoder_options=options),
    )
    assert np.array_equal(planes(sample(name)), planes(tmp_path / "out.mkv"))


@pytest.mark.parametrize("name", ["bt601.mp4", "ten_bit.mp4", "full_range_bt709.mp4", "mpeg2.ts"])
def test_not_even_colours_outside_the_rgb_cube_change(name: str, identity: Restorer, tmp_path: Path) -> None:
    restore_file(sample(name), tmp_path / "out.mkv", restorer=identity, options=JobOptions(encoder="ffv1"))
    pixel_format = stream_of(tmp_path / "out.mkv").pixel_format
    before, after = (decoded_bytes(path, pixel_format) for path in (sample(name), tmp_path / "out.mkv"))
    if name == "full_range_bt709.mp4":
        before = decoded_bytes(sample(name), "yuvj420p")
        after = decoded_bytes(tmp_path / "out.mkv", "yuvj420p")
    assert before == after


@pytest.mark.parametrize(
    ("encoder", "output"),
    [
        *(("libx264", "out.mp4"), ("libx265", "out.mp4"), ("libvpx-vp9", "out.mp4"), ("libx264", "out.mkv")),
        *(("ffv1", "out.mkv"), ("libvpx-vp9", "out.webm"), ("libsvtav1", "out.mkv")),
    ],
)
def test_pixels_that_are_not_square_stay_so(
    encoder: str, output: str, identity: Restorer, tmp_path: Path
) -> None:
    options = JobOptions(encoder=encoder)
    report = restore_file(sample("anamorphic.mp4"), tmp_path / output, restorer=identity, options=options)
    assert report.lost() == []
    # Matroska holds the size on the screen instead, in whole pixels.
    found = stream_of(tmp_path / output).sample_aspect_ratio
    assert found in (Fraction(4, 3), Fraction(213, 160))
    assert len(decoded_bytes(tmp_path / output, "gray")) == 5 * 160 * 96


def test_a_file_that_was_told_its_pixel_aspect_is_whole_for_other_programs(tmp_path: Path) -> None:
    anamorphic = tmp_path / "in.mkv"
    made = ["-i", str(sample("everything.mkv")), "-map", "0", "-c", "copy", "-c:v", "libx264", "-aspect", "2"]
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    subprocess.run([*ffmpeg, *made, str(anamorphic)], check=True, stdin=subprocess.DEVNULL)
    output = tmp_path / "out.mkv"
    report = restore_file(anamorphic, output, restorer=Restorer(None), options=JobOptions(encoder="ffv1"))
    assert report.lost() == []
    assert stream_of(output).sample_aspect_ratio == Fraction(6, 5)
    checked = [*ffmpeg, "-xerror", "-i", str(output), "-map", "0:v", "-map", "0:a", "-f", "null", "-"]
    assert subprocess.run(checked, check=True, capture_output=True).stderr == b""
    with av.open(str(output)) as container:
        container.seek(1_500_000)
        assert float(next(container.decode(video=0)).time) == pytest.approx(1.5, abs=0.2)
        assert len(container.chapters()) == 2


def test_a_rotated_clip_plays_upright(identity: Restorer, tmp_path: Path) -> None:
    restore_file(sample("rotated.mp4"), tmp_path / "out.mp4", restorer=identity)
    assert (stream_of(tmp_path / "out.mp4").width, stream_of(tmp_path / "out.mp4").height) == (96, 160)
    assert decoded_bytes(tmp_path / "out.mp4", "gray")[:1000] != b""


@pytest.mark.parametrize("level", ["prior", "statistics"])
def test_reuse_changes_neither_count_nor_times_and_repeats_exactly(level: ReuseLevel, tmp_path: Path) -> None:
    source = sample("upright.mp4")
    for name in ("a.mkv", "b.mkv"):
        restorer = Restorer.from_pretrained("denoise-nano", device="cpu", reuse=level, refresh=2)
        report = restore_file(
            source, tmp_path / name, restorer=restorer, options=JobOptions(encoder="ffv1", segment_frames=4)
        )
        assert (report.segments, report.verification.pts_exact, report.lost()) == (2, True, [])
        # The first segment's future and the second one's past are counted with them.
        assert report.run.reuse.frames > report.run.frames_out == 5
    assert decoded_bytes(tmp_path / "a.mkv") == decoded_bytes(tmp_path / "b.mkv")
    assert video_pts(tmp_path / "a.mkv") == video_pts(source)


def test_the_same_job_twice_gives_the_same_frames(identity: Restorer, tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mkv"):
        restore_file(sample("bframes.mp4"), tmp_path / name, restorer=identity)
    assert decoded_bytes(tmp_path / "a.mkv") == decoded_bytes(tmp_path / "b.mkv")


@pytest.mark.parametrize("name", ["cut_bframes.mp4", "cut_fragmented.mp4", "cut_h264.mkv", "cut_mpeg2.ts"])
def test_a_cut_input_is_restored_as_far_as_it_goes(name: str, identity: Restorer, tmp_path: Path) -> None:
    output = tmp_path / f"out{Path(name).suffix}"
    report = restore_file(sample(name), output, restorer=identity, options=JobOptions(encoder_options=FAST))
    assert report.exit_code == 5
    assert not report.is_complete
    assert "missing at the end" in report.lost()[0]
    assert len(video_pts(output)) == report.run.frames_out > 10
    assert "LOST" in str(report)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_sound_that_goes_back_in_time_is_a_loss_and_no_failure(
    suffix: str, identity: Restorer, tmp_path: Path
) -> None:
    output = tmp_path / f"out{suffix}"
    report = restore_file(
        sample("repeated.ts"), output, restorer=identity, options=JobOptions(encoder_options=FAST)
    )
    assert report.exit_code == 5
    before, after = packets(sample("repeated.ts"))[1], packets(output)[1]
    assert report.losses.refused_packets == len(before) - len(after) > 0
    assert f"{report.losses.refused_packets} packets of other tracks" in str(report)
    times = [packet.dts for packet in after]
    assert times == sorted(times)
    assert os.listdir(tmp_path) == [output.name]


def places_of_sound(data: bytes) -> list[int]:
    """Where the sound's packets of 188 bytes begin in MPEG-TS."""
    return [at for at in range(0, len(data), 188) if (data[at + 1] & 31, data[at + 2]) == (1, 1)]


def damaged_packets_of_sound(path: Path, data: bytes) -> int:
    """How many FFmpeg marks in MPEG-TS, which is written to `path`."""
    path.write_bytes(data)
    with av.open(str(path)) as container:
        return sum(packet.is_corrupt for packet in container.demux(audio=0))


def without_a_packet_of_sound(source: Path, cut: Path) -> Path:
    data = source.read_bytes()
    places = places_of_sound(data)
    at = places[len(places) // 2]
    cut.write_bytes(data[:at] + data[at + 188 :])
    return cut


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".webm"])
def test_sound_that_is_damaged_follows_as_it_is_and_is_a_loss(
    suffix: str, identity: Restorer, tmp_path: Path
) -> None:
    source, output = (
        without_a_packet_of_sound(sample("mpeg2.ts"), tmp_path / "in.ts"),
        tmp_path / f"out{suffix}",
    )
    encoder = JobOptions(encoder="libvpx-vp9", encoder_options={"cpu-used": "8", "deadline": "realtime"})
    options = encoder if suffix == ".webm" else JobOptions(encoder_options=FAST)
    report = restore_file(source, output, restorer=identity, options=options)
    assert (report.run.frames_out, report.exit_code) == (50, 5)
    assert (damaged := report.losses.corrupt_copies) > 0
    assert f"{damaged} damaged packets of other tracks, kept" in report.lost()


def test_a_joint_beyond_a_part_excuses_no_damage_in_it(identity: Restorer, tmp_path: Path) -> None:
    path = tmp_path / "in.ts"
    first, second = (sample(name).read_bytes() for name in ("first.ts", "second.ts"))
    places = places_of_sound(first)
    joint = next(at for at in places[-8:] if damaged_packets_of_sound(path, first[:at] + second) == 1)
    for at in places[len(places) // 5 :]:
        if damaged_packets_of_sound(path, first[:at] + first[at + 188 : joint] + second) == 2:
            break
    for end in (None, Fraction(5, 2)):
        options = JobOptions(encoder_options=FAST, overwrite=True, end=end)
        report = restore_file(path, tmp_path / "out.mkv", restorer=identity, options=options)
        assert report.losses.corrupt_copies == 1


@pytest.mark.parametrize("name", ["mpeg2.ts", "joined.ts"])
def test_sound_that_is_whole_is_no_loss(name: str, identity: Restorer, tmp_path: Path) -> None:
    options = JobOptions(encoder_options=FAST)
    report = restore_file(sample(name), tmp_path / "out.mkv", restorer=identity, options=options)
    assert report.losses.corrupt_copies == 0


def test_a_track_of_noise_is_a_loss_and_no_failure(identity: Restorer, tmp_path: Path) -> None:
    source, output = sample("noise_track.ts"), tmp_path / "out.mkv"
    report = restore_file(source, output, restorer=identity, options=JobOptions(encoder_options=FAST))
    assert (report.exit_code, report.losses.unreadable_tracks) == (5, 1)
    assert report.dropped == ("audio track 1 (mp3)",)
    assert packets(output).keys() == {0}
    assert report.run.frames_out == len(packets(sample("mpeg2.ts"))[0])


def test_the_report_is_json_and_reads_well(identity: Restorer, tmp_path: Path) -> None:
    report = restore_file(sample("bframes.mp4"), tmp_path / "out.mkv", restorer=identity)
    save_report(report, tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["run"]["frames_in"] == content["verification"]["frames"] == 50
    assert content["verification"]["copied_packets"] == len(packets(sample("bframes.mp4"))[1])
    assert content["complete"] is True
    assert content["run"]["bottleneck"] in ("decode", "restore", "encode")
    assert "50 frames of 160x96 yuv420p (libx264)" in str(report)


def test_a_report_that_cannot_be_written_leaves_what_was_there(
    identity: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = restore_file(sample("upright.mp4"), tmp_path / "out.mkv", restorer=identity)
    (tmp_path / "report.json").write_text("precious")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        save_report(report, tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["out.mkv", "report.json"]


@pytest.mark.parametrize("name", ["everything.mkv", "anamorphic.mp4", "ten_bit.mp4", "mpeg2.ts"])
def test_the_report_tells_every_property_that_was_checked(
    name: str, identity: Restorer, tmp_path: Path
) -> None:
    output = tmp_path / f"out{Path(name).suffix}"
    report = restore_file(
        sample(name), output, restorer=identity, options=JobOptions(encoder_options=FAST, verify=True)
    )
    checks = {check.name: check for check in report.verification.checks}
    assert all(check.passed for check in checks.values())
    assert checks["decoded frames"].found == str(report.run.frames_out)
    assert checks["chapters"].found == ("2" if name == "everything.mkv" else "0")
    assert checks["pixel aspect"].found == ("4/3" if name == "anamorphic.mp4" else "1")
    assert checks["colour transfer"].found == ("16" if name == "ten_bit.mp4" else "2")
    for line in ("checked", "frames", "timestamps", "size", "packets of other tracks"):
        assert f"\n{line}  " in f"\n{report.table()}"


def test_a_report_survives_the_way_through_json(identity: Restorer, tmp_path: Path) -> None:
    report = restore_file(sample("everything.mkv"), tmp_path / "out.mkv", restorer=identity)
    assert FileReport.from_dict(json.loads(report.to_json())) == report


def test_an_output_that_can_not_be_decoded_is_found_out(
    identity: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffir_video.media.segment._read_packets", spoiled(20))
    report = restore_file(
        sample("bframes.mp4"), tmp_path / "out.mkv", restorer=identity, options=JobOptions(verify=True)
    )
    assert report.exit_code == 5
    assert any("decoded frames: 50 put in" in problem for problem in report.lost())
    assert "WRONG" in report.table()


def test_progress_is_told(identity: Restorer, tmp_path: Path) -> None:
    seen: list[Progress] = []
    restore_file(sample("bframes.mp4"), tmp_path / "out.mp4", restorer=identity, progress=seen.append)
    assert (seen[-1].frames_done, seen[-1].frames_total) == (50, 50)


@pytest.mark.parametrize(
    ("source", "output", "options", "error"),
    [
        ("missing.mp4", "out.mp4", {}, MediaInputError),
        ("empty.mp4", "out.mp4", {}, MediaInputError),
        ("good.mp4", "nowhere/out.mp4", {}, OutputError),
        ("good.mp4", "good.mp4", {"overwrite": True}, OutputError),
        ("good.mp4", "old.mp4", {}, OutputError),
        ("good.mp4", "out.mp4", {"encoder": "nonsense"}, EncoderError),
        ("good.mp4", "out.webm", {}, OutputError),
    ],
)
def test_a_refused_job_leaves_everything_as_it_was(
    source: str, output: str, options: dict, error: type[Exception], identity: Restorer, tmp_path: Path
) -> None:
    (tmp_path / "good.mp4").write_bytes(sample("upright.mp4").read_bytes())
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "old.mp4").write_text("precious")
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(error):
        restore_file(tmp_path / source, tmp_path / output, restorer=identity, options=JobOptions(**options))
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_an_input_that_breaks_half_way_leaves_no_output(identity: Restorer, tmp_path: Path) -> None:
    with pytest.raises(MediaInputError, match="changes its frame size"):
        restore_file(sample("resized.ts"), tmp_path / "out.mkv", restorer=identity)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", ["identity", "denoise-nano"])
def test_memory_does_not_grow_with_length(model: str, tmp_path: Path) -> None:
    short = peak_memory(sample("short.mp4"), tmp_path / "short.mp4", model)
    long = peak_memory(sample("long.mp4"), tmp_path / "long.mp4", model)
    assert len(video_pts(tmp_path / "short.mp4")) == 200
    assert len(video_pts(tmp_path / "long.mp4")) == 2000
    assert long <= 1.1 * short


@pytest.mark.slow
def test_4k_takes_less_than_3_gb_more_than_the_smallest_video(tmp_path: Path) -> None:
    write_sample_clip(tmp_path / "4k.mkv", 3840, 2160, frames=8)
    least = peak_memory(sample("short.mp4"), tmp_path / "short.mkv", "denoise-nano")
    most = peak_memory(tmp_path / "4k.mkv", tmp_path / "restored.mkv", "denoise-nano")
    assert (most - least) * 1024 <= 3e9


def spoiled(index: int) -> Callable:
    """The reader of segments, but packet `index` comes out as zeros."""

    def read(*arguments) -> Iterator:
        for position, (stored, data) in enumerate(_read_packets(*arguments)):
            yield stored, bytes(len(data)) if position == index else data

    return read


def peak_memory(source: Path, output: Path, model: str) -> int:
    """Peak resident kilobytes of a process that restores `source`."""
    program = (
        "import resource, sys; from diffir_video.cli import main; "
        "code = main(['restore', sys.argv[1], sys.argv[2], '--model', sys.argv[3]]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, str(source), str(output), model]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(finished.stdout.split()[-1])


def end_of_video(path: Path) -> Fraction | None:
    return read_timeline(path).video.end


def stream_of(path: Path) -> StreamInfo:
    with VideoReader(path) as reader:
        return reader.info


def planes(path: Path) -> np.ndarray:
    return np.frombuffer(decoded_bytes(path, stream_of(path).pixel_format), np.uint8)
