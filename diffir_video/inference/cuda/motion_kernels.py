"""The Triton kernels that find and compensate motion; `network.motion` says what is done and why."""

# Inside kernels everything is an untyped value of Triton's language.
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportMissingParameterType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def differences(here, there, row, column, stride, inside):
    """The sum of absolute differences of a block's window, `here`, and what a vector points to."""
    return tl.sum(tl.abs(here - tl.load(there + row * stride + column + inside).to(tl.int32)))


@triton.jit
def better(cost, row, column, best_cost, best_row, best_column):
    """The one of two vectors that costs less; the second of equals."""
    is_better = cost < best_cost
    return (
        tl.where(is_better, cost, best_cost),
        tl.where(is_better, row, best_row),
        tl.where(is_better, column, best_column),
    )


@triton.jit
def cost_of(
    here,
    there,
    row,
    column,
    likely_row,
    likely_column,
    stride,
    phase_size,
    inside,
    HALVES: tl.constexpr,
    STILLNESS: tl.constexpr,
    SMOOTHNESS: tl.constexpr,
    INTERPOLATED: tl.constexpr,
):
    """What a vector costs, one in whole pixels or in HALVES of them."""
    if HALVES:
        odd_row, odd_column = row & 1, column & 1
        phase = there + (odd_column + 2 * odd_row) * phase_size
        total = differences(here, phase, row >> 1, column >> 1, stride, inside)
        price = INTERPOLATED * (odd_row + odd_column)
    else:
        total = differences(here, there, row, column, stride, inside)
        is_moved = (row != 0) | (column != 0)
        is_odd = (row != likely_row) | (column != likely_column)
        price = STILLNESS * is_moved.to(tl.int32) + SMOOTHNESS * is_odd.to(tl.int32)
    return total + ((total * price) >> 10)


@triton.jit
def search_next(
    cost,
    row,
    column,
    here,
    there,
    likely_row,
    likely_column,
    stride,
    phase_size,
    inside,
    HALVES: tl.constexpr,
    STILLNESS: tl.constexpr,
    SMOOTHNESS: tl.constexpr,
    INTERPOLATED: tl.constexpr,
):
    """The better of what was found, its four neighbours, and the diagonal one between the better two."""
    from_row, from_column = row, column
    before = cost
    next_row = row
    next_column = column
    for k in tl.static_range(5):
        if k < 4:
            new_row = from_row + (-1 if k == 0 else 1 if k == 1 else 0)
            new_column = from_column + (-1 if k == 2 else 1 if k == 3 else 0)
        else:
            new_row, new_column = next_row, next_column
        new = cost_of(
            here, there, new_row, new_column, likely_row, likely_column, stride, phase_size, inside,
            HALVES, STILLNESS, SMOOTHNESS, INTERPOLATED,
        )  # fmt: skip
        cost, row, column = better(new, new_row, new_column, cost, row, column)
        if k == 1:
            next_row = from_row + tl.where(new < before, 1, -1)
        if k == 3:
            next_column = from_column + tl.where(new < before, 1, -1)
        before = new
    return cost, row, column


@triton.jit
def search(
    smoothed,
    guesses,
    found,
    columns,
    stride,
    phase_size,
    picture_size,
    middle,
    above_rows,
    above_columns,
    MARGIN: tl.constexpr,
    BLOCK: tl.constexpr,
    ABOVE_BLOCK: tl.constexpr,
    SEARCHED: tl.constexpr,
    IS_FINEST: tl.constexpr,
    STILLNESS: tl.constexpr,
    SMOOTHNESS: tl.constexpr,
    INTERPOLATED: tl.constexpr,
):
    """One level's vectors, found (others, rows, columns, 2) int32; one program a block of one neighbour.

    smoothed: (pictures, phases, H', W') uint8. guesses: the coarser level's vectors, or without them, at
    SEARCHED > 0, a full search.
    """
    number, other = tl.program_id(0), tl.program_id(1)
    blocks = tl.num_programs(0)
    picture = other + (other >= middle).to(tl.int32)
    block_row, block_column = number // columns, number % columns
    window: tl.constexpr = 2 * BLOCK
    places = tl.arange(0, window * window)
    inside = places // window * stride + places % window
    first = (block_row * BLOCK - BLOCK // 2 + MARGIN) * stride + block_column * BLOCK - BLOCK // 2 + MARGIN
    here = tl.load(smoothed + middle * picture_size + first + inside).to(tl.int32)
    there = smoothed + picture * picture_size + first
    y = (2 * block_row + 1) * BLOCK // 2 // (2 * ABOVE_BLOCK)
    x = (2 * block_column + 1) * BLOCK // 2 // (2 * ABOVE_BLOCK)
    above = guesses + other * above_rows * above_columns * 2
    likely_row = 0
    likely_column = 0
    if SEARCHED == 0:
        likely = above + 2 * (
            tl.minimum(y, above_rows - 1) * above_columns + tl.minimum(x, above_columns - 1)
        )
        likely_row = 2 * tl.load(likely)
        likely_column = 2 * tl.load(likely + 1)
    # Values, not constants, as loops change them.
    row = first * 0
    column = first * 0
    cost = cost_of(
        here, there, row, column, likely_row, likely_column, stride, phase_size, inside,
        False, STILLNESS, SMOOTHNESS, INTERPOLATED,
    )  # fmt: skip
    for place in range((2 * SEARCHED + 1) * (2 * SEARCHED + 1) if SEARCHED > 0 else 5):
        if SEARCHED > 0:
            new_row = place // (2 * SEARCHED + 1) - SEARCHED
            new_column = place % (2 * SEARCHED + 1) - SEARCHED
        else:
            v = y + tl.where(place == 3, 1, tl.where(place == 4, -1, 0))
            u = x + tl.where(place == 1, 1, tl.where(place == 2, -1, 0))
            v = tl.minimum(tl.maximum(v, 0), above_rows - 1)
            u = tl.minimum(tl.maximum(u, 0), above_columns - 1)
            new_row = 2 * tl.load(above + 2 * (v * above_columns + u))
            new_column = 2 * tl.load(above + 2 * (v * above_columns + u) + 1)
        new = cost_of(
            here, there, new_row, new_column, likely_row, likely_column, stride, phase_size, inside,
            False, STILLNESS, SMOOTHNESS, INTERPOLATED,
        )  # fmt: skip
        cost, row, column = better(new, new_row, new_column, cost, row, column)
    if SEARCHED == 0:
        cost, row, column = search_next(
            cost, row, column, here, there, likely_row, likely_column, stride, phase_size, inside,
            False, STILLNESS, SMOOTHNESS, INTERPOLATED,
        )  # fmt: skip
    if IS_FINEST:
        row, column = 2 * row, 2 * column
        cost = cost_of(
            here, there, row, column, likely_row, likely_column, stride, phase_size, inside,
            True, STILLNESS, SMOOTHNESS, INTERPOLATED,
        )  # fmt: skip
        cost, row, column = search_next(
            cost, row, column, here, there, likely_row, likely_column, stride, phase_size, inside,
            True, STILLNESS, SMOOTHNESS, INTERPOLATED,
        )  # fmt: skip
    place = found + 2 * (other * blocks + number)
    tl.store(place, row)
    tl.store(place + 1, column)


@triton.jit
def halfway(k):
    """Taps of 32, six of them, between two pixels (H.264, 8.4.2.2.1)."""
    from_middle = tl.where(k > 2, k - 2, 3 - k)
    return tl.where(from_middle == 1, 20.0, tl.where(from_middle == 2, -5.0, 1.0)) / 32


@triton.jit
def move(frames, vectors, out, height, width, columns, PLANES: tl.constexpr, BLOCK: tl.constexpr):
    """out (N, PLANES, H, W): blocks of frames, taken from where their vectors, (N, rows, columns, 2) int32,
    point; one program a block of one frame, all its planes."""
    # A clip given whole can have more than 2^31 pixels.
    number, frame = tl.program_id(0), tl.program_id(1).to(tl.int64)
    vector = vectors + 2 * (frame * tl.num_programs(0) + number)
    row, column = tl.load(vector), tl.load(vector + 1)
    places = tl.arange(0, BLOCK * BLOCK)
    y = number // columns * BLOCK + places // BLOCK
    x = number % columns * BLOCK + places % BLOCK
    is_inside = (y < height) & (x < width)
    from_y, from_x = y + (row >> 1), x + (column >> 1)
    odd_row, odd_column = row & 1, column & 1
    # Of an even vector the pixel itself.
    first_row, last_row = 2 - 2 * odd_row, 3 + 3 * odd_row
    first_column, last_column = 2 - 2 * odd_column, 3 + 3 * odd_column
    for plane in tl.static_range(PLANES):
        source = frames + (frame * PLANES + plane) * height * width
        total = tl.zeros((BLOCK * BLOCK,), tl.float32)
        for v in range(first_row, last_row):
            taken_y = tl.minimum(tl.maximum(from_y + v - 2, 0), height - 1)
            along = tl.zeros((BLOCK * BLOCK,), tl.float32)
            for u in range(first_column, last_column):
                taken_x = tl.minimum(tl.maximum(from_x + u - 2, 0), width - 1)
                value = tl.load(source + taken_y * width + taken_x)
                along += value * tl.where(odd_column == 1, halfway(u), 1.0)
            total += along * tl.where(odd_row == 1, halfway(v), 1.0)
        tl.store(out + (frame * PLANES + plane) * height * width + y * width + x, total, is_inside)
