"""diffir-video: video restoration with DiffIR, whose diffused quantity is one compact vector, the prior."""

from diffir_video.checkpoint import load_checkpoint, save_checkpoint
from diffir_video.errors import (
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
from diffir_video.job import FileReport, restore_file
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.network import DiffIRS1, DiffIRS2, ModelConfig
from diffir_video.restorer import Restorer, RestorerStream
from diffir_video.zoo import ModelCard, list_models

__all__ = [
    "CheckpointError",
    "Clip",
    "ColorTags",
    "DiffIRS1",
    "DiffIRS2",
    "DiffirVideoError",
    "EncoderError",
    "FileReport",
    "Frame",
    "InputError",
    "LiveInputError",
    "MediaInputError",
    "ModelCard",
    "ModelConfig",
    "OutputError",
    "Restorer",
    "RestorerStream",
    "StreamInfo",
    "UnknownModelError",
    "UsageError",
    "VideoReader",
    "VideoWriter",
    "list_models",
    "load_checkpoint",
    "restore_file",
    "save_checkpoint",
]
