"""diffir-video: video restoration with DiffIR, whose diffused quantity is one compact vector, the prior."""

from diffir_video.checkpoint import load_checkpoint, save_checkpoint
from diffir_video.errors import (
    BackendError,
    CheckpointError,
    DiffirVideoError,
    EncoderError,
    InputError,
    LiveInputError,
    MediaInputError,
    OutputError,
    UnknownModelError,
    UsageError,
)
from diffir_video.frame import Clip, ColorTags, Frame, StreamInfo
from diffir_video.job import FilePlan, FileReport, JobOptions, plan_file, restore_file
from diffir_video.media import Crop, VideoReader, VideoWriter, open_video
from diffir_video.network import DiffIRS1, DiffIRS2, ModelConfig
from diffir_video.prior import ReusePolicy, ReuseReport
from diffir_video.restorer import Restorer, RestorerStream
from diffir_video.strength import Blended
from diffir_video.zoo import ModelCard, list_models

__all__ = [
    "BackendError",
    "Blended",
    "CheckpointError",
    "Clip",
    "ColorTags",
    "Crop",
    "DiffIRS1",
    "DiffIRS2",
    "DiffirVideoError",
    "EncoderError",
    "FilePlan",
    "FileReport",
    "Frame",
    "InputError",
    "JobOptions",
    "LiveInputError",
    "MediaInputError",
    "ModelCard",
    "ModelConfig",
    "OutputError",
    "Restorer",
    "RestorerStream",
    "ReusePolicy",
    "ReuseReport",
    "StreamInfo",
    "UnknownModelError",
    "UsageError",
    "VideoReader",
    "VideoWriter",
    "list_models",
    "load_checkpoint",
    "open_video",
    "plan_file",
    "restore_file",
    "save_checkpoint",
]
