"""What nobody wants of a file is read and not decoded, and nothing else is any different for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from diffir_video import VideoReader
from diffir_video.media.reader import VideoReader as Reader
from diffir_video.media.skipping import needed_packets
from tests.media_samples import sample

FILES = [
    *("open_gop.mkv", "open_gop_hevc.mkv", "interlaced_gops.ts", "vp9_gops.webm", "vfr_gops.mp4"),
    *("intra.mkv", "bframes.mp4"),
]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The packets that are decoded from now on."""
    packets: list[Any] = []
    decode = Reader._decode_packet

    def count(reader: Reader, packet: Any) -> Any:
        if packet is not None:
            packets.append(packet)
        return decode(reader, packet)

    monkeypatch.setattr(Reader, "_decode_packet", count)
    return packets


@pytest.mark.parametrize("deinterlace", ["off", "auto", "auto-fields"])
@pytest.mark.parametrize("name", FILES)
def test_a_part_holds_the_very_frames_of_the_whole(name: str, deinterlace: Any, decoded: list[Any]) -> None:
    with VideoReader(sample(name), deinterlace=deinterlace) as reader:
        whole, info = list(reader), reader.info
    everything = len(decoded)
    for share in (0.15, 0.5, 0.8):
        start = whole[int(share * len(whole))].pts_seconds - Fraction(1, 100)
        decoded.clear()
        with VideoReader(sample(name), deinterlace=deinterlace, start=start) as reader:
            part = list(reader)
            assert not reader.losses
        wanted = [frame for frame in whole if frame.pts_seconds >= start]
        assert [(f.pts, f.duration, f.is_keyframe) for f in part] == [
            (f.pts, f.duration, f.is_keyframe) for f in wanted
        ]
        assert all(torch.equal(a.data, b.data) for a, b in zip(part, wanted, strict=True))
        if share == 0.8 and name != "bframes.mp4":  # which has one keyframe
            assert len(decoded) < 0.85 * everything
    assert info.frame_count is None or info.frame_count == everything


@pytest.mark.parametrize("wanted", [1960, 1600], ids=["last", "keyframe"])
def test_a_frame_near_the_end_costs_no_more_than_two_groups(wanted: int, decoded: list[Any]) -> None:
    with VideoReader(sample("open_gop.mkv")) as reader:
        decoded.clear()
        reader.skip_before(wanted, decode=False)
        assert [frame.pts for frame in reader] == list(range(wanted, 2000, 40))
    assert len(decoded) <= 20


def video_packets(name: str) -> list[Any]:
    with av.open(str(sample(name))) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def needed(packets: Iterable[Any], wanted: int) -> Iterator[Any]:
    return needed_packets(packets, lambda: wanted, lambda: None)


def test_all_after_a_packet_without_a_time_is_needed() -> None:
    packets = video_packets("open_gop.mkv")
    packets[5].pts = None
    assert list(needed(packets, 1960)) == packets


def test_what_is_not_needed_is_not_held() -> None:
    packets = video_packets("open_gop.mkv")
    half = sum(packet.size for packet in packets) // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffir_video.media.skipping._MOST_BYTES", half)
        assert len(list(needed(packets, 1960))) <= 20


def test_no_more_is_held_than_memory_has_room_for() -> None:
    packets = video_packets("bframes.mp4")
    read = iter(packets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffir_video.media.skipping._MOST_BYTES", packets[0].size)
        assert next(needed(read, packets[-1].pts)) is packets[0]
    assert len(list(read)) > 40


def test_damage_before_the_part_is_counted_only_where_it_was_asked_for(tmp_path: Path) -> None:
    data = bytearray(sample("interlaced_gops.ts").read_bytes())
    for position in range(188 * 40, 188 * 80, 188):
        data[position + 60 : position + 180] = bytes(120)
    (tmp_path / "damaged.ts").write_bytes(data)
    for decode in (True, False):
        with VideoReader(tmp_path / "damaged.ts") as reader:
            reader.skip_before(int(2.5 * 90000), decode=decode)
            assert list(reader)
            assert bool(reader.losses.concealed_frames + reader.losses.undecodable_packets) == decode
