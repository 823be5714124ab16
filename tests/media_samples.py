"""Awkward clips, made with FFmpeg when a test first asks for one, gone when the tests end.

`sample("vfr.mp4")` is the path of a small real file; the recipes below say what is awkward about it.
"""

from __future__ import annotations

import subprocess
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import imageio_ffmpeg
from av.packet import Packet

_FOLDER = TemporaryDirectory(prefix="diffir-samples-")

_VIDEO = "-f lavfi -i testsrc2=s=160x96:r=25:d=2"
_AUDIO = "-f lavfi -i sine=f=440:r=44100:d=2"
_H264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p"
_DVD = "-c:v mpeg2video -q:v 3 -bf 2 -c:a mp2 -ar 48000"

_CALM = "format=yuv420p,lutyuv=y=val/2+64:u=(val-128)/4+128:v=(val-128)/4+128"
_BT601 = "setparams=color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m:range=tv"
_FULL_BT709 = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=pc"

# name: arguments before the output's name. {folder} is where the other files of the recipe are.
_RECIPES = {
    "bframes.mp4": f"{_VIDEO} {_AUDIO} {_H264} -bf 3 -c:a aac -movflags +faststart",
    "index_at_end.mp4": f"{_VIDEO} {_AUDIO} {_H264} -c:a aac",
    "fragmented.mp4": f"{_VIDEO} {_AUDIO} {_H264} -g 10 -c:a aac -movflags +frag_keyframe+empty_moov",
    "h264.mkv": f"{_VIDEO} {_AUDIO} {_H264} -bf 2 -c:a aac",
    "vp9_opus.webm": (
        "-f lavfi -i testsrc2=s=160x96:r=30000/1001:d=1.5 -f lavfi -i sine=f=440:r=48000:d=1.5 "
        "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -c:a libopus"
    ),
    "mpeg2.ts": f"{_VIDEO} {_AUDIO} -c:v mpeg2video -q:v 3 -bf 2 -c:a mp2",
    "odd.mkv": (
        "-f lavfi -i testsrc=s=161x97:r=24:d=1 -f lavfi -i sine=f=440:d=1 "
        "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -pix_fmt yuv420p -c:a libopus -ar 48000"
    ),
    "silent.mp4": f"{_VIDEO} {_H264}",
    "vfr.mp4": (
        f"{_VIDEO} {_AUDIO} -vf select='not(mod(n,3))+not(mod(n,7))' -fps_mode passthrough {_H264} -c:a aac"
    ),
    "ten_bit.mp4": (
        f"{_VIDEO} -vf format=yuv420p10le,"
        "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv "
        "-c:v libx265 -preset ultrafast -x265-params log-level=error"
    ),
    "hdr10.mp4": (
        f"{_VIDEO} -vf format=yuv420p10le,"
        "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv "
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
        "max-cll=1000,400"
    ),
    "hdr10_topleft.mp4": (
        f"{_VIDEO} -vf format=yuv420p10le,"
        "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv "
        "-c:v libx265 -preset ultrafast -chroma_sample_location topleft -x265-params log-level=error:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
        "max-cll=1000,400"
    ),
    "topleft.mp4": f"{_VIDEO} -frames:v 5 {_H264} -chroma_sample_location topleft",
    "topleft_av1.mp4": (
        f"{_VIDEO} -frames:v 5 -pix_fmt yuv420p -c:v libsvtav1 -preset 12 -chroma_sample_location topleft"
    ),
    "centre_vp9.mkv": (
        f"{_VIDEO} -frames:v 5 -pix_fmt yuv420p -c:v libvpx-vp9 -deadline realtime "
        "-chroma_sample_location center"
    ),
    "centre_calm.mkv": f"{_VIDEO} -frames:v 5 -vf {_CALM} -c:v ffv1 -chroma_sample_location center",
    "motion_jpeg.avi": f"{_VIDEO} -frames:v 5 -pix_fmt yuvj420p -c:v mjpeg -q:v 3",
    "motion_jpeg422.avi": f"{_VIDEO} -frames:v 5 -pix_fmt yuvj422p -c:v mjpeg -q:v 3",
    "first.vob": f"{_VIDEO} {_AUDIO} {_DVD}",
    "first.ts": f"{_VIDEO} {_AUDIO} {_DVD}",
    "second.vob": f"{_VIDEO} {_AUDIO} -vf hue=h=90 -af volume=0.5 {_DVD}",
    "second.ts": f"{_VIDEO} {_AUDIO} -vf hue=h=90 -af volume=0.5 {_DVD}",
    # MPEG-TS counts to 2**33/90000 = 95443.7 s.
    "wrapped.ts": f"{_VIDEO} {_AUDIO} {_DVD} -output_ts_offset 95442",
    "mpeg1.mpg": f"{_VIDEO} -frames:v 5 -c:v mpeg1video -q:v 3",
    "mpeg2_422.ts": f"{_VIDEO} -frames:v 5 -pix_fmt yuv422p -c:v mpeg2video -q:v 3",
    "hlg.mp4": (
        f"{_VIDEO} -vf format=yuv420p10le,"
        "setparams=color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc:range=tv "
        "-c:v libx265 -preset ultrafast -x265-params log-level=error"
    ),
    "timecode.dv": "-f lavfi -i testsrc2=s=720x480:r=30000/1001:d=0.2 -pix_fmt yuv411p -c:v dvvideo",
    "timecode.mov": f"{_VIDEO} {_AUDIO} {_H264} -c:a aac -timecode 01:00:00:00",
    "flac.mkv": f"{_VIDEO} {_AUDIO} {_H264} -c:a flac",
    "wma.wmv": f"{_VIDEO} {_AUDIO} -c:v wmv2 -c:a wmav2",
    "upright.mp4": f"{_VIDEO} -frames:v 5 {_H264} -qp 0",
    "start_offset.mkv": f"{_VIDEO} {_AUDIO} {_H264} -c:a aac -output_ts_offset 5.24",
    "start_offset.mp4": f"{_VIDEO} {_H264} -bf 3 -output_ts_offset 1.48",
    # Matroska counts its blocks' times from their cluster's, also backwards.
    "before_zero.mkv": (
        f"{_VIDEO} {_AUDIO} {_H264} -bf 2 -c:a flac -avoid_negative_ts disabled -output_ts_offset -0.2"
    ),
    "full_range_bt709.mp4": (
        f"{_VIDEO} -vf scale=out_color_matrix=bt709:out_range=full,{_FULL_BT709} {_H264}"
    ),
    "bt601.mp4": (f"{_VIDEO} -vf scale=out_color_matrix=bt601:out_range=limited,{_BT601} {_H264}"),
    # Colours that lie in the RGB cube even where chroma is interpolated, as a camera's nearly always do.
    "calm_bt601.mkv": f"{_VIDEO} -frames:v 10 -vf {_CALM},{_BT601} -c:v ffv1",
    "calm_full_range_bt709.mkv": f"{_VIDEO} -frames:v 10 -vf {_CALM},{_FULL_BT709} -c:v ffv1",
    "calm_ten_bit.mkv": (
        f"{_VIDEO} -frames:v 10 -vf format=yuv420p10le,"
        "lutyuv=y=val/2+256:u=(val-512)/4+512:v=(val-512)/4+512 -c:v ffv1"
    ),
    "calm_odd.mkv": f"-f lavfi -i testsrc=s=161x97:d=1 -frames:v 10 -vf {_CALM} -c:v ffv1",
    "interlaced.mp4": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=2 -vf tinterlace=interleave_top,setfield=tff "
        f"{_H264} -flags +ilme+ildct -x264opts tff=1"
    ),
    "interlaced_sound.mp4": (
        f"-f lavfi -i testsrc2=s=160x96:r=50:d=2 {_AUDIO} -vf tinterlace=interleave_top,setfield=tff "
        f"{_H264} -flags +ilme+ildct -x264opts tff=1 -c:a aac"
    ),
    "bottom_first.mp4": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=2 -vf tinterlace=interleave_bottom,setfield=bff "
        f"{_H264} -flags +ilme+ildct -x264opts bff=1"
    ),
    # A capture that doesn't say that it is interlaced.
    "bottom_first_untold.mkv": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=2 -vf tinterlace=interleave_bottom,setfield=prog "
        "-pix_fmt yuv420p -c:v ffv1"
    ),
    "interlaced_huffyuv.mov": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=2 -vf tinterlace=interleave_bottom,setfield=bff "
        "-pix_fmt yuv422p -c:v huffyuv -field_order bb"
    ),
    "interlaced_timecode.mov": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=1 -vf tinterlace=interleave_top,setfield=tff "
        f"{_H264} -flags +ilme+ildct -x264opts tff=1 -timecode 01:00:00:20"
    ),
    # What interlaced.mp4 has its fields of.
    "fifty.mkv": "-f lavfi -i testsrc2=s=160x96:r=50:d=2 -pix_fmt yuv420p -c:v ffv1",
    "untimed_interlaced.h264": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=1 -vf tinterlace=interleave_top,setfield=tff "
        f"{_H264} -bf 0 -flags +ilme+ildct -x264opts tff=1"
    ),
    "begins_progressive.ts": f"-f lavfi -i testsrc2=s=160x96:r=25:d=1 {_H264} -bf 0",
    "goes_on_interlaced.ts": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=2 -vf tinterlace=interleave_top,setfield=tff "
        f"{_H264} -bf 0 -flags +ilme+ildct -x264opts tff=1 -output_ts_offset 1"
    ),
    "interlaced.ts": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=1 -vf tinterlace=interleave_top,setfield=tff "
        "-c:v mpeg2video -q:v 3 -flags +ilme+ildct"
    ),
    "anamorphic.mp4": f"{_VIDEO} -frames:v 5 -vf setsar=4/3 {_H264}",
    "lossless444_bt709.mkv": (
        f"{_VIDEO} -frames:v 5 -vf scale=out_color_matrix=bt709:out_range=limited,format=yuv444p -c:v ffv1 "
        "-colorspace bt709 -color_range tv"
    ),
    "gray.mkv": f"{_VIDEO} -frames:v 5 -pix_fmt gray -c:v ffv1",
    "alpha.mkv": f"{_VIDEO} -frames:v 5 -vf format=yuva420p,lutyuv=a=128 -c:v ffv1",
    # With an alpha channel through which nothing shows, and from the fourth of five frames on something does.
    "opaque.mkv": f"{_VIDEO} -frames:v 5 -pix_fmt yuva420p -c:v ffv1",
    "opaque_at_first.mkv": (
        f"{_VIDEO} -frames:v 5 -vf format=yuva420p,"
        "geq=lum=lum(X\\,Y):cb=cb(X\\,Y):cr=cr(X\\,Y):a=255-gt(N\\,2) -c:v ffv1"
    ),
    "opaque.gif": f"{_VIDEO} -frames:v 5",
    "alpha.webm": f"{_VIDEO} -frames:v 5 -pix_fmt yuva420p -c:v libvpx-vp9 -cpu-used 8 -deadline realtime",
    "packed_rgb.mkv": f"{_VIDEO} -frames:v 5 -pix_fmt bgr0 -c:v ffv1",
    "nv12.mkv": f"{_VIDEO} -frames:v 5 -pix_fmt nv12 -c:v rawvideo",
    "audio_only.m4a": f"{_AUDIO} -c:a aac",
    "long.mp4": f"-f lavfi -i testsrc2=s=64x48:r=25:d=80 -f lavfi -i sine=f=440:d=80 {_H264} -c:a aac",
    "short.mp4": f"-f lavfi -i testsrc2=s=64x48:r=25:d=8 -f lavfi -i sine=f=440:d=8 {_H264} -c:a aac",
    # A keyframe every ten frames; the pictures shown just before one may refer to those on both sides of it.
    "open_gop.mkv": f"{_VIDEO} {_H264} -g 10 -bf 3 -x264-params open-gop=1:scenecut=0",
    "open_gop_hevc.mkv": (
        f"{_VIDEO} -c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=1:keyint=10:bframes=3"
    ),
    "interlaced_gops.ts": (
        "-f lavfi -i testsrc2=s=160x96:r=50:d=2 -vf tinterlace=interleave_top,setfield=tff "
        "-c:v mpeg2video -q:v 3 -g 10 -bf 2 -flags +ilme+ildct"
    ),
    "vp9_gops.webm": f"{_VIDEO} -c:v libvpx-vp9 -cpu-used 8 -deadline realtime -g 10",
    "vfr_gops.mp4": (
        f"{_VIDEO} -vf select='not(mod(n,3))+not(mod(n,7))' -fps_mode passthrough {_H264} -g 5 -bf 2"
    ),
    "intra.mkv": f"{_VIDEO} -c:v ffv1 -g 1",
    "larger.ts": "-f lavfi -i testsrc2=s=96x64:r=25:d=1 -c:v mpeg2video -q:v 3 -output_ts_offset 1",
    "small.ts": "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -c:v mpeg2video -q:v 3",
}

_SUBTITLES = """1
00:00:00,200 --> 00:00:00,900
first

2
00:00:01,100 --> 00:00:01,800
second
"""

_CHAPTERS = """;FFMETADATA1
title=Awkward clip
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=One
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=2000
title=Two
"""

# Chapters without length mark moments: an advertisement's, a goal's.
_MARKS = """;FFMETADATA1
[CHAPTER]
TIMEBASE=1/1000
START=0
END=0
title=Begin
[CHAPTER]
TIMEBASE=1/1000
START=0
END=2000
title=All
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=1000
title=Goal
"""


@cache
def sample(name: str) -> Path:
    """The path of a sample; made on first use."""
    path = Path(_FOLDER.name) / name
    special = {
        "everything.mkv": _make_everything,
        "marks.mkv": _make_marks,
        "rotated.mp4": _make_rotated,
        "cover.mp4": _make_cover_in_mp4,
        "cover.mkv": _make_cover_in_matroska,
        "resized.ts": _make_resized,
        "huge.mkv": _make_huge,
        "interlaced_later.ts": _make_interlaced_later,
        "repeated.ts": _make_repeated,
        **dict.fromkeys(("joined.vob", "joined.ts"), _make_joined),
        **dict.fromkeys(("ahead.vob", "ahead.ts"), _make_ahead),
        "noise_track.ts": _make_noise_track,
        "damaged.ts": _make_damaged,
    }
    if name in special:
        special[name](path)
    elif name.startswith("cut_"):
        whole = sample(name.removeprefix("cut_")).read_bytes()
        path.write_bytes(whole[: len(whole) * 6 // 10 | 1])
    else:
        ffmpeg(*_RECIPES[name].split(), str(path))
    return path


def packets(path: Path) -> dict[int, list[Any]]:
    """The packets of each track, in the order of the file."""
    tracks: dict[int, list[Any]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size or packet.pts is not None:
                tracks.setdefault(packet.stream.index, []).append(packet)
    return tracks


def video_pts(path: Path) -> list[Fraction]:
    """When each video packet is shown, in seconds (exact fractions), in order."""
    return sorted(packet.pts * packet.time_base for packet in packets(path)[0])


def decoded_bytes(path: Path, pixel_format: str = "yuv444p16le") -> bytes:
    """Every decoded picture of a file, as an independent FFmpeg sees it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pixel_format, "-"]
    return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout


def ffmpeg(*arguments: str) -> None:
    """FFmpeg's program with these arguments, quiet and in one thread."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-threads", "1", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _make_everything(path: Path) -> None:
    """Two audio tracks, two subtitle tracks, chapters, an attachment, metadata."""
    folder = path.parent
    (folder / "subtitles.srt").write_text(_SUBTITLES)
    (folder / "chapters.txt").write_text(_CHAPTERS)
    (folder / "font.ttf").write_bytes(bytes(range(256)) * 20)
    texts = f"-i {folder}/subtitles.srt -i {folder}/chapters.txt"
    inputs = f"{_VIDEO} {_AUDIO} -f lavfi -i sine=f=880:d=2 {texts}"
    maps = "-map 0:v -map 1:a -map 2:a -map 3:s -map 3:s -map_metadata 4 -map_chapters 4"
    tags = (
        "-metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -metadata:s:s:0 language=fra "
        "-metadata:s:a:1 title=Kommentar -disposition:a:1 comment -disposition:s:1 forced "
        f"-attach {folder}/font.ttf -metadata:s:t mimetype=font/ttf"
    )
    codecs = f"{_H264} -c:a:0 aac -c:a:1 ac3 -c:s:0 srt -c:s:1 ass"
    ffmpeg(*f"{inputs} {maps} {codecs} {tags}".split(), str(path))


def _make_marks(path: Path) -> None:
    """`h264.mkv` with a chapter, and two that mark a moment."""
    marks = path.with_name("marks.txt")
    marks.write_text(_MARKS)
    maps = "-map 0 -map_metadata 1 -map_chapters 1 -c copy"
    ffmpeg("-i", str(sample("h264.mkv")), "-i", str(marks), *maps.split(), str(path))


def _make_rotated(path: Path) -> None:
    """`upright.mp4` with a display matrix that turns it by 90 degrees, as phones write it."""
    ffmpeg("-display_rotation", "90", "-i", str(sample("upright.mp4")), "-c", "copy", str(path))


def _make_cover_in_mp4(path: Path) -> None:
    """`bframes.mp4` with a cover picture, as music shops and phones write it."""
    cover = _make_cover(path)
    inputs = ["-i", str(sample("bframes.mp4")), "-i", str(cover), "-map", "0", "-map", "1"]
    ffmpeg(*inputs, *["-c", "copy", "-disposition:v:1", "attached_pic"], str(path))


def _make_cover_in_matroska(path: Path) -> None:
    """`h264.mkv` with a cover picture among its attachments."""
    attach = ["-attach", str(_make_cover(path)), "-metadata:s:t", "mimetype=image/png"]
    ffmpeg("-i", str(sample("h264.mkv")), "-c", "copy", *attach, str(path))


def _make_cover(path: Path) -> Path:
    cover = path.with_name(f"{path.name}.png")
    ffmpeg(*["-f", "lavfi", "-i", "testsrc2=s=32x32", "-frames:v", "1", "-update", "1"], str(cover))
    return cover


def _make_resized(path: Path) -> None:
    """Two MPEG-2 programmes of different size, one after the other in one stream."""
    path.write_bytes(sample("small.ts").read_bytes() + sample("larger.ts").read_bytes())


def _make_interlaced_later(path: Path) -> None:
    """A second of film, one of television: one stream, interlaced from its 25th picture on."""
    film, television = sample("begins_progressive.ts"), sample("goes_on_interlaced.ts")
    path.write_bytes(film.read_bytes() + television.read_bytes())


def _make_repeated(path: Path) -> None:
    """`mpeg2.ts` with a stretch in it twice: picture and sound go back in time, too little for a reset."""
    whole = sample("mpeg2.ts").read_bytes()
    begin, end = (188 * (len(whole) * part // 1000 // 188) for part in (400, 450))
    path.write_bytes(whole[:end] + whole[begin:])


def _make_joined(path: Path) -> None:
    """Two recordings as `cat` joins them: the second one's clock begins anew."""
    first, second = (sample(f"{part}{path.suffix}").read_bytes() for part in ("first", "second"))
    path.write_bytes(first + second)


def _make_ahead(path: Path) -> None:
    """Two recordings joined, the second one's clock an hour ahead."""
    later = path.with_name(f"later{path.suffix}")
    second = str(sample(f"second{path.suffix}"))
    ffmpeg("-i", second, "-c", "copy", "-output_ts_offset", "3600", str(later))
    path.write_bytes(sample(f"first{path.suffix}").read_bytes() + later.read_bytes())


def _make_noise_track(path: Path) -> None:
    """`mpeg2.ts` with nothing but zeros in the packets of its sound, behind their headers."""
    data = bytearray(sample("mpeg2.ts").read_bytes())
    for begin in range(0, len(data), 188):
        if int.from_bytes(data[begin + 1 : begin + 3], "big") & 0x1FFF == 0x101:
            data[begin + 20 : begin + 188] = bytes(168)
    path.write_bytes(data)


def _make_damaged(path: Path) -> None:
    """8 s of MPEG-TS with noise in two places, near the beginning and in the middle."""
    ffmpeg(*f"-f lavfi -i testsrc2=s=160x96:r=25:d=8 {_H264} -g 25".split(), str(path))
    data = bytearray(path.read_bytes())
    for begin in (len(data) // 10, len(data) // 2):
        data[begin : begin + 60] = bytes(37 * n % 256 for n in range(60))
    path.write_bytes(data)


def _make_huge(path: Path) -> None:
    """A header that declares 30000 × 30000 pixels, and next to nothing behind it."""
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream("mpeg4", rate=25, width=30000, height=30000)
        packet = Packet(bytes(1000))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 25)
        container.mux(packet)
