"""Video files and live streams in and out. PyAV lives here and nowhere else."""

from diffir_video.media.color_words import color_words, hdr_words
from diffir_video.media.deinterlace import Deinterlace, FieldOrder, deinterlaced
from diffir_video.media.encoder import EncoderSettings
from diffir_video.media.encoders import DEFAULT_ENCODER_OPTIONS, PRESETS
from diffir_video.media.extent import video_extent
from diffir_video.media.geometry import Crop, fitted_to, limited_to, resized
from diffir_video.media.hardware import Hwaccel, hardware_of
from diffir_video.media.input_options import is_input_option, similar_input_option
from diffir_video.media.inputs import NetworkAddress, StandardInput
from diffir_video.media.isolated import IsolatedReader
from diffir_video.media.live_input import LiveInput, NoPicture, Readable
from diffir_video.media.live_output import LiveEncoder, MediaPacket, PacketMuxer, TrackFormat
from diffir_video.media.live_picture import LivePicture
from diffir_video.media.losses import ReadLosses
from diffir_video.media.muxer import Muxer
from diffir_video.media.opening import open_video
from diffir_video.media.picture_writer import WRITTEN_SUFFIXES, PictureWriter, names_pictures, picture_names
from diffir_video.media.pictures import PictureReader, find_pictures, is_pattern
from diffir_video.media.pixel_choice import PixelChoice, choose_pixel_format
from diffir_video.media.probe import MediaInfo, TrackInfo, probe_media
from diffir_video.media.publish import CONTAINERS, VIDEO_SUFFIXES, check_output, publish
from diffir_video.media.raw_muxer import RawMuxer
from diffir_video.media.reader import VideoReader
from diffir_video.media.segment import Segment, SegmentWriter, StoredPacket, join_segments
from diffir_video.media.time_range import TimeRange
from diffir_video.media.timeline import Timeline, TrackTimeline, read_timeline
from diffir_video.media.transcode import transcode
from diffir_video.media.writer import VideoWriter
from diffir_video.media.y4m import Y4mWriter

__all__ = [
    "CONTAINERS",
    "DEFAULT_ENCODER_OPTIONS",
    "PRESETS",
    "VIDEO_SUFFIXES",
    "WRITTEN_SUFFIXES",
    "Crop",
    "Deinterlace",
    "EncoderSettings",
    "FieldOrder",
    "Hwaccel",
    "IsolatedReader",
    "LiveEncoder",
    "LiveInput",
    "LivePicture",
    "MediaInfo",
    "MediaPacket",
    "Muxer",
    "NetworkAddress",
    "NoPicture",
    "PacketMuxer",
    "PictureReader",
    "PictureWriter",
    "PixelChoice",
    "RawMuxer",
    "ReadLosses",
    "Readable",
    "Segment",
    "SegmentWriter",
    "StandardInput",
    "StoredPacket",
    "TimeRange",
    "Timeline",
    "TrackFormat",
    "TrackInfo",
    "TrackTimeline",
    "VideoReader",
    "VideoWriter",
    "Y4mWriter",
    "check_output",
    "choose_pixel_format",
    "color_words",
    "deinterlaced",
    "find_pictures",
    "fitted_to",
    "hardware_of",
    "hdr_words",
    "is_input_option",
    "is_pattern",
    "join_segments",
    "limited_to",
    "names_pictures",
    "open_video",
    "picture_names",
    "probe_media",
    "publish",
    "read_timeline",
    "resized",
    "similar_input_option",
    "transcode",
    "video_extent",
]
