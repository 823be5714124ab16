"""The paper, and motion compensation: CPEN, DIRformer, the prior diffusion, stages 1 and 2."""

from diffir_video.network.config import ModelConfig
from diffir_video.network.cpen import CPEN
from diffir_video.network.diffir import DiffIR, DiffIRS1, DiffIRS2, Stage
from diffir_video.network.diffusion import Denoiser, PriorDiffusion
from diffir_video.network.dirformer import DIRformer, middle_frame

__all__ = [
    "CPEN",
    "DIRformer",
    "Denoiser",
    "DiffIR",
    "DiffIRS1",
    "DiffIRS2",
    "ModelConfig",
    "PriorDiffusion",
    "Stage",
    "middle_frame",
]
