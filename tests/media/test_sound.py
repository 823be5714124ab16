"""Sound stays, and where it was: in a codec of the container's own if it can't hold the source's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from diffir_video import FileReport, JobOptions, OutputError, Restorer, restore_file
from tests.media_samples import ffmpeg, sample

# Seconds between a click of the source and of what became of it: less than a millisecond.
_SAME = 0.001


@pytest.mark.parametrize(
    ("codec", "ending", "suffix", "becomes"),
    [
        ("adpcm_ima_wav", ".avi", ".mkv", "flac"),
        ("adpcm_ima_wav", ".avi", ".mp4", "aac"),
        ("wmav2", ".wmv", ".mkv", "flac"),
        ("wmav2", ".wmv", ".mp4", "aac"),
        ("pcm_s16le", ".avi", ".webm", "opus"),
        ("pcm_s16le", ".avi", ".ts", "aac"),
        ("flac", ".mkv", ".mov", "alac"),
        ("ac3", ".mkv", ".webm", "opus"),
    ],
)
def test_sound_the_container_can_not_hold_is_converted_and_stays_in_its_place(
    codec: str, ending: str, suffix: str, becomes: str, tmp_path: Path
) -> None:
    source = _clicks(tmp_path / f"source{ending}", codec)
    report = _restored(source, tmp_path / f"out{suffix}")
    assert report.exit_code == 0
    assert report.notes == (f"audio track 1 ({codec}) becomes {becomes}",)
    with av.open(str(report.output)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == becomes
    before, after = _clicks_of(source), _clicks_of(Path(report.output))
    assert len(before) == 3
    assert after == pytest.approx(before, abs=_SAME)


@pytest.mark.parametrize("sample_format", ["s16", "s32"])
def test_lossless_sound_stays_lossless_in_mov(sample_format: str, tmp_path: Path) -> None:
    """Of 16 bits, and of 24, which FFmpeg keeps in 32."""
    source = _clicks(tmp_path / "source.mkv", "flac", "-sample_fmt", sample_format)
    report = _restored(source, tmp_path / "out.mov")
    before, after = _sound(source), _sound(Path(report.output))
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)


def test_a_hole_in_the_sound_becomes_silence(tmp_path: Path) -> None:
    source = tmp_path / "hole.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=3", "-f", "lavfi", "-i", "sine=1000:d=3:r=48000"),
        *("-af", "aselect=not(between(t\\,1\\,2))", "-c:v", "mpeg4", "-c:a", "ac3", str(source)),
    )
    report = _restored(source, tmp_path / "out.webm")
    assert report.exit_code == 0
    sound = np.abs(_sound(Path(report.output))[0])
    loud, silent, again = (sound[int(a * 48000) : int(b * 48000)].mean() for a, b in _THIRDS)
    assert silent < loud / 100
    assert again > loud / 2


_THIRDS = ((0.2, 0.8), (1.2, 1.8), (2.2, 2.8))


@pytest.mark.parametrize(("channels", "rate"), [(1, 22050), (2, 44100), (6, 48000), (2, 192000)])
def test_channels_are_kept_and_rates_where_the_codec_has_them(
    channels: int, rate: int, tmp_path: Path
) -> None:
    source = _clicks(tmp_path / "source.avi", "pcm_s16le", "-ac", str(channels), "-ar", str(rate))
    for suffix, expected in ((".webm", 24000 if rate == 22050 else 48000), (".ts", min(rate, 96000))):
        report = _restored(source, tmp_path / f"out{suffix}")
        with av.open(str(report.output)) as container:
            track = container.streams.audio[0].codec_context
            assert track.layout.nb_channels == channels
            # Opus is always decoded at 48 kHz.
            assert track.sample_rate == (48000 if suffix == ".webm" else expected)


@pytest.mark.parametrize("codec", ["adpcm_ima_wav", "libmp3lame"])
def test_a_part_of_a_file_has_its_part_of_the_sound(codec: str, tmp_path: Path) -> None:
    """Converted and copied; AVI counts both in blocks of a fiftieth of a second."""
    source = _clicks(tmp_path / "source.avi", codec)
    options = JobOptions(start=Fraction(1), end=Fraction(2))
    report = restore_file(source, tmp_path / "out.mkv", restorer=Restorer(None), options=options)
    (click,) = _clicks_of(Path(report.output))
    assert click == pytest.approx(_clicks_of(source)[1] - 1, abs=_SAME)


def test_what_the_container_holds_is_copied_as_it_is(tmp_path: Path) -> None:
    source = _clicks(tmp_path / "source.avi", "pcm_s16le")
    report = _restored(source, tmp_path / "out.mkv")
    assert report.notes == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(("channels", "samples"), [(1, 1024), (2, 1024), (2, 1920)])
def test_pcm_of_an_old_container_is_copied_sample_by_sample(
    suffix: str, channels: int, samples: int, tmp_path: Path
) -> None:
    """AVI doesn't name its channels, and DV's packets hold a frame's time; MP4 and MOV cut it otherwise."""
    packets = ("-af", f"asetnsamples={samples}", "-ac", str(channels))
    source = _clicks(tmp_path / "source.avi", "pcm_s16le", *packets)
    report = _restored(source, tmp_path / f"out{suffix}")
    assert report.lost() == []
    assert report.notes == ()
    np.testing.assert_array_equal(_sound(Path(report.output)), _sound(source))


def test_channels_without_a_name_are_refused_by_mp4_before_any_work(tmp_path: Path) -> None:
    source = _clicks(tmp_path / "source.avi", "pcm_s16le", "-ac", "3")
    data = bytearray(source.read_bytes())
    # The channel mask of WAVEFORMATEXTENSIBLE: 22 bytes of extension, 16 bits used, the mask.
    at = data.index(bytes.fromhex("1600 1000")) + 4
    data[at : at + 4] = bytes(4)
    source.write_bytes(data)
    with pytest.raises(OutputError, match="mp4 can't hold audio track 1"):
        _restored(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["source.avi"]


def test_sound_that_nobody_can_decode_is_refused_before_any_work(tmp_path: Path) -> None:
    """No container takes what it doesn't know, and there is nothing to make of it."""
    source = sample("wma.wmv")
    unknown = bytearray(source.read_bytes())
    # WMA 2's number, in front of its two channels or one.
    at = next(n for n in range(len(unknown)) if unknown[n : n + 2] == b"\x61\x01" and unknown[n + 3] == 0)
    unknown[at : at + 2] = b"\xfe\x7e"
    odd = tmp_path / "odd.wmv"
    odd.write_bytes(unknown)
    with pytest.raises(Exception, match="can't hold audio track 1 \\(unknown codec\\)"):
        restore_file(odd, tmp_path / "out.mp4", restorer=Restorer(None))
    assert [path.name for path in tmp_path.iterdir()] == ["odd.wmv"]


def _clicks(path: Path, codec: str, *options: str) -> Path:
    """Three seconds with a short loud tone at 0.5, 1.5 and 2.5 s."""
    tone = "aevalsrc=0.8*sin(2*PI*1000*t)*between(mod(t\\,1)\\,0.5\\,0.52):d=3:s=44100"
    picture = "wmv2" if path.suffix == ".wmv" else "mpeg4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=3", "-f", "lavfi", "-i", tone),
        *("-c:v", picture, "-c:a", codec, *options, str(path)),
    )
    return path


def _restored(source: Path, out: Path) -> FileReport:
    options = JobOptions(encoder="libvpx" if out.suffix == ".webm" else "libx264")
    return restore_file(source, out, restorer=Restorer(None), options=options)


def _sound(path: Path) -> NDArray[np.float64]:
    """(channels, samples), from time 0 on, holes as zeros; integers scaled to at most 1."""
    resampler = av.AudioResampler("dblp")
    parts: list[NDArray[np.float64]] = []
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        for frame in container.decode(track):
            assert isinstance(frame, AudioFrame)
            assert frame.time_base is not None
            start = round((frame.pts or 0) * frame.time_base * frame.sample_rate)
            made = sum(part.shape[1] for part in parts)
            data = np.concatenate([f.to_ndarray() for f in resampler.resample(frame)], axis=1)
            # Within the sound containers round times to their ticks.
            if start - made > (frame.sample_rate // 20 if parts else 0):
                parts.append(np.zeros((data.shape[0], start - made)))
            parts.append(data.astype(np.float64))
    return np.concatenate(parts, axis=1)


def _clicks_of(path: Path) -> list[float]:
    """When each tone begins, in seconds."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].codec_context.sample_rate
    loud = np.flatnonzero(np.abs(_sound(path)[0]) > 0.2)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > rate // 10)]
    return [float(start) / rate for start in starts]
