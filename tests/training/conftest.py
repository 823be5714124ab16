from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from training.config import TrainConfig
from training.recipe import load_config


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth waves of random direction with a few hard edges: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((a * y + b * x) / 9) for a, b in rng.normal(0, 1, (3, 2))]
    edges = (y // 16 + x // 16) % 2
    return np.stack([120 + 70 * w + 40 * edges for w in waves], axis=-1).clip(0, 255).astype(np.uint8)


class Recipe:
    """A recipe small enough to train in seconds, on pictures made here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        photos = folder / "photos"
        photos.mkdir()
        for seed in range(3):
            Image.fromarray(picture(72, 88, seed)).save(photos / f"{seed}.png")
        self.values: dict[str, object] = {
            "output": str(folder / "run"),
            "model": {
                "dim": 8, "blocks": [1, 1], "heads": [1, 2], "refinement_blocks": 0, "past": 1, "future": 1,
                "cpen_blocks": 1, "cpen_width": 8, "prior_width": 16,
            },
            "seed": 3, "batch_size": 4, "patch_size": 32, "max_steps": 4, "learning_rate": 2e-3, "threads": 1,
            "log_every": 1, "validate_every": 100, "checkpoint_every": 2,
            "data": {
                "cache": str(folder / "cache"), "sequence_frames": 4, "workers": 0, "codec": {"x265": 0.0},
                "train": [{"root": str(photos), "kind": "photos", "shrink": 1}],
            },
        }  # fmt: skip

    def config(self, *overrides: str) -> TrainConfig:
        file = self.folder / "recipe.yaml"
        file.write_text(yaml.safe_dump(self.values))
        return load_config(file, overrides)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(tmp_path)
