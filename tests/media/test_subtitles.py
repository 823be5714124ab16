"""Text subtitles stay text: in the codec that the output's container has, at their times."""

from __future__ import annotations

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
