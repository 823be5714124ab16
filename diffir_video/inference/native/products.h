/* Vectors of floats, and products of small matrices, in float32 or by `terms` of bfloat16 with float32 sums
(AVX512-BF16, or AMX where the system lets us use its tiles): 0 for float32, 1 for both factors rounded, 3 for each in
two parts, rounded and what that left, the product of the two rests left out (bf16x3); or, for IN_BYTES, of integers of
8 bits with sums of 32 (VNNI), each row of the first factor and each column of the weights by a scale of its own.
Channels are padded to whole vectors with zeros; weights come packed by vectors of output channels.
*/
#ifndef DIFFIR_PRODUCTS_H
#define DIFFIR_PRODUCTS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define TALL 12
#define TALL_OF_THREE 8
#elif defined(__AVX__)
#define LANES 8
#define TALL 6
#define TALL_OF_THREE 4
#else
#define LANES 4
#define TALL 6
#define TALL_OF_THREE 4
#endif

#if defined(__AVX__)
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

#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && !defined(__AVX512F__))
#define HAS_BYTES 1
#else
#define HAS_BYTES 0
#endif

enum { IN_BYTES = -1 };

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int64_t i64;

#define INLINE static inline __attribute__((always_inline))

/* A matrix; outputs are a multiple of LANES, inputs are even with terms. weight: (outputs / LANES, inputs, LANES)
float or, with terms, (outputs / LANES, inputs / 2, LANES, 2) bfloat16, and with three, the rests in the same order
behind them. In bytes: (outputs / LANES, inputs / 4, LANES, 4), each times its output's scale; offsets: the sums of an
output's weights, times -128, which is what the first factor has too much. */
typedef struct {
    const void *weight;
    const float *bias;
    i64 inputs, outputs;
    const float *scales;
    const int32_t *offsets;
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

/* Has so many floats on their way, which lie too far apart from what was read for the processor to foresee. */
INLINE void fetch(const float *p, i64 count) {
    for (i64 i = 0; i < count; i += 16) __builtin_prefetch(p + i);
}

INLINE vec splat(float s) { return s - (vec){0}; }
INLINE i64 least(i64 a, i64 b) { return a < b ? a : b; }
INLINE i64 most(i64 a, i64 b) { return a > b ? a : b; }

/* The lanes of both vectors in turns, those of their lower halves or of their upper ones. */
#if LANES == 16
#define LOWER_LANES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER_LANES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define LOWER_LANES 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER_LANES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOWER_LANES 0, 4, 1, 5
#define UPPER_LANES 2, 6, 3, 7
#endif
#if defined(__clang__)
#define LOWER_HALVES(a, b) __builtin_shufflevector(a, b, LOWER_LANES)
#define UPPER_HALVES(a, b) __builtin_shufflevector(a, b, UPPER_LANES)
#else
#define LOWER_HALVES(a, b) __builtin_shuffle(a, b, (ivec){LOWER_LANES})
#define UPPER_HALVES(a, b) __builtin_shuffle(a, b, (ivec){UPPER_LANES})
#endif

/* Rows and columns swapped. A number's place is its row and its column, digits of a binary number; each turn moves
the first of them to the end. */
INLINE void transpose(ivec rows[LANES]) {
#pragma GCC unroll 4
    for (int turn = 1; turn < LANES; turn *= 2) {
        ivec next[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = LOWER_HALVES(rows[i], rows[i + LANES / 2]);
            next[2 * i + 1] = UPPER_HALVES(rows[i], rows[i + LANES / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) rows[i] = next[i];
    }
}

/* ---- products ---- */

/* Every third row of a block's first factor: with three rows from each in one register more, no address has to be
loaded, which would cost as much as the products. */
#define ROW(thirds, r, a_row) ((thirds)[(r) / 3] + (r) % 3 * (a_row))

/* A block of `tall` rows and `wide` vectors of columns: out = init + a b. a(r, k) is a[r * a_row + k * a_k]. */
INLINE void block_f32(const int tall, const int wide, i64 inner, const float *a, i64 a_row, i64 a_k,
                      const float *b, i64 b_k, i64 b_vector, const float *init, i64 init_row, float *out,
                      i64 out_row) {
    vec sums[TALL][3];
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) sums[r][v] = load(init + r * init_row + v * LANES);
    const float *thirds[4] = {a, a + 3 * a_row, a + 6 * a_row, a + 9 * a_row};
    for (i64 k = 0; k < inner; k++) {
        vec columns[3];
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) columns[v] = load(b + v * b_vector);
#pragma GCC unroll 12
        for (int r = 0; r < tall; r++) {
            vec factor = splat(*ROW(thirds, r, a_row));
#pragma GCC unroll 3
            for (int v = 0; v < wide; v++) sums[r][v] += factor * columns[v];
        }
        b += b_k;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) thirds[i] += a_k;
    }
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) store(out + r * out_row + v * LANES, sums[r][v]);
}

#if HAS_HALF
INLINE void block_half(const int tall, const int wide, i64 pairs, const uint16_t *a, i64 a_row,
                       const uint16_t *b, i64 b_vector, const float *init, i64 init_row, float *out,
                       i64 out_row) {
    __m512 sums[TALL][3];
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) sums[r][v] = _mm512_loadu_ps(init + r * init_row + v * LANES);
    const uint16_t *thirds[4] = {a, a + 3 * a_row, a + 6 * a_row, a + 9 * a_row};
    for (i64 k = 0; k < pairs; k++) {
        __m512bh columns[3];
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) columns[v] = (__m512bh)_mm512_loadu_si512(b + v * b_vector);
#pragma GCC unroll 12
        for (int r = 0; r < tall; r++) {
            int32_t pair;
            memcpy(&pair, ROW(thirds, r, a_row), 4);
            __m512bh factors = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 3
            for (int v = 0; v < wide; v++) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], factors, columns[v]);
        }
        b += 2 * LANES;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) thirds[i] += 2;
    }
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) _mm512_storeu_ps(out + r * out_row + v * LANES, sums[r][v]);
}
#endif

#if HAS_BYTES
/* sum + four products of bytes for each lane: of unsigned ones, the same for all lanes, with signed ones. GCC's own
function for it has the sums copied around. */
INLINE void add_bytes(ivec *sum, ivec factors, ivec column) {
#if defined(__AVX512VNNI__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(factors), "v"(column));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(factors), "x"(column));
#endif
}

/* a_scales: of the rows, which are of `quads` * 4 bytes, each 128 more than what it stands for. */
INLINE void block_bytes(const int tall, const int wide, i64 quads, const uint8_t *a, i64 a_row, const float *a_scales,
                        const int8_t *b, i64 b_vector, const float *scales, const int32_t *offsets, const float *init,
                        i64 init_row, float *out, i64 out_row) {
    ivec sums[TALL][3];
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) sums[r][v] = *(const ivec *)(offsets + v * LANES);
    const uint8_t *thirds[4] = {a, a + 3 * a_row, a + 6 * a_row, a + 9 * a_row};
    for (i64 k = 0; k < quads; k++) {
        ivec columns[3];
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) columns[v] = *(const ivec *)(b + v * b_vector);
#pragma GCC unroll 12
        for (int r = 0; r < tall; r++) {
            int32_t quad;
            memcpy(&quad, ROW(thirds, r, a_row), 4);
            const ivec factors = quad - (ivec){0};
#pragma GCC unroll 3
            for (int v = 0; v < wide; v++) add_bytes(&sums[r][v], factors, columns[v]);
        }
        b += 4 * LANES;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) thirds[i] += 4;
    }
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 3
        for (int v = 0; v < wide; v++) {
            const vec scale = load(scales + v * LANES) * a_scales[r];
            store(out + r * out_row + v * LANES, load(init + r * init_row + v * LANES) +
                                                     __builtin_convertvector(sums[r][v], vec) * scale);
        }
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

/* How many of `vectors` columns a block takes: three where they are odd, as one alone is bound by its loads. */
INLINE int wide_of(i64 vectors) { return vectors == 1 ? 1 : vectors % 2 ? 3 : 2; }

#define BY_WIDTH(call, tall) \
    case tall: \
        if (wide == 1) call(tall, 1); \
        else if (wide == 2) call(tall, 2); \
        else if (tall <= TALL_OF_THREE) call(tall, 3); \
        break;

#if TALL > 6
#define BY_GREAT_HEIGHT(call) \
    BY_WIDTH(call, 7) BY_WIDTH(call, 8) BY_WIDTH(call, 9) BY_WIDTH(call, 10) BY_WIDTH(call, 11) BY_WIDTH(call, 12)
#else
#define BY_GREAT_HEIGHT(call)
#endif

/* Walks `count` rows in blocks as tall as there are registers for, and as equal as can be: a block of few rows waits
for each of its sums. */
#define BY_HEIGHT(call, count) \
    for (i64 row = 0, most_tall = wide > 2 ? TALL_OF_THREE : TALL, blocks = ((count) + most_tall - 1) / most_tall; blocks; \
         blocks--) { \
        const i64 tall = ((count) - row + blocks - 1) / blocks; \
        switch (tall) { \
            BY_WIDTH(call, 1) BY_WIDTH(call, 2) BY_WIDTH(call, 3) BY_WIDTH(call, 4) BY_WIDTH(call, 5) \
            BY_WIDTH(call, 6) BY_GREAT_HEIGHT(call) \
        } \
        row += tall; \
    }

/* The scales of a first factor in bytes, which lie where the rests of bfloat16 do. */
INLINE float *scales_of(const void *a, i64 rests) { return (float *)((uint16_t *)a + rests); }

/* out (count, outputs) = init + a (count, inputs) weight. Rows of a are a_row apart, they may overlap; init_row
is 0 for a bias. rests: how far behind a, in bfloat16, are those of three terms, or in bytes the rows' scales. */
static void multiply(const Pointwise *w, i64 terms, i64 count, const void *a, i64 a_row, i64 rests,
                     const float *init, i64 init_row, float *out, i64 out_row) {
    const i64 inner = w->inputs, vectors = w->outputs / LANES;
#if HAS_TILES
    if (terms > 0 && diffir_tiles) {
        const Split split = {terms, rests, w->outputs * inner};
        multiply_tiles(w, split, count, a, a_row, init, init_row, out, out_row);
        return;
    }
#endif
    int wide;
    for (i64 vector = 0; vector < vectors; vector += wide) {
        wide = wide_of(vectors - vector);
        const i64 column = vector * LANES;
#if HAS_BYTES
#define BYTES_BLOCK(tall, wide) \
    block_bytes(tall, wide, inner / 4, (const uint8_t *)a + row * a_row, a_row, scales_of(a, rests) + row, \
                (const int8_t *)w->weight + column * inner, inner * LANES, w->scales + column, w->offsets + column, \
                init + row * init_row + column, init_row, out + row * out_row + column, out_row)
        if (terms == IN_BYTES) {
            BY_HEIGHT(BYTES_BLOCK, count)
            continue;
        }
#endif
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
#endif
        (void)terms, (void)rests;
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

INLINE vec smaller(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#else
    const ivec is_first = a < b;
    return (vec)(((ivec)a & is_first) | ((ivec)b & ~is_first));
#endif
}

INLINE vec larger(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return -smaller(-a, -b);
#endif
}

INLINE vec magnitude(vec x) { return (vec)((ivec)x & 0x7fffffff); }

INLINE vec added(vec a, vec b) { return a + b; }

/* One number, by `both`, of each of as many vectors as there are lanes; that of vectors[i] is in lane i. Halves are
folded onto each other, and two vectors share one. */
#define FOLDED(name, both) \
    INLINE vec name(vec vectors[LANES]) { \
        _Pragma("GCC unroll 4") for (int count = LANES; count > 1; count /= 2) \
            _Pragma("GCC unroll 8") for (int i = 0; i < count / 2; i++) { \
            const vec first = vectors[i], second = vectors[i + count / 2]; \
            vectors[i] = both(LOWER_HALVES(first, second), UPPER_HALVES(first, second)); \
        } \
        return vectors[0]; \
    }
FOLDED(sums_of, added)
FOLDED(largest_of, larger)

#if HAS_BYTES
/* One vector, by a row's inverse scale, as bytes of a first factor. */
INLINE void put_bytes(void *a, i64 index, vec scaled) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32((__m512)(scaled + 128.f)));
    memcpy((uint8_t *)a + index, &bytes, sizeof bytes);
#else
    const ivec whole = (ivec)_mm256_cvtps_epi32((__m256)(scaled + 128.f));
    for (i64 i = 0; i < LANES; i++) ((uint8_t *)a)[index + i] = whole[i];
#endif
}

/* Scales of up to as many rows as there are lanes, and their inverses, from the largest magnitudes of each. */
INLINE void scale_rows(const i64 rows, vec largest[LANES], float *scales, float *inverses) {
    const vec of_rows = largest_of(largest) * (1 / 127.f) + 1e-30f;
    float some[LANES];
    store(some, of_rows);
    for (i64 r = 0; r < rows; r++) scales[r] = some[r];
    store(inverses, 1 / of_rows);
}

/* Rows of floats, whole vectors, as a first factor in bytes. */
static void put_rows_in_bytes(const float *rows, i64 count, i64 inner, void *a, i64 rests) {
    for (i64 first = 0; first < count; first += LANES) {
        const i64 some = least(count - first, LANES);
        vec largest[LANES] = {0};
        float by[LANES];
        for (i64 r = 0; r < some; r++)
            for (i64 c = 0; c < inner; c += LANES)
                largest[r] = larger(largest[r], magnitude(load(rows + (first + r) * inner + c)));
        scale_rows(some, largest, scales_of(a, rests) + first, by);
        for (i64 r = 0; r < some; r++)
            for (i64 at = (first + r) * inner; at < (first + r + 1) * inner; at += LANES)
                put_bytes(a, at, load(rows + at) * by[r]);
    }
}
#endif

INLINE vec exponential(vec x) {
    x = larger(x, splat(-87.f));
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
