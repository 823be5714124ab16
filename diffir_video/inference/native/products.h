/* Vectors of floats, and products of small matrices, in float32 or by `terms` of bfloat16 with float32 sums
(AVX512-BF16, or AMX where the system lets us use its tiles): 0 for float32, 1 for both factors rounded, 3 for each in
two parts, rounded and what that left, the product of the two rests left out (bf16x3). Channels are padded to whole
vectors with zeros; weights come packed by vectors of output channels.
*/
#ifndef DIFFIR_PRODUCTS_H
#define DIFFIR_PRODUCTS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define TALL 12
#elif defined(__AVX__)
#define LANES 8
#define TALL 6
#else
#define LANES 4
#define TALL 6
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512BF16__)
#define HAS_HALF 1
#else
#define HAS_HALF 0
#endif

#if HAS_HALF && defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define HAS_TILES 1
#else
#define HAS_TILES 0
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int64_t i64;

#define INLINE static inline __attribute__((always_inline))

/* A matrix; outputs are a multiple of LANES, inputs are even with terms. weight: (outputs / LANES, inputs, LANES)
float or, with terms, (outputs / LANES, inputs / 2, LANES, 2) bfloat16, and with three, the rests in the same order
behind them. */
typedef struct {
    const void *weight;
    const float *bias;
    i64 inputs, outputs;
} Pointwise;

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }

/* The first `count` floats, and zeros. */
INLINE vec load_some(const float *p, i64 count) {
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#else
    float parts[LANES] = {0};
    memcpy(parts, p, count * sizeof(float));
    return load(parts);
#endif
}

INLINE vec splat(float s) { return s - (vec){0}; }
INLINE i64 least(i64 a, i64 b) { return a < b ? a : b; }
INLINE i64 most(i64 a, i64 b) { return a > b ? a : b; }

/* ---- products ---- */

/* A block of `tall` rows and `wide` vectors of columns: out = init + a b. a(r, k) is a[r * a_row + k * a_k]. */
INLINE void block_f32(const int tall, const int wide, i64 inner, const float *a, i64 a_row, i64 a_k,
                      const float *b, i64 b_k, i64 b_vector, const float *init, i64 init_row, float *out,
                      i64 out_row) {
    vec sums[TALL][2];
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) sums[r][v] = load(init + r * init_row + v * LANES);
    for (i64 k = 0; k < inner; k++) {
        vec first = load(b + k * b_k), second = wide > 1 ? load(b + k * b_k + b_vector) : first;
#pragma GCC unroll 12
        for (int r = 0; r < tall; r++) {
            vec factor = splat(a[r * a_row + k * a_k]);
            sums[r][0] += factor * first;
            if (wide > 1) sums[r][1] += factor * second;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) store(out + r * out_row + v * LANES, sums[r][v]);
}

#if HAS_HALF
INLINE void block_half(const int tall, const int wide, i64 pairs, const uint16_t *a, i64 a_row,
                       const uint16_t *b, i64 b_vector, const float *init, i64 init_row, float *out,
                       i64 out_row) {
    __m512 sums[TALL][2];
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) sums[r][v] = _mm512_loadu_ps(init + r * init_row + v * LANES);
    for (i64 k = 0; k < pairs; k++) {
        __m512bh first = (__m512bh)_mm512_loadu_si512(b + k * 2 * LANES);
        __m512bh second = wide > 1 ? (__m512bh)_mm512_loadu_si512(b + b_vector + k * 2 * LANES) : first;
#pragma GCC unroll 12
        for (int r = 0; r < tall; r++) {
            int32_t pair;
            memcpy(&pair, a + r * a_row + 2 * k, 4);
            __m512bh factors = (__m512bh)_mm512_set1_epi32(pair);
            sums[r][0] = _mm512_dpbf16_ps(sums[r][0], factors, first);
            if (wide > 1) sums[r][1] = _mm512_dpbf16_ps(sums[r][1], factors, second);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) _mm512_storeu_ps(out + r * out_row + v * LANES, sums[r][v]);
}
#endif

#if HAS_TILES
#define TILE_ROWS 16
#define TILE_INPUTS 32

/* Whether this process may use tiles, and is to. */
extern int diffir_tiles;

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileShapes;

/* Tiles 0 to 3 hold sums; 4 and 6 a step of a and of the weights, 5 and 7 the last one, of `rest` inputs. */
INLINE void shape_tiles(i64 rows, i64 rest) {
    TileShapes shapes __attribute__((aligned(64))) = {.palette = 1};
    for (int t = 0; t < 5; t++) shapes.rows[t] = rows, shapes.row_bytes[t] = 64;
    shapes.rows[6] = TILE_INPUTS / 2, shapes.row_bytes[6] = 64;
    if (rest) {
        shapes.rows[5] = rows, shapes.row_bytes[5] = 2 * rest;
        shapes.rows[7] = rest / 2, shapes.row_bytes[7] = 64;
    }
    _tile_loadconfig(&shapes);
}

/* To the sums of up to 16 rows, as they are shaped, and of up to four vectors of columns. */
INLINE void add_tiles(const int wide, i64 inner, const uint16_t *a, i64 a_row, const uint16_t *b, i64 b_vector) {
    const i64 whole = inner / TILE_INPUTS * TILE_INPUTS;
#define ADD_PRODUCT(v, a_tile, b_tile, k) \
    if (wide > v) { \
        _tile_loadd(b_tile, b + v * b_vector + (k) * LANES, 64); \
        _tile_dpbf16ps(v, a_tile, b_tile); \
    }
#define ADD_STEP(a_tile, b_tile, k) \
    do { \
        _tile_loadd(a_tile, a + (k), a_row * 2); \
        ADD_PRODUCT(0, a_tile, b_tile, k) \
        ADD_PRODUCT(1, a_tile, b_tile, k) \
        ADD_PRODUCT(2, a_tile, b_tile, k) \
        ADD_PRODUCT(3, a_tile, b_tile, k) \
    } while (0)
    for (i64 k = 0; k < whole; k += TILE_INPUTS) ADD_STEP(4, 6, k);
    if (whole < inner) ADD_STEP(5, 7, whole);
}

/* What the factors of one product are: whole or rests of `a`, and of the weights, so far behind. */
typedef struct {
    i64 terms, a_rests, b_rests;
} Split;

/* As `block_half`, of as many rows and columns as `add_tiles` takes. */
INLINE void block_tiles(const int wide, i64 inner, Split split, const uint16_t *a, i64 a_row, const uint16_t *b,
                        i64 b_vector, const float *init, i64 init_row, float *out, i64 out_row) {
    _tile_loadd(0, init, init_row * 4);
    if (wide > 1) _tile_loadd(1, init + LANES, init_row * 4);
    if (wide > 2) _tile_loadd(2, init + 2 * LANES, init_row * 4);
    if (wide > 3) _tile_loadd(3, init + 3 * LANES, init_row * 4);
    add_tiles(wide, inner, a, a_row, b, b_vector);
    if (split.terms > 1) {
        add_tiles(wide, inner, a + split.a_rests, a_row, b, b_vector);
        add_tiles(wide, inner, a, a_row, b + split.b_rests, b_vector);
    }
    _tile_stored(0, out, out_row * 4);
    if (wide > 1) _tile_stored(1, out + LANES, out_row * 4);
    if (wide > 2) _tile_stored(2, out + 2 * LANES, out_row * 4);
    if (wide > 3) _tile_stored(3, out + 3 * LANES, out_row * 4);
}

/* As `multiply`, of rows in whole tiles, or of fewer than a tile has. */
INLINE void multiply_rows(const Pointwise *w, Split split, i64 from, i64 to, const uint16_t *a, i64 a_row,
                          const float *init, i64 init_row, float *out, i64 out_row) {
    const i64 inner = w->inputs, vectors = w->outputs / LANES;
    if (from == to) return;
    shape_tiles(least(to - from, TILE_ROWS), inner % TILE_INPUTS);
    for (i64 vector = 0; vector < vectors; vector += 4) {
        const uint16_t *b = (const uint16_t *)w->weight + vector * LANES * inner;
        for (i64 row = from; row < to; row += TILE_ROWS) {
#define TILES(wide) \
    block_tiles(wide, inner, split, a + row * a_row, a_row, b, inner * LANES, \
                init + row * init_row + vector * LANES, init_row, out + row * out_row + vector * LANES, out_row)
            switch (vectors - vector) {
            case 1: TILES(1); break;
            case 2: TILES(2); break;
            case 3: TILES(3); break;
            default: TILES(4);
            }
        }
    }
}

/* As `multiply`. */
static void multiply_tiles(const Pointwise *w, Split split, i64 count, const uint16_t *a, i64 a_row,
                           const float *init, i64 init_row, float *out, i64 out_row) {
    const i64 whole = count / TILE_ROWS * TILE_ROWS;
    multiply_rows(w, split, 0, whole, a, a_row, init, init_row, out, out_row);
    multiply_rows(w, split, whole, count, a, a_row, init, init_row, out, out_row);
}
#endif

#define BY_WIDTH(call, tall) \
    if (wide > 1) call(tall, 2); \
    else call(tall, 1)

/* Walks `count` rows in blocks as tall as there are registers for. */
#define BY_HEIGHT(call, count) \
    for (i64 row = 0; row < (count);) { \
        i64 left = (count)-row; \
        if (left >= TALL) { BY_WIDTH(call, TALL); row += TALL; } \
        else if (left >= 6) { BY_WIDTH(call, 6); row += 6; } \
        else if (left >= 3) { BY_WIDTH(call, 3); row += 3; } \
        else if (left >= 2) { BY_WIDTH(call, 2); row += 2; } \
        else { BY_WIDTH(call, 1); row += 1; } \
    }

/* out (count, outputs) = init + a (count, inputs) weight. Rows of a are a_row apart, they may overlap; init_row
is 0 for a bias. rests: how far behind a those of its bfloat16 are, with three terms. */
static void multiply(const Pointwise *w, i64 terms, i64 count, const void *a, i64 a_row, i64 rests,
                     const float *init, i64 init_row, float *out, i64 out_row) {
    const i64 inner = w->inputs, vectors = w->outputs / LANES;
#if HAS_TILES
    if (terms && diffir_tiles) {
        const Split split = {terms, rests, w->outputs * inner};
        multiply_tiles(w, split, count, a, a_row, init, init_row, out, out_row);
        return;
    }
#endif
    for (i64 vector = 0; vector < vectors; vector += 2) {
        const int wide = vector + 1 < vectors ? 2 : 1;
        const i64 column = vector * LANES;
#if HAS_HALF
        for (i64 term = 0; term < terms; term++) {
            const uint16_t *factors = (const uint16_t *)a + (term == 1 ? rests : 0);
            const uint16_t *b = (const uint16_t *)w->weight + (term == 2 ? w->outputs * inner : 0) + column * inner;
            const float *before = term ? out : init;
            const i64 before_row = term ? out_row : init_row;
#define HALF_BLOCK(tall, wide) \
    block_half(tall, wide, inner / 2, factors + row * a_row, a_row, b, inner * LANES, \
               before + row * before_row + column, before_row, out + row * out_row + column, out_row)
            BY_HEIGHT(HALF_BLOCK, count)
        }
        if (terms) continue;
#else
        (void)terms, (void)rests;
#endif
        const float *b = (const float *)w->weight + column * inner;
#define FLOAT_BLOCK(tall, wide) \
    block_f32(tall, wide, inner, (const float *)a + row * a_row, a_row, 1, b, LANES, inner * LANES, \
              init + row * init_row + column, init_row, out + row * out_row + column, out_row)
        BY_HEIGHT(FLOAT_BLOCK, count)
    }
}

/* ---- what lies between products ---- */

/* One vector of what goes into the next product; of three terms, the rests lie `rests` behind. */
INLINE void put(void *a, i64 index, vec value, i64 terms, i64 rests) {
#if HAS_HALF
    if (terms) {
        const __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)value);
        memcpy((uint16_t *)a + index, &rounded, sizeof rounded);
        if (terms > 1) {
            const vec left = value - (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16);
            const __m256bh rest = _mm512_cvtneps_pbh((__m512)left);
            memcpy((uint16_t *)a + rests + index, &rest, sizeof rest);
        }
        return;
    }
#else
    (void)terms, (void)rests;
#endif
    store((float *)a + index, value);
}

INLINE vec exponential(vec x) {
    const vec lowest = splat(-87.f);
    ivec too_low = x < lowest;
    x = (vec)(((ivec)lowest & too_low) | ((ivec)x & ~too_low));
    const float magic = 12582912.f;
    vec n = (x * 1.44269504f + magic) - magic;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
    return p * (vec)power;
}

#endif
