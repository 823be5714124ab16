"""Neighbouring frames moved to where the middle frame of a window has their content (motion compensation).

A vector for each block of 8x8 pixels, by the least sum of absolute differences of luma over 16x16: a full
search in a small picture of a pyramid, made finer from level to level, and in halves of a pixel at last.
Between vectors that are as good it is noise that decides. So pictures are smoothed first, those between
pixels by as much as those on them, and to move, or to move otherwise than the coarser level found, has its
price. To move costs most on the level before the finest: averaged over four pixels, what moves stands out
from noise more, and the coarser levels only propose. All of it is whole numbers: the same vectors on every
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.network.config import ModelConfig
from diffir_video.network.operators import operator

BLOCK = 8

# Pixels of a frame above which there is one level more, as what moves moves further.
_LARGE = 1 << 20
_MARGINS = {3: 40, 4: 80}

# A full search's reach, in pixels of the coarsest level.
SEARCHED = 7

# What a vector costs beside its differences, in 1024ths of them; to move, on each level, finest first.
_STILLNESS = (128, 256, 128, 128)
SMOOTHNESS, INTERPOLATED = 32, 64

# Of 64: smoothing on a pixel, and between two, which leave as much of noise.
_ON_PIXEL, _BETWEEN = (16, 32, 16, 0), (5, 27, 27, 5)

# Halfway between two pixels (H.264, 8.4.2.2.1).
_HALFWAY = (1 / 32, -5 / 32, 20 / 32, 20 / 32, -5 / 32, 1 / 32)
_REACH, _ROOM = 2, 3

# (lq, pictures, middle) → vectors, as `find_motion`; (lq, config) → lq, as `compensate`.
FindMotion = Callable[[Tensor, int, int], Tensor]
Compensate = Callable[[Tensor, ModelConfig], Tensor]


def find_motion(lq: Tensor, pictures: int, middle: int) -> Tensor:
    """Where the blocks of windows' middle frames are in their neighbours.

    lq: (N, 3 · pictures, H, W) float RGB in [0, 1], frames one after the other; middle: the number of the
    frame that stays. Returns (N, pictures - 1, ⌈H / 8⌉, ⌈W / 8⌉, 2) int16, for the other frames in their
    order: row and column of a block there less those here, in halves of a pixel.
    """
    return _search_all(lq, pictures, middle)


def no_vectors_yet(lq: Tensor, pictures: int, _middle: int) -> Tensor:
    """As `find_motion`, but for what is in it."""
    blocks = (-(-side // BLOCK) for side in lq.shape[2:])
    return lq.new_empty(len(lq), pictures - 1, *blocks, 2, dtype=torch.int16)


def move(frames: Tensor, vectors: Tensor) -> Tensor:
    """Frames with each block taken from where its vector points; gradients run through.

    frames: (N, C, H, W); vectors: (N, ⌈H / 8⌉, ⌈W / 8⌉, 2), halves of a pixel. Beyond a frame are its
    outermost pixels. Returns (N, C, H, W).
    """
    _, channels, height, width = frames.shape
    padded = F.pad(frames, (_REACH + _ROOM, 2 * _ROOM) * 2, mode="replicate")
    phases = [
        picture
        for by_columns in _on_and_between(padded, 3, width + 2 * _ROOM)
        for picture in _on_and_between(by_columns, 2, height + 2 * _ROOM)
    ]
    by_pixel = vectors.long().repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)[:, :height, :width]
    down, right = by_pixel[..., 0], by_pixel[..., 1]
    y = torch.arange(height, device=frames.device)[:, None] + (down >> 1)
    x = torch.arange(width, device=frames.device) + (right >> 1)
    y, x = (place.clamp(-_ROOM, most - 1 + _ROOM) + _ROOM for place, most in ((y, height), (x, width)))
    phase = (right & 1) * 2 + (down & 1)
    index = (phase * (height + 2 * _ROOM) + y) * (width + 2 * _ROOM) + x
    index = index.flatten(1)[:, None].expand(-1, channels, -1)
    return torch.stack(phases, dim=2).flatten(2).gather(2, index).view(-1, channels, height, width)


def compensate(lq: Tensor, config: ModelConfig, find: FindMotion = find_motion) -> Tensor:
    """Windows whose neighbours show what the middle frame shows, as far as blocks can be moved there.

    lq: (N, lq_channels, H, W) float in [0, 1]; returns the same shape.
    """
    vectors = find(lq, config.frames, config.past)
    frames = [lq[:, 3 * number : 3 * number + 3] for number in range(config.frames)]
    others = [number for number in range(config.frames) if number != config.past]
    for place, number in enumerate(others):
        frames[number] = move(frames[number], vectors[:, place])
    return torch.cat(frames, dim=1)


@dataclass(frozen=True, slots=True)
class Level:
    """One size of a window's frames.

    stillness: the price of moving. smoothed: (pictures, phases, H', W') whole numbers in float32, with
    `margin` and more beyond each side; phases: on pixels, and on the finest level between columns, between
    rows, between both.
    """

    height: int
    width: int
    margin: int
    block: int
    stillness: int
    smoothed: Tensor

    @property
    def rows(self) -> int:
        return -(-self.height // self.block)

    @property
    def columns(self) -> int:
        return -(-self.width // self.block)


def pyramid(frames: Tensor) -> list[Level]:
    """A window's frames, (P, 3, H, W) float RGB in [0, 1], in the sizes that are searched, finest first."""
    luma = _luma(frames)
    count = 4 if luma.shape[1] * luma.shape[2] > _LARGE else 3
    margin, levels = _MARGINS[count], list[Level]()
    for number in range(count):
        height, width = luma.shape[1:]
        padded = _extended(luma, (margin + 1, margin + BLOCK + 2) * 2)
        kinds = (_ON_PIXEL, _BETWEEN) if number == 0 else (_ON_PIXEL,)
        phases = [
            ((_filtered(_filtered(padded, 2, across), 1, down) + 2048) / 4096).floor()
            for down in kinds
            for across in kinds
        ]
        block = BLOCK if number < 2 else BLOCK // 2
        levels.append(Level(height, width, margin, block, _STILLNESS[number], torch.stack(phases, dim=1)))
        even = _extended(luma, (0, width % 2, 0, height % 2))
        quarters = even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
        luma = ((quarters + 2) / 4).floor()
    return levels


# Unrolled by a compiler it would be hundreds of vectors long.
@operator("find_motion", "Tensor lq, int pictures, int middle", no_vectors_yet)
def _search_all(lq: Tensor, pictures: int, middle: int) -> Tensor:
    others = [number for number in range(pictures) if number != middle]
    with torch.no_grad():
        windows = lq.detach().float().reshape(len(lq), pictures, 3, *lq.shape[2:])
        levels_of_windows = [pyramid(window) for window in windows]
        found = [_motion_between(levels, middle, other) for levels in levels_of_windows for other in others]
        return torch.stack(found).view(len(lq), len(others), *found[0].shape)


def _on_and_between(x: Tensor, dim: int, length: int) -> tuple[Tensor, Tensor]:
    """What lies on `length` rows or columns of what was padded, and what halfway to the next ones."""
    parts = [x.narrow(dim, k, length) for k in range(len(_HALFWAY))]
    between = parts[0] * _HALFWAY[0]
    for part, tap in zip(parts[1:], _HALFWAY[1:], strict=True):
        between = between + part * tap
    return parts[_REACH], between


def _luma(frames: Tensor) -> Tensor:
    """(P, 3, H, W) float to (P, H, W) whole numbers of 0 to 255, in float32; BT.709's weights, in 256ths."""
    levels = (frames * 255).round().nan_to_num(0).clamp(0, 255)
    return ((54 * levels[:, 0] + 183 * levels[:, 1] + 19 * levels[:, 2] + 128) / 256).floor()


def _extended(pictures: Tensor, sides: tuple[int, ...]) -> Tensor:
    """(P, H, W) with outermost pixels repeated: left, right, top, bottom."""
    return F.pad(pictures[:, None], sides, mode="replicate")[:, 0]


def _filtered(x: Tensor, dim: int, taps: Sequence[int]) -> Tensor:
    """Whole numbers, and so the same in any order of summing."""
    length = x.shape[dim] - len(taps) + 1
    return torch.stack([tap * x.narrow(dim, k, length) for k, tap in enumerate(taps)]).sum(0)


class _Match:
    """The best vectors so far of a level's blocks: row, column and cost, (rows, columns) int32 each.

    here: (H', W') of the middle frame; there: (phases, H', W') of a neighbour. likely: what is free of the
    price for being unlike what the coarser level found.
    """

    def __init__(self, level: Level, here: Tensor, there: Tensor, likely: tuple[Tensor, Tensor]) -> None:
        size, first = 2 * level.block, level.margin - level.block // 2
        rows, columns = ((count - 1) * level.block + size for count in (level.rows, level.columns))
        cut = here[first : first + rows, first : first + columns]
        self._here = cut.unfold(0, size, level.block).unfold(1, size, level.block)
        self._there = there.flatten()
        self._stride, self._phase_size = there.shape[2], there.shape[1] * there.shape[2]
        device = here.device
        down, right = (
            torch.arange(count, device=device) * level.block + first for count in (level.rows, level.columns)
        )
        inside = torch.arange(size, device=device)
        self._corner = down[:, None] * self._stride + right
        self._inside = inside[:, None] * self._stride + inside
        self._likely, self._stillness = likely, level.stillness
        self.row, self.column = torch.zeros_like(likely[0]), torch.zeros_like(likely[0])
        self.cost = torch.full_like(likely[0], torch.iinfo(torch.int32).max)

    def consider(self, row: Tensor, column: Tensor) -> Tensor:
        """Take these vectors where they cost less; returns what they cost."""
        is_moved = (row != 0) | (column != 0)
        is_odd = (row != self._likely[0]) | (column != self._likely[1])
        differences = self._differences(row, column)
        return self._take(row, column, differences, self._stillness * is_moved + SMOOTHNESS * is_odd)

    def consider_next(self, consider: Callable[[Tensor, Tensor], Tensor]) -> None:
        """The four neighbours of what was found, and of the diagonal ones that between the better two."""
        row, column = self.row, self.column
        up, down = consider(row - 1, column), consider(row + 1, column)
        left, right = consider(row, column - 1), consider(row, column + 1)
        consider(row + _towards(down, up), column + _towards(right, left))

    def refine_by_halves(self) -> None:
        """From here on vectors are halves of a pixel; what was found counts for its differences alone."""
        self.cost = torch.full_like(self.cost, torch.iinfo(torch.int32).max)
        self._consider_between(2 * self.row, 2 * self.column)
        self.consider_next(self._consider_between)

    def _consider_between(self, row: Tensor, column: Tensor) -> Tensor:
        between_rows, between_columns = row & 1, column & 1
        differences = self._differences(row >> 1, column >> 1, between_columns + 2 * between_rows)
        return self._take(row, column, differences, INTERPOLATED * (between_rows + between_columns))

    def _differences(self, row: Tensor, column: Tensor, phase: Tensor | int = 0) -> Tensor:
        start = self._corner + row * self._stride + column + phase * self._phase_size
        taken = self._there[start[:, :, None, None] + self._inside]
        return (self._here - taken).abs().sum((2, 3)).int()

    def _take(self, row: Tensor, column: Tensor, differences: Tensor, price: Tensor) -> Tensor:
        cost = differences + (differences * price >> 10)
        is_better = cost < self.cost
        self.cost = torch.where(is_better, cost, self.cost)
        self.row = torch.where(is_better, row, self.row)
        self.column = torch.where(is_better, column, self.column)
        return cost


def _towards(after: Tensor, before: Tensor) -> Tensor:
    """1 where what comes after costs less than what comes before, else -1."""
    return 2 * (after < before).int() - 1


def _motion_between(levels: Sequence[Level], middle: int, other: int) -> Tensor:
    """(rows, columns, 2) int16, as `find_motion`."""
    coarsest = levels[-1]
    still = torch.zeros(coarsest.rows, coarsest.columns, dtype=torch.int32, device=coarsest.smoothed.device)
    match = _Match(coarsest, coarsest.smoothed[middle, 0], coarsest.smoothed[other], (still, still))
    match.consider(still, still)
    for down in range(-SEARCHED, SEARCHED + 1):
        for right in range(-SEARCHED, SEARCHED + 1):
            match.consider(still + down, still + right)
    for level, above in zip(reversed(levels[:-1]), reversed(levels), strict=False):
        guesses = _guesses(level, above, match)
        match = _Match(level, level.smoothed[middle, 0], level.smoothed[other], guesses[0])
        match.consider(match.row, match.column)
        for guess in guesses:
            match.consider(*guess)
        match.consider_next(match.consider)
    match.refine_by_halves()
    return torch.stack([match.row, match.column], dim=-1).short()


def _guesses(level: Level, above: Level, found: _Match) -> list[tuple[Tensor, Tensor]]:
    """What the coarser level found where each block lies, and in the four blocks around."""
    down, right = (
        (2 * torch.arange(count, device=found.row.device) + 1) * level.block // 2 // (2 * above.block)
        for count in (level.rows, level.columns)
    )
    guesses: list[tuple[Tensor, Tensor]] = []
    for v, u in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
        y = (down + v).clamp(0, above.rows - 1)[:, None]
        x = (right + u).clamp(0, above.columns - 1)
        guesses.append((2 * found.row[y, x], 2 * found.column[y, x]))
    return guesses
