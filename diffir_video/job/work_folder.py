"""`WorkFolder`: what a job has finished, safe on the disk beside the output until the output is whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast

from diffir_video.errors import OutputError
from diffir_video.media import Segment, StoredPacket
from diffir_video.media.publish import place_of

_SETTINGS = "settings.json"
_JOURNAL = "journal.jsonl"
_FINISHED = "finished.json"
_LOCK = "lock"

# Bytes, of nearly all file systems.
_LONGEST_NAME = 255


class WorkFolder:
    """The folder `.NAME.diffir-job` beside an output: finished segments and the journal that lists them.

    A NAME too long for that is its digest.

    `with WorkFolder.open(...)` holds it alone: a second job on the same output is refused. It stays when
    the block ends while it holds finished segments, unless `remove` was called.
    """

    def __init__(self, path: Path, lock: int, settings: dict[str, str]) -> None:
        self.path = path
        self._lock, self._settings = lock, settings
        self.segments: list[Segment] = []

    @classmethod
    @contextmanager
    def open(cls, output: Path, settings: Mapping[str, str], *, restart: bool = False) -> Generator[Self]:
        """Create the folder, or find that of an unfinished job with the same `settings`.

        restart: throw away what an unfinished job left. Raises OutputError when another job holds the
        folder, when it was begun with other settings (naming them), and when it can't be written.
        """
        path = _folder_of(output)
        try:
            lock = _locked(path, output)
        except OSError as exc:
            raise OutputError(f"can't write in {str(output.parent)!r}: {exc.strerror}") from exc
        folder = cls(path, lock, dict(settings))
        try:
            if restart:
                folder._empty()
            folder._begin(output)
            try:
                yield folder
            finally:
                folder._remove_unnoted(output)
        finally:
            if not (path / _JOURNAL).exists():
                folder.remove()
            os.close(lock)

    def segment_path(self, number: int) -> Path:
        """Where the segment after `number` others is written."""
        return self.path / f"{number:06d}.segment"

    @property
    def last_pts(self) -> int | None:
        """The pts of the last finished frame."""
        return self.segments[-1].pts[-1] if self.segments else None

    @property
    def frames(self) -> int:
        return sum(len(segment.packets) for segment in self.segments)

    @property
    def source_intact(self) -> bool:
        """Whether nothing was amiss with the input as far as it was restored."""
        return bool(self.segments) and self.segments[-1].source_intact

    def pts_before_end(self, count: int) -> int:
        """The pts `count` frames before the end of what is finished; the first if there are fewer."""
        tail = [pts for segment in self.segments[-max(count, 1) :] for pts in segment.pts]
        return tail[-max(count, 1) :][0]

    def add(self, segment: Segment) -> None:
        """Note a segment as finished; from now on it is never redone."""
        line = json.dumps({**asdict(segment), "packets": [_packed(p) for p in segment.packets]})
        try:
            with (self.path / _JOURNAL).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(self.path)
        except OSError as exc:
            raise OutputError(f"can't write {str(self.path / _JOURNAL)!r}: {exc.strerror}") from exc
        self.segments.append(segment)

    def finish(self, report: Mapping[str, Any], part: Path) -> None:
        """Note that `part` is the whole output, which is about to get its name, and what to say of it."""
        record = {"inode": part.stat().st_ino, "settings": self._settings, "report": report}
        _write_synced(self.path / _FINISHED, json.dumps(record))

    @staticmethod
    def awaits_cleaning(output: Path) -> bool:
        """Whether a job was killed after `output` got its name and before its folder was gone."""
        return _record_of(output) is not None

    @staticmethod
    def finished(output: Path, settings: Mapping[str, str]) -> dict[str, Any] | None:
        """The report of the very same job if it was killed after `output` got its name; then cleans up."""
        record = _record_of(output)
        if record is None or record["settings"] != settings:
            return None
        with suppress(OutputError), WorkFolder.open(output, settings, restart=True):
            pass
        return record["report"]

    def remove(self) -> None:
        """Leave nothing behind; the lock goes last, so that no other job begins in between."""
        self.segments = []
        if not _is_same(self.path / _LOCK, self._lock):
            return
        with suppress(OSError, OutputError):
            self._empty()
            (self.path / _LOCK).unlink()
            self.path.rmdir()

    def _remove_unnoted(self, output: Path) -> None:
        """What will be made again takes no space, where there may be none left."""
        if self.awaits_cleaning(output) or not _is_same(self.path / _LOCK, self._lock):
            return
        kept = {_LOCK, _SETTINGS, _JOURNAL, *(segment.file for segment in self.segments)}
        # A record of a file that is gone might be taken for that of another.
        for path in sorted(self.path.glob("*"), key=lambda path: path.name != _FINISHED):
            if path.name not in kept:
                with suppress(OSError):
                    path.unlink()

    def _begin(self, output: Path) -> None:
        found = _read_object(self.path / _SETTINGS)
        if found is None or not (self.path / _JOURNAL).exists():
            self._empty()
            _write_synced(self.path / _SETTINGS, json.dumps(self._settings, indent=2))
            return
        if changes := _changes(found, self._settings):
            raise OutputError(
                f"an unfinished job for {str(output)!r} was begun differently ({'; '.join(changes)}); "
                "run it as it was begun, or use --restart to throw its work away"
            )
        self.segments = list(self._read_journal())
        # Of a file that never got its name: it will be made again.
        (self.path / _FINISHED).unlink(missing_ok=True)

    def _read_journal(self) -> Iterator[Segment]:
        """The finished segments; a line cut off by a crash, and what follows it, is dropped."""
        journal = self.path / _JOURNAL
        valid = 0
        with journal.open("rb+") as file:
            for line in file:
                segment = _segment_of(line)
                if segment is None or not _is_there(self.path / segment.file, segment.size):
                    break
                valid += len(line)
                yield segment
            file.truncate(valid)

    def _empty(self) -> None:
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name == _FINISHED):
            if entry.name == _LOCK:
                continue
            try:
                entry.unlink()
            except OSError as exc:
                raise OutputError(f"can't remove {str(entry)!r}: {exc.strerror}; move it elsewhere") from exc


def _folder_of(output: Path) -> Path:
    # Beside what a link points to: the file is given its name in one step, within one file system.
    output = place_of(output)
    name = f".{output.name}.diffir-job"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        digest = hashlib.blake2b(os.fsencode(output.name), digest_size=16).hexdigest()
        name = f".{digest}.diffir-job"
    return output.with_name(name)


def _write_synced(path: Path, text: str) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise OutputError(f"can't write {str(path)!r}: {exc.strerror}") from exc


def _locked(path: Path, output: Path) -> int:
    """A descriptor that holds the folder until it is closed, or its process ends in whatever way."""
    while True:
        path.mkdir(exist_ok=True)
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(lock)
            raise OutputError(f"another job is writing {str(output)!r}; wait for it or stop it") from exc
        # The job that held it may have finished, and removed the folder, in between.
        if _is_same(path / _LOCK, lock):
            return lock
        os.close(lock)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _record_of(output: Path) -> dict[str, Any] | None:
    """What was noted of the job whose result `output` is; None for any other file, or no record of it."""
    record = _read_object(_folder_of(output) / _FINISHED) if output.name else None
    if record is None or not {"inode", "settings", "report"} <= record.keys():
        return None
    try:
        return record if record["inode"] == output.stat().st_ino else None
    except OSError:
        return None


def _read_object(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", content) if isinstance(content, dict) else None


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    keys = sorted({*before, *now})
    return [
        f"{key}: {before.get(key, 'nothing')} then, {now.get(key, 'nothing')} now"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def _packed(packet: StoredPacket) -> list[int | None]:
    return [packet.size, packet.pts, packet.duration, int(packet.is_keyframe)]


def _segment_of(line: bytes) -> Segment | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        packets = [
            StoredPacket(size, pts, duration, bool(key)) for size, pts, duration, key in fields["packets"]
        ]
        return Segment(
            fields["file"],
            fields["digest"],
            fields["headers"],
            tuple(packets),
            source_intact=fields["source_intact"],
        )
    except (ValueError, TypeError, KeyError):
        return None


def _is_there(file: Path, size: int) -> bool:
    try:
        return file.stat().st_size == size
    except OSError:
        return False


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
