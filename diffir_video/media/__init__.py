"""Video files and live streams in and out. PyAV lives here and nowhere else."""

from diffir_video.media.encoders import DEFAULT_ENCODER_OPTIONS
from diffir_video.media.live_input import LiveInput, LivePicture, Readable
from diffir_video.media.live_output import LiveEncoder, MediaPacket, PacketMuxer, TrackFormat
from diffir_video.media.probe import MediaInfo, TrackInfo, probe_media
from diffir_video.media.reader import ReadLosses, VideoReader
from diffir_video.media.timeline import Timeline, TrackTimeline, read_timeline
from diffir_video.media.transcode import transcode
from diffir_video.media.writer import CONTAINERS, VideoWriter, check_output

__all__ = [
    "CONTAINERS",
    "DEFAULT_ENCODER_OPTIONS",
    "LiveEncoder",
    "LiveInput",
    "LivePicture",
    "MediaInfo",
    "MediaPacket",
    "PacketMuxer",
    "ReadLosses",
    "Readable",
    "Timeline",
    "TrackFormat",
    "TrackInfo",
    "TrackTimeline",
    "VideoReader",
    "VideoWriter",
    "check_output",
    "probe_media",
    "read_timeline",
    "transcode",
]
