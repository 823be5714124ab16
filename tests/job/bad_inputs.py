"""Bad inputs × what becomes of them, the table of docs/media.md: `python -m tests.job.bad_inputs`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from diffir_video.cli import main
from tests.media_samples import sample

HEADER = ["input", "exit code", "what is said", "what stays on the disk"]

Make = Callable[[Path], object]


@dataclass(frozen=True)
class BadInput:
    """How to make it under `file`; `code` and `said` are what is documented of restoring it."""

    what: str
    file: str
    make: Make
    code: int
    said: str
    options: tuple[str, ...] = ()

    def outcome(self, folder: Path) -> Outcome:
        """Restore it, in `folder` and from there."""
        self.make(folder / self.file)
        before = set(os.listdir(folder))
        output = "out.mkv"
        command = ["restore", "--model", "identity", *self.options, "--", self.file, output]
        errors = StringIO()
        with chdir(folder), redirect_stdout(StringIO()), redirect_stderr(errors):
            code = main(command)
        left = sorted(set(os.listdir(folder)) - before)
        assert before <= set(os.listdir(folder))
        return Outcome(code, errors.getvalue().strip().splitlines(), left)


@dataclass(frozen=True)
class Outcome:
    code: int
    lines: list[str]
    left: list[str]

    def says(self, what: str) -> bool:
        """Whether `what` is in the one line that was printed; "" is no line at all."""
        return len(self.lines) == bool(what) and what in "".join(self.lines)

    @property
    def on_disk(self) -> str:
        if not self.left:
            return "nothing"
        return "the restored file" if self.left == ["out.mkv"] else f"**{', '.join(self.left)}**"


def _text(content: str) -> Make:
    return lambda path: path.write_text(content)


def _bytes(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def _copy(name: str) -> Make:
    return lambda path: path.write_bytes(sample(name).read_bytes())


def _part(name: str, begin: float, end: float) -> Make:
    """From one share of a sample's bytes to another."""

    def make(path: Path) -> None:
        data = sample(name).read_bytes()
        path.write_bytes(data[int(len(data) * begin) : int(len(data) * end)])

    return make


def _zeroed(name: str, begin: float, end: float) -> Make:
    def make(path: Path) -> None:
        data = bytearray(sample(name).read_bytes())
        first, last = int(len(data) * begin), int(len(data) * end)
        data[first:last] = bytes(last - first)
        path.write_bytes(data)

    return make


def _with_codec(tag: bytes, put: bytes) -> Make:
    """An MP4 or Matroska whose codec is named `put`, as long as `tag`."""

    def make(path: Path) -> None:
        name = "silent.mp4" if path.suffix == ".mp4" else "h264.mkv"
        path.write_bytes(sample(name).read_bytes().replace(tag, put))

    return make


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere.mp4")


def _missing(_: Path) -> None:
    pass


def _playlist(of: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{of}\n#EXT-X-ENDLIST\n"


_DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    "<BaseURL>http://10.0.0.1/</BaseURL></Period></MPD>"
)
_SDP = "v=0\no=- 0 0 IN IP4 10.0.0.1\ns=x\nc=IN IP4 10.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"

BAD_INPUTS = [
    BadInput("no file of the name", "a.mp4", _missing, 3, "no such file"),
    BadInput("0 bytes", "a.mp4", _bytes(b""), 3, "is empty"),
    BadInput("one byte", "a.mp4", _bytes(b"\0"), 3, "no such format"),
    BadInput("64 kB of zeros", "a.mkv", _bytes(bytes(1 << 16)), 3, "no such format"),
    BadInput("text named as a video", "a.mp4", _text("not a video\n" * 50), 3, "no such format"),
    BadInput("a dangling link", "a.mp4", _dangling, 3, "no such file"),
    BadInput("a link to itself", "a.mp4", _loop, 3, "no such file"),
    BadInput("a named pipe", "a.mp4", _fifo, 3, "not a regular file"),
    BadInput("an MP4 without its index", "a.mp4", _part("index_at_end.mp4", 0, 0.6), 3, "moov"),
    BadInput("an MP4 cut in its index", "a.mp4", _part("index_at_end.mp4", 0, 0.995), 3, "moov"),
    BadInput("the first 100 bytes of an MP4", "a.mp4", _part("bframes.mp4", 0, 0.002), 3, "no video stream"),
    BadInput("an MP4 cut at 60 %", "a.mp4", _part("bframes.mp4", 0, 0.6), 5, "restored with losses"),
    BadInput("a fragmented MP4 cut", "a.mp4", _part("fragmented.mp4", 0, 0.6), 5, "restored with losses"),
    BadInput("a Matroska cut", "a.mkv", _part("h264.mkv", 0, 0.6), 5, "restored with losses"),
    BadInput("a WebM cut", "a.webm", _part("vp9_opus.webm", 0, 0.6), 5, "restored with losses"),
    BadInput("a transport stream cut", "a.ts", _copy("cut_mpeg2.ts"), 5, "restored with losses"),
    # Such a stream says nowhere how long it is.
    BadInput("one cut between two packets", "a.ts", _part("mpeg2.ts", 0, 0.6), 0, ""),
    BadInput("a Matroska's end alone", "a.mkv", _part("h264.mkv", 0.5, 1), 3, "no such format"),
    BadInput("an MP4 damaged inside", "a.mp4", _zeroed("bframes.mp4", 0.5, 0.6), 5, "restored with losses"),
    BadInput("a transport stream damaged", "a.ts", _zeroed("mpeg2.ts", 0.5, 0.6), 5, "restored with losses"),
    BadInput(
        "a WebM damaged inside", "a.webm", _zeroed("vp9_opus.webm", 0.5, 0.6), 5, "restored with losses"
    ),
    BadInput("time going back", "a.ts", _copy("repeated.ts"), 5, "out of order"),
    BadInput("a sound track of noise", "a.ts", _copy("noise_track.ts"), 5, "unreadable tracks"),
    BadInput("frames that change their size", "a.ts", _copy("resized.ts"), 3, "changes its frame size"),
    BadInput("30000x30000 declared", "a.mkv", _copy("huge.mkv"), 3, "memory can hold"),
    BadInput("sound without a video", "a.m4a", _copy("audio_only.m4a"), 3, "no video stream"),
    BadInput(
        "an unknown codec", "a.mkv", _with_codec(b"V_MPEG4/ISO/AVC", b"V_UNKNOWN/X/YZW"), 3, "no decoder"
    ),
    BadInput("an unknown codec", "a.mp4", _with_codec(b"avc1", b"zzzz"), 3, "no decoder"),
    BadInput("transparency", "a.mkv", _copy("alpha.mkv"), 2, "--alpha drop"),
    BadInput("transparency given up", "a.mkv", _copy("alpha.mkv"), 5, "alpha", ("--alpha", "drop")),
    BadInput("HLS pointing at a file", "a.m3u8", _text(_playlist("file:/etc/passwd")), 3, "a.m3u8"),
    BadInput("HLS of an inner host", "a.m3u8", _text(_playlist("http://10.0.0.1/a.ts")), 3, "a.m3u8"),
    BadInput("HLS named as a video", "a.mp4", _text(_playlist("file:/etc/passwd")), 3, "a.mp4"),
    BadInput("an FFmpeg concat list", "a.mkv", _text("ffconcat version 1.0\nfile /etc/passwd\n"), 3, "a.mkv"),
    BadInput("DASH of an inner host", "a.mpd", _text(_DASH), 3, "a.mpd"),
    BadInput("SDP of an inner host", "a.sdp", _text(_SDP), 3, "a.sdp"),
    BadInput("a range without frames", "a.mp4", _copy("bframes.mp4"), 2, "no frame", ("--start", "90")),
    BadInput(
        "a crop outside the picture",
        "a.mp4",
        _copy("bframes.mp4"),
        2,
        "doesn't lie in the pictures",
        ("--crop", "900x900"),
    ),
    BadInput("an address", "http:x.mp4", _missing, 3, "no such file"),
]


def outcome_of(bad: BadInput) -> Outcome:
    with TemporaryDirectory() as folder:
        return bad.outcome(Path(folder))


def table() -> str:
    rows = [f"| {' | '.join(HEADER)} |", "|" + " --- |" * len(HEADER)]
    for bad in BAD_INPUTS:
        outcome = outcome_of(bad)
        said = bad.said or "nothing"
        if not outcome.says(bad.said):
            said = f"**{' / '.join(outcome.lines)}**"
        code = f"{outcome.code}" if outcome.code == bad.code else f"**{outcome.code}, not {bad.code}**"
        rows.append(f"| {bad.what} (`{bad.file}`) | {code} | {said} | {outcome.on_disk} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
