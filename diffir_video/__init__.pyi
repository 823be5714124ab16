from .chain import Chain, ChainStream
from .checkpoint import load_checkpoint, save_checkpoint
from .errors import (
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
from .frame import Clip, ColorTags, Frame, StreamInfo
from .job import FilePlan, FileReport, JobOptions, plan_file, restore_file
from .media import Crop, VideoReader, VideoWriter, open_video
from .network import DiffIRS1, DiffIRS2, ModelConfig
from .prior import ReusePolicy, ReuseReport
from .restorer import Restorer, RestorerStream
from .strength import Blended
from .zoo import ModelCard, list_models

__all__ = [
    "BackendError",
    "Blended",
    "Chain",
    "ChainStream",
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
