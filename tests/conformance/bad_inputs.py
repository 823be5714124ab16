"""Inputs as people meet them in the wild, and how each ends: `python -m tests.conformance.bad_inputs`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from diffir_video.cli import main
from diffir_video.media import VideoReader
from tests.media_samples import sample

HEADER = ["input", "code", "what is said", "frames written"]
_PROGRAM = "diffir-video: "


@dataclass(frozen=True)
class Case:
    """`lay_out` puts `name` into a folder, and what else it takes; `says` is part of the one line on stderr.

    arguments: of `restore`, instead of NAME out.mp4. frames: of the output; None where none may be left.
    """

    what: str
    name: str
    lay_out: Callable[[Path], object]
    code: int
    says: str = ""
    frames: int | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    code: int
    lines: list[str]
    new_files: list[str]
    frames: int | None
    changed: list[str]


def run(case: Case, folder: Path) -> Outcome:
    """Restore the case with the identity, in `folder`, where it is laid out first."""
    case.lay_out(folder / case.name)
    before = _contents(folder)
    arguments = case.arguments or ("--", case.name, "out.mp4")
    said = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        options = [] if "--model" in arguments else ["--model", "identity"]
        code = main(["restore", *options, *arguments])
    after = _contents(folder)
    changed = [name for name, content in before.items() if after.get(name) != content]
    new_files = sorted(after.keys() - before.keys())
    frames = _frames(folder / new_files[0]) if new_files else None
    return Outcome(code, said.getvalue().splitlines(), new_files, frames, changed)


def table() -> str:
    rows = [f"| {' | '.join(HEADER)} |", "| --- | ---: | --- | ---: |"]
    for case in CASES:
        with TemporaryDirectory() as folder:
            outcome = run(case, Path(folder))
        said = re.sub(r"\d+ megapixels", "N megapixels", " ".join(outcome.lines))
        cells = (
            case.what,
            outcome.code,
            said.removeprefix(_PROGRAM),
            outcome.frames or "none",
        )
        rows.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
    return "\n".join(rows)


def _escaped(cell: object) -> str:
    return str(cell).replace("|", "\\|")


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def _frames(path: Path) -> int:
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


# ---- what they are made of ----


def _copy(of: str, part: float = 1.0) -> Callable[[Path], object]:
    def lay_out(path: Path) -> None:
        whole = sample(of).read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])

    return lay_out


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _overwritten(of: str, begin: float, end: float) -> Callable[[Path], object]:
    """A stretch of the file is noise."""

    def lay_out(path: Path) -> None:
        data = bytearray(sample(of).read_bytes())
        first, last = int(len(data) * begin), int(len(data) * end)
        data[first:last] = random.Random(0).randbytes(last - first)
        path.write_bytes(data)

    return lay_out


def _unknown_codec(path: Path) -> None:
    path.write_bytes(sample("h264.mkv").read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))


def _beside_good(then: Callable[[Path], object]) -> Callable[[Path], object]:
    def lay_out(path: Path) -> None:
        (path.parent / "good.mp4").write_bytes(sample("upright.mp4").read_bytes())
        then(path)

    return lay_out


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip.mp4", b"not here")


def _huge_png(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + bytes(400))


class _Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("pwned",)


def _pickle(path: Path) -> None:
    torch.save({"params": _Payload()}, path, pickle_module=pickle)


def _safetensors(header: bytes, length: int | None = None) -> Callable[[Path], object]:
    return _bytes(struct.pack("<Q", len(header) if length is None else length) + header)


_OUT_OF_BOUNDS = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()


def _with_weights(what: str, name: str, lay_out: Callable[[Path], object], says: str) -> Case:
    arguments = ("good.mp4", "out.mp4", "--model", name)
    return Case(what, name, _beside_good(lay_out), 3, says, arguments=arguments)


CASES = [
    Case("an empty file", "empty.mp4", _bytes(b""), 3, "empty"),
    Case("a text file named .mp4", "text.mp4", _text("not a video\n" * 50), 3, "no such format"),
    Case("noise named .mkv", "noise.mkv", _bytes(random.Random(1).randbytes(20_000)), 3, "noise.mkv"),
    Case("a ZIP archive named .mkv", "archive.mkv", _zip, 3, "archive.mkv"),
    Case(
        "a program named .mp4", "program.mp4", _bytes(b"\x7fELF\x02\x01\x01" + bytes(5000)), 3, "program.mp4"
    ),
    Case("a missing file", "missing.mp4", lambda path: None, 3, "no such file"),
    Case("MP4 cut before its index", "no-index.mp4", _copy("index_at_end.mp4", 0.6), 3, "moov"),
    Case("MP4 cut after its index", "cut.mp4", _copy("bframes.mp4", 0.6), 5, frames=28),
    Case("Matroska cut in a packet", "cut.mkv", _copy("h264.mkv", 0.6), 5, frames=29),
    Case("MPEG-TS cut in a packet", "cut.ts", _copy("mpeg2.ts", 0.611), 5, frames=32),
    Case("WebM cut to its first kilobyte", "cut.webm", _copy("vp9_opus.webm", 0.02), 3, "cut.webm"),
    Case("noise in the middle of MPEG-TS", "hole.ts", _overwritten("mpeg2.ts", 0.4, 0.5), 5, frames=45),
    Case("noise in the middle of MP4", "hole.mp4", _overwritten("index_at_end.mp4", 0.4, 0.45), 5, frames=47),
    Case("a stretch of MPEG-TS twice: time goes back", "twice.ts", _copy("repeated.ts"), 5, frames=48),
    Case("sound that is no sound", "sound.ts", _copy("noise_track.ts"), 5, frames=50),
    Case("another size half way", "sizes.ts", _copy("resized.ts"), 3, "sizes.ts"),
    Case("a codec nobody knows", "codec.mkv", _unknown_codec, 3, "no decoder"),
    Case("a header of 30000 x 30000 pixels", "huge.mkv", _copy("huge.mkv"), 3, "huge.mkv"),
    Case("a picture of 200000 x 200000 pixels", "huge.png", _huge_png, 3, "huge.png"),
    Case("sound alone", "sound.m4a", _copy("audio_only.m4a"), 3, "no video stream"),
    Case(
        "subtitles alone", "titles.srt", _text("1\n00:00:00,000 --> 00:00:01,000\nhello\n"), 3, "titles.srt"
    ),
    Case(
        "an HLS playlist of local files",
        "local.m3u8",
        _text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
        3,
        "local.m3u8",
    ),
    Case(
        "an HLS playlist of an inner host",
        "inner.m3u8",
        _text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
        3,
        "inner.m3u8",
    ),
    Case(
        "an ffconcat script",
        "list.ffconcat",
        _text("ffconcat version 1.0\nfile other.mp4\n"),
        3,
        "list.ffconcat",
    ),
    Case("SDP of a stream", "stream.sdp", _text("v=0\nm=video 5004 RTP/AVP 96\n"), 3, "stream.sdp"),
    Case(
        "a network address",
        "none",
        lambda path: None,
        3,
        "http",
        arguments=("http://127.0.0.1:9/a.mp4", "out.mp4"),
    ),
    Case(
        "a folder without videos",
        "folder",
        lambda path: path.mkdir(),
        3,
        "folder",
        arguments=("folder", "outs"),
    ),
    Case("the name -y.mp4", "-y.mp4", _copy("upright.mp4"), 0, frames=5),
    Case("the name ;touch pwned.mp4", ";touch pwned.mp4", _copy("upright.mp4"), 0, frames=5),
    Case("the name concat:a.mp4", "concat:a.mp4", _copy("upright.mp4"), 0, frames=5),
    Case("the name %d|x.mp4", "%d|x.mp4", _copy("upright.mp4"), 0, frames=5),
    Case(
        "the output is the input",
        "good.mp4",
        _copy("upright.mp4"),
        4,
        "is the input",
        arguments=("good.mp4", "good.mp4", "--overwrite"),
    ),
    Case(
        "the output is a hard link to the input",
        "link.mp4",
        _beside_good(lambda path: os.link(path.parent / "good.mp4", path)),
        4,
        "is the input",
        arguments=("good.mp4", "link.mp4", "--overwrite"),
    ),
    Case(
        "the output is a symbolic link to the input",
        "link.mp4",
        _beside_good(lambda path: path.symlink_to("good.mp4")),
        4,
        "is the input",
        arguments=("good.mp4", "link.mp4", "--overwrite"),
    ),
    Case(
        "transparency into a codec without",
        "alpha.mkv",
        _copy("alpha.mkv"),
        2,
        "alpha",
    ),
    _with_weights("a checkpoint that runs code", "evil.pth", _pickle, "evil.pth"),
    _with_weights("a checkpoint of noise", "noise.pth", _bytes(random.Random(2).randbytes(999)), "noise.pth"),
    _with_weights(
        "safetensors that end early", "cut.safetensors", _safetensors(_OUT_OF_BOUNDS), "cut.safetensors"
    ),
    _with_weights(
        "safetensors with a header of 2^62 bytes",
        "big.safetensors",
        _safetensors(b"{}", 2**62),
        "big.safetensors",
    ),
    _with_weights("safetensors of no network", "none.safetensors", _safetensors(b"{}"), "none.safetensors"),
]


if __name__ == "__main__":
    print(table())
