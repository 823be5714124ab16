"""What a file said it held and reading could not give: counted while reading, told afterwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class ReadLosses:
    """What a file held, or said it held, and reading could not give. False when nothing was lost.

    missing_bytes: the container's own account of what was cut off its end. missing_frames: its frame
    count less the packets found. missing_seconds: its duration less the end of the last packet.
    truncated_packets: incomplete ones at the end, left out. corrupt_packets: damaged ones inside.
    undecodable_packets: the decoder refused them. concealed_frames: delivered, but patched up by the
    decoder. unordered_frames: left out, their pts did not increase. refused_packets: of the other tracks,
    left out by whoever copies those: out of order, without a timestamp or malformed. corrupt_copies: of the
    other tracks, damaged ones, copied or converted all the same. unreadable_tracks: other tracks left out as
    nothing in them tells their format. alpha: transparency was left out.
    crashed: the process that decoded ended before its time; what follows is missing.
    inferred_pts counts frames without a timestamp, to which one was given: no loss by itself.
    """

    missing_bytes: int = 0
    missing_frames: int = 0
    missing_seconds: float = 0.0
    truncated_packets: int = 0
    corrupt_packets: int = 0
    undecodable_packets: int = 0
    concealed_frames: int = 0
    unordered_frames: int = 0
    refused_packets: int = 0
    corrupt_copies: int = 0
    unreadable_tracks: int = 0
    alpha: bool = False
    crashed: bool = False
    inferred_pts: int = 0

    def __bool__(self) -> bool:
        return bool(self.describe())

    def describe(self) -> list[str]:
        """One phrase for each kind of loss."""
        counted = {
            "bytes missing at the end of the file": self.missing_bytes,
            "frames missing that the header counts": self.missing_frames,
            "incomplete packets at the end left out": self.truncated_packets,
            "damaged packets": self.corrupt_packets,
            "packets that could not be decoded": self.undecodable_packets,
            "frames repaired by the decoder": self.concealed_frames,
            "frames out of order left out": self.unordered_frames,
            "packets of other tracks out of order or malformed, left out": self.refused_packets,
            "damaged packets of other tracks, kept": self.corrupt_copies,
            "unreadable tracks left out": self.unreadable_tracks,
        }
        phrases = [f"{count} {what}" for what, count in counted.items() if count]
        if self.missing_seconds:
            phrases.append(f"{self.missing_seconds:.2f} s missing at the end")
        if self.alpha:
            phrases.append("the alpha channel was left out")
        if self.crashed:
            phrases.append("the decoder crashed, what follows is missing")
        return phrases

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
