"""The Triton kernels: what a compiler would leave in memory between norm, products and convolutions.

Features are (pixels, channels), whole frames one after the other. Statistics and sums are float32, products
of the features' dtype. Blocks of channels are powers of two; what is beyond the channels is masked.
"""

# Inside kernels everything is an untyped value of Triton's language.
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportMissingParameterType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def norm_pointwise(
    x,
    weight,
    bias,
    out,
    pixels,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    CENTRED: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """out (P, OUTPUTS) = norm(x (P, CHANNELS)) weightᵀ + bias; x is read once for its statistics, once more
    for the products, the second time from the cache."""
    # Of large frames, or many, there are more than 2^31 features.
    rows = tl.program_id(0).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    columns = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    inside = rows < pixels
    total = tl.zeros((BLOCK_P,), tl.float32)
    for start in range(0, CHANNELS, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        mask = inside[:, None] & (k < CHANNELS)[None, :]
        total += tl.sum(tl.load(x + rows[:, None] * CHANNELS + k[None, :], mask, 0.0).to(tl.float32), 1)
    mean = total / CHANNELS
    squares = tl.zeros((BLOCK_P,), tl.float32)
    for start in range(0, CHANNELS, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        mask = inside[:, None] & (k < CHANNELS)[None, :]
        values = tl.load(x + rows[:, None] * CHANNELS + k[None, :], mask, 0.0).to(tl.float32)
        difference = tl.where(mask, values - mean[:, None], 0.0)
        squares += tl.sum(difference * difference, 1)
    inverse = 1 / tl.sqrt(squares / CHANNELS + 1e-5)
    offset = mean if CENTRED else tl.zeros((BLOCK_P,), tl.float32)
    sums = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for start in range(0, CHANNELS, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        mask = inside[:, None] & (k < CHANNELS)[None, :]
        values = tl.load(x + rows[:, None] * CHANNELS + k[None, :], mask, 0.0).to(tl.float32)
        normed = tl.where(mask, (values - offset[:, None]) * inverse[:, None], 0.0)
        wanted = (k < CHANNELS)[:, None] & (columns < OUTPUTS)[None, :]
        factors = tl.load(weight + columns[None, :] * CHANNELS + k[:, None], wanted, 0.0)
        sums = tl.dot(normed.to(factors.dtype), factors, sums, input_precision="tf32x3")
    sums += tl.load(bias + columns, columns < OUTPUTS, 0.0).to(tl.float32)[None, :]
    place = out + rows[:, None] * OUTPUTS + columns[None, :]
    tl.store(place, sums.to(out.dtype.element_ty), inside[:, None] & (columns < OUTPUTS)[None, :])


@triton.jit
def depthwise(
    features,
    taps,
    frame,
    y,
    x,
    inside,
    channels,
    valid,
    HEIGHT,
    WIDTH,
    WIDE: tl.constexpr,
):
    """3x3 around pixels (y, x) of a frame, some channels: (BLOCK_P, BLOCK_K) float32, zeros around the frame.

    taps: (9, WIDE).
    """
    sums = tl.zeros((y.shape[0], channels.shape[0]), tl.float32)
    for tap in tl.range(0, 9, num_stages=1, loop_unroll_factor=1):
        row, column = y + (tap // 3 - 1), x + (tap % 3 - 1)
        there = inside & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
        place = ((frame * HEIGHT + row) * WIDTH + column)[:, None] * WIDE + channels[None, :]
        values = tl.load(features + place, there[:, None] & valid[None, :], 0.0).to(tl.float32)
        sums += values * tl.load(taps + tap * WIDE + channels, valid, 0.0).to(tl.float32)[None, :]
    return sums


@triton.jit
def depthwise_project(
    hidden,
    taps,
    weight,
    x,
    out,
    HEIGHT,
    WIDTH,
    weight_stride,
    CHANNELS: tl.constexpr,
    HIDDEN: tl.constexpr,
    GATED: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """out = x + depthwise(hidden) weightᵀ; if GATED, of gelu(first half) · second half.

    hidden: (frames, H·W, HIDDEN), twice that if GATED. weight: (CHANNELS, HIDDEN), that of frame n
    `weight_stride` · n further on. x, out: (frames, H·W, CHANNELS).
    """
    frame = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = pixel < HEIGHT * WIDTH
    row, column = pixel // WIDTH, pixel % WIDTH
    outputs = tl.arange(0, BLOCK_O)
    wide: tl.constexpr = 2 * HIDDEN if GATED else HIDDEN
    sums = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for start in range(0, HIDDEN, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        valid = k < HIDDEN
        values = depthwise(hidden, taps, frame, row, column, inside, k, valid, HEIGHT, WIDTH, wide)
        if GATED:
            second = depthwise(
                hidden, taps, frame, row, column, inside, HIDDEN + k, valid, HEIGHT, WIDTH, wide
            )
            values = 0.5 * values * (1 + tl.erf(values * 0.7071067811865476)) * second
        wanted = valid[:, None] & (outputs < CHANNELS)[None, :]
        place = weight + frame * weight_stride + outputs[None, :] * HIDDEN + k[:, None]
        factors = tl.load(place, wanted, 0.0)
        sums = tl.dot(values.to(factors.dtype), factors, sums, input_precision="tf32x3")
    place = (frame * HEIGHT * WIDTH + pixel)[:, None] * CHANNELS + outputs[None, :]
    mask = inside[:, None] & (outputs < CHANNELS)[None, :]
    sums += tl.load(x + place, mask, 0.0).to(tl.float32)
    tl.store(out + place, sums.to(out.dtype.element_ty), mask)


@triton.jit
def depthwise_gram(
    qk,
    taps,
    gram,
    squares,
    HEIGHT,
    WIDTH,
    chunk,
    chunks,
    CHANNELS: tl.constexpr,
    PER_HEAD: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """One head's Gram matrix and squares over a chunk of a frame's pixels; q and k never reach memory.

    qk: (frames, H·W, 2·CHANNELS). gram: (frames, chunks, heads, PER_HEAD, PER_HEAD), squares:
    (frames, chunks, 2·CHANNELS), float32. Chunks are summed later, in order, so that sums repeat exactly.
    """
    part, head, frame = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    valid = c < PER_HEAD
    q_channels = head * PER_HEAD + c
    k_channels = CHANNELS + q_channels
    products = tl.zeros((BLOCK_C, BLOCK_C), tl.float32)
    q_squares, k_squares = tl.zeros((BLOCK_C,), tl.float32), tl.zeros((BLOCK_C,), tl.float32)
    wide: tl.constexpr = 2 * CHANNELS
    for start in range(0, chunk, BLOCK_P):
        offset = start + tl.arange(0, BLOCK_P)
        pixel = part * chunk + offset
        inside = (offset < chunk) & (pixel < HEIGHT * WIDTH)
        row, column = pixel // WIDTH, pixel % WIDTH
        q = depthwise(qk, taps, frame, row, column, inside, q_channels, valid, HEIGHT, WIDTH, wide)
        k = depthwise(qk, taps, frame, row, column, inside, k_channels, valid, HEIGHT, WIDTH, wide)
        products = tl.dot(tl.trans(q), k, products, input_precision="tf32x3")
        q_squares += tl.sum(q * q, 0)
        k_squares += tl.sum(k * k, 0)
    place = (frame * chunks + part) * (CHANNELS * PER_HEAD) + head * PER_HEAD * PER_HEAD
    mask = valid[:, None] & valid[None, :]
    tl.store(gram + place + c[:, None] * PER_HEAD + c[None, :], products, mask)
    place = (frame * chunks + part) * wide
    tl.store(squares + place + q_channels, q_squares, valid)
    tl.store(squares + place + k_channels, k_squares, valid)
