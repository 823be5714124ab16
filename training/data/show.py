"""A contact sheet of samples as a run would see them."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from diffir_video.errors import OutputError
from training.config import TrainConfig
from training.data.loader import batches
from training.run_folder import sheet_of
from training.settings import require
from training.validation import at_output_size


def write_contact_sheet(config: TrainConfig, path: Path, samples: int) -> int:
    """LQ, at the output's size, and ground truth side by side, one sample a row; returns how many.

    Raises UsageError for less than one, OutputError if the picture can't be written.
    """
    require(samples >= 1, "samples", samples, "1 or more")
    rows: list[torch.Tensor] = []
    for lq, gt in batches(config, 0):
        pairs = torch.cat([at_output_size(lq, config.model), gt], dim=3)
        rows += list(pairs)[: samples - len(rows)]
        if len(rows) >= samples:
            break
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet_of(rows).permute(1, 2, 0).numpy()).save(path)
    except (OSError, ValueError) as exc:
        raise OutputError(f"can't write {path}: {exc}") from exc
    return len(rows)
