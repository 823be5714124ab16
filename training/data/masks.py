"""Random holes for inpainting: strokes as of a brush, thin, medium or thick, and blocks among the thick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


@dataclass(frozen=True, slots=True)
class Brush:
    """How holes of one kind are drawn; all lengths are shares of the picture's smaller side.

    strokes: how many. bends: corners of each. width, reach: of a stroke and of its segments. blocks: how many
    rectangles, of sides within `block`.
    """

    strokes: tuple[int, int]
    bends: tuple[int, int]
    width: tuple[float, float]
    reach: tuple[float, float]
    blocks: tuple[int, int] = (0, 0)
    block: tuple[float, float] = (0.0, 0.0)


# Widths are about those of LaMa's narrow, medium and wide masks (Suvorov et al. 2022) at 512 pixels.
BRUSHES = MappingProxyType(
    {
        "thin": Brush((4, 14), (2, 6), (0.008, 0.04), (0.05, 0.2)),
        "medium": Brush((3, 8), (2, 6), (0.04, 0.1), (0.08, 0.3), blocks=(0, 2), block=(0.06, 0.2)),
        "thick": Brush((1, 5), (2, 5), (0.1, 0.22), (0.1, 0.4), blocks=(0, 3), block=(0.1, 0.35)),
    }
)


def draw_mask(height: int, width: int, kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(height, width) uint8, 255 in a hole and 0 elsewhere; `kind` is one of `BRUSHES`."""
    brush = BRUSHES[kind]
    side = min(height, width)
    image = Image.new("L", (width, height), 0)
    canvas = ImageDraw.Draw(image)
    for _ in range(_integer(brush.strokes, rng)):
        _draw_stroke(canvas, (width, height), side, brush, rng)
    for _ in range(_integer(brush.blocks, rng)):
        block = rng.uniform(*brush.block, 2) * side
        corner = rng.uniform(0, 1, 2) * (np.array([width, height]) - block)
        canvas.rectangle((*corner, *(corner + block)), fill=255)
    return np.asarray(image)


def _draw_stroke(
    canvas: ImageDraw.ImageDraw, size: tuple[int, int], side: int, brush: Brush, rng: np.random.Generator
) -> None:
    thickness = max(1, round(rng.uniform(*brush.width) * side))
    x, y = rng.uniform(0, 1, 2) * size
    heading = rng.uniform(0, 2 * math.pi)
    points: list[tuple[float, float]] = [(float(x), float(y))]
    for _ in range(_integer(brush.bends, rng)):
        heading += rng.normal(0, 0.8)
        reach = rng.uniform(*brush.reach) * side
        x = float(np.clip(x + reach * math.cos(heading), 0, size[0]))
        y = float(np.clip(y + reach * math.sin(heading), 0, size[1]))
        points.append((x, y))
    canvas.line(points, fill=255, width=thickness, joint="curve")
    for x, y in (points[0], points[-1]):
        radius = thickness / 2
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _integer(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))
