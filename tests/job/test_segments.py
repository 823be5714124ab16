"""Segments: a job that ends early goes on where it was, and the file is the one it would have been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch

from diffir_video import EncoderError, Frame, JobOptions, OutputError, Restorer
from diffir_video.job import FileReport, restore_file
from diffir_video.job.cutting import SegmentCutter, SegmentSource
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.restorer import RestorerStream
from diffir_video.run_report import Progress
from tests.media_samples import decoded_bytes, packets, sample, video_pts

FAST = {"preset": "ultrafast"}


class Mortal(Restorer):
    """The identity, but it dies with KeyboardInterrupt at the frame of `fatal_pts`."""

    def __init__(self, fatal_pts: int | None = None) -> None:
        super().__init__(None)
        self.fatal_pts = fatal_pts
        self.pushed = 0

    def open_stream(self) -> RestorerStream:
        restorer = self

        class Stream(RestorerStream):
            def push(self, frames: Sequence[Frame]) -> list[Frame]:
                if restorer.fatal_pts in [frame.pts for frame in frames]:
                    raise KeyboardInterrupt
                restorer.pushed += len(frames)
                return super().push(frames)

        return Stream(self)


def restore(
    output: Path,
    restorer: Restorer | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options,
) -> FileReport:
    settings = {"encoder_options": FAST, "segment_frames": 10, **options}
    source = settings.pop("source", sample("bframes.mp4"))
    return restore_file(
        source, output, restorer=restorer or Mortal(), options=JobOptions(**settings), progress=progress
    )


def stop_half_way(output: Path, **options) -> Path:
    """Begin a job and interrupt it in its third segment; the path of its folder."""
    with pytest.raises(KeyboardInterrupt):
        restore(output, Mortal(fatal_pts=40 * 512), **options)
    return output.with_name(f".{output.name}.diffir-job")


@pytest.mark.parametrize("name", ["bframes.mp4", "vfr.mp4", "start_offset.mkv", "mpeg2.ts", "vp9_opus.webm"])
@pytest.mark.parametrize("encoder", ["libx264", "ffv1"])
def test_many_segments_are_the_same_as_one(name: str, encoder: str, tmp_path: Path) -> None:
    options = {"encoder": encoder, "encoder_options": {"qp": "0"} if encoder == "libx264" else {}}
    suffix = ".mkv" if name == "vp9_opus.webm" or encoder == "ffv1" else Path(name).suffix
    one, many = tmp_path / f"one{suffix}", tmp_path / f"many{suffix}"
    assert restore(one, source=sample(name), segment_frames=1000, **options).segments == 1
    assert restore(many, source=sample(name), segment_frames=7, **options).segments > 3
    assert video_pts(many) == video_pts(one)
    assert decoded_bytes(many) == decoded_bytes(one)
    before, after = packets(one), packets(many)
    assert before.keys() == after.keys()
    for index in set(before) - {0}:
        assert [(p.pts, p.dts, bytes(p)) for p in after[index]] == [
            (p.pts, p.dts, bytes(p)) for p in before[index]
        ]


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", {"preset": "ultrafast", "bf": "3"}),
        ("libx265", {"preset": "ultrafast"}),
        ("libsvtav1", {"preset": "13"}),
        ("libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
        ("prores_ks", {}),
        ("mpeg4", {}),
        ("ffv1", {}),
    ],
)
def test_segments_of_any_encoder_are_joined_at_their_own_times(
    encoder: str, options: dict[str, str], tmp_path: Path
) -> None:
    report = restore(tmp_path / "out.mkv", encoder=encoder, encoder_options=options)
    assert report.segments == 5
    assert report.lost() == []
    assert video_pts(tmp_path / "out.mkv") == video_pts(sample("bframes.mp4"))
    with VideoReader(tmp_path / "out.mkv") as reader:
        assert len(list(reader)) == 50


def keyframes(path: Path) -> list[int]:
    """Which frames are keyframes, of an encoder without B-frames."""
    return [index for index, packet in enumerate(packets(path)[0]) if packet.is_keyframe]


def test_segments_end_at_scene_cuts_where_they_are_near(tmp_path: Path) -> None:
    shots = [("red", 20), ("white", 34), ("blue", 11), ("gray", 10)]
    graph = [
        f"color={color}:s=64x48:r=25:d={frames / 25},noise=alls=20:allf=t[{color}]" for color, frames in shots
    ]
    graph.append("".join(f"[{color}]" for color, _ in shots) + "concat=n=4")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-filter_complex", ";".join(graph)]
    source, output = tmp_path / "shots.mkv", tmp_path / "out.mkv"
    subprocess.run([*command, "-c:v", "libx264", "-g", "5", str(source)], check=True, capture_output=True)
    # x264 makes keyframes where segments begin, and no others.
    options = {"preset": "ultrafast", "sc_threshold": "0", "g": "1000"}
    report = restore(output, source=source, encoder_options=options, segment_frames=30)
    # The cuts are before frames 20, 54 and 65: the second is too near to the end of a longest segment, and
    # the last just half of one away.
    assert keyframes(output) == [0, 20, 50, 65]
    assert (report.segments, report.run.frames_out) == (4, 75)


def test_a_segment_knows_whether_others_are_before_and_after_it() -> None:
    with VideoReader(sample("bframes.mp4")) as reader:
        cutter = SegmentCutter(reader, (2, 2), 20)
        segments: list[SegmentSource] = []
        while (segment := cutter.take()) is not None:
            segments.append(segment)
            segment.read_to_end()
    assert [segment.follows_another for segment in segments] == [False, True, True]
    assert [segment.is_followed for segment in segments] == [True, True, False]


def test_segments_end_where_the_encoder_was_told_to_make_keyframes(tmp_path: Path) -> None:
    report = restore(tmp_path / "out.mkv", encoder_options={**FAST, "g": "8"}, segment_frames=20)
    assert report.segments == 4
    assert keyframes(tmp_path / "out.mkv") == [0, 8, 16, 24, 32, 40, 48]


def test_a_window_sees_across_the_cuts(tmp_path: Path) -> None:
    restorer = Restorer.from_pretrained("denoise-nano", device="cpu")
    assert restorer.window == (2, 2)
    for name, frames in (("one.mkv", 100), ("many.mkv", 3)):
        restore(
            tmp_path / name,
            restorer,
            source=sample("upright.mp4"),
            encoder="ffv1",
            encoder_options={},
            segment_frames=frames,
        )
    with VideoReader(tmp_path / "one.mkv") as one, VideoReader(tmp_path / "many.mkv") as many:
        for left, right in zip(one, many, strict=True):
            assert torch.equal(left.data, right.data)


def test_an_interrupted_job_goes_on_after_its_last_finished_segment(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    folder = stop_half_way(output)
    assert sorted(os.listdir(tmp_path)) == [folder.name]
    assert len((folder / "journal.jsonl").read_text().splitlines()) == 4
    restorer, seen = Mortal(), list[Progress]()
    report = restore(output, restorer, progress=seen.append)
    assert (report.segments, report.resumed_segments) == (5, 4)
    assert restorer.pushed == report.run.frames_out == 10
    assert (seen[0].frames_resumed, seen[0].frames_total) == (40, 50)
    assert "went on after 4 of 5 segments" in str(report)
    assert os.listdir(tmp_path) == ["out.mp4"]
    restore(tmp_path / "whole.mp4")
    assert output.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_name_as_long_as_names_may_be_is_written_and_gone_on_with(tmp_path: Path) -> None:
    """Titles in Japanese reach 255 bytes after 85 characters."""
    output = tmp_path / f"{'映' * 83}.mkv"
    stop_half_way(output)
    assert len(os.listdir(tmp_path)) == 1
    assert restore(output).resumed_segments == 4
    with VideoReader(output) as reader, VideoWriter(output, reader.info, overwrite=True) as writer:
        for frame in reader:
            writer.write(frame)
    assert os.listdir(tmp_path) == [output.name]


@pytest.mark.parametrize("intact", [True, False])
def test_going_on_decodes_only_an_input_with_damage_once_more(
    intact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, options = (
        sample("vp9_gops.webm"),
        {"segment_frames": 10, "encoder": "ffv1", "encoder_options": {}},
    )
    if not intact:
        source = tmp_path / "damaged.ts"
        source.write_bytes(sample("interlaced_gops.ts").read_bytes())
        damage(source, 188 * 40, 188 * 80)

    def stop(progress: Progress) -> None:
        if progress.frames_done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "out.mkv", source=source, progress=stop, **options)
    decoded = list[object]()
    decode = VideoReader._decode_packet
    monkeypatch.setattr(VideoReader, "_decode_packet", lambda *a: decoded.append(a[1]) or decode(*a))
    report = restore(tmp_path / "out.mkv", source=source, **options)
    assert report.resumed_segments >= 3
    assert (len(decoded) < 40) == intact
    whole = restore(tmp_path / "whole.mkv", source=source, **options)
    assert report.losses == whole.losses
    assert bool(report.losses) != intact
    assert decoded_bytes(tmp_path / "out.mkv") == decoded_bytes(tmp_path / "whole.mkv")


def test_a_job_that_makes_frames_of_fields_goes_on_between_the_two_of_one_picture(tmp_path: Path) -> None:
    options = {"source": sample("interlaced_gops.ts"), "deinterlace": "auto-fields"}
    options |= {"segment_frames": 11, "encoder": "ffv1", "encoder_options": {}}

    def stop(progress: Progress) -> None:
        if progress.frames_done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "out.mkv", progress=stop, **options)
    assert restore(tmp_path / "out.mkv", **options).resumed_segments >= 3
    restore(tmp_path / "whole.mkv", **options)
    assert len(video_pts(tmp_path / "out.mkv")) == 2 * len(video_pts(sample("interlaced_gops.ts")))
    assert video_pts(tmp_path / "out.mkv") == video_pts(tmp_path / "whole.mkv")
    assert decoded_bytes(tmp_path / "out.mkv") == decoded_bytes(tmp_path / "whole.mkv")
    # What was begun one way does not go on in another.
    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "other.mkv", progress=stop, **options)
    with pytest.raises(OutputError, match="deinterlace"):
        restore(tmp_path / "other.mkv", **{**options, "deinterlace": "auto"})


def damage(path: Path, begin: int, end: int) -> None:
    """Zeros in most of every transport packet from `begin` to `end`."""
    data = bytearray(path.read_bytes())
    for position in range(begin, end, 188):
        data[position + 60 : position + 180] = bytes(120)
    path.write_bytes(data)


def test_a_model_with_a_window_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    options = {"source": sample("upright.mp4"), "segment_frames": 2, "encoder": "ffv1", "encoder_options": {}}
    restorer = Restorer.from_pretrained("denoise-nano", device="cpu")

    def stop(progress: Progress) -> None:
        if progress.frames_done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "out.mkv", restorer, progress=stop, **options)
    assert restore(tmp_path / "out.mkv", restorer, **options).resumed_segments == 1
    restore(tmp_path / "whole.mkv", restorer, **options)
    assert decoded_bytes(tmp_path / "out.mkv") == decoded_bytes(tmp_path / "whole.mkv")


@pytest.mark.parametrize("damage", ["torn line", "missing segment", "short segment"])
def test_what_a_crash_left_half_done_is_done_again(damage: str, tmp_path: Path) -> None:
    folder = stop_half_way(tmp_path / "out.mp4")
    journal, last = folder / "journal.jsonl", folder / "000003.segment"
    if damage == "torn line":
        journal.write_bytes(journal.read_bytes()[:-20])
    elif damage == "missing segment":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:-1])
    assert restore(tmp_path / "out.mp4").resumed_segments == 3
    restore(tmp_path / "whole.mp4")
    assert decoded_bytes(tmp_path / "out.mp4") == decoded_bytes(tmp_path / "whole.mp4")


def test_what_is_done_after_a_torn_line_is_not_done_again(tmp_path: Path) -> None:
    journal = stop_half_way(tmp_path / "out.mp4") / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    stop_half_way(tmp_path / "out.mp4")
    assert restore(tmp_path / "out.mp4").resumed_segments == 4


def test_a_segment_that_rotted_is_never_joined(tmp_path: Path) -> None:
    folder = stop_half_way(tmp_path / "out.mp4")
    data = bytearray((folder / "000001.segment").read_bytes())
    data[100] ^= 1
    (folder / "000001.segment").write_bytes(data)
    with pytest.raises(OutputError, match=r"000001.segment.*isn't as it was written.*--restart"):
        restore(tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    assert restore(tmp_path / "out.mp4", restart=True).resumed_segments == 0


def test_a_segment_with_headers_of_its_own_is_not_joined_and_restart_is_named(tmp_path: Path) -> None:
    journal = stop_half_way(tmp_path / "out.mp4") / "journal.jsonl"
    first, *others = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps({**json.loads(first), "headers": "another"}), *others, ""]))
    with pytest.raises(EncoderError, match=r"000000.segment has codec headers of its own.*--restart"):
        restore(tmp_path / "out.mp4")
    assert restore(tmp_path / "out.mp4", restart=True).resumed_segments == 0


def test_a_folder_within_the_work_folder_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / ".out.mp4.diffir-job" / "mine").mkdir(parents=True)
    for restart in (False, True):
        with pytest.raises(OutputError, match=r"can't remove '.*mine'.*move it elsewhere"):
            restore(tmp_path / "out.mp4", restart=restart)
    assert (tmp_path / ".out.mp4.diffir-job" / "mine").is_dir()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"encoder_options": {"preset": "ultrafast", "crf": "30"}},
            "crf: nothing then, 30 now",
        ),
        ({"encoder": "libx265"}, "encoder: libx264 then, libx265 now"),
        ({"segment_frames": 11}, "frames per segment: 10 then, 11 now"),
        ({"restorer": Restorer(None, seed=1)}, "model seed: 0 then, 1 now"),
        ({"restorer": Restorer.from_pretrained("denoise-nano")}, "model weights: identity then"),
        ({"source": "touched"}, "input time"),
        ({"source": "edited"}, "input digest"),
    ],
)
def test_a_job_begun_differently_is_not_continued(change: dict, what: str, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(sample("bframes.mp4").read_bytes())
    folder = stop_half_way(tmp_path / "out.mp4", source=source)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if change.get("source"):
        data = bytearray(source.read_bytes())
        data[len(data) // 2] ^= change["source"] == "edited"
        source.write_bytes(data)
    with pytest.raises(OutputError, match="begun differently") as caught:
        restore(tmp_path / "out.mp4", **{**change, "source": source})
    assert what in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert restore(tmp_path / "out.mp4", **{**change, "source": source}, restart=True).resumed_segments == 0


def test_another_version_does_not_continue(tmp_path: Path) -> None:
    folder = stop_half_way(tmp_path / "out.mp4")
    settings = json.loads((folder / "settings.json").read_text())
    settings["version of torch"] = "0.1"
    (folder / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(OutputError, match=r"version of torch: 0.1 then"):
        restore(tmp_path / "out.mp4")


def kill_before_cleaning_up(output: Path) -> None:
    def die(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffir_video.job.work_folder.WorkFolder.remove", die)
        with pytest.raises(KeyboardInterrupt):
            restore(output)


def test_a_job_killed_between_the_name_and_the_cleaning_up_is_finished(tmp_path: Path) -> None:
    kill_before_cleaning_up(tmp_path / "out.mp4")
    assert len(os.listdir(tmp_path)) == 2
    report = restore(tmp_path / "out.mp4")
    assert report.verification.frames == 50
    assert os.listdir(tmp_path) == ["out.mp4"]
    with pytest.raises(OutputError, match="exists"):
        restore(tmp_path / "out.mp4")


def test_what_another_job_has_finished_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    kill_before_cleaning_up(tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="exists"):
        restore(tmp_path / "out.mp4", encoder_options={**FAST, "crf": "30"})


def test_a_file_that_took_the_place_of_the_finished_one_is_not_taken_for_it(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    kill_before_cleaning_up(output)
    (tmp_path / "other").write_text("precious")
    (tmp_path / "other").replace(output)
    with pytest.raises(OutputError, match="exists"):
        restore(output)
    assert output.read_text() == "precious"


def test_of_two_jobs_on_one_output_the_second_is_refused(tmp_path: Path) -> None:
    refusals: list[OutputError] = []

    def start_another(_: Progress) -> None:
        with pytest.raises(OutputError, match="another job is writing") as caught:
            restore(tmp_path / "out.mp4")
        refusals.append(caught.value)

    assert restore(tmp_path / "out.mp4", progress=start_another).lost() == []
    assert refusals
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_an_encoder_that_fails_half_way_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.mp4").write_text("precious")

    def fail(self: object, frame: Frame) -> None:
        if frame.pts == 25 * 512:
            raise EncoderError("the encoder gave up")

    with monkeypatch.context() as patch:
        patch.setattr("diffir_video.media.segment.VideoEncoder._check", fail)
        with pytest.raises(EncoderError, match="gave up"):
            restore(tmp_path / "out.mp4", overwrite=True)
    assert (tmp_path / "out.mp4").read_text() == "precious"
    assert restore(tmp_path / "out.mp4", overwrite=True).resumed_segments == 2
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_overwriting_a_link_replaces_what_it_points_to(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    (tmp_path / "there" / "file").write_text("precious")
    link = tmp_path / "here" / "out.mp4"
    link.symlink_to("../there/file")
    with pytest.raises(OutputError, match="exists"):
        restore(link)
    with pytest.raises(KeyboardInterrupt):
        restore(link, Mortal(25 * 512), overwrite=True)
    assert (tmp_path / "there" / "file").read_text() == "precious"
    # Work lies where the file will be: the other end of a link may be another file system.
    assert sorted(os.listdir(tmp_path / "there")) == [".file.diffir-job", "file"]
    assert restore(link, overwrite=True).resumed_segments == 2
    assert os.listdir(tmp_path / "here") == ["out.mp4"]
    assert link.is_symlink()
    assert os.listdir(tmp_path / "there") == ["file"]
    assert video_pts(tmp_path / "there" / "file") == video_pts(sample("bframes.mp4"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    (small_disk / "out.mp4").write_text("precious")
    (small_disk / "ballast").write_bytes(bytes(100_000))
    with pytest.raises(OutputError, match="No space left"):
        restore(small_disk / "out.mp4", overwrite=True, encoder_options={"qp": "10"})
    assert (small_disk / "out.mp4").read_text() == "precious"
    (small_disk / "ballast").unlink()
    with pytest.raises(OutputError, match="No space left"):
        restore(small_disk / "out.mp4", overwrite=True, encoder_options={"qp": "10"})
    assert (small_disk / "out.mp4").read_text() == "precious"
    # All segments were finished; of the file that they didn't fit into a second time nothing stays.
    kept = {file.suffix for file in (small_disk / ".out.mp4.diffir-job").iterdir()}
    assert kept == {".segment", ".json", ".jsonl", ""}
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    report = restore(small_disk / "out.mp4", overwrite=True, encoder_options={"qp": "10"})
    assert report.resumed_segments > 0
    assert report.lost() == []
    assert os.listdir(small_disk) == ["out.mp4"]


def command(output: Path) -> list[str]:
    arguments = ["restore", str(sample("short.mp4")), str(output), "--model", "identity"]
    # Slow enough that ten kills don't see the end of twenty segments.
    options = ["--segment-frames", "10", "--encoder-option", "preset=placebo"]
    return [sys.executable, "-m", "diffir_video.cli", *arguments, *options]


def kill_at_random(output: Path, kills: int, rng: random.Random) -> list[int]:
    """Run the command again and again, each run killed after a while; segments done after each."""
    journal = output.with_name(f".{output.name}.diffir-job") / "journal.jsonl"
    done: list[int] = []
    for _ in range(kills):
        process = subprocess.Popen(command(output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_lines(journal, done[-1] if done else 0, process)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.wait()
        done.append(len(journal.read_bytes().splitlines()) if journal.exists() else 0)
    return done


def wait_for_lines(journal: Path, lines: int, process: subprocess.Popen) -> None:
    """Until the job has finished one more segment than `lines`, or has ended."""
    while process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > lines:
            return
        time.sleep(0.002)


def test_a_killed_process_loses_one_segment_at_most(tmp_path: Path) -> None:
    check_kills(tmp_path, 2)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_job_with_its_code_and_keeps_what_is_done(
    sent: signal.Signals, code: int, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    journal = output.with_name(f".{output.name}.diffir-job") / "journal.jsonl"
    # A shell's background jobs ignore SIGINT, and hand that on to their children.
    heeding = ["env", "--default-signal=INT", *command(output)]
    process = subprocess.Popen(heeding, stderr=subprocess.PIPE, text=True)
    wait_for_lines(journal, 3, process)
    process.send_signal(sent)
    _, message = process.communicate()
    assert process.returncode == code
    assert "the same command goes on" in message
    assert len(message.splitlines()) == 1
    assert journal.read_bytes().count(b"\n") >= 3


@pytest.mark.slow
def test_fifty_kills_lose_one_segment_each_at_most(tmp_path: Path) -> None:
    for round in range(5):
        (tmp_path / str(round)).mkdir()
        check_kills(tmp_path / str(round), 10)


def check_kills(folder: Path, kills: int) -> None:
    done = kill_at_random(folder / "out.mp4", kills, random.Random(7))
    assert done == sorted(done)
    assert not (folder / "out.mp4").exists()
    assert subprocess.run(command(folder / "out.mp4"), check=False, capture_output=True).returncode == 0
    subprocess.run(command(folder / "whole.mp4"), check=True, capture_output=True)
    assert decoded_bytes(folder / "out.mp4") == decoded_bytes(folder / "whole.mp4")
    assert sorted(os.listdir(folder)) == ["out.mp4", "whole.mp4"]
