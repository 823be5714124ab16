"""A clock that is reset in the middle of a file: everything after it is kept, sound and picture together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer
from av.packet import Packet

from diffir_video import JobOptions, Restorer
from diffir_video.cli import main
from diffir_video.job import FileReport, restore_file
from diffir_video.media import IsolatedReader, VideoReader
from diffir_video.media.resets import ContinuousClock
from diffir_video.run_report import Progress
from tests.media_samples import packets, sample, video_pts

JOINED = [("joined.vob", ".mkv"), ("joined.ts", ".mp4"), ("ahead.vob", ".ts"), ("ahead.ts", ".mkv")]
FRAME, SOUND = Fraction(1, 25), Fraction(1152, 48000)
TICK = Fraction(1, 90000)


def restore(name: str, output: Path, **options) -> FileReport:
    progress = options.pop("progress", None)
    settings = JobOptions(encoder_options={"preset": "ultrafast"}, segment_frames=10, **options)
    return restore_file(sample(name), output, restorer=Restorer(None), options=settings, progress=progress)


def times(path: Path, track: int) -> list[Fraction]:
    return sorted(packet.pts * packet.time_base for packet in packets(path)[track])


@pytest.mark.parametrize(("name", "suffix"), JOINED)
def test_all_frames_and_all_sound_go_on_after_a_reset(name: str, suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"out{suffix}"
    report = restore(name, output, verify=True)
    assert report.exit_code == 0
    assert report.verification.problems == ()
    parts = [packets(sample(f"{part}{Path(name).suffix}"))[1] for part in ("first", "second")]
    assert [bytes(p) for p in packets(output)[1]] == [bytes(p) for part in parts for p in part]
    pictures, sound = times(output, 0), times(output, 1)
    assert len(pictures) == 100
    rounding = Fraction(1, 1000)
    # The sound of the first part is longer than its pictures by less than a frame, and neither overlaps.
    for track, step, joint in ((pictures, FRAME, 50), (sound, SOUND, len(parts[0]))):
        steps = [after - before for before, after in pairwise(track)]
        assert all(abs(found - step) <= rounding for found in steps[: joint - 1] + steps[joint:])
        assert step - rounding <= steps[joint - 1] < step + FRAME
    apart = sound[0] - pictures[0]
    assert abs(sound[len(parts[0])] - pictures[50] - apart) <= 2 * rounding
    (note,) = (note for note in report.notes if "reset" in note)
    said = Fraction(note.removeprefix("the input's clock is reset at ").split(" s;")[0])
    assert abs(said - min(pictures[50], sound[len(parts[0])])) <= 2 * rounding


def test_a_part_after_the_reset_is_cut_on_the_clock_that_goes_on(tmp_path: Path) -> None:
    restore("joined.ts", tmp_path / "whole.ts")
    start, end = Fraction(4), Fraction(9, 2)
    report = restore("joined.ts", tmp_path / "part.mp4", start=start, end=end)
    inside = [pts for pts in video_pts(tmp_path / "whole.ts") if start <= pts < end]
    assert len(inside) > 10
    assert video_pts(tmp_path / "part.mp4") == [pts - inside[0] for pts in inside]
    sound = [at for at in times(tmp_path / "whole.ts", 1) if inside[0] <= at < end]
    assert len(packets(tmp_path / "part.mp4")[1]) == len(sound)
    assert report.exit_code == 0


def test_a_job_interrupted_after_the_reset_goes_on(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.frames_done >= 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore("joined.vob", tmp_path / "out.mp4", progress=stop)
    resumed = restore("joined.vob", tmp_path / "out.mp4")
    whole = restore("joined.vob", tmp_path / "whole.mp4")
    assert resumed.resumed_segments >= 6
    assert resumed.notes == whole.notes
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_folder_of_such_files_is_restored(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("joined.vob", "ahead.ts"):
        (tmp_path / "in" / name).symlink_to(sample(name))
    assert main(["restore", "--model", "identity", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert [len(video_pts(path)) for path in sorted((tmp_path / "out").iterdir())] == [100, 100]


def test_an_isolated_reader_says_the_same() -> None:
    with VideoReader(sample("ahead.ts")) as plain, IsolatedReader(sample("ahead.ts")) as isolated:
        assert [frame.pts for frame in isolated] == [frame.pts for frame in plain]
        assert isolated.notes == plain.notes
        assert "reset" in isolated.notes[0]


def test_a_clock_that_goes_round_is_not_reset() -> None:
    with VideoReader(sample("wrapped.ts")) as reader:
        pts = [frame.pts_seconds for frame in reader]
        assert reader.notes == ()
        assert not reader.losses
    assert {after - before for before, after in pairwise(pts)} == {FRAME}


def made(container: InputContainer, given: Iterable[tuple[int, float]]) -> Iterator[Packet[Any]]:
    """Packets of pictures (track 0) and sound (1), each 0.1 s long."""
    for track, seconds in given:
        packet = Packet(b"x")
        packet.stream, packet.time_base = container.streams[track], TICK
        packet.pts = packet.dts = round(Fraction(str(seconds)) / TICK)
        packet.duration = 9000
        yield packet


def continued(given: Iterable[tuple[int, float]]) -> tuple[list[float], tuple[str, ...]]:
    """The packets at the times the clock gives them."""
    with av.open(str(sample("first.ts"))) as container:
        clock = ContinuousClock(container)
        packets = clock.continued(list(made(container, given)))
        return [float(p.pts * TICK) for p in packets if p.pts is not None], clock.notes


def read_ahead(before: list[tuple[int, float]], after: list[tuple[int, float]]) -> int:
    """How many packets after a reset are read before the first of them is given."""
    with av.open(str(sample("first.ts"))) as container:
        packets = made(container, [*before, *after])
        given = ContinuousClock(container).continued(packets)
        for _ in range(len(before) + 1):
            next(given)
        return len(after) - len(list(packets))


def both(*seconds: float) -> list[tuple[int, float]]:
    return [(track, at) for at in seconds for track in (0, 1)]


def test_a_hole_in_one_track_is_no_reset() -> None:
    pictures = [(0, tenth / 10) for tenth in range(400)]
    given = [(1, 0.0), *pictures, *both(40.0, 40.1)]
    assert continued(given) == ([at for _, at in given], ())


def test_a_hole_in_all_tracks_of_less_than_ten_seconds_is_no_reset() -> None:
    given = both(0.0, 0.1, 9.9, 10.0)
    assert continued(given) == ([at for _, at in given], ())


def test_what_a_demuxer_gives_late_stays_before_the_reset() -> None:
    given = [*both(5.0, 5.1), (0, 5.2), (0, 1.0), (0, 1.1), (1, 5.2), *both(1.2, 1.3)[2:]]
    found, notes = continued([*given[:-2], (1, 1.0), (1, 1.1), *given[-2:]])
    assert found == [5.0, 5.0, 5.1, 5.1, 5.2, 5.3, 5.4, 5.2, 5.3, 5.4, 5.6, 5.6]
    assert "reset at 5.300 s" in notes[0]


def test_the_track_that_ends_last_decides() -> None:
    given = [*both(5.0, 5.1), (1, 5.2), (1, 5.3), *both(1.0, 1.1)]
    assert continued(given)[0] == [5.0, 5.0, 5.1, 5.1, 5.2, 5.3, 5.4, 5.4, 5.5, 5.5]


def test_a_track_that_was_not_there_before_goes_on_where_all_the_others_ended() -> None:
    assert continued([(0, 50.0), (0, 50.1), (1, 1.0), (1, 1.1)])[0] == [50.0, 50.1, 50.2, 50.3]


def test_what_is_held_back_after_a_reset_is_little_whatever_becomes_of_the_other_track() -> None:
    pictures = [(0, tenth / 10) for tenth in range(1000)]
    assert read_ahead(both(200.0, 200.1), both(0.0, *(at for _, at in pictures))) <= 20
    assert read_ahead(both(200.0, 200.1), pictures) <= 400
    assert read_ahead([(1, 200.0), *((0, 200 + at) for _, at in pictures[:200])], pictures) <= 10


def test_one_damaged_timestamp_leaves_the_others_where_they_were() -> None:
    given = both(*(tenth / 10 for tenth in range(50)))
    damaged = [*given[:40], (0, 5000.0), *given[41:]]
    assert continued(damaged)[0] == [at for _, at in given]


def test_many_resets_are_counted() -> None:
    found, notes = continued(both(0.0, 0.1, 0.2, 0.3) * 10)
    assert found == [at / 10 for at in range(40) for _ in (0, 1)]
    assert "2.400 s and 3 times more" in notes[0]


def test_only_containers_that_may_be_discontinuous_are_looked_at() -> None:
    with av.open(str(sample("first.ts"))) as container:
        clock = ContinuousClock(container)
        assert clock.may_be_reset
    with av.open(str(sample("everything.mkv"))) as container:
        assert not ContinuousClock(container).may_be_reset
