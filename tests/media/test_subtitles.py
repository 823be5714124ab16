"""Text subtitles stay text: in the codec that the output's container has, at their times."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.subtitles.subtitle import AssSubtitle

from diffir_video import JobOptions, Restorer, restore_file
from tests.media_samples import ffmpeg

_TITLES = "1\n00:00:00,200 --> 00:00:00,800\nBonjour,\nle monde\n\n2\n00:00:01,000 --> 00:00:01,500\nété\n\n"


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes"),
    [
        ("subrip", ".mp4", "mov_text"),
        ("subrip", ".mov", "mov_text"),
        ("ass", ".mp4", "mov_text"),
        ("mov_text", ".mkv", "subrip"),
        ("mov_text", ".webm", "webvtt"),
        ("webvtt", ".mp4", "mov_text"),
    ],
)
def test_text_the_container_can_not_hold_becomes_the_text_it_has(
    codec: str, suffix: str, becomes: str, tmp_path: Path
) -> None:
    source = _subtitled(tmp_path, codec)
    options = JobOptions(encoder="libvpx" if suffix == ".webm" else "libx264")
    report = restore_file(
        source,
        tmp_path / f"out{suffix}",
        restorer=Restorer(None),
        options=options,
    )
    assert report.notes == (f"subtitle track 1 ({codec}, fra) becomes {becomes}",)
    assert report.exit_code == 0
    with av.open(str(report.output)) as container:
        track = container.streams.subtitles[0]
        assert track.codec_context.codec.canonical_name == becomes
        assert track.metadata["language"] == "fra"
    assert (
        _shown(Path(report.output))
        == _shown(source)
        == [
            (Fraction(1, 5), Fraction(3, 5), "Bonjour,\\Nle monde"),
            (Fraction(1), Fraction(1, 2), "été"),
        ]
    )


def test_emphasis_survives_where_both_codecs_have_it(tmp_path: Path) -> None:
    source = _subtitled(tmp_path, "subrip", "1\n00:00:00,200 --> 00:00:00,800\n<i>so</i> long\n\n")
    report = restore_file(source, tmp_path / "out.mp4", restorer=Restorer(None))
    (shown,) = _shown(Path(report.output))
    # A reset ends what MP4 styles.
    assert shown[2] == r"{\i1}so{\r} long"


def test_cues_that_overlap_are_all_seen_in_mp4(tmp_path: Path) -> None:
    overlapping = (
        "1\n00:00:00,200 --> 00:00:01,000\nA\n\n2\n00:00:00,400 --> 00:00:00,600\nB\n\n"
        "3\n00:00:01,200 --> 00:00:01,400\nC\n\n4\n00:00:01,200 --> 00:00:01,400\nD\n\n"
    )
    source = _subtitled(tmp_path, "subrip", overlapping)
    report = restore_file(source, tmp_path / "out.mp4", restorer=Restorer(None))
    assert report.exit_code == 0
    fifth = Fraction(1, 5)
    assert [(begin, lasts, _plain(text)) for begin, lasts, text in _shown(Path(report.output))] == [
        (fifth, fifth, "A"),
        (2 * fifth, fifth, "A B"),
        (3 * fifth, 2 * fifth, "A"),
        (6 * fifth, fifth, "C D"),
    ]


@pytest.mark.parametrize(("suffix", "encoder"), [(".mp4", "libx264"), (".webm", "libvpx")])
def test_drawings_and_what_shows_nothing_become_no_text(suffix: str, encoder: str, tmp_path: Path) -> None:
    dialogues = (r"{\p1}m 0 0 l 9 0 9 9{\p0}", r"{\an8}", r"{\pos(1,2)\p2}m 0 0{\p0}sign", "seen")
    (tmp_path / "titles.ass").write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
        "Style: Default,Arial,16\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        + "".join(
            f"Dialogue: 0,0:00:0{index}.00,0:00:0{index}.50,Default,,0,0,0,,{text}\n"
            for index, text in enumerate(dialogues)
        )
    )
    source = tmp_path / "titled.mkv"
    codecs = "-c:v libx264 -pix_fmt yuv420p -c:s ass"
    video = f"-f lavfi -i testsrc=size=64x48:rate=25:duration=1 -i {tmp_path}/titles.ass"
    ffmpeg(*f"{video} {codecs}".split(), str(source))
    report = restore_file(
        source, tmp_path / f"out{suffix}", restorer=Restorer(None), options=JobOptions(encoder=encoder)
    )
    assert report.exit_code == 0
    assert [_plain(text) for _, _, text in _shown(Path(report.output))] == ["sign", "seen"]


def test_a_cue_longer_than_the_codec_holds_is_a_loss_and_no_failure(tmp_path: Path) -> None:
    titles = (
        f"1\n00:00:00,200 --> 00:00:00,400\n{'x' * 70_000}\n\n2\n00:00:01,000 --> 00:00:01,200\nshort\n\n"
    )
    report = restore_file(
        _subtitled(tmp_path, "subrip", titles), tmp_path / "out.mp4", restorer=Restorer(None)
    )
    assert report.losses.refused_packets == 1
    assert report.exit_code == 5
    assert [text for _, _, text in _shown(Path(report.output))] == ["short"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_range_without_a_cue_has_lost_nothing(suffix: str, tmp_path: Path) -> None:
    options = JobOptions(start=Fraction(8, 5))
    source, output = _subtitled(tmp_path, "mov_text"), tmp_path / f"out{suffix}"
    report = restore_file(source, output, restorer=Restorer(None), options=options)
    assert report.exit_code == 0
    assert _shown(output) == []


def test_a_subtitle_ends_where_a_range_does(tmp_path: Path) -> None:
    options = JobOptions(end=Fraction(6, 5))
    output = tmp_path / "out.mkv"
    restore_file(_subtitled(tmp_path, "subrip"), output, restorer=Restorer(None), options=options)
    assert _shown(output)[-1][:2] == (Fraction(1), Fraction(1, 5))


def test_the_title_of_a_track_of_mp4_is_one_in_matroska(tmp_path: Path) -> None:
    source, output = tmp_path / "named.mp4", tmp_path / "out.mkv"
    tags = ["-map", "0", "-c", "copy", "-metadata:s:s:0", "title=Deutsch"]
    ffmpeg("-i", str(_subtitled(tmp_path, "mov_text")), *tags, str(source))
    restore_file(source, output, restorer=Restorer(None))
    with av.open(str(output)) as container:
        assert container.streams.subtitles[0].metadata["title"] == "Deutsch"


@pytest.mark.parametrize(("codec", "suffix"), [("subrip", ".mkv"), ("mov_text", ".mp4"), ("subrip", ".mp4")])
def test_a_subtitle_on_screen_where_a_range_starts_begins_there(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    report = restore_file(
        _subtitled(tmp_path, codec),
        tmp_path / f"out{suffix}",
        restorer=Restorer(None),
        options=JobOptions(start=Fraction(2, 5)),
    )
    assert report.exit_code == 0
    assert [(start, lasts) for start, lasts, _ in _shown(Path(report.output))] == [
        (Fraction(0), Fraction(2, 5)),
        (Fraction(3, 5), Fraction(1, 2)),
    ]


def _subtitled(folder: Path, codec: str, titles: str = _TITLES) -> Path:
    """Two seconds of video with two subtitles, the second not in ASCII."""
    (folder / "titles.srt").write_text(titles)
    path = folder / ("titled.mp4" if codec == "mov_text" else "titled.mkv")
    video = "-f lavfi -i testsrc=size=64x48:rate=25:duration=2"
    codecs = f"-c:v libx264 -pix_fmt yuv420p -c:s {codec} -metadata:s:s:0 language=fra"
    ffmpeg(*f"{video} -i {folder}/titles.srt {codecs}".split(), str(path))
    return path


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\{[^}]*\}", "", text).split(r"\N"))


def _shown(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    """When each subtitle begins, how long it lasts, in seconds, and its text as ASS has it."""
    found: list[tuple[Fraction, Fraction, str]] = []
    with av.open(str(path)) as container:
        track = container.streams.subtitles[0]
        for packet in container.demux(track):
            if not packet.size or packet.pts is None or packet.duration is None:
                continue
            begins, lasts = packet.pts * packet.time_base, packet.duration * packet.time_base
            for rect in track.codec_context.decode2(packet) or ():
                assert isinstance(rect, AssSubtitle)
                found.append((begins, lasts, rect.ass.decode().split(",", 8)[-1]))
    return found
